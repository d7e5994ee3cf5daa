//! `fieldPath` of a rule: a path like `.spec.labels['a/b']` within the schema of the rule
//! (apiextensions `pkg/apiserver/schema/cel/validation.go`, `ValidFieldPath`).

use super::schema::{Additional, Schema};

/// The path as errors show it, `spec.labels[a/b]`.
///
/// # Errors
/// It does not lead to a field of the schema.
pub(super) fn normalize(path: &str, schema: &Schema) -> Result<String, String> {
    let mut out = String::new();
    let mut here = schema;
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let name;
        match c {
            '.' => {
                let after = &rest[1..];
                let end = after.find(['.', '[', ']']).unwrap_or(after.len());
                if end == 0 {
                    return Err("does not refer to a valid field".into());
                }
                name = after[..end].to_owned();
                rest = &after[end..];
            }
            '[' => {
                let quoted = rest[1..]
                    .strip_prefix('\'')
                    .ok_or("expected single quoted string")?;
                let (inner, after) = single_quoted(quoted)?;
                name = inner;
                rest = after
                    .strip_prefix(']')
                    .ok_or_else(|| format!("expected ] but got {after}"))?;
            }
            _ => return Err(format!("expected [ or . but got: {rest}")),
        }
        here = step(here, &name, &mut out)?;
    }
    Ok(out)
}

/// The text up to a quote that is not escaped, and what is behind it.
fn single_quoted(text: &str) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\'' => return Ok((out, &text[i + 1..])),
            '\\' => out.push(match chars.next().map(|(_, c)| c) {
                Some('a') => '\u{7}',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some('\'') => '\'',
                Some('\\') => '\\',
                Some(other) => {
                    return Err(format!(
                        "invalid string literal: invalid escape char \\{other}"
                    ));
                }
                None => break,
            }),
            c => out.push(c),
        }
    }
    Err("unexpected end of JSON path".into())
}

fn step<'s>(schema: &'s Schema, name: &str, out: &mut String) -> Result<&'s Schema, String> {
    let invalid = "does not refer to a valid field";
    if !schema.properties.is_empty() {
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(name);
        return schema.property(name).ok_or_else(|| invalid.into());
    }
    match &schema.additional {
        Additional::Schema(of) => {
            out.push_str(&format!("[{name}]"));
            Ok(of)
        }
        _ => Err(invalid.into()),
    }
}
