//! CEL expressions in built-in kinds: apiserver `pkg/admission/plugin/cel/compile.go`.

use super::read::Report;
use crate::Value;
use crate::cel::escape::is_reserved;
use crate::cel::policy::{Compiler, Declares, Returns, check_expression};
use crate::field::{ErrorKind, FieldError, Path};
use crate::rules;
use std::collections::BTreeSet;

/// What an expression must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Result {
    Bool,
    /// a message; it cannot ask the authorizer
    Text,
    /// an annotation's value: a string or null
    TextOrNull,
    /// what a mutation applies: `Object{…}`
    Configuration,
    /// what a mutation does: a list of `JSONPatch{…}`
    JsonPatch,
}

/// What an expression can name, and which expressions were there before.
pub(super) struct Env {
    full: Compiler,
    of_messages: Compiler,
    stored: Compiler,
    known: BTreeSet<String>,
}

impl Env {
    /// `minor`: the server's version; `old`: the object before; its expressions may use what any version knew.
    pub(super) fn new(minor: u8, params: bool, composed: bool, old: Option<&Value>) -> Self {
        let full = Declares {
            params,
            authorizer: true,
        };
        let of_messages = Declares {
            authorizer: false,
            ..full
        };
        let mut known = BTreeSet::new();
        if let Some(old) = old {
            collect(old, &mut known);
        }
        let with = |compiler: Compiler| {
            if composed {
                compiler.composed()
            } else {
                compiler
            }
        };
        Self {
            full: with(Compiler::new(minor, full)),
            of_messages: with(Compiler::new(minor, of_messages)),
            stored: with(Compiler::stored(full)),
            known,
        }
    }
}

/// Every string below a field whose name ends as those of expressions do.
fn collect(value: &Value, known: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter() {
                match value.as_str() {
                    Some(text) if key.ends_with("xpression") => {
                        known.insert(text.to_owned());
                    }
                    _ => collect(value, known),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, known)),
        _ => {}
    }
}

/// Notes what is wrong with an expression.
pub(super) fn check(report: &mut Report, env: &Env, source: &str, result: Result, path: Path<'_>) {
    let compiler = match result {
        _ if env.known.contains(source) => &env.stored,
        Result::Text => &env.of_messages,
        _ => &env.full,
    };
    let checked = match result {
        Result::Configuration | Result::JsonPatch => {
            let compiler = compiler.clone().with_patches();
            check_expression(&compiler, source, returns(result))
        }
        _ => check_expression(compiler, source, returns(result)),
    };
    if let Err(refusal) = checked {
        refused(report, source, refusal.detail, refusal.internal, path);
    }
}

fn returns(result: Result) -> Returns {
    match result {
        Result::Bool => Returns::Bool,
        Result::Text => Returns::String,
        Result::TextOrNull => Returns::StringOrNull,
        Result::Configuration => Returns::Object,
        Result::JsonPatch => Returns::JsonPatch,
    }
}

fn refused(report: &mut Report, source: &str, detail: String, internal: bool, path: Path<'_>) {
    if internal {
        let error = FieldError::new(ErrorKind::InternalError, path, "", detail);
        report.errors.push(error);
    } else {
        report.invalid_str(path, source, detail);
    }
}

/// Notes what is wrong with a variable's expression; later expressions may name the variable.
pub(super) fn variable(
    report: &mut Report,
    env: &mut Env,
    name: &str,
    source: &str,
    path: Path<'_>,
) {
    let _ = env.of_messages.variable(name, source);
    let stored = env.stored.variable(name, source).map(drop);
    let compiled = env.full.variable(name, source).map(drop);
    let outcome = if env.known.contains(source) {
        stored
    } else {
        compiled
    };
    if let Err(refusal) = outcome {
        refused(report, source, refusal.detail, refusal.internal, path);
    }
}

pub(super) fn is_identifier(name: &str) -> bool {
    rules::c_identifier(name).is_empty() && !is_reserved(name)
}
