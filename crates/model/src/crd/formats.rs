//! String formats that CRD schemas may name: apiextensions `pkg/apiserver/validation/formats.go`,
//! with the checks of kube-openapi `pkg/validation/strfmt`. Unknown formats are ignored, as upstream.

use super::schema::Kind;
use crate::Value;
use crate::go_url::Url;
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Whether a schema's format takes part in validation at all.
pub(super) fn known(format: &str, kind: Option<Kind>) -> bool {
    match kind {
        None | Some(Kind::String) => check(format, "").is_some(),
        Some(Kind::Integer) => matches!(format, "int32" | "int64"),
        Some(Kind::Number) => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// The server that checks every format of this file.
pub(super) const NEWEST: u8 = 35;

/// The minor version of the first server that checks a format. Upstream has the Kubernetes names
/// since 1.34, and checks only what the server before knew, too.
pub(super) fn since(format: &str) -> u8 {
    match format.replace('-', "").as_str() {
        "k8sshortname" | "k8slongname" => NEWEST,
        _ => 0,
    }
}

/// The formats of a definition that a server of `minor` ignores, each as often as it is there:
/// apiextensions `pkg/registry/customresourcedefinition/strategy.go` (`getUnrecognizedFormatsInCRD`).
#[must_use]
pub fn unrecognized(crd: &Value, minor: u8) -> Vec<&str> {
    let mut out = Vec::new();
    let versions = crd.at(&["spec", "versions"]).and_then(Value::as_array);
    for version in versions.unwrap_or_default().iter().filter(|_| minor >= 34) {
        if let Some(schema) = version.at(&["schema", "openAPIV3Schema"]) {
            collect(schema, minor, &mut out);
        }
    }
    out
}

fn collect<'a>(schema: &'a Value, minor: u8, out: &mut Vec<&'a str>) {
    let Some(map) = schema.as_object() else {
        return;
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let (format, kind) = (text("format"), text("type"));
    // Before 1.36 only strings are looked at.
    if !format.is_empty() && (kind == "string" || minor >= 36) {
        let checked = match Kind::parse(kind) {
            None if !kind.is_empty() => false,
            kind => known(format, kind) && since(format) <= minor,
        };
        if !checked {
            out.push(format);
        }
    }
    for key in ["items", "not", "additionalProperties"] {
        if let Some(inner) = map.get(key) {
            collect(inner, minor, out);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let list = map.get(key).and_then(Value::as_array).unwrap_or_default();
        list.iter().for_each(|inner| collect(inner, minor, out));
    }
    let properties = map.get("properties").and_then(Value::as_object);
    for (_, inner) in properties.into_iter().flat_map(crate::Map::iter) {
        collect(inner, minor, out);
    }
}

/// Whether `text` has the format; `None` for formats that nobody checks.
pub(super) fn check(format: &str, text: &str) -> Option<bool> {
    Some(match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => Url::uri_problem(text).is_none(),
        "email" => email(text),
        "hostname" => hostname(text),
        "ipv4" => text.contains('.') && (ipv4(text) || text.parse::<Ipv6Addr>().is_ok()),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => matches(&SSN, text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "rgbcolor" => matches(&RGB_COLOR, text),
        "byte" => base64(text),
        "password" => true,
        "date" => date(text),
        "duration" => duration(text),
        "datetime" => date_time(text),
        "k8sshortname" => crate::meta::is_dns_label(text),
        "k8slongname" => crate::meta::is_dns_subdomain(text),
        _ => return None,
    })
}

static SSN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$").ok());
static HEX_COLOR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("^#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
static RGB_COLOR: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let part = "[\\t\\n\\f\\r ]*(?:0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])[\\t\\n\\f\\r ]*";
    Regex::new(&format!("^rgb\\({part},{part},{part}\\)$")).ok()
});
static HOSTNAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let (start, inner) = (
        "[a-zA-Z0-9\\p{S}\\p{L}]",
        "[a-zA-Z0-9\\-\\p{S}\\p{L}]{0,61}",
    );
    let text = format!(
        "^(?:{start}(?:-?[a-zA-Z0-9\\p{{S}}\\p{{L}}]{{0,62}})?|(?:{start}(?:{inner}{start})?\\.)+[a-zA-Z\\p{{L}}]{{2,63}})$"
    );
    Regex::new(&text).ok()
});
static SCALA_DURATION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new("(?i)[0-9]+\\s*(?:ns|nano|µs|us|micro|ms|milli|s\\b|second|m\\b|minute|h\\b|hour|d\\b|day|w\\b|week)").ok()
});

fn matches(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|r| r.is_match(text))
}

/// RFC 5322 as `net/mail` reads it: an address, or a name and an address in angle brackets.
fn email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(rest) => match rest.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atom =
        |b: u8| b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let dotted = |s: &str| {
        s.split('.')
            .all(|part| !part.is_empty() && part.bytes().all(atom))
    };
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || dotted(local)) && (literal || dotted(domain))
}

fn hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|part| part.len() <= 63) && matches(&HOSTNAME, text)
}

/// Leading zeros are read as decimal, as Kubernetes' own parser does.
fn ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |p: &str| {
        !p.is_empty()
            && p.bytes().all(|b| b.is_ascii_digit())
            && matches!(p.trim_start_matches('0'), d if d.len() <= 3 && d.parse().unwrap_or(0_u16) <= 255)
    };
    text.parse::<Ipv4Addr>().is_ok() || parts.len() == 4 && parts.iter().all(|p| number(p))
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let max = if ipv4(address) {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    !bits.is_empty()
        && bits.len() <= 3
        && bits.bytes().all(|b| b.is_ascii_digit())
        && bits.parse::<u16>().is_ok_and(|b| b <= max)
}

/// 6, 8 or 20 octets in one of Go's `net.ParseMAC` notations.
fn mac(text: &str) -> bool {
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts
                .iter()
                .all(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let mut digits = Vec::with_capacity(32);
    for c in text.chars() {
        match c {
            // a dash may stand after 8, 12, 16 and 20 digits, once each
            '-' => {
                if ![8, 12, 16, 20].contains(&digits.len()) || digits.last() == Some(&'-') {
                    return false;
                }
            }
            c if c.is_ascii_hexdigit() => digits.push(c.to_ascii_lowercase()),
            _ => return false,
        }
    }
    let doubled = text.contains("--");
    digits.len() == 32
        && !doubled
        && version.is_none_or(|v| digits[12] == v)
        && (!matches!(version, Some('4' | '5')) || "89ab".contains(digits[16]))
}

fn compact(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .collect()
}

fn isbn10(text: &str) -> bool {
    let text = compact(text);
    let value = |(i, c): (usize, char)| match c {
        '0'..='9' => c.to_digit(10),
        'X' if i == 9 => Some(10),
        _ => None,
    };
    let digits: Option<Vec<u32>> = text.chars().enumerate().map(value).collect();
    digits.is_some_and(|d| {
        d.len() == 10
            && d.iter()
                .zip(1_u32..)
                .map(|(d, weight)| d * weight)
                .sum::<u32>()
                % 11
                == 0
    })
}

fn isbn13(text: &str) -> bool {
    let digits: Option<Vec<u32>> = compact(text).chars().map(|c| c.to_digit(10)).collect();
    digits.is_some_and(|d| {
        d.len() == 13
            && d.iter()
                .zip([1, 3].into_iter().cycle())
                .map(|(d, w)| d * w)
                .sum::<u32>()
                % 10
                == 0
    })
}

fn credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let number: String = digits
        .iter()
        .filter_map(|d| char::from_digit(*d, 10))
        .collect();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| number.starts_with(p));
    let brand = match digits.len() {
        13 => starts(&["4"]),
        14 => starts(&["300", "301", "302", "303", "304", "305", "36", "38"]),
        15 => starts(&["34", "37", "2131", "1800"]),
        16 => starts(&["4", "51", "52", "53", "54", "55", "6011", "65", "35"]),
        _ => false,
    };
    let luhn: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            if i % 2 == 1 {
                let x = d * 2;
                x / 10 + x % 10
            } else {
                *d
            }
        })
        .sum();
    brand && luhn.is_multiple_of(10)
}

fn base64(text: &str) -> bool {
    let bytes = text.as_bytes();
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    !bytes.is_empty()
        && bytes.len().is_multiple_of(4)
        && padding <= 2
        && bytes[..bytes.len() - padding]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+/".contains(b))
}

fn two(text: &str) -> Option<u8> {
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

pub(super) fn date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let (Some(month), Some(day)) = (two(month), two(day)) else {
        return false;
    };
    if year.len() != 4 || !year.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let year: u16 = year.parse().unwrap_or_default();
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// RFC 3339, with `t` and `z` in either case.
fn date_time(text: &str) -> bool {
    if text.len() < 4 || !text.is_char_boundary(10) {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let Some((day, time)) = lower.split_once('t') else {
        return false;
    };
    if !date(day) || time.len() < 8 || !time.is_ascii() {
        return false;
    }
    let (clock, rest) = time.split_at(8);
    let numbers: Vec<Option<u8>> = clock.split(':').map(two).collect();
    let [Some(hour), Some(minute), Some(second)] = numbers[..] else {
        return false;
    };
    if hour > 23 || minute > 59 || second > 59 {
        return false;
    }
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(fraction.len());
            if end == 0 {
                return false;
            }
            &fraction[end..]
        }
        None => rest,
    };
    rest == "z"
        || rest.strip_prefix(['+', '-']).is_some_and(|offset| {
            matches!(offset.split_once(':'), Some((h, m)) if two(h).is_some() && two(m).is_some())
        })
}

/// Go's `time.ParseDuration`, or Scala's `3 minutes`.
fn duration(text: &str) -> bool {
    go_duration(text) || matches(&SCALA_DURATION, text)
}

fn go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let digits = &rest[..number];
        if digits.matches('.').count() > 1 || !digits.bytes().any(|b| b.is_ascii_digit()) {
            return false;
        }
        rest = &rest[number..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        if !["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&&rest[..unit]) {
            return false;
        }
        rest = &rest[unit..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table of cases")]
    fn formats_accept_and_refuse_what_upstream_does() {
        for (format, good, bad) in [
            (
                "date-time",
                vec!["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+02:00"],
                vec!["2014-12-15", "2014-13-01T00:00:00Z", "x", ""],
            ),
            ("date", vec!["2024-02-29"], vec!["2023-02-29", "2024-1-01"]),
            (
                "duration",
                vec!["1h30m", "0", "22 ns", "3 minutes"],
                vec!["", "abc", "1x"],
            ),
            (
                "ipv4",
                vec!["1.2.3.4", "010.0.0.1"],
                vec!["1.2.3", "256.1.1.1", "::1"],
            ),
            ("ipv6", vec!["::1", "fe80::1"], vec!["1.2.3.4", "g::"]),
            (
                "cidr",
                vec!["10.0.0.0/8", "::/0"],
                vec!["10.0.0.0", "10.0.0.0/33"],
            ),
            (
                "mac",
                vec!["00:1a:2b:3c:4d:5e", "001a.2b3c.4d5e"],
                vec!["00:1a"],
            ),
            (
                "uuid",
                vec![
                    "a8098c1a-f86e-11da-bd1a-00112444be1e",
                    "A8098C1AF86E11DABD1A00112444BE1E",
                ],
                vec!["a8098c1a", "a8098c1a--f86e-11da-bd1a-00112444be1e"],
            ),
            (
                "uuid4",
                vec!["a8098c1a-f86e-41da-8d1a-00112444be1e"],
                vec!["a8098c1a-f86e-11da-bd1a-00112444be1e"],
            ),
            (
                "email",
                vec!["a@b.c", "Ann <a@b>"],
                vec!["a", "@b", "a b@c"],
            ),
            (
                "hostname",
                vec!["example.com", "localhost", "1a.example.org"],
                vec!["-a.com", "a..b"],
            ),
            (
                "uri",
                vec!["http://a/b", "/x", "urn:x", "http://[::1]:80/"],
                vec!["", "a", "http://a:b/", "http://a%zz"],
            ),
            (
                "isbn",
                vec!["0321751043", "978-0321751041"],
                vec!["0321751044"],
            ),
            (
                "creditcard",
                vec!["4111-1111-1111-1111"],
                vec!["4111-1111-1111-1112"],
            ),
            ("hexcolor", vec!["#FFFFFF", "abc"], vec!["#ff"]),
            ("rgbcolor", vec!["rgb(100, 2,255)"], vec!["rgb(256,0,0)"]),
            ("byte", vec!["YWJj", "YQ=="], vec!["YQ", ""]),
            ("ssn", vec!["111-11-1111"], vec!["11-11-1111"]),
            (
                "bsonobjectid",
                vec!["507f1f77bcf86cd799439011"],
                vec!["507f"],
            ),
            ("k8s-short-name", vec!["a-b"], vec!["a.b", "A"]),
            ("k8s-long-name", vec!["a.b"], vec!["a_b"]),
        ] {
            for text in good {
                assert_eq!(check(format, text), Some(true), "{format} {text}");
            }
            for text in bad {
                assert_eq!(check(format, text), Some(false), "{format} {text}");
            }
        }
        assert_eq!(check("made-up", "x"), None);
        assert!(known("int32", Some(Kind::Integer)) && !known("int32", Some(Kind::String)));
    }

    fn definition(schema: Value) -> Value {
        value!({
            "metadata": {"name": "ws.e.org"},
            "spec": {"group": "e.org", "scope": "Namespaced",
                "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": schema}}}]}
        })
    }

    #[test]
    fn formats_nobody_checks_are_told_and_names_only_since_the_version_that_checks_them() {
        let crd = definition(value!({
            "a": {"type": "string", "format": "k8s-short-name"},
            "b": {"type": "string", "format": "no-such"},
            "c": {"type": "integer", "format": "int8"},
            "d": {"type": "array", "items": {"type": "string", "format": "date-time"}},
            "e": {"type": "object", "additionalProperties": {"anyOf": [{"format": "odd"}], "type": "string"}}
        }));
        let of = |minor| unrecognized(&crd, minor);
        assert_eq!(of(33), Vec::<&str>::new());
        assert_eq!(of(34), ["k8s-short-name", "no-such"]);
        assert_eq!(of(35), ["no-such"]);
        assert_eq!(of(36), ["no-such", "int8", "odd"]);
    }

    #[test]
    fn names_are_checked_by_servers_that_know_the_format() {
        let crd = definition(value!({"a": {"type": "string", "format": "k8s-short-name"}}));
        let object = value!({"apiVersion": "e.org/v1", "kind": "W", "a": "Not_Short"});
        for (minor, wrong) in [(33, 0), (34, 0), (35, 1), (36, 1)] {
            let compiled = crate::crd::compile(&crd, minor).expect("compiles");
            let errors = crate::crd::validate(&compiled.resources[0], &object, None);
            assert_eq!(errors.len(), wrong, "1.{minor}: {errors:?}");
        }
    }
}
