//! Named formats of strings (apiserver `pkg/cel/library/format.go`, since 1.31).

use super::args::{ALWAYS_ONE, GLOBAL, MEMBER, ONE, opaque, own, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Library, Overload, Run, row};
use crate::cel::ranges::{Estimate, REGEX, STRING, scaled};
use crate::cel::val::{Opaque, Outcome, Val};
use crate::go_url::Url;
use crate::rules::{self, Problems};
use std::any::Any;

/// A format: what it is called, how a string is checked, how long its pattern is for costs.
#[derive(Debug)]
pub(super) struct Format {
    /// As `format.named` finds it.
    key: &'static str,
    pub(super) name: &'static str,
    check: fn(&str) -> Problems,
    pattern: u64,
}

const fn format(
    key: &'static str,
    name: &'static str,
    pattern: u64,
    check: fn(&str) -> Problems,
) -> Format {
    Format {
        key,
        name,
        check,
        pattern,
    }
}

/// kube-openapi `pkg/validation/strfmt`: how long the patterns of `date-time` and `uuid` are there.
const DATE_TIME: u64 = 71;
const UUID: u64 = 70;

#[rustfmt::skip] // one format a line
static FORMATS: [Format; 13] = [
    format("dns1123Label", "DNS1123Label", 30, rules::dns1123_label),
    format("dns1123Subdomain", "DNS1123Subdomain", 60, rules::dns1123_subdomain),
    format("dns1035Label", "DNS1035Label", 30, rules::dns1035_label),
    format("qualifiedName", "QualifiedName", 60, rules::qualified_name),
    format("dns1123LabelPrefix", "DNS1123LabelPrefix", 30, |s| rules::dns1123_label(&prefix(s))),
    format("dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", 60, |s| rules::dns1123_subdomain(&prefix(s))),
    format("dns1035LabelPrefix", "DNS1035LabelPrefix", 30, |s| rules::dns1035_label(&prefix(s))),
    format("labelValue", "LabelValue", 40, rules::label_value),
    format("uri", "URI", 1103, |s| Url::uri_problem(s).into_iter().collect()),
    format("uuid", "uuid", UUID, |s| matching("uuid", s, "does not match the UUID format")),
    format("byte", "byte", 84, |s| matching("byte", s, "invalid base64")),
    format("date", "date", DATE_TIME, |s| matching("date", s, "invalid date")),
    format("datetime", "datetime", DATE_TIME, |s| matching("datetime", s, "invalid datetime")),
];

/// The longest pattern that estimates assume.
const LONGEST: f64 = 128.0;

const fn named(function: &'static str, run: Run) -> Overload {
    row(GLOBAL, function, function, "-> kubernetes.NamedFormat", run)
}

#[rustfmt::skip] // one row a line
pub(super) static NAMED_FORMATS: Library = Library {
    since: 31,
    types: &[],
    rows: &[
        row(MEMBER, "validate", "format-validate", "kubernetes.NamedFormat, string -> optional_type(list(string))", validate)
            .costing(Charge::Args(validating), |s, _, args| {
                Estimate::of(s.size(args.first()?).per(STRING).per(LONGEST * REGEX))
            }),
        row(GLOBAL, "format.named", "format-named", "string -> optional_type(kubernetes.NamedFormat)", find).costing(ONE, ALWAYS_ONE),
        named("format.dns1123Label", |_, _| Ok(opaque(&FORMATS[0]))),
        named("format.dns1123Subdomain", |_, _| Ok(opaque(&FORMATS[1]))),
        named("format.dns1035Label", |_, _| Ok(opaque(&FORMATS[2]))),
        named("format.qualifiedName", |_, _| Ok(opaque(&FORMATS[3]))),
        named("format.dns1123LabelPrefix", |_, _| Ok(opaque(&FORMATS[4]))),
        named("format.dns1123SubdomainPrefix", |_, _| Ok(opaque(&FORMATS[5]))),
        named("format.dns1035LabelPrefix", |_, _| Ok(opaque(&FORMATS[6]))),
        named("format.labelValue", |_, _| Ok(opaque(&FORMATS[7]))),
        named("format.uri", |_, _| Ok(opaque(&FORMATS[8]))),
        named("format.uuid", |_, _| Ok(opaque(&FORMATS[9]))),
        named("format.byte", |_, _| Ok(opaque(&FORMATS[10]))),
        named("format.date", |_, _| Ok(opaque(&FORMATS[11]))),
        named("format.datetime", |_, _| Ok(opaque(&FORMATS[12]))),
    ],
};

impl Opaque for &'static Format {
    fn type_name(&self) -> &'static str {
        "kubernetes.NamedFormat"
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        let other: Option<&&Format> = other.as_any().downcast_ref();
        other.is_some_and(|other| self.name == other.name)
    }

    fn text(&self) -> String {
        format!("format({})", self.name)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// As upstream, the last character before a dash goes as well (`maskTrailingDash`).
fn prefix(name: &str) -> String {
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() > 1 && bytes.ends_with(b"-") {
        bytes.truncate(bytes.len() - 2);
        bytes.push(b'a');
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn matching(format: &str, text: &str, problem: &str) -> Problems {
    if crate::crd::has_format(format, text) {
        Problems::new()
    } else {
        vec![problem.to_owned()]
    }
}

fn validating(args: &[Val]) -> u64 {
    let pattern = args[0].downcast::<&Format>().map_or(0, |f| f.pattern);
    scaled(args[1].size().saturating_add(1), STRING).saturating_mul(scaled(pattern, REGEX))
}

fn validate<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let format: &&Format = own(args, 0)?;
    let problems = (format.check)(text(args, 1)?);
    if problems.is_empty() {
        return Ok(Val::Optional(None));
    }
    let list = super::args::made_list(ctx, problems.iter().map(String::as_str))?;
    Ok(list.some())
}

fn find<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let key = text(args, 0)?;
    let found = FORMATS.iter().find(|f| f.key == key);
    Ok(found.map_or(Val::Optional(None), |f| opaque(f).some()))
}
