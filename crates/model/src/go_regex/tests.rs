//! What Go's `regexp` matches and refuses, in the same words.

use super::*;

#[test]
fn patterns_match_what_they_match_in_go() {
    for (pattern, text, want) in [
        (r"^\d+$", "12", true),
        (r"^\d+$", "٣", false),
        (r"^[\w.-]+$", "a_b-c.d", true),
        (r"^[\w.-]+$", "é", false),
        (r"^[a-z[]+$", "a[b", true),
        (r"^[]a]+$", "]a", true),
        (r"^[^]a]+$", "b", true),
        (r"^[[:alpha:]&&]+$", "ab&", true),
        (r"^[[:^alpha:]]+$", "1é", true),
        (r"^[a-]+$", "a-", true),
        (r"^[a&&b]$", "&", true),
        (r"^[\d--a]$", "a", true),
        (r"^\Qa.b\E$", "a.b", true),
        (r"^\Qa.b\E$", "axb", false),
        (r"^\Qab\E+$", "abb", true),
        (r"^[^\s]+$", "a b", false),
        (r"^[\s]$", "\u{b}", false),
        (r"^\S+$", "ab", true),
        (r"^\x{41}\x42\103$", "ABC", true),
        (r"^\pL\p{Greek}\P{Greek}\p{^Lu}$", "aαbc", true),
        (r"(?i)straSSe", "STRASSE", true),
        (r"(?i)k", "\u{212a}", true),
        (r"(?i:a)b", "AB", false),
        (r"a(?i)b|c", "C", true),
        (r"(a(?i)b)c", "aBC", false),
        (r"a(?i)*$", "aaa", true),
        (r"^(?s).$", "\n", true),
        (r"^.$", "\n", false),
        (r"(?m)^b$", "a\nb\nc", true),
        (r"^b$", "a\nb\nc", false),
        (r"^a$", "a\n", false),
        (r"\bfoo\b", "éfoo", true),
        (r"a\Bb", "ab", true),
        (r"x{,2}", "x{,2}", true),
        (r"^x{02}$", "x{02}", true),
        (r"^x{2,}$", "xxx", true),
        (r"^(?P<n>x)(?<m>y)$", "xy", true),
        (r"\<x\>", "<x>", true),
        (r"^\_\-\/$", "_-/", true),
        (r"^[\x{D700}-\x{E001}]$", "\u{e000}", true),
        (r"^[\x{D800}]?$", "", true),
        (r"^(|a)+$", "aa", true),
        (r"^\x{20}# $", " # ", true),
        (r"", "", true),
    ] {
        let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        assert_eq!(regex.is_match(text), want, "{pattern} {text:?}");
    }
}

#[test]
fn the_first_match_is_gos_first_match() {
    for (pattern, text, want) in [
        ("foo|foobar", "foobar", "foo"),
        ("(?:foo)(bar)?", "foobar", "foobar"),
        ("a+?", "aaa", "a"),
        ("(?U)a+", "aaa", "a"),
        ("(?U)a+?", "aaa", "aaa"),
        ("a{1,2}?", "aaa", "a"),
    ] {
        let found = compile(pattern).unwrap();
        assert_eq!(found.find(text).unwrap().as_str(), want, "{pattern}");
    }
}

#[test]
fn patterns_are_refused_in_gos_words() {
    for (pattern, want) in [
        ("[", "missing closing ]: `[`"),
        ("a[b", "missing closing ]: `[b`"),
        ("(", "missing closing ): `(`"),
        ("x)", "unexpected ): `x)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|*", "missing argument to repetition operator: `*`"),
        ("(+?)", "missing argument to repetition operator: `+?`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*?+", "invalid nested repetition operator: `*?+`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("x{1001}", "invalid repeat count: `{1001}`"),
        ("x{2,1}", "invalid repeat count: `{2,1}`"),
        ("x{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("(x{100}){11}", "invalid repeat count: `{11}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
        (
            r"\p{Alphabetic}",
            r"invalid character class range: `\p{Alphabetic}`",
        ),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"\q", r"invalid escape sequence: `\q`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\u0078", r"invalid escape sequence: `\u`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\xg0", r"invalid escape sequence: `\xg0`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("h(?=e)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?x) x", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?i-)x", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P<a-b>x)", "invalid named capture: `(?P<a-b>`"),
        ("(?<=a)b", "invalid named capture: `(?<=a)b`"),
    ] {
        let said = compile(pattern).err();
        let want = format!("error parsing regexp: {want}");
        assert_eq!(said.as_deref(), Some(want.as_str()), "{pattern}");
    }
}

#[test]
fn large_patterns_are_refused() {
    assert!(compile(&"a".repeat(MAX_PATTERN + 1)).is_err());
    assert!(compile(&"(".repeat(5000)).is_err());
    assert!(compile(&format!("{}a{}", "(".repeat(900), ")".repeat(900))).is_ok());
    let large = compile(r"(?:\pL{900}){1}\pL{900}\pL{900}");
    assert!(large.is_err(), "{large:?}");
}
