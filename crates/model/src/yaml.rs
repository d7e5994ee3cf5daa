//! Bounded YAML 1.1 as Kubernetes clients send it, to [`Value`].
//!
//! Scalars mean what they mean to goyaml v2 below `sigs.k8s.io/yaml`: `yes` and `on` are booleans,
//! `010` is eight, timestamps stay strings, and keys of any kind become strings.

use crate::field::quote;
use crate::json::Decoded;
use crate::value::Map;
use crate::{ApiError, Str, Value, bytes64, limits};
use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// As many duplicate keys as are reported at most.
const MAX_DUPLICATES: usize = 100;

/// Parses one document (the first of a stream; a second one is an error).
///
/// # Errors
/// 400 for bad syntax, 413 past a bound.
pub fn parse(bytes: &[u8]) -> Result<Decoded, ApiError> {
    let mut documents = parse_stream(bytes)?.into_iter();
    let first = documents.next().unwrap_or_default();
    if documents.any(|d| !d.value.is_null()) {
        return Err(ApiError::bad_request(
            "yaml: expected a single document, found more than one",
        ));
    }
    Ok(first)
}

/// Every document of a stream.
fn parse_stream(bytes: &[u8]) -> Result<Vec<Decoded>, ApiError> {
    if bytes.len() > limits::MAX_BODY {
        return Err(ApiError::too_large(format!(
            "Request entity too large: limit is {}",
            limits::MAX_BODY
        )));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        ApiError::bad_request(format!("yaml: invalid UTF-8 at offset {}", e.valid_up_to()))
    })?;
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: limits::MAX_DEPTH + 1,
        block_nesting_limit: limits::MAX_DEPTH + 1,
    };
    let mut composer = Composer {
        events: Parser::new_from_str_with_options(text, options),
        nodes: 0,
        copied: 0,
        aliases: 0,
        document: Document::default(),
    };
    let mut documents = Vec::new();
    loop {
        match composer.next()?.0 {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(..) => {
                composer.document = Document::default();
                let value = composer.node(0)?;
                documents.push(composer.finish(value));
            }
            _ => {}
        }
    }
}

/// An anchored value, and what copying it costs.
struct Anchor {
    value: Value,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// What is known of the current document besides its values.
#[derive(Default)]
struct Document {
    anchors: HashMap<usize, Anchor>,
    path: String,
    duplicates: Vec<Str>,
    /// how upstream words the duplicates of YAML
    messages: Vec<String>,
}

struct Composer<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    nodes: usize,
    copied: usize,
    aliases: usize,
    document: Document,
}

fn at_line(span: &Span, what: &str) -> ApiError {
    ApiError::bad_request(format!("yaml: line {}: {what}", span.start.line()))
}

fn too_many_values() -> ApiError {
    ApiError::too_large(format!(
        "the document has more than {} values",
        limits::MAX_NODES
    ))
}

/// Nodes, bytes of text and depth of a value.
fn measure(value: &Value) -> (usize, usize, usize) {
    let add = |sum: (usize, usize, usize), part: (usize, usize, usize)| {
        (sum.0 + part.0, sum.1 + part.1, sum.2.max(part.2))
    };
    let parts = match value {
        Value::String(s) => return (1, s.len(), 0),
        Value::Array(items) => items.iter().map(measure).fold((0, 0, 0), add),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| add(measure(v), (0, k.len(), 0)))
            .fold((0, 0, 0), add),
        _ => return (1, 0, 0),
    };
    (parts.0 + 1, parts.1, parts.2 + 1)
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ApiError> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(e)) => Err(ApiError::bad_request(format!(
                "yaml: line {}: {}",
                e.marker().line(),
                e.info()
            ))),
            None => Err(ApiError::bad_request(
                "yaml: unexpected end of the document",
            )),
        }
    }

    fn finish(&mut self, value: Value) -> Decoded {
        let document = std::mem::take(&mut self.document);
        let strict = if document.messages.is_empty() {
            None
        } else {
            Some(format!(
                "yaml: unmarshal errors:\n  {}",
                document.messages.join("\n  ")
            ))
        };
        Decoded {
            value,
            duplicates: document.duplicates,
            yaml_duplicates: strict,
        }
    }

    fn node(&mut self, depth: usize) -> Result<Value, ApiError> {
        let (event, span) = self.next()?;
        self.node_of(event, &span, depth)
    }

    fn node_of(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Value, ApiError> {
        self.nodes += 1;
        if self.nodes > limits::MAX_NODES {
            return Err(too_many_values());
        }
        if depth > limits::MAX_DEPTH {
            return Err(ApiError::too_large(format!(
                "exceeded max depth: the document is nested deeper than {}",
                limits::MAX_DEPTH
            )));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), span)?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(depth + 1)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth + 1)?, anchor),
            Event::Alias(id) => return self.alias(id, span, depth),
            _ => return Err(at_line(span, "did not find expected node content")),
        };
        if anchor != 0 {
            let (nodes, bytes, depth) = measure(&value);
            self.spend(nodes, bytes)?;
            self.document.anchors.insert(
                anchor,
                Anchor {
                    value: value.clone(),
                    nodes,
                    bytes,
                    depth,
                },
            );
        }
        Ok(value)
    }

    /// Counts what a copy costs.
    fn spend(&mut self, nodes: usize, bytes: usize) -> Result<(), ApiError> {
        self.nodes += nodes;
        self.copied += bytes;
        if self.nodes > limits::MAX_NODES || self.copied > limits::MAX_COPIED {
            return Err(ApiError::too_large(
                "yaml: document contains excessive aliasing",
            ));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: &Span, depth: usize) -> Result<Value, ApiError> {
        self.aliases += 1;
        if self.aliases > limits::MAX_ALIASES {
            return Err(ApiError::too_large(
                "yaml: document contains excessive aliasing",
            ));
        }
        let Some(anchor) = self.document.anchors.get(&id) else {
            return Err(at_line(span, "anchor value contains itself"));
        };
        let (nodes, bytes) = (anchor.nodes, anchor.bytes);
        if depth + anchor.depth > limits::MAX_DEPTH {
            return Err(ApiError::too_large(format!(
                "exceeded max depth: the document is nested deeper than {}",
                limits::MAX_DEPTH
            )));
        }
        self.spend(nodes, bytes)?;
        Ok(self
            .document
            .anchors
            .get(&id)
            .map(|a| a.value.clone())
            .unwrap_or_default())
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, ApiError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            let mark = self.document.path.len();
            self.document.path.push_str(&format!("[{}]", items.len()));
            items.push(self.node_of(event, &span, depth)?);
            self.document.path.truncate(mark);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, ApiError> {
        let mut entries: Vec<(Str, Value)> = Vec::new();
        let mut seen: HashSet<Str> = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Object(Map::from_entries(entries).0));
            }
            let merge = is_merge(&event);
            let key = self.node_of(event, &span, depth)?;
            let (event, value_span) = self.next()?;
            if merge {
                let value = self.node_of(event, &value_span, depth)?;
                for (key, value) in merged(value).ok_or_else(|| {
                    at_line(
                        &value_span,
                        "map merge requires map or sequence of maps as the value",
                    )
                })? {
                    self.note(&mut seen, &key, &value_span);
                    entries.push((key, value));
                }
                continue;
            }
            let key = key_text(&key).ok_or_else(|| at_line(&span, "unsupported map key"))?;
            let mark = self.document.path.len();
            if mark > 0 {
                self.document.path.push('.');
            }
            self.document.path.push_str(&key);
            self.note(&mut seen, &key, &value_span);
            let value = self.node_of(event, &value_span, depth)?;
            self.document.path.truncate(mark);
            entries.push((key, value));
        }
    }

    /// Remembers a key and reports it when it was there before.
    fn note(&mut self, seen: &mut HashSet<Str>, key: &Str, span: &Span) {
        if seen.insert(key.clone()) || self.document.duplicates.len() >= MAX_DUPLICATES {
            return;
        }
        let shown = Str::from(limits::cut(&self.document.path, limits::MAX_PATH));
        if !self.document.duplicates.contains(&shown) {
            self.document.duplicates.push(shown);
        }
        let key = &key[..key.floor_char_boundary(limits::MAX_PATH)];
        self.document.messages.push(format!(
            "line {}: key {} already set in map",
            span.start.line(),
            quote(key)
        ));
    }
}

/// `<<` without quotes
fn is_merge(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
        || matches!(event, Event::Scalar(text, _, _, Some(tag)) if text == "<<" && tag.suffix() == "merge")
}

/// The entries that a merge brings, least important first.
fn merged(value: Value) -> Option<Vec<(Str, Value)>> {
    match value {
        Value::Object(map) => Some(map.into_entries()),
        Value::Array(items) => {
            let mut entries = Vec::new();
            for item in items.into_iter().rev() {
                let Value::Object(map) = item else {
                    return None;
                };
                entries.extend(map.into_entries());
            }
            Some(entries)
        }
        _ => None,
    }
}

fn key_text(key: &Value) -> Option<Str> {
    match key {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(if *b { "true" } else { "false" }.into()),
        Value::Int(i) => Some(i.to_string().into()),
        Value::Float(f) => Some(f.to_string().into()),
        _ => None,
    }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: &Span,
) -> Result<Value, ApiError> {
    let kind = match tag {
        None if style == ScalarStyle::Plain => "",
        None => "str",
        Some(tag) => match tag.core_suffix() {
            Some(suffix) => suffix,
            None if tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() == Some("binary") => {
                let bytes = bytes64::decode(text)
                    .map_err(|_| at_line(span, "!!binary value contains invalid base64 data"))?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned().into());
            }
            // `!` and tags nobody knows: a string
            None => "str",
        },
    };
    let value = if kind == "str" {
        Value::from(text)
    } else {
        resolve(text)
    };
    let fits = match kind {
        "int" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Int(_) | Value::Float(_)),
        "bool" => matches!(value, Value::Bool(_)),
        "null" => value.is_null(),
        _ => true,
    };
    if !fits {
        let shown: String = text.chars().take(64).collect();
        return Err(at_line(
            span,
            &format!("cannot decode `{shown}` as a !!{kind}"),
        ));
    }
    match value {
        Value::Float(f) if !f.is_finite() => {
            let name = if f.is_nan() {
                "NaN"
            } else if f > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            Err(at_line(span, &format!("json: unsupported value: {name}")))
        }
        // YAML goes through JSON.
        Value::Float(f) => Ok(Value::from_f64(f)),
        value => Ok(value),
    }
}

/// What a plain scalar means: goyaml v2 `resolve.go`.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return true.into();
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' if is_float(text) => float(text),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = if text.contains('_') {
                Cow::Owned(text.replace('_', ""))
            } else {
                Cow::Borrowed(text)
            };
            integer(&plain).or_else(|| {
                if is_float(&plain) {
                    float(&plain)
                } else {
                    None
                }
            })
        }
        _ => None,
    };
    // Dates look like neither: `2024-01-01` stays the string it is to upstream.
    number.unwrap_or_else(|| text.into())
}

/// Go's `ParseInt(s, 0, 64)`, then `ParseUint`.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefix = digits.as_bytes().get(..2).unwrap_or_default();
    let (radix, digits) = match prefix {
        b"0x" | b"0X" => (16, &digits[2..]),
        b"0b" | b"0B" => (2, &digits[2..]),
        b"0o" | b"0O" => (8, &digits[2..]),
        [b'0', _] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    let value = if negative {
        -i128::from(size)
    } else {
        i128::from(size)
    };
    match i64::try_from(value) {
        Ok(i) => Some(Value::Int(i)),
        Err(_) if text.starts_with(['-', '+']) => None,
        // Beyond 63 bits upstream's JSON decoder falls back to floats.
        #[allow(clippy::cast_precision_loss, reason = "that loss is upstream's")]
        Err(_) => Some(Value::Float(size as f64)),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = digits(rest);
    let mut rest = &rest[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole == 0 && fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        None => rest.is_empty(),
    }
}

fn float(text: &str) -> Option<Value> {
    text.parse::<f64>()
        .ok()
        .filter(|f| f.is_finite())
        .map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn ok(text: &str) -> Value {
        parse(text.as_bytes()).unwrap().value
    }

    fn error(text: &str) -> ApiError {
        parse(text.as_bytes()).expect_err("an error")
    }

    #[test]
    fn a_manifest_is_read() {
        let v = ok(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {x: \"1\", z: 'no'}\nspec:\n  containers:\n  - name: c\n    args:\n    - -c\n    - |\n      a\n      b\n    ports:\n    - containerPort: 80\n",
        );
        assert_eq!(
            v.at(&["metadata", "labels"]),
            Some(&value!({"x": "1", "z": "no"}))
        );
        let container = &v.at(&["spec", "containers"]).unwrap().as_array().unwrap()[0];
        assert_eq!(
            container.at(&["ports"]),
            Some(&value!([{"containerPort": 80}]))
        );
        assert_eq!(ok(r#"{"a": [1, "x"]}"#), value!({"a": [1, "x"]}));
        assert_eq!(ok(""), Value::Null);
        assert_eq!(ok("# only a comment\n"), Value::Null);
    }

    /// go.yaml.in/yaml/v2 `resolve.go`, `decode_test.go`
    #[test]
    fn plain_scalars_mean_what_yaml_1_1_says() {
        for (text, want) in [
            ("yes", Value::Bool(true)),
            ("On", Value::Bool(true)),
            ("n", Value::Bool(false)),
            ("OFF", Value::Bool(false)),
            ("yES", "yES".into()),
            ("~", Value::Null),
            ("010", Value::Int(8)),
            ("08", Value::Int(8)),
            ("0o17", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("0b101", Value::Int(5)),
            ("-0b101", Value::Int(-5)),
            ("1_000", Value::Int(1000)),
            ("+12", Value::Int(12)),
            ("1.0", Value::Int(1)),
            ("1e3", Value::Int(1000)),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1e999", "1e999".into()),
            ("9223372036854775807", Value::Int(i64::MAX)),
            (
                "18446744073709551615",
                Value::Float(18_446_744_073_709_551_615.0),
            ),
            ("2024-01-01", "2024-01-01".into()),
            ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z".into()),
            ("1:30", "1:30".into()),
            ("100m", "100m".into()),
            ("0.1.2", "0.1.2".into()),
            ("'1'", "1".into()),
            ("\"yes\"", "yes".into()),
            ("!!str 1", "1".into()),
            ("!!int \"3\"", Value::Int(3)),
            ("!!binary Zm9v", "foo".into()),
            ("!custom 1", "1".into()),
            ("-", Value::Array(vec![Value::Null])),
            ("+", "+".into()),
        ] {
            assert_eq!(ok(text), want, "{text}");
        }
        assert!(error("a: .inf").message.contains("unsupported value: +Inf"));
        assert!(
            error("a: !!int x")
                .message
                .contains("cannot decode `x` as a !!int")
        );
    }

    #[test]
    fn keys_of_any_kind_become_strings() {
        assert_eq!(
            ok("{1: a, yes: b, 1.5: c, x: d}"),
            value!({"1": "a", "true": "b", "1.5": "c", "x": "d"})
        );
        assert_eq!(error("{~: a}").code, 400);
        assert_eq!(error("? [a]\n: b\n").code, 400);
    }

    #[test]
    fn anchors_aliases_and_merges_work() {
        let v = ok(
            "base: &b {x: 1, z: 2}\nuse: *b\nmore:\n  <<: *b\n  z: 3\nlist:\n  <<: [{a: 1}, {a: 2, b: 2}]\n",
        );
        assert_eq!(v.get("use"), Some(&value!({"x": 1, "z": 2})));
        assert_eq!(v.get("more"), Some(&value!({"x": 1, "z": 3})));
        assert_eq!(v.get("list"), Some(&value!({"a": 1, "b": 2})));
        assert!(error("a: *nope").code == 400);
        assert!(error("a: &a [*a]").code == 400);
        assert!(error("<<: 1").message.contains("map merge requires"));
    }

    #[test]
    fn duplicate_keys_are_reported_and_the_last_wins() {
        let d = parse(b"a: 1\nspec:\n  l:\n  - x: 1\n    x: 2\na: 3\n").unwrap();
        assert_eq!(d.duplicates, ["spec.l[0].x", "a"]);
        assert_eq!(d.value.get("a"), Some(&Value::Int(3)));
        assert_eq!(
            d.strict_errors(),
            [
                "yaml: unmarshal errors:\n  line 5: key \"x\" already set in map\n  line 6: key \"a\" already set in map"
            ]
        );
    }

    #[test]
    fn streams_are_split_and_a_request_holds_one_document() {
        let all = parse_stream(b"---\na: 1\n---\nb: 2\n...\n").unwrap();
        assert_eq!(all.len(), 2);
        assert!(error("a: 1\n---\nb: 2\n").message.contains("more than one"));
        assert_eq!(ok("---\na: 1\n---\n"), value!({"a": 1}));
    }

    #[test]
    fn syntax_errors_say_where() {
        let e = error("a: 1\nb: [1\nc: }\n");
        assert!(e.message.starts_with("yaml: line ") && e.code == 400, "{e}");
        assert_eq!(parse(b"a: \xff").unwrap_err().code, 400);
    }

    #[test]
    fn bombs_are_defused() {
        // Ten aliases of ten aliases of …
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..10 {
            let previous = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
        }
        assert_eq!(error(&laughs).code, 413);
        let long = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(1_000_000),
            "*a, ".repeat(900)
        );
        assert_eq!(error(&long).code, 413);
        let chain: String = (1..300).fold("a0: &a0 [1]\n".into(), |s, i| {
            s + &format!("a{i}: &a{i} [*a{}]\n", i - 1)
        });
        assert_eq!(error(&chain).code, 413);
        let aliases = format!("a: &a 1\nb: [{}]", "*a, ".repeat(limits::MAX_ALIASES + 1));
        assert_eq!(error(&aliases).code, 413);
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse("- ".repeat(100_000).as_bytes()).is_err());
        let steps: String = (0..300).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        assert!(parse(steps.as_bytes()).is_err());
        assert_eq!(error(&"[1,".repeat(50)).code, 400);
    }
}
