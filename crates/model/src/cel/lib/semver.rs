//! Semantic versions (apiserver `pkg/cel/library/semverlib.go` version 1, since 1.33), read and
//! refused as `github.com/blang/semver` does.

use super::args::{ALWAYS_ONE, GLOBAL, MEMBER, ONE, READ, READING, opaque, own, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Library, row};
use crate::cel::val::{Failure, Opaque, Outcome, Val};
use crate::field::quote;
use std::any::Any;
use std::cmp::Ordering;
use std::fmt;

#[rustfmt::skip] // one row a line
pub(super) static SEMVER: Library = Library {
    since: 33,
    types: &[],
    rows: &[
        row(GLOBAL, "semver", "string_to_semver", "string -> kubernetes.Semver", semver).costing(READ, READING),
        row(GLOBAL, "semver", "string_bool_to_semver", "string, bool -> kubernetes.Semver", semver).costing(READ, READING),
        row(GLOBAL, "isSemver", "is_semver_string", "string -> bool", is_semver).costing(READ, READING),
        row(GLOBAL, "isSemver", "is_semver_string_bool", "string, bool -> bool", is_semver).costing(READ, READING),
        row(MEMBER, "isGreaterThan", "semver_is_greater_than", "kubernetes.Semver, kubernetes.Semver -> bool", is_greater).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isLessThan", "semver_is_less_than", "kubernetes.Semver, kubernetes.Semver -> bool", is_less).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "compareTo", "semver_compare_to", "kubernetes.Semver, kubernetes.Semver -> int", compare_to).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "major", "semver_major", "kubernetes.Semver -> int", major).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "minor", "semver_minor", "kubernetes.Semver -> int", minor).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "patch", "semver_patch", "kubernetes.Semver -> int", patch).costing(ONE, ALWAYS_ONE),
    ],
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    // Numbers come before words.
    Number(u64),
    Word(String),
}

/// A semantic version; what was built does not count in comparisons.
#[derive(Clone, Debug)]
pub(super) struct Version {
    numbers: [u64; 3],
    pre: Vec<Part>,
    build: Vec<String>,
}

impl Version {
    fn order(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            // A version comes after its pre-releases.
            .then(self.pre.is_empty().cmp(&other.pre.is_empty()))
            .then_with(|| self.pre.cmp(&other.pre))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (i, part) in self.pre.iter().enumerate() {
            f.write_str(if i == 0 { "-" } else { "." })?;
            match part {
                Part::Number(n) => write!(f, "{n}")?,
                Part::Word(word) => f.write_str(word)?,
            }
        }
        for (i, part) in self.build.iter().enumerate() {
            f.write_str(if i == 0 { "+" } else { "." })?;
            f.write_str(part)?;
        }
        Ok(())
    }
}

impl Opaque for Version {
    fn type_name(&self) -> &'static str {
        "kubernetes.Semver"
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        let other: Option<&Self> = other.as_any().downcast_ref();
        other.is_some_and(|other| self.order(other).is_eq())
    }

    fn text(&self) -> String {
        format!("semver({self})")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn digits(s: &str) -> bool {
    // Nothing at all holds no wrong character either.
    s.bytes().all(|b| b.is_ascii_digit())
}

fn word(s: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn leading_zeros(s: &str) -> bool {
    s.len() > 1 && s.starts_with('0')
}

fn parse_uint(s: &str) -> Result<u64, String> {
    s.parse().map_err(|_| {
        let why = if s.is_empty() {
            "invalid syntax"
        } else {
            "value out of range"
        };
        format!("strconv.ParseUint: parsing {}: {why}", quote(s))
    })
}

fn number(name: &str, capital: &str, s: &str) -> Result<u64, String> {
    if !digits(s) {
        return Err(format!(
            "Invalid character(s) found in {name} number {}",
            quote(s)
        ));
    }
    if leading_zeros(s) {
        return Err(format!(
            "{capital} number must not contain leading zeroes {}",
            quote(s)
        ));
    }
    parse_uint(s)
}

fn parse(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".into());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts[..] else {
        return Err("No Major.Minor.Patch elements found".into());
    };
    let (major, minor) = (
        number("major", "Major", major)?,
        number("minor", "Minor", minor)?,
    );
    let (rest, build) = cut(rest, '+');
    let (patch, pre) = cut(rest, '-');
    let patch = number("patch", "Patch", patch)?;
    let pre: Result<Vec<Part>, String> = pre.into_iter().map(pre_release).collect();
    Ok(Version {
        numbers: [major, minor, patch],
        pre: pre?,
        build: build.into_iter().map(built).collect::<Result<_, _>>()?,
    })
}

/// What stands before the mark, and the parts between dots behind it.
fn cut(text: &str, mark: char) -> (&str, Vec<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, after.split('.').collect()),
        None => (text, Vec::new()),
    }
}

fn pre_release(part: &str) -> Result<Part, String> {
    if part.is_empty() {
        return Err("Prerelease is empty".into());
    }
    if digits(part) {
        if leading_zeros(part) {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes {}",
                quote(part)
            ));
        }
        return parse_uint(part).map(Part::Number);
    }
    if !word(part) {
        return Err(format!(
            "Invalid character(s) found in prerelease {}",
            quote(part)
        ));
    }
    Ok(Part::Word(part.to_owned()))
}

fn built(part: &str) -> Result<String, String> {
    if part.is_empty() {
        return Err("Build meta data is empty".into());
    }
    if !word(part) {
        return Err(format!(
            "Invalid character(s) found in build meta data {}",
            quote(part)
        ));
    }
    Ok(part.to_owned())
}

/// Without a `v` in front and leading zeros, with the numbers that are missing.
fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            let kept = part.trim_start_matches('0');
            let digit = kept.starts_with(|c: char| c.is_ascii_digit());
            if part.len() < 2 || digit {
                return if part.len() < 2 { part } else { kept }.to_owned();
            }
            format!("0{kept}")
        })
        .collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".into());
        }
        parts.resize(3, "0".into());
    }
    Ok(parts.join("."))
}

fn read(args: &[Val]) -> Outcome<Result<Version, String>> {
    let given = text(args, 0)?;
    let normalize = match args.get(1) {
        Some(flag) => flag.as_bool().ok_or_else(Failure::no_such_overload)?,
        None => false,
    };
    Ok(if normalize {
        normalized(given).and_then(|s| parse(&s))
    } else {
        parse(given)
    })
}

fn semver<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    read(args)?.map(opaque).map_err(Failure::new)
}

fn is_semver<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(read(args)?.is_ok()))
}

fn compared(args: &[Val]) -> Outcome<Ordering> {
    Ok(own::<Version>(args, 0)?.order(own(args, 1)?))
}

fn is_greater<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(compared(args)?.is_gt()))
}

fn is_less<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(compared(args)?.is_lt()))
}

fn compare_to<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Int(compared(args)? as i64))
}

fn part<'a>(args: &[Val], at: usize) -> Outcome<Val<'a>> {
    let number = own::<Version>(args, 0)?.numbers[at];
    Ok(Val::Int(number.cast_signed()))
}

fn major<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    part(args, 0)
}

fn minor<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    part(args, 1)
}

fn patch<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    part(args, 2)
}
