//! The interpreter. What is charged, and when, is what cel-go's plan of an expression would charge
//! (`interpreter/{planner,interpretable,attributes,runtimecost}.go`).

use super::ast::{ACCUMULATOR, Expr, Fold, Kind, Literal};
use super::check::{Checked, Ref};
use super::compare::equal;
use super::ctx::Ctx;
use super::fold::{CONVERSIONS, is_in_list, is_set};
use super::functions::Charge;
use super::macros::MAP_INSERT;
use super::message::Message;
use super::ranges::{LIST_CREATE, MAP_CREATE, STRUCT_CREATE};
use super::val::{Entries, Failure, List, MadeMap, Outcome, Text, Val};
use std::rc::Rc;

/// The values of variables.
pub trait Scope<'a> {
    fn variable(&self, name: &str, ctx: &mut Ctx<'a>) -> Option<Outcome<Val<'a>>>;

    /// A field of a variable whose fields are computed when they are asked for.
    fn member(&self, _of: &str, _field: &str, _ctx: &mut Ctx<'a>) -> Option<Outcome<Val<'a>>> {
        None
    }
}

/// Variables by name.
impl<'a> Scope<'a> for &[(&str, Val<'a>)] {
    fn variable(&self, name: &str, _: &mut Ctx<'a>) -> Option<Outcome<Val<'a>>> {
        let (_, val) = self.iter().find(|(n, _)| *n == name)?;
        Some(Ok(val.clone()))
    }
}

/// A variable of a fold; its first value may be computed when it is first looked at.
enum Local<'a> {
    Lazy(&'a Expr),
    Is(Outcome<Val<'a>>),
}

struct Run<'r, 'a> {
    checked: &'a Checked,
    scope: &'r dyn Scope<'a>,
    ctx: &'r mut Ctx<'a>,
    locals: Vec<(&'a str, Local<'a>)>,
    /// Within constants nothing is charged.
    quiet: bool,
}

/// Evaluates; what it cost is added to `ctx`.
///
/// # Errors
/// The expression has no value, or the budget is spent.
pub fn evaluate<'a>(
    checked: &'a Checked,
    scope: &dyn Scope<'a>,
    ctx: &mut Ctx<'a>,
) -> Outcome<Val<'a>> {
    let mut run = Run {
        checked,
        scope,
        ctx,
        locals: Vec::new(),
        quiet: false,
    };
    run.eval(&checked.expr)
}

/// Computes the constants of an expression, which cel-go does when it makes a program of it.
///
/// # Errors
/// One of them has no value, or a pattern is none.
pub fn instantiate(checked: &Checked) -> Outcome<()> {
    let mut ctx = Ctx::new(u64::MAX);
    let none: &[(&str, Val)] = &[];
    let mut run = Run {
        checked,
        scope: &none,
        ctx: &mut ctx,
        locals: Vec::new(),
        quiet: true,
    };
    run.constants(&checked.expr)
}

impl<'a> Run<'_, 'a> {
    fn constants(&mut self, e: &'a Expr) -> Outcome<()> {
        if self.checked.is_constant(e) && !matches!(e.kind, Kind::Literal(_)) {
            return self.eval(e).map(|_| ());
        }
        if let Kind::Call { function, args, .. } = &e.kind
            && matches!(function.as_str(), "matches" | "find" | "findAll")
            && let Some(Literal::String(pattern)) = args.last().and_then(Expr::literal)
        {
            self.ctx.regex(pattern)?;
        }
        match &e.kind {
            Kind::Literal(_) | Kind::Ident(_) => Ok(()),
            Kind::Select { operand, .. } => self.constants(operand),
            Kind::Call { target, args, .. } => {
                target.iter().try_for_each(|t| self.constants(t))?;
                args.iter().try_for_each(|a| self.constants(a))
            }
            Kind::List(items) => items.iter().try_for_each(|i| self.constants(&i.value)),
            Kind::Map(entries) => entries.iter().try_for_each(|e| {
                self.constants(&e.key)?;
                self.constants(&e.value)
            }),
            Kind::Struct { fields, .. } => fields.iter().try_for_each(|f| self.constants(&f.value)),
            Kind::Fold(f) => [&f.range, &f.init, &f.condition, &f.step, &f.result]
                .into_iter()
                .try_for_each(|e| self.constants(e)),
        }
    }

    fn charge(&mut self, cost: u64) -> Outcome<()> {
        if self.quiet {
            self.ctx.burn(1)
        } else {
            self.ctx.charge(cost)
        }
    }

    fn eval(&mut self, e: &'a Expr) -> Outcome<Val<'a>> {
        self.ctx.burn(1)?;
        if self.checked.is_constant(e) && !self.quiet {
            self.quiet = true;
            let val = self.eval_inner(e);
            self.quiet = false;
            return val;
        }
        self.eval_inner(e)
    }

    fn eval_inner(&mut self, e: &'a Expr) -> Outcome<Val<'a>> {
        if let Some(base) = self.attribute_cost(e) {
            self.charge(base)?;
            return match self.attribute(e)? {
                (val, true) if !matches!(val, Val::Optional(None)) => Ok(val.some()),
                (val, _) => Ok(val),
            };
        }
        match &e.kind {
            Kind::Literal(literal) => Ok(literal_val(literal)),
            Kind::Ident(_) | Kind::Select { .. } => match &self.checked.refs[e.id as usize] {
                Ref::TypeName(t) => Ok(Val::Type(Rc::new(t.clone()))),
                _ => self.test(e),
            },
            Kind::Call { function, args, .. } => self.eval_call(e, function, args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.message(name, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    // ---- attributes: variables and what is selected from values

    /// For attributes: what they cost beside their parts. Those that begin with `? :` cost nothing.
    fn attribute_cost(&self, e: &Expr) -> Option<u64> {
        match (&e.kind, &self.checked.refs[e.id as usize]) {
            (_, Ref::TypeName(_)) | (Kind::Select { test: true, .. }, _) => None,
            (_, Ref::Variable(_)) => Some(1),
            (Kind::Select { operand, .. }, _) => self.root_cost(operand),
            (Kind::Call { function, args, .. }, _) => match function.as_str() {
                "_[_]" | "_[?_]" | "_?._" => self.root_cost(&args[0]),
                "_?_:_" => Some(0),
                _ => None,
            },
            _ => None,
        }
    }

    fn root_cost(&self, e: &Expr) -> Option<u64> {
        Some(match &e.kind {
            Kind::Select { test: true, .. } => 1,
            _ => self.attribute_cost(e).unwrap_or(1),
        })
    }

    /// The value of an attribute, and whether it is to be wrapped in an optional.
    fn attribute(&mut self, e: &'a Expr) -> Outcome<(Val<'a>, bool)> {
        if let Ref::Variable(name) = &self.checked.refs[e.id as usize] {
            return Ok((self.variable(name)?, false));
        }
        match &e.kind {
            Kind::Select {
                operand,
                field,
                test: false,
            } if !matches!(self.checked.refs[e.id as usize], Ref::TypeName(_)) => {
                if let Some(name) = operand.ident()
                    && self.local(name).is_none()
                    && let Some(val) = self.scope.member(name, field, self.ctx)
                {
                    self.charge(1)?;
                    return Ok((val?, false));
                }
                let base = self.attribute(operand)?;
                let key = Val::String(Text::Borrowed(field));
                self.qualify(base, &key, false)
            }
            Kind::Call { function, args, .. } => match function.as_str() {
                "_[_]" | "_[?_]" | "_?._" => {
                    let base = self.attribute(&args[0])?;
                    let index = self.index(&args[1])?;
                    self.qualify(base, &index, function != "_[_]")
                }
                "_?_:_" => match self.eval(&args[0])? {
                    Val::Bool(true) => self.attribute(&args[1]),
                    Val::Bool(false) => self.attribute(&args[2]),
                    _ => Err(Failure::no_such_overload()),
                },
                _ => Ok((flat(self.eval(e)?), false)),
            },
            _ => Ok((flat(self.eval(e)?), false)),
        }
    }

    /// An index that is an attribute is a part of this one, so that only its parts are charged.
    fn index(&mut self, e: &'a Expr) -> Outcome<Val<'a>> {
        if self.attribute_cost(e).is_some() {
            return Ok(match self.attribute(e)? {
                (val, true) => val.some(),
                (val, false) => val,
            });
        }
        self.eval(e)
    }

    fn qualify(
        &mut self,
        (base, was_optional): (Val<'a>, bool),
        key: &Val<'a>,
        optional: bool,
    ) -> Outcome<(Val<'a>, bool)> {
        let (base, was_optional) = match base {
            Val::Optional(None) => return Ok((Val::Optional(None), was_optional)),
            Val::Optional(Some(inner)) if !was_optional => ((*inner).clone(), true),
            other => (other, was_optional),
        };
        if optional || was_optional {
            return match self.find(&base, key)? {
                Some(val) => {
                    self.charge(1)?;
                    Ok((val, true))
                }
                None => Ok((Val::Optional(None), true)),
            };
        }
        self.charge(1)?;
        match self.find(&base, key)? {
            Some(val) => Ok((val, false)),
            None => Err(missing(&base, key)),
        }
    }

    /// What stands under `key`; `None` also for values that have no parts.
    fn find(&mut self, base: &Val<'a>, key: &Val<'a>) -> Outcome<Option<Val<'a>>> {
        match base {
            Val::Map(entries) => entries.find(key),
            Val::List(list) => {
                let index = list_index(key)?;
                match usize::try_from(index) {
                    Ok(i) if i < list.len() => list.get(i).map(Some),
                    _ => Ok(None),
                }
            }
            Val::Message(message) => key.as_str().map(|field| message.get(field)).transpose(),
            _ => Ok(None),
        }
    }

    /// `has(operand.field)`
    fn test(&mut self, e: &'a Expr) -> Outcome<Val<'a>> {
        let Kind::Select { operand, field, .. } = &e.kind else {
            return Err(Failure::no_such_overload());
        };
        // What is charged beside the parts of the operand: the test when it is made, but no attribute.
        let test_cost = self.root_cost(operand).unwrap_or(1);
        if let Some(name) = operand.ident()
            && self.local(name).is_none()
            && let Some(val) = self.scope.member(name, field, self.ctx)
        {
            self.charge(test_cost)?;
            val?;
            return Ok(Val::Bool(true));
        }
        let (base, was_optional) = self.attribute(operand)?;
        let (base, lenient) = match base {
            Val::Optional(None) => return Ok(Val::Bool(false)),
            Val::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, was_optional),
        };
        let key = Val::String(Text::Borrowed(field));
        let present = match &base {
            Val::Message(message) => message.has(field),
            base => self.find(base, &key)?.is_some(),
        };
        if present || !lenient {
            self.charge(test_cost)?;
        }
        Ok(Val::Bool(present))
    }

    fn local(&self, name: &str) -> Option<usize> {
        self.locals.iter().rposition(|(n, _)| *n == name)
    }

    fn variable(&mut self, name: &str) -> Outcome<Val<'a>> {
        if let Some(at) = self.local(name) {
            if let Local::Lazy(init) = self.locals[at].1 {
                // Seen from outside of the fold.
                let inner = self.locals.split_off(at);
                let val = self.eval(init);
                self.locals.extend(inner);
                if let Err(failure) = &val
                    && failure.fatal
                {
                    return val;
                }
                self.locals[at].1 = Local::Is(val);
            }
            return match &self.locals[at].1 {
                Local::Is(val) => val.clone(),
                Local::Lazy(_) => Err(Failure::no_such_overload()),
            };
        }
        match self.scope.variable(name, self.ctx) {
            Some(val) => val,
            None => Err(Failure::new(format!("no such attribute(s): {name}"))),
        }
    }

    // ---- calls

    fn eval_call(&mut self, e: &'a Expr, function: &str, args: &'a [Expr]) -> Outcome<Val<'a>> {
        match function {
            "_&&_" => return self.logic(args, false),
            "_||_" => return self.logic(args, true),
            "@not_strictly_false" => return self.not_strictly_false(&args[0]),
            "_==_" | "_!=_" => return self.equality(function, args),
            "or" | "orValue" if self.checked.target(e).is_some() => {
                let target = self
                    .checked
                    .target(e)
                    .ok_or_else(Failure::no_such_overload)?;
                return match self.eval(target)? {
                    some @ Val::Optional(Some(_)) if function == "or" => Ok(some),
                    Val::Optional(Some(inner)) => Ok((*inner).clone()),
                    Val::Optional(None) => self.eval(&args[0]),
                    _ => Err(Failure::no_such_overload()),
                };
            }
            "@in" if is_in_list(self.checked, e) && args[1].kind_is_empty_list() => {
                return Ok(Val::Bool(false));
            }
            "@in" if is_in_list(self.checked, e) && is_set(self.checked, &args[1]) => {
                let needle = self.eval(&args[0])?;
                let Val::List(list) = self.eval(&args[1])? else {
                    return Err(Failure::no_such_overload());
                };
                let found = super::compare::contains(self.ctx, &list, &needle)?;
                return Ok(Val::Bool(found));
            }
            _ => {}
        }
        let exprs: Vec<&'a Expr> = self.checked.target(e).into_iter().chain(args).collect();
        let mut vals = Vec::with_capacity(exprs.len());
        let mut failed = None;
        for arg in &exprs {
            match self.eval(arg) {
                Ok(val) => vals.push(val),
                Err(failure) if failure.fatal || exprs.len() > 2 => return Err(failure),
                // Both sides of a binary call are evaluated, and charged.
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        if let Some(failure) = failed {
            self.charge(1)?;
            return Err(failure);
        }
        self.invoke(e, function, &vals)
    }

    fn invoke(&mut self, e: &'a Expr, function: &str, args: &[Val<'a>]) -> Outcome<Val<'a>> {
        let candidates = self.checked.overloads(e);
        let Some(first) = candidates.first() else {
            return Err(no_overload(function, args));
        };
        // What fits no overload is charged as well.
        let fitting = candidates.iter().find(|f| f.takes(args));
        let row = fitting.unwrap_or(first).row;
        let after = match row.charge {
            Charge::Result(cost) => Some(cost),
            _ if self.quiet && CONVERSIONS.contains(&function) => None,
            Charge::Args(cost) => self.charge(cost(args)).map(|()| None)?,
            Charge::Overload(cost) if candidates.len() == 1 => {
                self.charge(cost(args)).map(|()| None)?
            }
            Charge::One | Charge::Overload(_) => self.charge(1).map(|()| None)?,
        };
        let result = match fitting {
            Some(chosen) => (chosen.row.run)(self.ctx, args),
            None => Err(no_overload(row.function, args)),
        };
        if let Some(cost) = after {
            self.charge(cost(args, result.as_ref().unwrap_or(&Val::Null)))?;
        }
        result
    }

    /// `a && b`, `a || b`: one side that decides is enough, whatever the other is.
    fn logic(&mut self, args: &'a [Expr], decides: bool) -> Outcome<Val<'a>> {
        let mut failed = None;
        for arg in args {
            match self.eval(arg) {
                Ok(Val::Bool(b)) if b == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failed = failed.or(Some(Failure::no_such_overload())),
                Err(failure) if failure.fatal => return Err(failure),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn not_strictly_false(&mut self, arg: &'a Expr) -> Outcome<Val<'a>> {
        let val = self.eval(arg);
        self.charge(1)?;
        match val {
            Ok(Val::Bool(b)) => Ok(Val::Bool(b)),
            Err(failure) if failure.fatal => Err(failure),
            _ => Ok(Val::Bool(true)),
        }
    }

    fn equality(&mut self, function: &str, args: &'a [Expr]) -> Outcome<Val<'a>> {
        let (a, b) = (self.eval(&args[0]), self.eval(&args[1]));
        let (a, b) = match (a, b) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(e), _) | (_, Err(e)) => {
                if !e.fatal {
                    self.charge(1)?;
                }
                return Err(e);
            }
        };
        // `_!=_` of these is charged like any other
        let cheap = matches!(a, Val::Opaque(_)) && function == "_==_";
        let size = if cheap { 1 } else { a.size().min(b.size()) };
        self.charge(super::ranges::scaled(size, super::ranges::STRING))?;
        let same = equal(self.ctx, &a, &b)?;
        Ok(Val::Bool(same == (function == "_==_")))
    }

    // ---- literals with parts

    fn list(&mut self, items: &'a [super::ast::Item]) -> Outcome<Val<'a>> {
        self.charge(LIST_CREATE)?;
        self.ctx.alloc(items.len() * size_of::<Val>())?;
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let val = self.eval(&item.value)?;
            match val {
                Val::Optional(inner) if item.optional => {
                    out.extend(inner.map(|v| (*v).clone()));
                }
                other if item.optional => {
                    return Err(Failure::new(format!(
                        "cannot initialize optional list element from non-optional value {}",
                        super::lib::text_of(&other)
                    )));
                }
                val => out.push(val),
            }
        }
        Ok(Val::list(out))
    }

    fn map(&mut self, entries: &'a [super::ast::Entry]) -> Outcome<Val<'a>> {
        self.charge(MAP_CREATE)?;
        self.ctx.alloc(entries.len() * 3 * size_of::<Val>())?;
        let mut out = MadeMap::default();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = match self.eval(&entry.value)? {
                Val::Optional(inner) if entry.optional => match inner {
                    Some(v) => (*v).clone(),
                    None => continue,
                },
                other if entry.optional => {
                    return Err(Failure::new(format!(
                        "cannot initialize optional entry '{}' from non-optional value {}",
                        super::lib::text_of(&key),
                        super::lib::text_of(&other)
                    )));
                }
                val => val,
            };
            out.insert(key, value);
        }
        Ok(Val::Map(Entries::Made(Rc::new(out))))
    }

    fn message(&mut self, name: &str, fields: &'a [super::ast::FieldInit]) -> Outcome<Val<'a>> {
        self.charge(STRUCT_CREATE)?;
        self.ctx.alloc(fields.len() * 3 * size_of::<Val>())?;
        let mut made = Message::new(name.strip_prefix('.').unwrap_or(name));
        for field in fields {
            let value = match self.eval(&field.value)? {
                Val::Optional(Some(inner)) if field.optional => (*inner).clone(),
                Val::Optional(None) if field.optional => continue,
                other if field.optional => {
                    return Err(Failure::new(format!(
                        "cannot initialize optional entry '{}' from non-optional value {}",
                        field.name,
                        super::lib::text_of(&other)
                    )));
                }
                value => value,
            };
            made.set(&field.name, value)?;
        }
        Ok(Val::Message(Rc::new(made)))
    }

    // ---- folds

    fn fold(&mut self, fold: &'a Fold) -> Outcome<Val<'a>> {
        let range = self.eval(&fold.range)?;
        let depth = self.locals.len();
        self.locals.push((&fold.accu, Local::Lazy(&fold.init)));
        let looped = match &range {
            Val::List(list) => self.fold_list(fold, list),
            Val::Map(entries) => self.fold_map(fold, entries),
            other => Err(Failure::new(format!(
                "got '{}', expected iterable type",
                go_name(other)
            ))),
        };
        self.locals.truncate(depth + 1);
        let result = match looped {
            Ok(()) => self.eval(&fold.result),
            Err(failure) => Err(failure),
        };
        self.locals.truncate(depth);
        result
    }

    fn fold_list(&mut self, fold: &'a Fold, list: &List<'a>) -> Outcome<()> {
        for i in 0..list.len() {
            let item = list.get(i);
            let go_on = match &fold.var2 {
                None => self.step(fold, item, None)?,
                Some(_) => {
                    let index = Val::Int(i64::try_from(i).unwrap_or(i64::MAX));
                    self.step(fold, Ok(index), Some(item))?
                }
            };
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    fn fold_map(&mut self, fold: &'a Fold, entries: &Entries<'a>) -> Outcome<()> {
        for key in entries.keys() {
            let value = fold.var2.as_ref().map(|_| match entries.find(&key) {
                Ok(value) => Ok(value.unwrap_or(Val::Null)),
                Err(failure) => Err(failure),
            });
            if !self.step(fold, Ok(key), value)? {
                break;
            }
        }
        Ok(())
    }

    /// One round; `false` when the condition says that it is over.
    fn step(
        &mut self,
        fold: &'a Fold,
        first: Outcome<Val<'a>>,
        second: Option<Outcome<Val<'a>>>,
    ) -> Outcome<bool> {
        let depth = self.locals.len();
        self.locals.push((&fold.var, Local::Is(first)));
        if let (Some(var), Some(second)) = (&fold.var2, second) {
            self.locals.push((var, Local::Is(second)));
        }
        let go_on = match self.eval(&fold.condition) {
            Ok(Val::Bool(b)) => b,
            Err(failure) if failure.fatal => return Err(failure),
            _ => true,
        };
        if go_on {
            let accu = match self.accumulate(&fold.step, depth - 1) {
                Some(done) => done.err().map(Err),
                None => Some(self.eval(&fold.step)),
            };
            match accu {
                Some(Err(failure)) if failure.fatal => return Err(failure),
                Some(val) => self.locals[depth - 1].1 = Local::Is(val),
                None => {}
            }
        }
        self.locals.truncate(depth);
        Ok(go_on)
    }

    /// `accu + [x]` and `insert(accu, k, v)` put into what is there instead of copying it, for the
    /// same charge. `None`: the step is something else.
    fn accumulate(&mut self, step: &'a Expr, at: usize) -> Option<Outcome<()>> {
        let Kind::Call { function, args, .. } = &step.kind else {
            return None;
        };
        if args.first().and_then(Expr::ident) != Some(ACCUMULATOR) {
            return match (function.as_str(), args.as_slice()) {
                // A filter: the accumulator as it is costs nothing.
                ("_?_:_", [test, then, same]) if same.ident() == Some(ACCUMULATOR) => {
                    if !self.can_accumulate(then) {
                        return None;
                    }
                    match self.eval(test) {
                        Ok(Val::Bool(true)) => self.accumulate(then, at),
                        Ok(Val::Bool(false)) => Some(Ok(())),
                        Ok(_) => Some(Err(Failure::no_such_overload())),
                        Err(failure) => Some(Err(failure)),
                    }
                }
                _ => None,
            };
        }
        if !self.can_accumulate(step) {
            return None;
        }
        // Looks at it as the expression would, so that it is charged and there.
        if let Err(failure) = self.eval(&args[0]) {
            return Some(Err(self.after_failure(function, args, failure)));
        }
        Some(self.grow(function, args, at))
    }

    /// Nothing can be put into what has failed, but both sides of `+` are looked at.
    fn after_failure(&mut self, function: &str, args: &'a [Expr], failure: Failure) -> Failure {
        if failure.fatal || function != "_+_" {
            return failure;
        }
        match self.eval(&args[1]) {
            Err(other) if other.fatal => other,
            _ => self.charge(1).err().unwrap_or(failure),
        }
    }

    fn can_accumulate(&self, step: &Expr) -> bool {
        let Kind::Call { function, args, .. } = &step.kind else {
            return false;
        };
        let list = match args.get(1).map(|a| &a.kind) {
            Some(Kind::List(items)) => matches!(items.as_slice(), [i] if !i.optional),
            _ => false,
        };
        args.first().and_then(Expr::ident) == Some(ACCUMULATOR)
            && match function.as_str() {
                "_+_" => {
                    list && self
                        .checked
                        .overloads(step)
                        .iter()
                        .any(|f| f.row.id == "add_list")
                }
                name => name == MAP_INSERT && args.len() == 3,
            }
    }

    fn grow(&mut self, function: &str, args: &'a [Expr], at: usize) -> Outcome<()> {
        let mut vals = Vec::with_capacity(2);
        if function == "_+_" {
            let Kind::List(items) = &args[1].kind else {
                return Err(Failure::no_such_overload());
            };
            if !self.checked.is_constant(&args[1]) {
                self.charge(LIST_CREATE)?;
            }
            match self.eval(&items[0].value) {
                Ok(val) => vals.push(val),
                Err(failure) if failure.fatal => return Err(failure),
                Err(failure) => {
                    self.charge(1)?;
                    return Err(failure);
                }
            }
        } else {
            vals.push(self.eval(&args[1])?);
            vals.push(self.eval(&args[2])?);
        }
        self.charge(1)?;
        self.ctx.alloc(3 * size_of::<Val>())?;
        let accu = match &mut self.locals[at].1 {
            Local::Is(Ok(accu)) => accu,
            Local::Is(Err(failure)) => return Err(failure.clone()),
            Local::Lazy(_) => return Err(Failure::no_such_overload()),
        };
        match (accu, vals.as_slice()) {
            (Val::List(List::Made(items)), [val]) => Rc::make_mut(items).push(val.clone()),
            (Val::Map(Entries::Made(map)), [key, value]) => {
                if map.get(key).is_some() {
                    return Err(Failure::new(format!(
                        "insert failed: key {} already exists",
                        super::lib::text_of(key)
                    )));
                }
                Rc::make_mut(map).insert(key.clone(), value.clone());
            }
            _ => return Err(Failure::no_such_overload()),
        }
        Ok(())
    }
}

impl Expr {
    fn kind_is_empty_list(&self) -> bool {
        matches!(&self.kind, Kind::List(items) if items.is_empty())
    }
}

/// As the root of an attribute, an optional in an optional is one upstream.
fn flat(val: Val) -> Val {
    match &val {
        Val::Optional(Some(inner)) => match &**inner {
            Val::Optional(Some(_)) => flat((**inner).clone()),
            Val::Optional(None) => Val::Null.some(),
            _ => val,
        },
        _ => val,
    }
}

fn literal_val(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(i) => Val::Int(*i),
        Literal::Uint(u) => Val::Uint(*u),
        Literal::Double(d) => Val::Double(*d),
        Literal::String(s) => Val::String(Text::Borrowed(s)),
        Literal::Bytes(b) => Val::Bytes(b.as_slice().into()),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "checked to be a whole number"
)]
fn list_index(key: &Val) -> Outcome<i64> {
    match key {
        Val::Int(i) => Ok(*i),
        Val::Uint(u) => Ok(i64::try_from(*u).unwrap_or(i64::MAX)),
        Val::Double(d) if d.fract() == 0.0 && d.abs() < 9.0e18 => Ok(*d as i64),
        Val::Double(d) => Err(Failure::new(format!(
            "unsupported index value {} in list",
            super::lib::text_of(&Val::Double(*d))
        ))),
        other => Err(Failure::new(format!(
            "unsupported index type '{}' in list",
            other.type_name()
        ))),
    }
}

fn missing(base: &Val, key: &Val) -> Failure {
    let key = super::lib::text_of(key);
    Failure::new(match base {
        Val::List(_) => format!("index out of bounds: {key}"),
        _ => format!("no such key: {key}"),
    })
}

fn no_overload(function: &str, args: &[Val]) -> Failure {
    // cel-go's own operators have one implementation, which does not say more.
    let operator = function.starts_with(['_', '@', '!', '-']);
    if function == "size" || (operator && matches!(args, [Val::Null, ..])) {
        return Failure::new(format!("no such overload: {function}"));
    }
    if operator || matches!(function, "contains" | "endsWith" | "matches" | "startsWith") {
        return Failure::no_such_overload();
    }
    let types: Vec<String> = args.iter().map(Val::type_name).collect();
    Failure::new(format!(
        "no such overload: {function}({})",
        types.join(", ")
    ))
}

/// cel-go's Go type behind a value.
fn go_name(val: &Val) -> &'static str {
    match val {
        Val::Null => "types.Null",
        Val::Bool(_) => "types.Bool",
        Val::Int(_) => "types.Int",
        Val::Uint(_) => "types.Uint",
        Val::Double(_) => "types.Double",
        Val::String(_) => "types.String",
        Val::Bytes(_) => "types.Bytes",
        Val::Timestamp(_) => "types.Timestamp",
        Val::Duration(_) => "types.Duration",
        Val::Type(_) => "*types.Type",
        Val::Optional(_) => "*types.Optional",
        _ => "ref.Val",
    }
}
