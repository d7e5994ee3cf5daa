//! A CRD's `x-kubernetes-validations`, compiled with its schema and evaluated on its objects:
//! apiextensions `pkg/apiserver/schema/cel/{compilation,validation}.go`.

use super::schema::{ListType, Rule, Schema};
use crate::cel::check::Checked;
use crate::cel::ctx::{Ctx, PER_CALL_LIMIT, PER_REQUEST_LIMIT, REQUEST_FUEL};
use crate::cel::decl::{Decl, DeclKind};
use crate::cel::env::Env;
use crate::cel::escape::escape;
use crate::cel::eval::{evaluate, instantiate};
use crate::cel::ranges::Range;
use crate::cel::types::Type;
use crate::cel::val::{Failure, Outcome, Val};
use crate::cel::{cost, shape};
use crate::field::{ErrorKind, FieldError};
use crate::{Map, Str, Value};
use std::sync::Arc;

/// The longest message that an expression may make.
const MAX_MESSAGE: usize = 5 * 1024;

/// A rule whose expressions were checked.
#[derive(Debug)]
pub(crate) struct Compiled {
    rule: Checked,
    message: Option<Checked>,
    /// where its errors are reported, below the place of the rule
    field_path: Option<String>,
}

impl Compiled {
    pub(super) fn cost(&self, decl: &Decl) -> Range {
        cost::estimate(&self.rule, Some(decl))
    }

    pub(super) fn message_cost(&self, decl: &Decl) -> Option<Range> {
        self.message.as_ref().map(|m| cost::estimate(m, Some(decl)))
    }

    pub(super) fn uses_old_self(&self) -> bool {
        self.rule.uses("oldSelf")
    }
}

/// The environments of rules at a place: `oldSelf` as it is, and optional.
pub(super) fn environments(base: &Env, decl: &Arc<Decl>) -> (Env, Env) {
    let t = decl.type_named("selfType");
    let with = |old: Type| base.clone().with("self", t.clone()).with("oldSelf", old);
    (with(t.clone()), with(Type::optional(t.clone())))
}

/// Compiles both expressions of a rule, each in its environment; the error names the field it belongs to.
pub(super) fn compile(
    env: &Env,
    of_message: &Env,
    rule: &Rule,
    schema: &Schema,
) -> Result<Compiled, (&'static str, String)> {
    let wrong = |why: String| ("rule", why);
    let checked = env.compile(&rule.rule).map_err(|issues| {
        wrong(format!(
            "compilation failed: {}",
            issues.display(&rule.rule)
        ))
    })?;
    if *checked.output() != Type::Bool {
        return Err(wrong("cel expression must evaluate to a bool".into()));
    }
    instantiate(&checked).map_err(|e| wrong(format!("program instantiation failed: {e}")))?;
    let message = match rule.message_expression.as_str() {
        "" => None,
        source => {
            Some(compile_message(of_message, source).map_err(|why| ("messageExpression", why))?)
        }
    };
    let field_path = match rule.field_path.as_str() {
        "" => None,
        path => super::rule_path::normalize(path, schema).ok(),
    };
    Ok(Compiled {
        rule: checked,
        message,
        field_path,
    })
}

fn compile_message(env: &Env, source: &str) -> Result<Checked, String> {
    let checked = env.compile(source).map_err(|issues| {
        format!(
            "messageExpression compilation failed: {}",
            issues.display(source)
        )
    })?;
    if *checked.output() != Type::String {
        return Err("messageExpression must evaluate to a string".into());
    }
    instantiate(&checked).map_err(|e| format!("messageExpression instantiation failed: {e}"))?;
    Ok(checked)
}

/// The rules at one place of a schema and below it; places without any are left out.
#[derive(Debug)]
pub(crate) struct Rules {
    decl: Option<Arc<Decl>>,
    /// the type's name, for messages
    kind: &'static str,
    list_keys: Option<Vec<Str>>,
    own: Vec<(Rule, Result<Compiled, String>)>,
    all_of: Vec<Rules>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
    properties: Vec<(Str, Rules)>,
}

/// Checks a default against the rules of its schema; what it would change from is itself.
pub(super) fn of_default(
    schema: &Schema,
    default: &Value,
    path: &str,
    left: &mut usize,
) -> Vec<FieldError> {
    if !has_rules(schema) {
        return Vec::new();
    }
    let Some(rest) = left.checked_sub(source_size(schema)) else {
        let why = "defaults of this definition need too many validation rules to be checked";
        return vec![FieldError::forbidden(path, why)];
    };
    *left = rest;
    let decl = shape::of_schema(schema, schema.embedded);
    node(schema, schema, decl.as_ref()).map_or_else(Vec::new, |rules| {
        evaluate_from(
            &rules,
            default,
            Some(default),
            Ratchet::default(),
            path,
            &mut Vec::new(),
        )
    })
}

fn source_size(schema: &Schema) -> usize {
    let own: usize = schema
        .rules
        .iter()
        .map(|r| r.rule.len() + r.message_expression.len())
        .sum();
    let below = schema.items.as_deref().into_iter();
    let below = below.chain(schema.additional.schema());
    let below = below.chain(schema.properties.iter().map(|(_, s)| s));
    let below = below.chain(schema.checks.iter().flat_map(|c| &c.all_of));
    own + below.map(source_size).sum::<usize>()
}

/// Compiles the rules of a schema of objects; `None` when there are none.
pub(super) fn of_schema(schema: &Schema) -> Option<Rules> {
    if !has_rules(schema) {
        return None;
    }
    node(schema, schema, shape::of_schema(schema, true).as_ref())
}

fn has_rules(schema: &Schema) -> bool {
    !schema.rules.is_empty()
        || schema.items.as_deref().is_some_and(has_rules)
        || schema.additional.schema().is_some_and(has_rules)
        || schema.properties.iter().any(|(_, s)| has_rules(s))
        || schema.checks.iter().flat_map(|c| &c.all_of).any(has_rules)
}

/// The rules of `rules`, which stands at the same place as `shape_of` or is a part of its `allOf`.
fn node(rules: &Schema, shape_of: &Schema, decl: Option<&Arc<Decl>>) -> Option<Rules> {
    let own = own_rules(rules, shape_of, decl);
    let element = decl.and_then(|d| match &d.kind {
        DeclKind::List(of, _) | DeclKind::Map(of) => Some(of),
        _ => None,
    });
    let items = rules
        .items
        .as_deref()
        .zip(shape_of.items.as_deref())
        .and_then(|(r, s)| node(r, s, element));
    let additional = rules
        .additional
        .schema()
        .zip(shape_of.additional.schema())
        .and_then(|(r, s)| node(r, s, element));
    let mut properties = Vec::new();
    for (name, property) in &rules.properties {
        let Some(shape_of) = shape_of.property(name) else {
            continue;
        };
        let field = match escape(name) {
            Some(escaped) => match decl.map(|d| &d.kind) {
                Some(DeclKind::Object(o)) => o.fields.get(&escaped).map(|f| Arc::clone(&f.decl)),
                _ => None,
            },
            None => shape::of_schema(shape_of, shape_of.embedded),
        };
        if let Some(below) = field.and_then(|f| node(property, shape_of, Some(&f))) {
            properties.push((name.clone(), below));
        }
    }
    let all_of: Vec<Rules> = rules
        .checks
        .iter()
        .flat_map(|c| &c.all_of)
        .filter_map(|branch| node(branch, shape_of, decl))
        .collect();
    let empty = own.is_empty() && items.is_none() && additional.is_none();
    if empty && properties.is_empty() && all_of.is_empty() {
        return None;
    }
    Some(Rules {
        decl: decl.cloned(),
        kind: rules.kind.map_or("", super::schema::Kind::name),
        list_keys: (shape_of.list_type == ListType::Map).then(|| shape_of.list_keys.clone()),
        own,
        all_of,
        items: items.map(Box::new),
        additional: additional.map(Box::new),
        properties,
    })
}

fn own_rules(
    rules: &Schema,
    shape_of: &Schema,
    decl: Option<&Arc<Decl>>,
) -> Vec<(Rule, Result<Compiled, String>)> {
    let Some(decl) = decl else {
        let why = "failed to convert to declType for CEL validation rules";
        return rules
            .rules
            .iter()
            .map(|r| (r.clone(), Err(why.into())))
            .collect();
    };
    if rules.rules.is_empty() {
        return Vec::new();
    }
    // What is stored was accepted by some version: everything any of them knew exists.
    let (plain, optional) = environments(&Env::stored(), decl);
    rules
        .rules
        .iter()
        .map(|rule| {
            let env = if rule.optional_old_self == Some(true) {
                &optional
            } else {
                &plain
            };
            let compiled = compile(env, env, rule, shape_of).map_err(|(_, why)| why);
            (rule.clone(), compiled)
        })
        .collect()
}

/// A new value and its old one, where they are known to belong together.
type Pair<'v> = Option<(&'v Value, &'v Value)>;

/// What was wrong before and has not changed is forgiven.
#[derive(Clone, Copy, Default)]
struct Ratchet<'v> {
    here: Pair<'v>,
    parent: Pair<'v>,
}

impl<'v> Ratchet<'v> {
    fn forgives(&self) -> bool {
        self.here
            .or(self.parent)
            .is_some_and(|(new, old)| new == old)
    }

    fn key(self, name: &str) -> Self {
        let Some((new, old)) = self.here else {
            return self;
        };
        if self.parent.is_none() && matches!(name, "apiVersion" | "kind") {
            return Self::default();
        }
        Self {
            here: new.get(name).zip(old.get(name)),
            parent: self.here,
        }
    }

    fn item(self, new: &'v Value, old: Option<&'v Value>) -> Self {
        if self.here.is_none() {
            return self;
        }
        Self {
            here: old.map(|old| (new, old)),
            parent: self.here,
        }
    }
}

/// Evaluates all rules on an object; `forgiven` is told what an unchanged part breaks.
pub(super) fn evaluate_all(
    rules: &Rules,
    object: &Value,
    old: Option<&Value>,
    forgiven: &mut Vec<FieldError>,
) -> Vec<FieldError> {
    let ratchet = Ratchet {
        here: old.map(|old| (object, old)),
        parent: None,
    };
    evaluate_from(rules, object, old, ratchet, "", forgiven)
}

fn evaluate_from<'v>(
    rules: &'v Rules,
    value: &'v Value,
    old: Option<&'v Value>,
    ratchet: Ratchet<'v>,
    path: &str,
    forgiven: &mut Vec<FieldError>,
) -> Vec<FieldError> {
    let mut evaluation = Evaluation {
        errors: Vec::new(),
        forgiven,
        budget: PER_REQUEST_LIMIT,
        fuel: REQUEST_FUEL,
        over: false,
    };
    evaluation.node(rules, value, old, ratchet, path);
    evaluation.errors
}

struct Evaluation<'f> {
    errors: Vec<FieldError>,
    /// what was wrong before and has not changed
    forgiven: &'f mut Vec<FieldError>,
    budget: u64,
    /// steps of work that are left
    fuel: u64,
    /// nothing more is evaluated
    over: bool,
}

/// More than a client is shown.
const MAX_FORGIVEN: usize = 256;

/// One rule with everything it is evaluated with.
struct Case<'v> {
    rules: &'v Rules,
    decl: &'v Decl,
    value: &'v Value,
    old: Option<&'v Value>,
    ratchet: Ratchet<'v>,
    path: &'v str,
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

fn at(path: &str) -> String {
    if path.is_empty() { "<nil>" } else { path }.to_owned()
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl Evaluation<'_> {
    fn node<'v>(
        &mut self,
        rules: &'v Rules,
        value: &'v Value,
        old: Option<&'v Value>,
        ratchet: Ratchet<'v>,
        path: &str,
    ) {
        if self.over || value.is_null() {
            return;
        }
        let old = old.filter(|o| !o.is_null());
        self.own(rules, value, old, ratchet, path);
        for branch in &rules.all_of {
            let nearest = Ratchet {
                here: None,
                parent: ratchet.parent,
            };
            self.node(branch, value, old, nearest, path);
        }
        match value {
            Value::Array(items) => self.items(rules, items, old, ratchet, path),
            Value::Object(map) => self.entries(rules, map, old, ratchet, path),
            _ => {}
        }
    }

    fn items<'v>(
        &mut self,
        rules: &'v Rules,
        items: &'v [Value],
        old: Option<&'v Value>,
        ratchet: Ratchet<'v>,
        path: &str,
    ) {
        let Some(below) = &rules.items else { return };
        let old = old.and_then(Value::as_array).unwrap_or_default();
        let keyed = rules.list_keys.as_deref().map(|keys| Keyed::new(keys, old));
        for (i, item) in items.iter().enumerate() {
            let before = keyed.as_ref().and_then(|k| k.get(item));
            let ratchet = ratchet.item(item, before);
            self.node(below, item, before, ratchet, &format!("{path}[{i}]"));
        }
    }

    fn entries<'v>(
        &mut self,
        rules: &'v Rules,
        map: &'v Map,
        old: Option<&'v Value>,
        ratchet: Ratchet<'v>,
        path: &str,
    ) {
        for (key, value) in map.iter() {
            let before = old.and_then(|o| o.get(key));
            if let Some(below) = &rules.additional {
                let path = format!("{path}[{key}]");
                self.node(below, value, before, ratchet.key(key), &path);
            }
            let property = rules
                .properties
                .binary_search_by(|(name, _)| name.as_str().cmp(key));
            if let Ok(i) = property {
                let path = child(path, key);
                self.node(
                    &rules.properties[i].1,
                    value,
                    before,
                    ratchet.key(key),
                    &path,
                );
            }
        }
    }

    fn own<'v>(
        &mut self,
        rules: &'v Rules,
        value: &'v Value,
        old: Option<&'v Value>,
        ratchet: Ratchet<'v>,
        path: &str,
    ) {
        let dynamic = Decl::dynamic();
        let case = Case {
            rules,
            decl: rules.decl.as_deref().unwrap_or(dynamic),
            value,
            old,
            ratchet,
            path,
        };
        for (rule, compiled) in &rules.own {
            if self.over {
                return;
            }
            match compiled {
                Ok(compiled) => self.rule(&case, rule, compiled),
                Err(why) => self.fail(&case, &format!("rule compile error: {why}")),
            }
        }
    }

    fn fail(&mut self, case: &Case, why: &str) {
        self.errors
            .push(FieldError::invalid_str(at(case.path), case.rules.kind, why));
    }

    /// Takes what an evaluation cost from the budget of the request.
    fn spend(&mut self, cost: u64) -> bool {
        match self.budget.checked_sub(cost) {
            Some(rest) => {
                self.budget = rest;
                true
            }
            None => {
                self.over = true;
                false
            }
        }
    }

    fn rule(&mut self, case: &Case, rule: &Rule, compiled: &Compiled) {
        let optional = rule.optional_old_self == Some(true);
        if compiled.uses_old_self() && case.old.is_none() && !optional {
            return;
        }
        let (result, cost) = run(&compiled.rule, case, optional, &mut self.fuel);
        if !self.spend(cost) {
            self.fail(case, OUT_OF_BUDGET);
            return;
        }
        match result {
            Ok(Val::Bool(true)) => {}
            Ok(_) => self.broken(case, rule, compiled),
            Err(failure) => {
                let what = error_text(rule);
                if failure.fatal {
                    self.over = true;
                    self.fail(case, &format!("'{failure}': no further validation rules will be run due to call cost exceeds limit for rule: {what}"));
                } else if failure.message.starts_with("no such overload") {
                    self.fail(case, &format!("'{failure}': call arguments did not match a supported operator, function or macro signature for rule: {what}"));
                } else {
                    self.fail(case, &format!("{failure} evaluating rule: {what}"));
                }
            }
        }
    }

    fn broken(&mut self, case: &Case, rule: &Rule, compiled: &Compiled) {
        let path = match &compiled.field_path {
            Some(below) => child(case.path, below),
            None => at(case.path),
        };
        let detail = match self.message(case, rule, compiled) {
            Ok(Some(message)) => message,
            Ok(None) if rule.message.is_empty() => format!("failed rule: {}", error_text(rule)),
            Ok(None) => rule.message.trim().to_owned(),
            Err(why) => {
                self.over = true;
                let error = FieldError::invalid_str(path, case.rules.kind, why);
                self.add(case, compiled, error);
                return;
            }
        };
        let error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(path, detail),
            Some("FieldValueRequired") => FieldError::required(path, detail),
            reason => {
                let kind = if reason == Some("FieldValueDuplicate") {
                    ErrorKind::Duplicate
                } else {
                    ErrorKind::Invalid
                };
                // Objects and lists are not shown.
                let value = match case.rules.kind {
                    "object" | "array" => String::new(),
                    _ => crate::field::show(case.value),
                };
                let detail = if kind == ErrorKind::Duplicate {
                    String::new()
                } else {
                    detail
                };
                FieldError::new(kind, path, value, detail)
            }
        };
        self.add(case, compiled, error);
    }

    fn add(&mut self, case: &Case, compiled: &Compiled, error: FieldError) {
        if compiled.uses_old_self() || !case.ratchet.forgives() {
            self.errors.push(error);
        } else if self.forgiven.len() < MAX_FORGIVEN {
            self.forgiven.push(error);
        }
    }

    /// What `messageExpression` says; `None` when there is none or it did not work, an error when
    /// the budget is spent.
    fn message(
        &mut self,
        case: &Case,
        rule: &Rule,
        compiled: &Compiled,
    ) -> Result<Option<String>, String> {
        let Some(message) = &compiled.message else {
            return Ok(None);
        };
        let source = || crate::field::quote(&rule.message_expression);
        let (result, cost) = run(message, case, false, &mut self.fuel);
        if !self.spend(cost) {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".into());
        }
        match result {
            Ok(Val::String(text)) => {
                let text = text.trim();
                let good = !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n');
                Ok(good.then(|| text.to_owned()))
            }
            Err(failure) if failure.fatal => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                source()
            )),
            _ => Ok(None),
        }
    }
}

fn error_text(rule: &Rule) -> &str {
    if rule.message.is_empty() {
        rule.rule.trim()
    } else {
        rule.message.trim()
    }
}

/// The text or bool that an expression evaluates to, and what that cost.
fn run<'v>(
    checked: &'v Checked,
    case: &Case<'v>,
    optional: bool,
    fuel: &mut u64,
) -> (Outcome<Val<'v>>, u64) {
    let mut ctx = Ctx::new(PER_CALL_LIMIT).with_fuel(*fuel);
    let scope = match variables(case, optional) {
        Ok(scope) => scope,
        Err(failure) => return (Err(failure), 0),
    };
    let result = evaluate(checked, &scope.as_slice(), &mut ctx);
    *fuel -= ctx.used_of(*fuel);
    (result, ctx.cost())
}

fn variables<'v>(case: &Case<'v>, optional: bool) -> Result<Vec<(&'static str, Val<'v>)>, Failure> {
    let mut out = vec![("self", Val::of(case.value, case.decl)?)];
    match case.old {
        Some(old) => {
            let old = Val::of(old, case.decl)?;
            out.push(("oldSelf", if optional { old.some() } else { old }));
        }
        None if optional => out.push(("oldSelf", Val::Optional(None))),
        None => {}
    }
    Ok(out)
}

/// The elements of a list by their keys (apiserver `pkg/cel/common/maplist.go`).
struct Keyed<'v> {
    keys: &'v [Str],
    sorted: Vec<(Vec<&'v Value>, &'v Value)>,
}

impl<'v> Keyed<'v> {
    fn new(keys: &'v [Str], items: &'v [Value]) -> Self {
        let mut sorted: Vec<_> = items
            .iter()
            .filter_map(|item| Some((key_of(keys, item)?, item)))
            .collect();
        // Stable: the first of equal keys is found.
        sorted.sort_by(|(a, _), (b, _)| compare(a, b));
        Self { keys, sorted }
    }

    fn get(&self, item: &Value) -> Option<&'v Value> {
        let key = key_of(self.keys, item)?;
        let first = self
            .sorted
            .partition_point(|(k, _)| compare(k, &key).is_lt());
        let (found, item) = self.sorted.get(first)?;
        compare(found, &key).is_eq().then_some(*item)
    }
}

fn key_of<'k>(keys: &[Str], item: &'k Value) -> Option<Vec<&'k Value>> {
    keys.iter()
        .map(|key| {
            item.get(key)
                .filter(|v| !matches!(v, Value::Null | Value::Array(_) | Value::Object(_)))
        })
        .collect()
}

fn compare(a: &[&Value], b: &[&Value]) -> std::cmp::Ordering {
    let scalar = |v: &Value| match v {
        Value::Bool(b) => (0, i64::from(*b), 0, ""),
        Value::Int(i) => (1, *i, 0, ""),
        Value::Float(f) => (2, 0, f.to_bits(), ""),
        _ => (3, 0, 0, ""),
    };
    for (a, b) in a.iter().zip(b) {
        let order = scalar(a)
            .cmp(&scalar(b))
            .then_with(|| a.as_str().cmp(&b.as_str()));
        if order.is_ne() {
            return order;
        }
    }
    std::cmp::Ordering::Equal
}
