//! The type checker (cel-go `checker/checker.go`): finds the type of every node and the overloads
//! that each call can mean.

use super::ast::{Expr, Fold, Kind, Literal};
use super::env::Env;
use super::functions::{Function, Registry};
use super::issues::Issues;
use super::message::JSON_PATCH;
use super::types::{Mapping, Type, most_general};
use crate::Str;
use std::collections::BTreeSet;

/// What a node refers to.
#[derive(Clone, Default)]
pub(crate) enum Ref {
    #[default]
    None,
    /// A variable, perhaps with dots in its name.
    Variable(Str),
    /// The name of a type.
    TypeName(Type),
    /// The overloads that fit; `global`: what looks like a receiver is part of the name.
    Call {
        overloads: Vec<&'static Function>,
        global: bool,
    },
}

/// A checked expression.
pub struct Checked {
    pub(crate) expr: Expr,
    pub(crate) types: Vec<Type>,
    pub(crate) refs: Vec<Ref>,
    /// Which nodes have the same value always: cel-go computes them once, for nothing.
    pub(crate) constant: Vec<bool>,
    /// The declared variables it uses.
    pub(crate) variables: BTreeSet<Str>,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked")
            .field("type", self.output())
            .finish_non_exhaustive()
    }
}

impl Checked {
    #[must_use]
    pub fn output(&self) -> &Type {
        &self.types[self.expr.id as usize]
    }

    /// Whether it refers to this declared variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    pub(crate) fn type_of(&self, e: &Expr) -> &Type {
        &self.types[e.id as usize]
    }

    pub(crate) fn is_constant(&self, e: &Expr) -> bool {
        self.constant[e.id as usize]
    }

    pub(crate) fn overloads(&self, e: &Expr) -> &[&'static Function] {
        match &self.refs[e.id as usize] {
            Ref::Call { overloads, .. } => overloads,
            _ => &[],
        }
    }

    /// The one overload that a call means, where there is only one.
    pub(crate) fn overload(&self, e: &Expr) -> Option<&'static Function> {
        match self.overloads(e) {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The receiver, unless it is part of the function's name.
    pub(crate) fn target<'e>(&self, e: &'e Expr) -> Option<&'e Expr> {
        match (&e.kind, &self.refs[e.id as usize]) {
            (_, Ref::Call { global: true, .. }) => None,
            (Kind::Call { target, .. }, _) => target.as_deref(),
            _ => None,
        }
    }
}

struct Checker<'e> {
    env: &'e Env,
    issues: Issues,
    types: Vec<Type>,
    refs: Vec<Ref>,
    scopes: Vec<(Str, Type)>,
    mapping: Mapping,
    fresh: u32,
    variables: BTreeSet<Str>,
}

pub(crate) fn check(env: &Env, expr: Expr, nodes: u32) -> Result<Checked, Issues> {
    let mut checker = Checker {
        env,
        issues: Issues::default(),
        types: vec![Type::Error; nodes as usize],
        refs: vec![Ref::None; nodes as usize],
        scopes: Vec::new(),
        mapping: Mapping::default(),
        fresh: 0,
        variables: BTreeSet::new(),
    };
    checker.check(&expr);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let types = checker
        .types
        .iter()
        .map(|t| checker.mapping.substitute(t, true))
        .collect();
    let mut checked = Checked {
        expr,
        types,
        refs: checker.refs,
        constant: vec![false; nodes as usize],
        variables: checker.variables,
    };
    super::fold::mark_constants(&mut checked);
    super::literals::validate(&checked, env.minor())?;
    Ok(checked)
}

impl Checker<'_> {
    fn set(&mut self, e: &Expr, t: Type) {
        let t = if t.is_too_large() {
            self.issues
                .add(e.at, "the type of the expression is too large");
            Type::Error
        } else {
            t
        };
        self.types[e.id as usize] = t;
    }

    fn get(&self, e: &Expr) -> Type {
        self.types[e.id as usize].clone()
    }

    fn refer(&mut self, e: &Expr, r: Ref) {
        self.refs[e.id as usize] = r;
    }

    fn substituted(&self, e: &Expr) -> Type {
        self.mapping.substitute(&self.types[e.id as usize], false)
    }

    fn variable(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(format!("_var{}", self.fresh - 1).into())
    }

    fn check(&mut self, e: &Expr) {
        match &e.kind {
            Kind::Literal(literal) => self.set(
                e,
                match literal {
                    Literal::Null => Type::Null,
                    Literal::Bool(_) => Type::Bool,
                    Literal::Int(_) => Type::Int,
                    Literal::Uint(_) => Type::Uint,
                    Literal::Double(_) => Type::Double,
                    Literal::String(_) => Type::String,
                    Literal::Bytes(_) => Type::Bytes,
                },
            ),
            Kind::Ident(name) => {
                if !self.resolve(e, name) {
                    self.undeclared(e, name);
                }
            }
            Kind::Select {
                operand,
                field,
                test,
            } => self.select(e, operand, field, *test),
            Kind::Call {
                function,
                target,
                args,
            } => self.call(e, function, target.as_deref(), args),
            Kind::List(items) => self.list(e, items),
            Kind::Map(entries) => self.map(e, entries),
            Kind::Struct { name, fields } => self.message(e, name, fields),
            Kind::Fold(fold) => self.fold(e, fold),
        }
    }

    fn undeclared(&mut self, e: &Expr, name: &str) {
        self.issues.add(
            e.at,
            format!("undeclared reference to '{name}' (in container '')"),
        );
        self.set(e, Type::Error);
    }

    /// Looks a (qualified) name up: local, declared, or the name of a type.
    fn resolve(&mut self, e: &Expr, name: &str) -> bool {
        let absolute = name.strip_prefix('.');
        let name = absolute.unwrap_or(name);
        if let Some((_, t)) = self.scopes.iter().rev().find(|(n, _)| n == name) {
            let t = t.clone();
            self.refer(e, Ref::Variable(name.into()));
            self.set(e, t);
            return true;
        }
        if let Some(t) = self.env.variable(name) {
            self.refer(e, Ref::Variable(name.into()));
            self.variables.insert(name.into());
            self.set(e, t.clone());
            return true;
        }
        let known = Registry::get().type_named(name, self.env.minor());
        if let Some(t) = known.cloned().or_else(|| self.env.message(name)) {
            self.refer(e, Ref::TypeName(t.clone()));
            self.set(e, Type::Type(Some(t.into())));
            return true;
        }
        false
    }

    fn select(&mut self, e: &Expr, operand: &Expr, field: &str, test: bool) {
        if !test
            && let Some(name) = e.qualified_name()
            && self.resolve(e, &name)
        {
            return;
        }
        let mut t = self.select_field(e, operand, field, false);
        if test {
            t = Type::Bool;
        }
        let t = self.mapping.substitute(&t, false);
        self.set(e, t);
    }

    fn select_field(&mut self, e: &Expr, operand: &Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand_type = self.substituted(operand);
        let (target, was_optional) = match operand_type.inside_optional() {
            Some(inner) => (inner.clone(), true),
            None => (operand_type, false),
        };
        let result = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => {
                object
                    .field(field, self.env.minor() >= 31)
                    .unwrap_or_else(|| {
                        if object.name == JSON_PATCH {
                            return Type::Dyn;
                        }
                        let message = if object.is_sealed() {
                            format!("unexpected failed resolution of '{}'", object.name)
                        } else {
                            format!("undefined field '{field}'")
                        };
                        self.issues.add(e.at, message);
                        Type::Error
                    })
            }
            Type::Param(_) => {
                self.mapping.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Any | Type::Error => Type::Dyn,
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.issues.add(e.at, message);
                Type::Dyn
            }
        };
        if was_optional || optional {
            Type::optional(result)
        } else {
            result
        }
    }

    fn call(&mut self, e: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) {
        if function == "_?._" {
            let (operand, name) = (&args[0], &args[1]);
            if let Some(Literal::String(field)) = name.literal() {
                let t = self.select_field(e, operand, field, true);
                let t = self.mapping.substitute(&t, false);
                self.set(e, t);
                self.set(name, Type::String);
                let overloads = Registry::get().overloads("_?._").iter().collect();
                let global = false;
                self.refer(e, Ref::Call { overloads, global });
            }
            return;
        }
        for arg in args {
            self.check(arg);
        }
        let Some(target) = target else {
            let name = function.strip_prefix('.').unwrap_or(function);
            if !self.exists(name) {
                self.undeclared(e, name);
                return;
            }
            self.resolve_overload(e, name, None, args, false);
            return;
        };
        if let Some(prefix) = target.qualified_name() {
            let full = format!("{prefix}.{function}");
            let full = full.strip_prefix('.').unwrap_or(&full);
            if self.exists(full) {
                self.resolve_overload(e, full, None, args, true);
                return;
            }
        }
        self.check(target);
        if self.exists(function) {
            self.resolve_overload(e, function, Some(target), args, false);
        } else {
            self.undeclared(e, function);
        }
    }

    fn exists(&self, function: &str) -> bool {
        let overloads = Registry::get().overloads(function);
        overloads.iter().any(|f| self.env.has(f))
    }

    fn resolve_overload(
        &mut self,
        e: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
        global: bool,
    ) {
        let given: Vec<Type> = target
            .into_iter()
            .chain(args)
            .map(|a| self.get(a))
            .collect();
        let mut fitting = Vec::new();
        let mut result: Option<Type> = None;
        let minor = self.env.minor();
        for overload in Registry::get().overloads(function) {
            if !self.env.has(overload) || overload.row.member != target.is_some() {
                continue;
            }
            // Numbers of different types are compared from 1.28 on.
            let order = matches!(function, "_<_" | "_<=_" | "_>_" | "_>=_");
            if minor < 28 && order && overload.params[0] != overload.params[1] {
                continue;
            }
            if matches!(function, "_&&_" | "_||_") {
                self.logic(e, overload, args, &given);
                return;
            }
            let mut renamed = Mapping::default();
            for name in &overload.generic {
                let fresh = self.variable();
                renamed.set(name.clone(), fresh);
            }
            let params: Vec<Type> = overload
                .params
                .iter()
                .map(|p| renamed.substitute(p, false))
                .collect();
            if !self.mapping.assign_all(&given, &params) {
                continue;
            }
            fitting.push(overload);
            let returns = renamed.substitute(&overload.result, false);
            let returns = self.mapping.substitute(&returns, false);
            result = Some(match result {
                None => returns,
                Some(Type::Dyn) => Type::Dyn,
                Some(r) if r == returns => r,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            self.no_overload(e, function, &given, target.is_some());
            return;
        };
        self.set(e, result);
        self.refer(
            e,
            Ref::Call {
                overloads: fitting,
                global,
            },
        );
    }

    fn no_overload(&mut self, e: &Expr, function: &str, given: &[Type], member: bool) {
        let shown: Vec<String> = given
            .iter()
            .map(|t| self.mapping.substitute(t, true).to_string())
            .collect();
        let signature = match shown.split_first() {
            Some((receiver, rest)) if member => format!("{receiver}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.issues.add(
            e.at,
            format!("found no matching overload for '{function}' applied to '{signature}'"),
        );
        self.set(e, Type::Error);
    }

    /// `&&` and `||` say which of their sides is not a bool.
    fn logic(&mut self, e: &Expr, overload: &'static Function, args: &[Expr], given: &[Type]) {
        let mut wrong = false;
        for (arg, t) in args.iter().zip(given) {
            if !self.mapping.assign(t, &Type::Bool) {
                self.mismatch(arg.at, &Type::Bool, t);
                wrong = true;
            }
        }
        if wrong {
            self.set(e, Type::Error);
            return;
        }
        self.set(e, Type::Bool);
        let overloads = vec![overload];
        let global = false;
        self.refer(e, Ref::Call { overloads, global });
    }

    fn mismatch(&mut self, at: u32, expected: &Type, found: &Type) {
        let message = format!("expected type '{expected}' but found '{found}'");
        self.issues.add(at, message);
    }

    /// The type inside an optional element, which has to be optional.
    fn unwrapped(&mut self, value: &Expr) -> Type {
        let t = self.get(value);
        if let Some(inner) = t.inside_optional() {
            return inner.clone();
        }
        if !matches!(t, Type::Dyn | Type::Any) {
            self.mismatch(value.at, &Type::optional(t.clone()), &t);
        }
        t
    }

    fn list(&mut self, e: &Expr, items: &[super::ast::Item]) {
        let mut of: Option<Type> = None;
        for item in items {
            self.check(&item.value);
            let t = if item.optional {
                self.unwrapped(&item.value)
            } else {
                self.get(&item.value)
            };
            of = Some(self.join(of, t));
        }
        let of = of.unwrap_or_else(|| self.variable());
        self.set(e, Type::list(of));
    }

    fn map(&mut self, e: &Expr, entries: &[super::ast::Entry]) {
        let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
        for entry in entries {
            self.check(&entry.key);
            let t = self.get(&entry.key);
            keys = Some(self.join(keys, t));
            self.check(&entry.value);
            let t = if entry.optional {
                self.unwrapped(&entry.value)
            } else {
                self.get(&entry.value)
            };
            values = Some(self.join(values, t));
        }
        let (key, value) = match (keys, values) {
            (Some(k), Some(v)) => (k, v),
            _ => (self.variable(), self.variable()),
        };
        self.set(e, Type::map(key, value));
    }

    /// What elements of a literal have in common; whether they may differ is asked later.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else {
            return current;
        };
        if self.mapping.assign(&previous, &current) {
            return most_general(&previous, &current);
        }
        Type::Dyn
    }

    fn message(&mut self, e: &Expr, name: &str, fields: &[super::ast::FieldInit]) {
        let plain = name.strip_prefix('.').unwrap_or(name);
        let declared = self.env.message(plain);
        match declared {
            Some(t) => self.set(e, t),
            None if self.resolve(e, plain) => {
                let t = self.get(e);
                let message = match &t {
                    Type::Type(Some(of)) => format!("'{of}' is not a message type"),
                    other => format!("'{other}' is not a type"),
                };
                self.issues.add(e.at, message);
                self.set(e, Type::Error);
            }
            None => return self.undeclared(e, name),
        }
        let object = match self.get(e) {
            Type::Object(object) => Some(object),
            _ => None,
        };
        for field in fields {
            self.check(&field.value);
            let found = object.as_ref().and_then(|o| o.field(&field.name, false));
            let given = if field.optional {
                self.unwrapped(&field.value)
            } else {
                self.get(&field.value)
            };
            match found {
                Some(want) if !self.mapping.assign(&want, &given) => self.issues.add(
                    field.at,
                    format!(
                        "expected type of field '{}' is '{want}' but provided type is '{given}'",
                        field.name
                    ),
                ),
                // Upstream knows a field of this name, but not its type.
                None if plain == JSON_PATCH && given.is_dyn_or_error() => {}
                None if plain == JSON_PATCH => self.issues.add(
                    field.at,
                    format!(
                        "expected type of field '{}' is '' but provided type is '{given}'",
                        field.name
                    ),
                ),
                None if object.is_some() => self
                    .issues
                    .add(field.at, format!("undefined field '{}'", field.name)),
                _ => {}
            }
        }
    }

    fn fold(&mut self, e: &Expr, fold: &Fold) {
        self.check(&fold.range);
        self.check(&fold.init);
        let range = self.substituted(&fold.range);
        let accu = self.get(&fold.init);
        let two = fold.var2.is_some();
        let (first, second) = match &range {
            Type::List(of) if two => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Error),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Any | Type::Error | Type::Param(_) => {
                self.mapping.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be \
                     list, map, or dynamic)"
                );
                self.issues.add(fold.range.at, message);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check(&fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.check(&fold.step);
        self.assert(&fold.step, &accu);
        self.scopes.truncate(depth + 1);
        self.check(&fold.result);
        self.scopes.truncate(depth);
        let t = self.substituted(&fold.result);
        self.set(e, t);
    }

    fn assert(&mut self, e: &Expr, want: &Type) {
        let found = self.get(e);
        if !self.mapping.assign(want, &found) {
            self.mismatch(e.at, want, &found);
        }
    }
}
