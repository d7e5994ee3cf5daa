//! Field names as CEL can spell them (apiserver `pkg/cel/escaping.go`).

use crate::Str;

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether it is a word of the language.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// `a-b` becomes `a__dash__b`; `None` when there is no way to spell it.
#[must_use]
pub fn escape(name: &str) -> Option<Str> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__").into());
    }
    let mut out = Str::default();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let step = if rest.starts_with("__") {
            out.push_str("__underscores__");
            2
        } else {
            match c {
                '.' => out.push_str("__dot__"),
                '-' => out.push_str("__dash__"),
                '/' => out.push_str("__slash__"),
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => out.push(c),
                _ => return None,
            }
            1
        };
        rest = &rest[step..];
    }
    Some(out)
}

/// The name that was escaped; `None` for a sequence that escaping does not make.
#[must_use]
pub fn unescape(escaped: &str) -> Option<Str> {
    let mut out = Str::default();
    let mut rest = escaped;
    while let Some(at) = rest.find("__") {
        let inside = &rest[at + 2..];
        let end = inside.find('_').filter(|end| *end > 0);
        let Some(end) = end.filter(|end| inside[*end..].starts_with("__")) else {
            // Not `__word__`: these underscores are themselves.
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        };
        out.push_str(&rest[..at]);
        match &inside[..end] {
            "underscores" => out.push_str("__"),
            "dot" => out.push('.'),
            "dash" => out.push('-'),
            "slash" => out.push('/'),
            word if RESERVED.contains(&word) && word.len() + 4 == escaped.len() => {
                out.push_str(word);
            }
            _ => return None,
        }
        rest = &inside[end + 2..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// apiserver `pkg/cel/escaping_test.go`
    #[test]
    fn names_are_spelt_so_that_cel_takes_them() {
        for (name, escaped) in [
            ("a", Some("a")),
            (
                "a-b.c/d__e",
                Some("a__dash__b__dot__c__slash__d__underscores__e"),
            ),
            ("namespace", Some("__namespace__")),
            ("___", Some("__underscores___")),
            ("1a", None),
            ("", None),
            ("é", None),
            ("a b", None),
        ] {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
            if let Some(escaped) = escaped {
                assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
            }
        }
        assert_eq!(unescape("__nonsense__"), None);
        assert_eq!(unescape("a__namespace__"), None);
        assert_eq!(unescape("a_b").as_deref(), Some("a_b"));
    }
}
