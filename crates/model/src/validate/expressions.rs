//! CEL expressions in built-in kinds: apiserver `pkg/admission/plugin/cel/compile.go`.

use super::read::Report;
use crate::field::Path;
use crate::rules;

/// What an expression must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Result {
    Bool,
    /// a message, which may be missing
    Text,
    /// an annotation's value: a string or null
    TextOrNull,
    /// `Object{…}`
    ApplyConfiguration,
    /// a list of `JSONPatch{…}`
    JsonPatch,
    /// anything: a variable of a policy
    Any,
}

/// What an expression can name.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "read when expressions are compiled")]
pub(super) struct Env {
    params: bool,
    variables: Vec<String>,
}

impl Env {
    pub(super) fn new(params: bool) -> Self {
        Self {
            params,
            variables: Vec::new(),
        }
    }
}

/// Notes what is wrong with an expression.
pub(super) fn check(_: &mut Report, _: &Env, _: &str, _: Result, _: Path<'_>) {}

/// Notes what is wrong with a variable's expression; later expressions may name the variable.
pub(super) fn variable(
    report: &mut Report,
    env: &mut Env,
    name: &str,
    expression: &str,
    path: Path<'_>,
) {
    check(report, env, expression, Result::Any, path);
    env.variables.push(name.to_owned());
}

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

pub(super) fn is_identifier(name: &str) -> bool {
    rules::c_identifier(name).is_empty() && !RESERVED.contains(&name)
}
