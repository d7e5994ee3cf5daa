//! The part of Go's template language that hooks use: `{{ .Name }}` with `-` to trim spaces.
//!
//! Only texts inside an object are rendered, never its structure, so a value cannot add fields.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The most bytes that all texts of one object may come to.
const MAX_TEXT: usize = 512 * 1024;
/// The deepest object.
const MAX_DEPTH: usize = 64;

/// The values a template sees. Later ones win: the hook's defaults, the control plane's for all
/// hooks, the control plane's for this hook, the platform's
/// (kubeflex pkg/reconcilers/shared/postcreate_hook.go).
pub(crate) fn variables<'a>(
    defaults: impl IntoIterator<Item = (&'a str, &'a str)>,
    global: &'a BTreeMap<String, String>,
    hook: &'a BTreeMap<String, String>,
    system: [(&'a str, &'a str); 3],
) -> BTreeMap<String, String> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut all: BTreeMap<String, String> = defaults.into_iter().map(owned).collect();
    for map in [global, hook] {
        all.extend(map.iter().map(|(n, v)| (n.clone(), v.clone())));
    }
    all.extend(system.into_iter().map(owned));
    all
}

/// Renders every text of an object, names of fields included.
pub(crate) fn render(object: &Value, vars: &BTreeMap<String, String>) -> Result<Value, String> {
    let mut budget = MAX_TEXT;
    walk(object, vars, &mut budget, 0)
}

fn walk(
    value: &Value,
    vars: &BTreeMap<String, String>,
    budget: &mut usize,
    depth: usize,
) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("a template is deeper than {MAX_DEPTH}"));
    }
    Ok(match value {
        Value::String(text) => Value::String(spend(line(text, vars)?, budget)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| walk(item, vars, budget, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => {
            let mut rendered = Map::new();
            for (name, value) in fields {
                let name = spend(line(name, vars)?, budget)?;
                rendered.insert(name, walk(value, vars, budget, depth + 1)?);
            }
            Value::Object(rendered)
        }
        other => other.clone(),
    })
}

fn spend(text: String, budget: &mut usize) -> Result<String, String> {
    *budget = budget
        .checked_sub(text.len())
        .ok_or_else(|| format!("a template renders to more than {MAX_TEXT} bytes"))?;
    Ok(text)
}

fn line(text: &str, vars: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        let before = &rest[..open];
        let inside = &rest[open + 2..];
        let Some(close) = inside.find("}}") else {
            return Err(format!("{{{{ without }}}} in {:?}", short(text)));
        };
        let mut action = &inside[..close];
        rest = &inside[close + 2..];
        // `{{- ` and ` -}}` trim white space beside the action (text/template, "Text and spaces")
        let mut kept = before;
        if let Some(trimmed) = action.strip_prefix("- ") {
            action = trimmed;
            kept = before.trim_end();
        }
        if let Some(trimmed) = action.strip_suffix(" -") {
            action = trimmed;
            rest = rest.trim_start();
        }
        out.push_str(kept);
        out.push_str(value(action.trim(), vars)?);
    }
    out.push_str(rest);
    Ok(out)
}

fn value<'a>(action: &str, vars: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    let name = action.strip_prefix('.').filter(|name| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    });
    let Some(name) = name else {
        return Err(format!(
            "{{{{{}}}}} is not supported: only {{{{.Name}}}} is",
            short(action)
        ));
    };
    vars.get(name)
        .map(String::as_str)
        .ok_or_else(|| format!("{{{{.{}}}}} has no value", short(name)))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vars() -> BTreeMap<String, String> {
        let none = BTreeMap::new();
        variables(
            [
                ("a", "default"),
                ("b", "default"),
                ("Namespace", "hijacked"),
            ],
            &BTreeMap::from([("b".into(), "global".into()), ("c".into(), "global".into())]),
            &BTreeMap::from([("c".into(), "hook".into())]),
            [
                ("Namespace", "x-system"),
                ("ControlPlaneName", "x"),
                ("HookName", "h"),
            ],
        )
        .into_iter()
        .chain(none)
        .collect()
    }

    #[test]
    fn the_more_particular_value_wins_and_the_platforms_always() {
        let object = json!({"{{.a}}": ["{{.b}}", "{{.c}}", "{{.Namespace}}", 3, true]});
        assert_eq!(
            render(&object, &vars()).unwrap(),
            json!({"default": ["global", "hook", "x-system", 3, true]})
        );
    }

    #[test]
    fn spaces_are_trimmed_as_go_does() {
        let cases = [
            ("{{ .a }}", "default"),
            ("x {{- .a -}} y", "xdefaulty"),
            ("x {{ .a }} y", "x default y"),
            ("{{.a}}{{.b}}", "defaultglobal"),
            ("no } template {", "no } template {"),
        ];
        for (text, rendered) in cases {
            assert_eq!(line(text, &vars()).unwrap(), rendered, "{text}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for text in [
            "{{if .a}}x{{end}}",
            "{{ range .a }}",
            "{{.a | quote}}",
            "{{",
            "{{.}}",
            "{{.a.b}}",
            "{{/* c */}}",
        ] {
            assert!(line(text, &vars()).is_err(), "{text}");
        }
        let error = line("{{.nobody}}", &vars()).unwrap_err();
        assert_eq!(error, "{{.nobody}} has no value");
    }

    #[test]
    fn a_value_cannot_change_the_structure() {
        let mut vars = vars();
        vars.insert("a".into(), "\", \"x\": \"{{.b}}".into());
        let rendered = render(&json!({"name": "{{.a}}"}), &vars).unwrap();
        assert_eq!(rendered, json!({"name": "\", \"x\": \"{{.b}}"}));
    }

    #[test]
    fn rendering_is_bounded() {
        let mut vars = vars();
        vars.insert("a".into(), "x".repeat(4096));
        let object = json!({"name": "{{.a}}".repeat(200)});
        assert!(render(&object, &vars).unwrap_err().contains("more than"));
        let mut deep = json!("x");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(render(&deep, &vars).unwrap_err().contains("deeper"));
    }
}
