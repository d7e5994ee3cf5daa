//! CEL against what Kubernetes 1.36 itself answered (`upstream/cmd/cel` recorded it): errors,
//! types, estimated costs, values, failures and costs of a few thousand expressions.

use freehold_model::cel::ctx::{Answer, Authorizer, Ctx, PER_CALL_LIMIT, Question};
use freehold_model::cel::decl::Decl;
use freehold_model::cel::env::Env;
use freehold_model::cel::eval::{Scope, evaluate, instantiate};
use freehold_model::cel::policy::{Compiler, Declares, Input, bind};
use freehold_model::cel::ranges::Range;
use freehold_model::cel::types::Type;
use freehold_model::cel::val::{Entries, Text, Val};
use freehold_model::cel::{cost, message, shape};
use freehold_model::select::{FieldSelector, LabelSelector, Op};
use freehold_model::time::{Instant, parse_duration};
use freehold_model::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

const RECORDED: &str = include_str!("../recorded/cel/expressions.jsonl");

fn parse(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap().value
}

/// What an expression sees: types, and JSON with its shape.
#[derive(Default)]
struct Context {
    types: Vec<(String, Type)>,
    values: Vec<(String, Value, Arc<Decl>, &'static str)>,
    root: Option<Arc<Decl>>,
    /// Of policies: what is declared, and the values by name.
    policy: Option<(Env, Value)>,
}

impl Context {
    fn new(line: &Value) -> Option<Self> {
        match line.str_at(&["kind"]).unwrap_or("rule") {
            "rule" => Self::rule(line, false),
            "optional" => Self::rule(line, true),
            "vars" => Some(Self::vars(line)),
            "policy" => Some(Self::policy(line, false)),
            "mutation" => Some(Self::policy(line, true)),
            _ => None,
        }
    }

    fn rule(line: &Value, optional: bool) -> Option<Self> {
        let schema = line.get("schema")?;
        let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
        let root = shape::of_json(schema, embedded)?;
        let t = root.type_named("selfType");
        let old = if optional {
            Type::optional(t.clone())
        } else {
            t.clone()
        };
        let mut values = Vec::new();
        for (name, key) in [("self", "self"), ("oldSelf", "old")] {
            let how = if optional && name == "oldSelf" {
                "optional"
            } else {
                "plain"
            };
            match line.get(key) {
                Some(v) => values.push((name.into(), v.clone(), Arc::clone(&root), how)),
                None if how == "optional" => {
                    values.push((name.into(), Value::Null, Arc::clone(&root), "none"));
                }
                None => {}
            }
        }
        Some(Self {
            types: vec![("self".into(), t), ("oldSelf".into(), old)],
            values,
            root: Some(root),
            policy: None,
        })
    }

    fn policy(line: &Value, patches: bool) -> Self {
        let compiler = Compiler::new(
            36,
            Declares {
                params: true,
                authorizer: true,
            },
        );
        let compiler = if patches {
            compiler.with_patches()
        } else {
            compiler
        };
        Self {
            policy: Some((compiler.env(), line.get("vars").unwrap().clone())),
            ..Self::default()
        }
    }

    fn vars(line: &Value) -> Self {
        let mut context = Self::default();
        for (name, pair) in line.get("vars").unwrap().as_object().unwrap().iter() {
            let pair = pair.as_array().unwrap();
            let kind = pair[0].as_str().unwrap();
            let how = match kind {
                "uint" => "uint",
                "double" => "double",
                "bytes" => "bytes",
                "timestamp" => "timestamp",
                "duration" => "duration",
                "optional(string)" => "optional",
                _ => "plain",
            };
            let t = Type::parse(&kind.replace("optional(", "optional_type("));
            context.types.push((name.into(), t));
            let dynamic = Arc::new(Decl::dynamic().clone());
            context
                .values
                .push((name.into(), pair[1].clone(), dynamic, how));
        }
        context
    }

    fn env(&self, minor: u16) -> Env {
        let mut env = Env::new(minor);
        for (name, t) in &self.types {
            env = env.with(name, t.clone());
        }
        if let Some((env, _)) = &self.policy {
            return env.clone();
        }
        match &self.root {
            Some(root) => env.sized(Arc::clone(root)),
            None => env,
        }
    }

    fn values(&self) -> Vec<(&str, Val<'_>)> {
        let of = |v, d| Val::of(v, d).unwrap();
        self.values
            .iter()
            .map(|(name, v, decl, how)| {
                let val = match *how {
                    "uint" => Val::Uint(v.as_i64().unwrap().try_into().unwrap()),
                    "bytes" => Val::Bytes(v.as_str().unwrap().as_bytes().into()),
                    "timestamp" => Val::Timestamp(Instant::parse(v.as_str().unwrap()).unwrap()),
                    "duration" => Val::Duration(parse_duration(v.as_str().unwrap()).unwrap()),
                    "none" => Val::Optional(None),
                    "optional" => of(v, decl).some(),
                    _ => of(v, decl),
                };
                (name.as_str(), val)
            })
            .collect()
    }
}

/// Answers as the recorder's authorizer: allows what is read, fails on the verb `fail`, and gives
/// what it was asked as its reason.
struct Echo;

impl Authorizer for Echo {
    fn authorize(&self, q: &Question<'_>) -> Answer {
        if q.verb == "fail" {
            return Answer {
                error: Some("no answer".into()),
                ..Answer::default()
            };
        }
        let mut asked: Vec<String> = Vec::new();
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                asked.push(format!("{name}={value}"));
            }
        };
        match q.service_account {
            Some((namespace, name)) => {
                add("user", &format!("system:serviceaccount:{namespace}:{name}"));
                let groups = "system:serviceaccounts,system:serviceaccounts";
                add("groups", &format!("{groups}:{namespace}"));
            }
            None => {
                add("user", "alice");
                add("uid", "42");
                add("groups", "dev,system:authenticated");
            }
        }
        add("verb", q.verb);
        add("path", q.path.unwrap_or_default());
        if q.path.is_none() {
            add("group", q.group);
            add("version", "*");
            add("resource", q.resource);
            add("subresource", q.subresource);
            add("namespace", q.namespace);
            add("name", q.name);
        }
        for (kind, selectors) in [("fields", fields(q)), ("labels", labels(q))] {
            match selectors {
                None => add(kind, "unparsable"),
                Some(list) => list.iter().for_each(|s| add(&kind[..5], s)),
            }
        }
        Answer {
            allowed: matches!(q.verb, "get" | "list"),
            reason: asked.join(" "),
            error: None,
        }
    }
}

fn fields(q: &Question) -> Option<Vec<String>> {
    let parsed = FieldSelector::parse(q.field_selector).ok()?;
    let shown = parsed.terms.iter().map(|(name, value, equal)| {
        let operator = if *equal { "=" } else { "!=" };
        format!("{name} {operator} {value}")
    });
    Some(shown.collect())
}

fn labels(q: &Question) -> Option<Vec<String>> {
    let parsed = LabelSelector::parse(q.label_selector).ok()?;
    let shown = parsed.requirements.iter().map(|r| {
        let operator = match r.op {
            Op::In if r.values.len() == 1 => "=",
            Op::In => "in",
            Op::NotIn => "notin",
            Op::Exists => "exists",
            Op::DoesNotExist => "!",
            Op::GreaterThan => "gt",
            Op::LessThan => "lt",
        };
        let values: Vec<&str> = r.values.iter().map(|v| v.as_str()).collect();
        format!("{} {operator} {}", r.key, values.join("|"))
    });
    Some(shown.collect())
}

/// As `upstream/cmd/cel/show.go` writes values.
fn show(val: &Val) -> String {
    match val {
        Val::Null => "null".into(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => format!("{u}u"),
        Val::Double(d) if d.is_nan() => "NaN".into(),
        Val::Double(d) if d.is_infinite() => if *d > 0.0 { "Inf" } else { "-Inf" }.into(),
        Val::Double(d) => format!("{d:e}"),
        Val::String(s) => quoted(s),
        Val::Bytes(b) => format!("b\"{}\"", freehold_model::bytes64::encode(b)),
        Val::Duration(d) => format!("duration({d})"),
        Val::Timestamp(t) => {
            let text = t.to_text();
            let fraction = format!("{:09}", t.nanos);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            format!(
                "timestamp({}{point}{fraction}Z)",
                text.trim_end_matches('Z')
            )
        }
        Val::Optional(None) => "optional.none()".into(),
        Val::Optional(Some(v)) => format!("optional({})", show(v)),
        Val::Type(t) => format!("type({})", full_name(t)),
        Val::List(l) => {
            let items: Vec<String> = l.iter().map(|v| show(&v.unwrap())).collect();
            format!("[{}]", items.join(", "))
        }
        Val::Map(m) => {
            let mut entries: Vec<String> = m
                .keys()
                .iter()
                .map(|k| {
                    format!(
                        "{}: {}",
                        show(k),
                        m.find(k).unwrap().as_ref().map_or("null".into(), show)
                    )
                })
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Val::Opaque(value) => value.text(),
        Val::Message(patch) if patch.name == "JSONPatch" => {
            let mut text = format!(
                "JSONPatch{{op: {}, path: {}, from: {}",
                show(&patch.get("op").expect("a field")),
                show(&patch.get("path").expect("a field")),
                show(&patch.get("from").expect("a field"))
            );
            if patch.has("value") {
                text += &format!(", value: {}", show(&patch.get("value").expect("a field")));
            }
            text + "}"
        }
        Val::Message(message) => match message::json(val) {
            Ok(json) => format!(
                "{}{}",
                message.name,
                String::from_utf8_lossy(&json::to_vec(&json))
            ),
            Err(_) => message.name.to_string(),
        },
    }
}

/// As Go's `Type.String` writes types.
fn full_name(t: &Type) -> String {
    match t {
        Type::List(of) => format!("list({})", full_name(of)),
        Type::Map(k, v) => format!("map({}, {})", full_name(k), full_name(v)),
        Type::Type(Some(of)) => format!("type({})", full_name(of)),
        Type::Opaque(name, params) if !params.is_empty() => {
            let params: Vec<String> = params.iter().map(full_name).collect();
            format!("{name}({})", params.join(", "))
        }
        other => other.runtime_name().into(),
    }
}

fn quoted(s: &str) -> String {
    let mut out = Vec::new();
    json::write_string(s, &mut out);
    String::from_utf8(out).unwrap()
}

fn bound(v: &Value) -> u64 {
    match v {
        Value::Int(i) => (*i).try_into().unwrap(),
        Value::Float(f) => *f as u64,
        _ => u64::MAX,
    }
}

/// Behind the first syntax error upstream's parser guesses what was meant; ours stops.
fn first_syntax_error(errors: &str) -> String {
    match errors.find("Syntax error") {
        Some(at) if !errors[at..].starts_with("Syntax error: token") => {
            let end = errors[at..]
                .find("\nERROR:")
                .map_or(errors.len(), |end| at + end);
            errors[..end].to_owned()
        }
        _ => errors.to_owned(),
    }
}

/// What is different from the recording, if anything.
fn differences(context: &Context, line: &Value) -> Vec<(&'static str, String, String)> {
    let source = line.str_at(&["e"]).unwrap_or_default();
    let minor = match line.str_at(&["v"]) {
        Some(v) => v.trim_start_matches("1.").parse().unwrap(),
        None => 36,
    };
    let stored = line.get("stored") == Some(&Value::Bool(true));
    let env = context.env(if stored { u16::MAX } else { minor });
    let mut out = Vec::new();
    let mut differs = |what, want: String, got: String| {
        if want != got {
            out.push((what, want, got));
        }
    };
    let want = |key: &str| line.str_at(&[key]).unwrap_or_default().to_owned();
    let checked = match env.compile(source) {
        Ok(checked) => checked,
        Err(issues) => {
            differs(
                "errors",
                first_syntax_error(&want("errors")),
                first_syntax_error(&issues.display(source)),
            );
            return out;
        }
    };
    if line.get("errors").is_some() {
        differs("errors", want("errors"), String::new());
        return out;
    }
    differs("type", want("type"), full_name(checked.output()));
    let est = line.get("est").and_then(Value::as_array).unwrap();
    let want_est = Range::new(bound(&est[0]), bound(&est[1]));
    let got_est = cost::estimate(&checked, env.root());
    differs("est", format!("{want_est:?}"), format!("{got_est:?}"));
    if let Err(failure) = instantiate(&checked) {
        let got = format!("program instantiation failed: {failure}");
        differs("fail", want("fail"), got);
        return out;
    }
    let values = context.values();
    let none = Value::Null;
    let some = |name: &str| {
        let (_, vars) = context.policy.as_ref()?;
        vars.get(name).filter(|v| !v.is_null())
    };
    let input = Input {
        object: some("object"),
        old_object: some("oldObject"),
        request: some("request").unwrap_or(&none),
        namespace: some("namespaceObject"),
        params: Some(some("params")),
        authorizer: Some(&Echo),
    };
    let (given, listed) = (bind(&input), values.as_slice());
    let scope: &dyn Scope = match context.policy {
        Some(_) => &given,
        None => &listed,
    };
    let mut ctx = Ctx::new(PER_CALL_LIMIT).with_authorizer(Some(&Echo));
    let (val, fail) = match evaluate(&checked, scope, &mut ctx) {
        Ok(val) => (show(&val), String::new()),
        Err(failure) => (String::new(), failure.message),
    };
    differs("val", want("val"), val);
    differs("fail", want("fail"), fail);
    if let Some(cost) = line.get("cost") {
        differs("cost", bound(cost).to_string(), ctx.cost().to_string());
    }
    out
}

/// What is answered differently, and why.
const KNOWN: [(&str, &str); 30] = [
    ("'%.1000f'.format([1.5]).size()", PRECISION),
    ("'%.1000e'.format([1.5]).size()", PRECISION),
    ("'%.400f'.format([5e-324]).size()", PRECISION),
    ("Object{spec: null}", NULLS),
    ("Object{spec: duration('1s')}", NULLS),
    ("JSONPatch{op: 'add'}.nope", UNTYPED),
    ("type(Object{})", TYPES),
    ("type(JSONPatch{})", TYPES),
    ("{1.5:'a'}", SHOWN),
    ("{null:'a'}", SHOWN),
    ("self", SHOWN),
    ("self.open", SHOWN),
    ("self.tpl", SHOWN),
    ("double('0x1p4')", "floats in base 16 are not read"),
    (
        "string(timestamp('2024-01-01T00:00:00.123456789+02:00'))",
        "a time keeps no zone: it is shown in UTC",
    ),
    (
        "timestamp('2050-04-03T03:00:00Z').getHours('Africa/Casablanca')",
        NEWER_ZONES,
    ),
    (
        "timestamp('2499-10-31T01:00:00Z').getHours('Africa/Casablanca')",
        NEWER_ZONES,
    ),
    ("google.protobuf.Any{}", NO_MESSAGES),
    ("google.protobuf.BoolValue{value: true}", NO_MESSAGES),
    ("google.protobuf.Duration{seconds: 1}", NO_MESSAGES),
    ("google.protobuf.Int32Value", NO_MESSAGES),
    ("google.protobuf.Int32Value{nope: 1}", NO_MESSAGES),
    ("google.protobuf.Int32Value{value: 1}", NO_MESSAGES),
    ("google.protobuf.ListValue{values: [1]}", NO_MESSAGES),
    ("google.protobuf.StringValue{value: 'a'}", NO_MESSAGES),
    ("google.protobuf.Struct{fields: {'a': 1}}", NO_MESSAGES),
    ("google.protobuf.Value{}", NO_MESSAGES),
    ("selfType{}", NO_NAME),
    ("selfType{name: 'a'}", NO_NAME),
    ("self.name == selfType{name: 'a'}.name", NO_NAME),
];
const PRECISION: &str = "upstream computes the precision modulo 256, or pads to any width";
const NULLS: &str = "upstream puts Go's numbers behind null and durations into the object";
const UNTYPED: &str = "upstream knows no type of the field";
const TYPES: &str = "upstream gives the type of the type";
const SHOWN: &str = "the recorder shows what no expression can see";
const NEWER_ZONES: &str =
    "Morocco decided otherwise after the zones were made that upstream was recorded with";
const NO_MESSAGES: &str = "messages of protobuf are not constructed";
const NO_NAME: &str = "upstream gives this type a random name, which nobody can write";

#[test]
fn expressions_are_answered_as_kubernetes_answers_them() {
    let mut contexts: HashMap<String, Option<Context>> = HashMap::new();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let mut explained = BTreeSet::new();
    let (mut lines, mut wrong) = (0, 0);
    let mut shown = String::new();
    for text in RECORDED.lines() {
        let line = parse(text);
        if let Some(name) = line.str_at(&["let"]) {
            contexts.insert(name.into(), Context::new(&line));
            continue;
        }
        let source = line.str_at(&["e"]).unwrap_or_default();
        let context = &contexts[line.str_at(&["in"]).unwrap()];
        let Some(context) = context else { continue };
        if line.get("unstable").is_some() {
            continue;
        }
        lines += 1;
        let differences = differences(context, &line);
        if !differences.is_empty()
            && let Some((known, _)) = KNOWN.iter().find(|(e, _)| *e == source)
        {
            explained.insert(*known);
            continue;
        }
        wrong += usize::from(!differences.is_empty());
        for (what, want, got) in differences {
            *found.entry(what).or_default() += 1;
            shown += &format!("{what}: {source}\n   want {want}\n   got  {got}\n");
        }
    }
    if let Some(path) = option_env!("CEL_DIFFERENCES") {
        std::fs::write(path, &shown).unwrap();
    }
    assert!(lines > 1900, "only {lines} expressions compared");
    let stale = KNOWN.iter().find(|(e, _)| !explained.contains(e));
    assert_eq!(stale, None, "this is no difference any more");
    assert!(
        wrong == 0,
        "{wrong} of {lines} differ: {found:?}\n{}",
        &shown[..shown.len().min(4000)]
    );
}

/// Keeps the type of a borrowed text in use where only some contexts need it.
#[test]
fn maps_made_by_an_expression_find_numbers_by_value() {
    let env = Env::new(36);
    let checked = env.compile("{1: 'a', 2: 'b'}").unwrap();
    let none: &[(&str, Val)] = &[];
    let mut ctx = Ctx::new(PER_CALL_LIMIT);
    let Ok(Val::Map(Entries::Made(map))) = evaluate(&checked, &none, &mut ctx) else {
        panic!("not a map");
    };
    assert!(matches!(
        map.get(&Val::Double(2.0)),
        Some(Val::String(Text::Borrowed("b")))
    ));
    assert!(map.get(&Val::Uint(3)).is_none());
}
