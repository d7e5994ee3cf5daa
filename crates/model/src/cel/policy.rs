//! Expressions of admission: match conditions of webhooks and policies, validations, messages,
//! audit annotations and variables of policies (apiserver `pkg/admission/plugin/cel`,
//! `plugin/policy/validating`, `plugin/webhook/matchconditions`).

use super::check::Checked;
use super::ctx::{
    Authorizer, Ctx, MATCH_CONDITIONS_LIMIT, PER_CALL_LIMIT, PER_REQUEST_LIMIT, REQUEST_FUEL,
};
use super::decl::{Decl, DeclKind, ListKind};
use super::env::Env;
use super::eval::{Scope, evaluate, instantiate};
use super::types::Type;
use super::val::{Failure, Outcome, Val};
use crate::{Str, Value};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The longest message that an expression may make.
const MAX_MESSAGE: usize = 5 * 1024;
/// Expressions are tried on at most so many kinds.
const MAX_TYPES: usize = 10;
/// How many variables may be computed one for the other; upstream has no such bound.
const MAX_VARIABLE_DEPTH: u32 = 64;
const VARIABLES: &str = "kubernetes.variables";

/// What an expression has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    Bool,
    String,
    StringOrNull,
    /// `Object{…}`
    Object,
    /// A list of `JSONPatch{…}`
    JsonPatch,
    Any,
}

/// Which variables there are beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declares {
    pub params: bool,
    pub authorizer: bool,
}

/// Why an expression of an admission object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub detail: String,
    /// Reported as an internal error upstream.
    pub internal: bool,
}

/// A compiler of expressions that knows the variables compiled before.
#[derive(Clone, Debug)]
pub struct Compiler {
    env: Env,
    /// the object `variables`, once there may be any
    variables: Option<Arc<Decl>>,
}

impl Compiler {
    /// For expressions that are new to a server of Kubernetes 1.`minor`.
    #[must_use]
    pub fn new(minor: u8, declares: Declares) -> Self {
        Self::within(Env::of_server(minor.into()), declares, None, None)
    }

    /// For expressions that are stored: what any version knew exists.
    #[must_use]
    pub fn stored(declares: Declares) -> Self {
        Self::within(Env::stored(), declares, None, None)
    }

    /// For warnings about types: `object` and `params` have these shapes where they are known.
    #[must_use]
    pub fn typed(
        declares: Declares,
        object: Option<&Arc<Decl>>,
        params: Option<&Arc<Decl>>,
    ) -> Self {
        Self::within(Env::stored(), declares, object, params)
    }

    fn within(
        env: Env,
        declares: Declares,
        object: Option<&Arc<Decl>>,
        params: Option<&Arc<Decl>>,
    ) -> Self {
        let shaped =
            |decl: Option<&Arc<Decl>>, name| decl.map_or(Type::Dyn, |d| d.type_named(name));
        let mut env = env
            .with("object", shaped(object, "object"))
            .with("oldObject", shaped(object, "object"))
            .with("namespaceObject", NAMESPACE.type_named(""))
            .with("request", REQUEST.type_named(""));
        if declares.params {
            env = env.with("params", shaped(params, "params"));
        }
        if declares.authorizer {
            let named = |name: &str| Type::named(&format!("kubernetes.authorization.{name}"));
            env = env
                .with("authorizer", named("Authorizer"))
                .with("authorizer.requestResource", named("ResourceCheck"));
        }
        Self {
            env,
            variables: None,
        }
    }

    /// Declares `variables`, which have no fields yet.
    #[must_use]
    pub fn composed(mut self) -> Self {
        self.variables();
        self
    }

    fn variables(&mut self) -> &mut Arc<Decl> {
        self.variables
            .get_or_insert_with(|| Arc::new(Decl::fields(VARIABLES, [])))
    }

    /// For the mutations of a policy.
    #[must_use]
    pub fn with_patches(mut self) -> Self {
        self.env = self.env.with_patches();
        self
    }

    /// What expressions may refer to.
    #[must_use]
    pub fn env(&self) -> Env {
        match &self.variables {
            None => self.env.clone(),
            Some(decl) => self.env.clone().with("variables", decl.type_named("")),
        }
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// It is wrong, or comes to something else.
    pub fn compile(&self, source: &str, returns: Returns) -> Result<Checked, Refusal> {
        let refuse = |detail: String, internal| Err(Refusal { detail, internal });
        let checked = match self.env().compile(source) {
            Ok(checked) => checked,
            Err(issues) => {
                return refuse(
                    format!("compilation failed: {}", issues.display(source)),
                    false,
                );
            }
        };
        let output = checked.output();
        let fits = match returns {
            Returns::Any => true,
            Returns::Bool => *output == Type::Bool,
            Returns::String => *output == Type::String,
            Returns::StringOrNull => matches!(output, Type::String | Type::Null),
            Returns::Object => full_name(output) == "Object",
            Returns::JsonPatch => full_name(output) == "list(JSONPatch)",
        };
        if !fits {
            let wanted = match returns {
                Returns::String => "string",
                Returns::StringOrNull => "one of [string null_type]",
                Returns::Object => "Object",
                Returns::JsonPatch => "list(JSONPatch)",
                Returns::Bool | Returns::Any => "bool",
            };
            let got = full_name(output);
            return refuse(format!("must evaluate to {wanted} but got {got}"), false);
        }
        if let Err(failure) = instantiate(&checked) {
            return refuse(format!("program instantiation failed: {failure}"), true);
        }
        Ok(checked)
    }

    /// Compiles a variable; expressions compiled later can name it.
    ///
    /// # Errors
    /// It is wrong; it is declared nevertheless, as anything.
    pub fn variable(&mut self, name: &str, source: &str) -> Result<Checked, Refusal> {
        self.variables();
        let compiled = self.compile(source, Returns::Any);
        let decl = compiled
            .as_ref()
            .map_or(DYNAMIC, |checked| of_type(checked.output()));
        Arc::make_mut(self.variables()).declare(name, decl);
        compiled
    }
}

/// Checks an expression of an admission object: the detail of the error to report, if any.
///
/// # Errors
/// It is wrong, or comes to something else.
pub fn check_expression(
    compiler: &Compiler,
    source: &str,
    returns: Returns,
) -> Result<(), Refusal> {
    compiler.compile(source, returns).map(|_| ())
}

/// A kind that a policy applies to.
pub struct Subject {
    /// `apps/v1, Kind=Deployment`
    pub kind: String,
    pub shape: Arc<Decl>,
}

/// What the expressions of a ValidatingAdmissionPolicy say that cannot work on one of the kinds: the
/// path of the expression and the warning (`pkg/admission/plugin/policy/validating/typechecking.go`).
#[must_use]
pub fn type_check(
    policy: &Value,
    subjects: &[Subject],
    params: Option<&Arc<Decl>>,
) -> Vec<(String, String)> {
    let list = |key: &str| {
        policy
            .at(&["spec", key])
            .and_then(Value::as_array)
            .unwrap_or_default()
    };
    let declares = Declares {
        params: policy
            .at(&["spec", "paramKind"])
            .is_some_and(|k| !k.is_null()),
        authorizer: true,
    };
    let compilers: Vec<(&str, Compiler)> = subjects
        .iter()
        .take(MAX_TYPES)
        .map(|subject| {
            let mut compiler = Compiler::typed(declares, Some(&subject.shape), params).composed();
            for variable in list("variables") {
                let text = |key: &str| variable.str_at(&[key]).unwrap_or_default();
                let _ = compiler.variable(text("name"), text("expression"));
            }
            (subject.kind.as_str(), compiler)
        })
        .collect();
    let mut out = Vec::new();
    for (i, validation) in list("validations").iter().enumerate() {
        for key in ["expression", "messageExpression"] {
            let Some(source) = validation.str_at(&[key]).filter(|s| !s.is_empty()) else {
                continue;
            };
            let warnings: Vec<String> = compilers
                .iter()
                .filter_map(|(kind, compiler)| {
                    let issues = compiler.env().compile(source).err()?;
                    Some(format!("{kind}: {}\n", issues.display(source)))
                })
                .collect();
            if !warnings.is_empty() {
                out.push((format!("spec.validations[{i}].{key}"), warnings.join("\n")));
            }
        }
    }
    out
}

/// As Go writes a type of CEL.
pub(super) fn full_name(t: &Type) -> String {
    match t {
        Type::List(of) => format!("list({})", full_name(of)),
        Type::Map(k, v) => format!("map({}, {})", full_name(k), full_name(v)),
        Type::Type(Some(of)) => format!("type({})", full_name(of)),
        Type::Opaque(name, params) if !params.is_empty() => {
            let params: Vec<String> = params.iter().map(full_name).collect();
            format!("{name}({})", params.join(", "))
        }
        other => other.runtime_name().to_owned(),
    }
}

/// A variable of which nothing is known.
const DYNAMIC: Decl = Decl::plain(DeclKind::Dyn, 1, 0);

/// What the type of a variable tells later expressions; everything else is anything.
fn of_type(t: &Type) -> Decl {
    let plain = |kind| Decl::plain(kind, 1, 0);
    match t {
        Type::Bool => plain(DeclKind::Bool),
        Type::Int => plain(DeclKind::Int),
        Type::Double => plain(DeclKind::Double),
        Type::String => plain(DeclKind::String),
        Type::Bytes => plain(DeclKind::Bytes),
        Type::Timestamp => plain(DeclKind::Timestamp),
        Type::Duration => plain(DeclKind::Duration),
        Type::List(of) => plain(DeclKind::List(Arc::new(of_type(of)), ListKind::Atomic)),
        Type::Map(k, of) if **k == Type::String => plain(DeclKind::Map(Arc::new(of_type(of)))),
        _ => DYNAMIC,
    }
}

fn text() -> Decl {
    Decl::plain(DeclKind::String, 2, 0)
}

fn texts() -> Decl {
    Decl::plain(DeclKind::List(Arc::new(text()), ListKind::Atomic), 2, 0)
}

fn map(of: Decl) -> Decl {
    Decl::plain(DeclKind::Map(Arc::new(of)), 2, 0)
}

static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let kind = || {
        let fields = ["group", "version", "kind"].map(|name| (name, text()));
        Decl::fields("kubernetes.GroupVersionKind", fields)
    };
    let resource = || {
        let fields = ["group", "version", "resource"].map(|name| (name, text()));
        Decl::fields("kubernetes.GroupVersionResource", fields)
    };
    let user = Decl::fields(
        "kubernetes.UserInfo",
        vec![
            ("username", text()),
            ("uid", text()),
            ("groups", texts()),
            ("extra", map(texts())),
        ],
    );
    Arc::new(Decl::fields(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Decl::plain(DeclKind::Bool, 4, 0)),
            ("options", Decl::dynamic().clone()),
        ],
    ))
});

static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let time = || Decl::plain(DeclKind::Timestamp, 21, 0);
    let int = || Decl::plain(DeclKind::Int, 1, 0);
    let condition = Decl::fields(
        "kubernetes.NamespaceCondition",
        vec![
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", time()),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let conditions = DeclKind::List(Arc::new(condition), ListKind::Atomic);
    let metadata = vec![
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", map(text())),
        ("annotations", map(text())),
        ("UID", text()),
        ("creationTimestamp", time()),
        ("deletionGracePeriodSeconds", int()),
        ("deletionTimestamp", time()),
        ("generation", int()),
        ("resourceVersion", text()),
        ("finalizers", texts()),
    ];
    let spec = Decl::fields("kubernetes.NamespaceSpec", vec![("finalizers", texts())]);
    let status = vec![
        ("conditions", Decl::plain(conditions, 2, 0)),
        ("phase", text()),
    ];
    Arc::new(Decl::fields(
        "kubernetes.Namespace",
        vec![
            (
                "metadata",
                Decl::fields("kubernetes.NamespaceMetadata", metadata),
            ),
            ("spec", spec),
            ("status", Decl::fields("kubernetes.NamespaceStatus", status)),
        ],
    ))
});

/// What is being admitted, and who asks.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub object: Option<&'a Value>,
    pub old_object: Option<&'a Value>,
    /// An `AdmissionRequest` of `admission.k8s.io/v1` without the objects.
    pub request: &'a Value,
    pub namespace: Option<&'a Value>,
    /// Inner `None`: there are params, but none were found.
    pub params: Option<Option<&'a Value>>,
    pub authorizer: Option<&'a dyn Authorizer>,
}

/// A variable of a policy, compiled or not.
#[derive(Debug)]
pub struct Variable {
    pub name: Str,
    pub compiled: Result<Checked, Refusal>,
}

/// The values that the expressions of one policy see; a variable is computed when it is first used.
struct Values<'a, 'i> {
    input: &'i Input<'a>,
    variables: &'a [Variable],
    known: RefCell<BTreeMap<&'a str, Outcome<Val<'a>>>>,
    /// what computing variables cost since it was last asked for
    spent: Cell<u64>,
    /// how many variables are being computed, one for the other
    depth: Cell<u32>,
}

impl<'a> Scope<'a> for Values<'a, '_> {
    fn variable(&self, name: &str, _: &mut Ctx<'a>) -> Option<Outcome<Val<'a>>> {
        let any = |v: Option<&'a Value>| Some(v.map_or(Ok(Val::Null), plain));
        // Typed when compiled, but bound as they are: times are strings then, as upstream.
        match name {
            "object" => any(self.input.object),
            "oldObject" => any(self.input.old_object),
            "params" => self.input.params.and_then(any),
            "request" => any(Some(self.input.request)),
            "namespaceObject" => any(self.input.namespace),
            _ => super::lib::authorizer_variable(name, self.input.request)
                .filter(|_| self.input.authorizer.is_some())
                .map(Ok),
        }
    }

    fn member(&self, of: &str, field: &str, ctx: &mut Ctx<'a>) -> Option<Outcome<Val<'a>>> {
        if of != "variables" {
            return None;
        }
        let variable = self.variables.iter().rev().find(|v| v.name == field)?;
        if let Some(known) = self.known.borrow().get(variable.name.as_str()) {
            return Some(known.clone());
        }
        let val = match &variable.compiled {
            Err(refusal) => Err(Failure::new(format!(
                "composited variable \"{field}\" fails to compile: {}",
                refusal.detail
            ))),
            Ok(_) if self.depth.get() >= MAX_VARIABLE_DEPTH => Err(Failure::new(format!(
                "composited variable \"{field}\" refers to others more than {MAX_VARIABLE_DEPTH} deep"
            ))),
            Ok(checked) => {
                self.depth.set(self.depth.get() + 1);
                let mut own = Ctx::new(PER_CALL_LIMIT)
                    .with_authorizer(ctx.authorizer)
                    .with_fuel(ctx.fuel());
                let val = evaluate(checked, self, &mut own).map_err(|failure| {
                    Failure::new(format!(
                        "composited variable \"{field}\" fails to evaluate: {failure}"
                    ))
                });
                let used = own.used_of(ctx.fuel());
                if let Err(over) = ctx.burn(usize::try_from(used).unwrap_or(usize::MAX)) {
                    return Some(Err(over));
                }
                self.spent.set(self.spent.get().saturating_add(own.cost()));
                self.depth.set(self.depth.get() - 1);
                val
            }
        };
        self.known
            .borrow_mut()
            .insert(variable.name.as_str(), val.clone());
        Some(val)
    }
}

/// The values of the variables that every expression has.
#[must_use]
pub fn bind<'a, 'i>(input: &'i Input<'a>) -> impl Scope<'a> + use<'a, 'i> {
    Values {
        input,
        variables: &[],
        known: RefCell::default(),
        spent: Cell::new(0),
        depth: Cell::new(0),
    }
}

fn plain(value: &Value) -> Outcome<Val<'_>> {
    Val::of(value, Decl::dynamic())
}

/// The expressions of one policy over one request, with the budget they share.
pub struct Evaluation<'a, 'i> {
    values: Values<'a, 'i>,
    budget: u64,
    /// steps of work that are left
    fuel: u64,
}

/// Nothing more may be evaluated for this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "validation failed due to running out of cost budget, no further validation rules will be run"
)]
pub struct OutOfBudget;

impl<'a, 'i> Evaluation<'a, 'i> {
    #[must_use]
    pub fn new(input: &'i Input<'a>, variables: &'a [Variable]) -> Self {
        Self::with_budget(input, variables, PER_REQUEST_LIMIT)
    }

    fn with_budget(input: &'i Input<'a>, variables: &'a [Variable], budget: u64) -> Self {
        Self {
            values: Values {
                input,
                variables,
                known: RefCell::default(),
                spent: Cell::new(0),
                depth: Cell::new(0),
            },
            budget,
            fuel: REQUEST_FUEL,
        }
    }

    /// The value of an expression, or why it has none.
    ///
    /// # Errors
    /// The budget of the request is spent.
    pub fn value(
        &mut self,
        source: &str,
        compiled: &'a Result<Checked, Refusal>,
    ) -> Result<Result<Val<'a>, String>, OutOfBudget> {
        let checked = match compiled {
            Ok(checked) => checked,
            Err(refusal) => return Ok(Err(format!("compilation error: {}", refusal.detail))),
        };
        let mut ctx = Ctx::new(PER_CALL_LIMIT)
            .with_authorizer(self.values.input.authorizer)
            .with_fuel(self.fuel);
        let val = evaluate(checked, &self.values, &mut ctx);
        self.fuel -= ctx.used_of(self.fuel);
        let cost = ctx.cost().saturating_add(self.values.spent.take());
        self.budget = self.budget.checked_sub(cost).ok_or(OutOfBudget)?;
        Ok(val.map_err(|e| format!("expression '{source}' resulted in error: {e}")))
    }

    /// A message, `None` when the expression makes none that can be shown.
    ///
    /// # Errors
    /// The budget of the request is spent.
    pub fn message(
        &mut self,
        source: &str,
        compiled: &'a Result<Checked, Refusal>,
    ) -> Result<Option<String>, OutOfBudget> {
        let value = self.value(source, compiled)?;
        let text = value
            .ok()
            .and_then(|v| v.as_str().map(|s| s.trim().to_owned()));
        Ok(text.filter(|t| !t.is_empty() && t.len() <= MAX_MESSAGE && !t.contains('\n')))
    }
}

/// Whether a webhook or policy applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Yes,
    /// The name of the condition that is false.
    No(Str),
    /// Whether it applies is up to the failure policy.
    Error(String),
}

/// A match condition.
#[derive(Debug)]
pub struct Condition {
    pub name: Str,
    pub source: Str,
    pub compiled: Result<Checked, Refusal>,
}

/// Evaluates match conditions: a false one decides, errors count only when none is false.
#[must_use]
pub fn matches(conditions: &[Condition], input: &Input<'_>) -> Match {
    let mut evaluation = Evaluation::with_budget(input, &[], MATCH_CONDITIONS_LIMIT);
    let mut errors = Vec::new();
    let mut no = None;
    for condition in conditions {
        match evaluation.value(&condition.source, &condition.compiled) {
            Err(over) => return Match::Error(over.to_string()),
            Ok(Err(why)) => errors.push(why),
            Ok(Ok(Val::Bool(false))) => no = no.or(Some(&condition.name)),
            Ok(Ok(_)) => {}
        }
    }
    match (no, errors.as_slice()) {
        (Some(name), _) => Match::No(name.clone()),
        (None, []) => Match::Yes,
        (None, [one]) => Match::Error(one.clone()),
        (None, many) => Match::Error(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn request() -> Value {
        value!({
            "operation": "CREATE", "name": "web", "namespace": "shop", "dryRun": false,
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "userInfo": {"username": "alice", "groups": ["dev"]}
        })
    }

    fn input<'a>(object: &'a Value, request: &'a Value, params: &'a Value) -> Input<'a> {
        Input {
            object: Some(object),
            old_object: None,
            request,
            namespace: None,
            params: Some(Some(params)),
            authorizer: None,
        }
    }

    #[test]
    fn variables_are_computed_once_and_typed_for_later_expressions() {
        let declares = Declares {
            params: true,
            authorizer: false,
        };
        let mut compiler = Compiler::new(36, declares).composed();
        let variable = |c: &mut Compiler, name: &str, source: &str| Variable {
            name: name.into(),
            compiled: c.variable(name, source),
        };
        let variables = [
            variable(&mut compiler, "n", "int(object.spec.replicas)"),
            variable(&mut compiler, "ok", "variables.n <= params.max"),
            variable(&mut compiler, "broken", "object.nothing"),
        ];
        let rule = compiler.compile("variables.ok && variables.n > 0", Returns::Bool);
        let missing = compiler
            .compile("variables.nope", Returns::Any)
            .unwrap_err();
        assert!(
            missing.detail.contains("undefined field 'nope'"),
            "{missing:?}"
        );
        let typed = compiler
            .compile("variables.n.size() == 1", Returns::Any)
            .unwrap_err();
        assert!(typed.detail.contains("applied to 'int.()'"), "{typed:?}");
        let fails = compiler.compile("variables.broken == 1", Returns::Bool);

        let (object, request) = (value!({"spec": {"replicas": 3}}), request());
        let params = value!({"max": 5});
        let input = input(&object, &request, &params);
        let mut evaluation = Evaluation::new(&input, &variables);
        let val = evaluation.value("", &rule).unwrap().unwrap();
        assert_eq!(val.as_bool(), Some(true));
        let why = evaluation.value("E", &fails).unwrap().unwrap_err();
        assert_eq!(
            why,
            "expression 'E' resulted in error: composited variable \"broken\" fails to evaluate: no such key: nothing"
        );
    }

    #[test]
    fn a_false_condition_decides_before_errors_do() {
        let compiler = Compiler::new(36, Declares::default());
        let condition = |name: &str, source: &str| Condition {
            name: name.into(),
            source: source.into(),
            compiled: compiler.compile(source, Returns::Bool),
        };
        let (object, request, none) = (value!({"a": 1}), request(), Value::Null);
        let input = Input {
            params: None,
            ..input(&object, &request, &none)
        };
        let good = condition("good", "request.operation == 'CREATE' && object.a == 1");
        let error = condition("error", "object.b == 1");
        let no = condition("no", "request.userInfo.username == 'bob'");
        assert_eq!(matches(&[], &input), Match::Yes);
        assert_eq!(matches(std::slice::from_ref(&good), &input), Match::Yes);
        assert_eq!(
            matches(&[condition("x", "object.b == 1"), good], &input),
            Match::Error("expression 'object.b == 1' resulted in error: no such key: b".into())
        );
        assert_eq!(matches(&[error, no], &input), Match::No("no".into()));
    }

    #[test]
    fn variables_that_refer_to_each_other_too_deeply_fail() {
        let mut compiler = Compiler::new(36, Declares::default()).composed();
        let mut variables = Vec::new();
        for i in 0..200 {
            let source = match i {
                0 => "1".to_owned(),
                i => format!("variables.v{} + 1", i - 1),
            };
            let name = format!("v{i}");
            variables.push(Variable {
                compiled: compiler.variable(&name, &source),
                name: name.into(),
            });
        }
        let last = compiler.compile("variables.v199", Returns::Any);
        let near = compiler.compile("variables.v60", Returns::Any);
        let (object, request) = (Value::Null, request());
        let input = input(&object, &request, &Value::Null);
        let mut evaluation = Evaluation::new(&input, &variables);
        let why = evaluation.value("E", &last).unwrap().unwrap_err();
        assert!(why.contains("refers to others more than 64 deep"), "{why}");
        let mut evaluation = Evaluation::new(&input, &variables);
        let val = evaluation.value("E", &near).unwrap().unwrap();
        assert_eq!(val.as_int(), Some(61));
    }

    /// `pkg/admission/plugin/cel/compile.go`
    #[test]
    fn expressions_of_another_type_are_refused_in_upstreams_words() {
        let compiler = Compiler::new(36, Declares::default());
        for (source, returns, want) in [
            ("1", Returns::Bool, "must evaluate to bool but got int"),
            (
                "object",
                Returns::String,
                "must evaluate to string but got dyn",
            ),
            (
                "true",
                Returns::StringOrNull,
                "must evaluate to one of [string null_type] but got bool",
            ),
            (
                "timestamp('2024-01-01T00:00:00Z')",
                Returns::Bool,
                "must evaluate to bool but got google.protobuf.Timestamp",
            ),
            (
                "params.x == 1",
                Returns::Bool,
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x == 1\n | ^",
            ),
        ] {
            let refusal = compiler.compile(source, returns).unwrap_err();
            assert_eq!((refusal.detail.as_str(), refusal.internal), (want, false));
        }
        assert!(check_expression(&compiler, "null", Returns::StringOrNull).is_ok());
    }

    #[test]
    fn the_authorizer_is_asked_about_the_resource_of_the_request() {
        use crate::cel::ctx::{Answer, Question};
        struct Echo;
        impl Authorizer for Echo {
            fn authorize(&self, q: &Question<'_>) -> Answer {
                Answer {
                    allowed: q.verb == "get",
                    reason: format!("{}.{}/{} {}", q.resource, q.group, q.name, q.namespace),
                    error: None,
                }
            }
        }
        let declares = Declares {
            authorizer: true,
            ..Declares::default()
        };
        let compiler = Compiler::new(36, declares);
        let mut request = request();
        request.set(
            &["requestResource"],
            value!({"group": "apps", "resource": "deployments"}),
        );
        let none = Value::Null;
        let input = Input {
            params: None,
            authorizer: Some(&Echo),
            ..input(&none, &request, &none)
        };
        let rule = compiler.compile(
            "authorizer.requestResource.check('get').allowed() && !authorizer.group('').resource('pods').check('delete').allowed()",
            Returns::Bool,
        );
        let reason = compiler.compile(
            "authorizer.requestResource.check('get').reason()",
            Returns::String,
        );
        let mut evaluation = Evaluation::new(&input, &[]);
        let val = evaluation.value("", &rule).unwrap().unwrap();
        assert_eq!(val.as_bool(), Some(true));
        let said = evaluation.message("", &reason).unwrap();
        assert_eq!(said.as_deref(), Some("deployments.apps/web shop"));
        // Without one, the variable is not there.
        let nobody = Input {
            authorizer: None,
            ..input
        };
        let mut evaluation = Evaluation::new(&nobody, &[]);
        assert!(evaluation.value("", &rule).unwrap().is_err());
    }

    #[test]
    fn policies_are_tried_on_the_kinds_they_apply_to() {
        use crate::catalogue::{Catalogue, DEFAULT_MINOR};
        let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("catalogue");
        let subject = |group: &str, kind: &str| {
            let resource = catalogue.by_kind(group, "v1", kind).expect("kind");
            Subject {
                kind: format!("{group}/v1, Kind={kind}"),
                shape: super::super::shape::of_resource(resource).expect("shape"),
            }
        };
        let subjects = [subject("apps", "Deployment"), subject("", "Pod")];
        let policy = value!({"spec": {
            "variables": [{"name": "labels", "expression": "object.metadata.labels"}],
            "validations": [
                {"expression": "object.spec.replicas <= 5"},
                {"expression": "'app' in variables.labels && object.metadata.creationTimestamp < timestamp('2100-01-01T00:00:00Z')",
                 "messageExpression": "'is ' + object.kind"},
                {"expression": "object.spec.replica > 0"}
            ]
        }});
        let warnings = type_check(&policy, &subjects, None);
        let texts: Vec<String> = warnings.iter().map(|(at, w)| format!("{at} {w}")).collect();
        assert_eq!(
            texts,
            [
                "spec.validations[0].expression /v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas <= 5\n | ...........^\n",
                "spec.validations[2].expression apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n | object.spec.replica > 0\n | ...........^\n\n/v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'replica'\n | object.spec.replica > 0\n | ...........^\n",
            ]
        );
    }

    #[test]
    fn match_conditions_have_a_smaller_budget() {
        let compiler = Compiler::new(36, Declares::default());
        // 900,000 units each: two fit, three do not.
        let source = "object.l.all(x, object.l.all(y, object.l.all(z, z == z)))";
        let condition = || Condition {
            name: "c".into(),
            source: source.into(),
            compiled: compiler.compile(source, Returns::Bool),
        };
        let list: Vec<Value> = (0..50).map(Value::from).collect();
        let (object, request, none) = (value!({"l": list}), request(), Value::Null);
        let input = Input {
            params: None,
            ..input(&object, &request, &none)
        };
        assert_eq!(matches(&[condition(), condition()], &input), Match::Yes);
        let three = [condition(), condition(), condition(), condition()];
        assert_eq!(
            matches(&three, &input),
            Match::Error(OutOfBudget.to_string())
        );
    }
}
