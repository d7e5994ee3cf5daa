//! Rules for single strings and numbers that many fields share, worded as apimachinery's
//! `pkg/util/validation/validation.go` and `pkg/api/validate/content/` word them.
//!
//! Every rule returns what is wrong, nothing when the value is fine.

/// What is wrong with a value: one sentence each.
pub type Problems = Vec<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

#[must_use]
pub fn max_len(length: usize) -> String {
    format!("must be no more than {length} characters")
}

#[must_use]
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `<what> (e.g. 'a',  or 'b', regex used for validation is '…')`
#[must_use]
pub fn regex_error(what: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{what} (regex used for validation is '{regex}')");
    }
    let shown: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{what} (e.g. {}regex used for validation is '{regex}')",
        shown.join(" or ")
    )
}

/// Lower-case letters and digits.
const LOWER: u8 = 1;
/// Letters and digits.
const ALNUM: u8 = 2;
const HYPHEN: u8 = 4;
const DOT: u8 = 8;
/// What labels of domain names are made of.
const IN_LABEL: u8 = 16;
/// What label keys and values are made of.
const IN_KEY: u8 = 32;
/// What names of environment variables are made of.
const IN_VARIABLE: u8 = 64;

/// What each byte is to the rules for names, which every object asks for by the hundred.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        table[b] = match byte {
            b'a'..=b'z' | b'0'..=b'9' => LOWER | ALNUM | IN_LABEL | IN_KEY,
            b'A'..=b'Z' => ALNUM | IN_KEY,
            b'-' => HYPHEN | IN_LABEL | IN_KEY,
            b'.' => DOT | IN_KEY,
            b'_' => IN_KEY,
            _ => 0,
        };
        if matches!(byte, b' '..=b'~') && byte != b'=' {
            table[b] |= IN_VARIABLE;
        }
        b += 1;
    }
    table
};

#[inline(always)]
fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

fn is_lower_alnum(b: u8) -> bool {
    class(b) & LOWER != 0
}

/// Whether all bytes are of a class. Names are short: looking at all of them takes less time than
/// asking after each whether to go on.
#[inline]
fn all_are(s: &str, wanted: u8) -> bool {
    s.bytes().fold(wanted, |all, b| all & class(b)) != 0
}

/// Not empty, of bytes of `all` only, with `ends` at both ends.
#[inline]
fn made_of(s: &str, all: u8, ends: u8) -> bool {
    let (Some(first), Some(last)) = (s.as_bytes().first(), s.as_bytes().last()) else {
        return false;
    };
    class(*first) & class(*last) & ends != 0 && all_are(s, all)
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn matches_label(s: &str) -> bool {
    made_of(s, IN_LABEL, LOWER)
}

/// Labels joined by dots.
fn matches_subdomain(s: &str) -> bool {
    let mut before = DOT;
    for b in s.bytes() {
        let now = class(b);
        // What stands beside a dot is a letter or digit.
        let fine = now & (LOWER | HYPHEN | DOT) != 0 && (before | now) & (LOWER | DOT) != DOT;
        if !fine {
            return false;
        }
        before = now;
    }
    before & LOWER != 0
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn matches_label_key(s: &str) -> bool {
    made_of(s, IN_KEY, ALNUM)
}

/// Whether [`qualified_name`] has nothing to say.
fn is_qualified(s: &str) -> bool {
    let name = match s.bytes().position(|b| b == b'/') {
        None => s,
        Some(slash) if slash <= 253 && matches_subdomain(&s[..slash]) => &s[slash + 1..],
        Some(_) => return false,
    };
    name.len() <= 63 && matches_label_key(name)
}

#[must_use]
pub fn dns1123_label(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 63 {
        problems.push(max_len(63));
    }
    if !matches_label(s) {
        problems.push(if matches_subdomain(s) {
            "must not contain dots".into()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    problems
}

#[must_use]
pub fn dns1123_subdomain(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 253 {
        problems.push(max_len(253));
    }
    if !matches_subdomain(s) {
        problems.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    problems
}

#[must_use]
pub fn dns1123_subdomain_prefix(s: &str) -> Problems {
    match s.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let end = rest.floor_char_boundary(rest.len() - 1);
            dns1123_subdomain(&format!("{}a", &rest[..end]))
        }
        _ => dns1123_subdomain(s),
    }
}

#[must_use]
pub fn dns1123_subdomain_with_underscore(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 253 {
        problems.push(max_len(253));
    }
    let part = |p: &str| {
        let p = p.strip_prefix('_').unwrap_or(p).as_bytes();
        matches!((p.first(), p.last()), (Some(&f), Some(&l)) if is_lower_alnum(f) && is_lower_alnum(l))
            && p.iter()
                .all(|&b| is_lower_alnum(b) || b == b'-' || b == b'_')
    };
    if !s.split('.').all(part) {
        problems.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
             and must start and end with an alphanumeric character",
            "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    problems
}

#[must_use]
pub fn dns1035_label(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 63 {
        problems.push(max_len(63));
    }
    if !(matches_label(s) && s.as_bytes()[0].is_ascii_lowercase()) {
        problems.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    problems
}

#[must_use]
pub fn wildcard_dns1123_subdomain(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 253 {
        problems.push(max_len(253));
    }
    if !s.strip_prefix("*.").is_some_and(matches_subdomain) {
        problems.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    problems
}

/// A label key: `[prefix/]name`; also finalizers, resource names and condition types.
#[must_use]
pub fn qualified_name(s: &str) -> Problems {
    const WHAT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const EXAMPLES: [&str; 3] = ["MyName", "my.name", "123-abc"];
    let mut problems = Problems::new();
    if is_qualified(s) {
        return problems;
    }
    let name = match s.split_once('/') {
        None => s,
        Some((_, name)) if name.contains('/') => {
            problems.push(format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(WHAT, LABEL_KEY, &EXAMPLES)
            ));
            return problems;
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".into());
            } else {
                let of_prefix = dns1123_subdomain(prefix);
                problems.extend(of_prefix.iter().map(|p| {
                    format!(
                        "prefix part {}",
                        p.replace(&max_len(253), "must be no more than 253 bytes")
                    )
                }));
            }
            name
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 bytes".into());
    }
    if !matches_label_key(name) {
        problems.push(format!(
            "name part {}",
            regex_error(WHAT, LABEL_KEY, &EXAMPLES)
        ));
    }
    problems
}

#[must_use]
pub fn label_value(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 63 {
        problems.push("must be no more than 63 bytes".into());
    }
    if !s.is_empty() && !matches_label_key(s) {
        problems.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character",
            &format!("({LABEL_KEY})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    problems
}

/// A name that can stand in a URL path (RBAC roles, and the least that any name must be).
#[must_use]
pub fn path_segment(s: &str) -> Problems {
    match s {
        "." | ".." => vec![format!("may not be '{s}'")],
        _ => path_segment_prefix(s),
    }
}

#[must_use]
pub fn path_segment_prefix(s: &str) -> Problems {
    ["/", "%"]
        .iter()
        .filter(|c| s.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

#[must_use]
pub fn c_identifier(s: &str) -> Problems {
    let ok = s
        .bytes()
        .enumerate()
        .all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit()));
    if ok && !s.is_empty() {
        return Problems::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

#[must_use]
pub fn in_range(value: i64, low: i64, high: i64) -> Problems {
    if (low..=high).contains(&value) {
        Problems::new()
    } else {
        vec![inclusive_range(low, high)]
    }
}

#[must_use]
pub fn port_number(port: i64) -> Problems {
    in_range(port, 1, 65535)
}

/// User and group ids.
#[must_use]
pub fn unix_id(id: i64) -> Problems {
    in_range(id, 0, i64::from(i32::MAX))
}

#[must_use]
pub fn port_name(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 15 {
        problems.push(max_len(15));
    }
    if s.is_empty() || !all_are(s, IN_LABEL) {
        problems
            .push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|b| b.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".into());
    }
    if s.as_bytes().windows(2).any(|pair| pair == b"--") {
        problems.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        problems.push("must not begin or end with a hyphen".into());
    }
    problems
}

/// `[0-9]+%`
#[must_use]
pub fn percent(s: &str) -> Problems {
    let digits = s.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Problems::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

#[must_use]
pub fn http_header_name(s: &str) -> Problems {
    if !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Problems::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// Names of environment variables (the relaxed rule, in force since v1.32).
#[must_use]
pub fn env_var_name(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.is_empty() {
        problems.push("environment variable name must be non-empty".into());
    }
    if !all_are(s, IN_VARIABLE) {
        problems.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    problems
}

fn dot_prefix(s: &str) -> Option<String> {
    match s {
        "." | ".." => Some(format!("must not be '{s}'")),
        s if s.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// Keys of config maps and secrets.
#[must_use]
pub fn config_map_key(s: &str) -> Problems {
    let mut problems = Problems::new();
    if s.len() > 253 {
        problems.push(max_len(253));
    }
    if s.is_empty()
        || !s
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        problems.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    problems.extend(dot_prefix(s));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    /// apimachinery `pkg/api/validate/content/dns_test.go`, `kube_test.go`
    #[test]
    fn names_are_accepted_and_rejected_as_upstream_does() {
        let long = |n: usize| "a".repeat(n);
        for good in ["a", "a-1", "0", "1--a--b--2", &long(63)] {
            assert_eq!(dns1123_label(good), Problems::new(), "{good}");
        }
        for bad in ["", "A", "a-", "-a", "a_b", "a.b", "a b", ".", &long(64)] {
            assert_ne!(dns1123_label(bad), Problems::new(), "{bad}");
        }
        for good in ["a.b.c", "1.2.3.4.5", &long(253)] {
            assert_eq!(dns1123_subdomain(good), Problems::new(), "{good}");
        }
        for bad in ["", "a.", ".a", "a..b", "A.b", "a_b", "a@b", &long(254)] {
            assert_ne!(dns1123_subdomain(bad), Problems::new(), "{bad}");
        }
        for good in [
            "simple",
            "1.2.3.4/5678",
            "example.com/Uppercase_Is_OK_123",
            "requests.storage-foo",
        ] {
            assert_eq!(qualified_name(good), Problems::new(), "{good}");
        }
        for bad in [
            "",
            "a%b",
            "a-",
            "-a",
            "only/one/slash",
            "Example.com/abc",
            "example.com/",
            "/simple",
            &long(64),
        ] {
            assert_ne!(qualified_name(bad), Problems::new(), "{bad}");
        }
        assert_ne!(dns1035_label("1a"), Problems::new());
        assert_eq!(dns1035_label("a1"), Problems::new());
        assert_eq!(label_value(""), Problems::new());
        assert_ne!(label_value("a b"), Problems::new());
    }

    #[test]
    fn problems_are_worded_as_upstreams() {
        assert_eq!(
            dns1123_label("A"),
            [concat!(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start ",
                "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is ",
                "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            )]
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            path_segment("a/b%"),
            ["may not contain '/'", "may not contain '%'"]
        );
        assert_eq!(path_segment(".."), ["may not be '..'"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(
            regex_error("x", "y", &["a", "b"]),
            "x (e.g. 'a',  or 'b', regex used for validation is 'y')"
        );
    }
}
