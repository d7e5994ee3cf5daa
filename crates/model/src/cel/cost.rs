//! What an expression can cost at least and at most, before it runs (cel-go `checker/cost.go`).

use super::ast::{ACCUMULATOR, Expr, Fold, Kind, Literal};
use super::check::{Checked, Ref};
use super::decl::Decl;
use super::functions::Function;
use super::ranges::{Estimate, LIST_CREATE, MAP_CREATE, Node, Range, STRUCT_CREATE, Sizes};
use super::types::Type;
use crate::Str;

/// The range of the cost of `checked`; sizes come from the declared shape of its variables.
#[must_use]
pub fn estimate(checked: &Checked, root: Option<&Decl>) -> Range {
    let nodes = checked.types.len();
    let mut coster = Coster {
        checked,
        sizes: Sizes { root },
        paths: vec![Vec::new(); nodes],
        computed: vec![None; nodes],
        entries: vec![None; nodes],
        locals: Vec::new(),
    };
    coster.cost(&checked.expr)
}

/// The sizes of what a container holds.
#[derive(Clone, Copy)]
struct Entry {
    list: bool,
    key: Range,
    value: Range,
}

impl Entry {
    fn or(self, other: Self) -> Self {
        Self {
            list: self.list,
            key: self.key.or(other.key),
            value: self.value.or(other.value),
        }
    }
}

struct Local {
    name: Str,
    path: Vec<Str>,
    size: Option<Range>,
    entry: Option<Entry>,
}

struct Coster<'c> {
    checked: &'c Checked,
    sizes: Sizes<'c>,
    paths: Vec<Vec<Str>>,
    computed: Vec<Option<Range>>,
    entries: Vec<Option<Entry>>,
    locals: Vec<Local>,
}

/// What is least and most of nothing yet.
const EMPTY: Range = Range::new(u64::MAX, 0);

impl Coster<'_> {
    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| l.name == name)
    }

    fn path(&self, e: &Expr) -> Vec<Str> {
        if let Some(local) = e.ident().and_then(|name| self.local(name)) {
            return local.path.clone();
        }
        self.paths[e.id as usize].clone()
    }

    fn set_path(&mut self, e: &Expr, path: Vec<Str>) {
        self.paths[e.id as usize] = path;
    }

    fn extended(&self, e: &Expr, step: &str) -> Vec<Str> {
        let mut path = self.path(e);
        path.push(step.into());
        path
    }

    fn set_size(&mut self, e: &Expr, size: Option<Range>) {
        if size.is_some() {
            self.computed[e.id as usize] = size;
        }
    }

    fn set_entry(&mut self, e: &Expr, entry: Option<Entry>) {
        if entry.is_some() {
            self.entries[e.id as usize] = entry;
        }
    }

    fn size(&mut self, e: &Expr) -> Option<Range> {
        if let Some(size) = self.computed[e.id as usize] {
            return Some(size);
        }
        let literal = match &e.kind {
            Kind::Literal(Literal::String(s)) => Some(s.chars().count()),
            Kind::Literal(Literal::Bytes(b)) => Some(b.len()),
            Kind::Literal(_) => Some(1),
            Kind::List(items) => Some(items.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(size) = literal {
            return Some(Range::just(size as u64));
        }
        if let Some(size) = self.sizes.at(&self.path(e)) {
            self.computed[e.id as usize] = Some(size);
            return Some(size);
        }
        if self.checked.type_of(e).is_scalar() {
            return Some(Range::ONE);
        }
        e.ident()
            .and_then(|name| self.local(name))
            .and_then(|l| l.size)
    }

    fn size_or_unknown(&mut self, e: &Expr) -> Range {
        self.size(e).unwrap_or(Range::UNKNOWN)
    }

    fn entry(&self, e: &Expr) -> Option<Entry> {
        self.entries[e.id as usize].or_else(|| {
            e.ident()
                .and_then(|name| self.local(name))
                .and_then(|l| l.entry)
        })
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        let size = self.size(from);
        self.set_size(to, size);
        let entry = self.entry(from);
        self.set_entry(to, entry);
    }

    fn cost(&mut self, e: &Expr) -> Range {
        match &e.kind {
            Kind::Literal(_) => Range::ZERO,
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.clone()],
                };
                self.set_path(e, path);
                Range::ONE
            }
            Kind::Select {
                operand,
                field,
                test,
            } => self.select(e, operand, field, *test),
            Kind::Call { function, args, .. } => self.call(e, function, args),
            Kind::List(items) => self.list(e, items),
            Kind::Map(entries) => self.map(e, entries),
            Kind::Struct { fields, .. } => fields
                .iter()
                .map(|f| self.cost(&f.value))
                .fold(Range::just(STRUCT_CREATE), Range::plus),
            Kind::Fold(fold) => {
                let binds = matches!(&fold.range.kind, Kind::List(items) if items.is_empty())
                    && fold.condition.literal() == Some(&Literal::Bool(false));
                if binds {
                    self.bind(e, fold)
                } else {
                    self.fold(e, fold)
                }
            }
        }
    }

    fn select(&mut self, e: &Expr, operand: &Expr, field: &str, test: bool) -> Range {
        // A qualified name is one identifier.
        if let Ref::Variable(name) = &self.checked.refs[e.id as usize] {
            self.set_path(e, vec![name.clone()]);
            return Range::ONE;
        }
        if matches!(self.checked.refs[e.id as usize], Ref::TypeName(_)) {
            return Range::ONE;
        }
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(
            self.checked.type_of(operand),
            Type::Map(..) | Type::Object(_) | Type::Param(_)
        ) {
            sum = sum.plus(Range::ONE);
        }
        let path = self.extended(operand, field);
        self.set_path(e, path);
        sum
    }

    fn node<'e>(&mut self, e: &'e Expr) -> Node<'e> {
        let mut path = self.path(e);
        if path
            .first()
            .is_some_and(|p| p == ACCUMULATOR || p == "__result__")
        {
            path.clear();
        }
        Node {
            path,
            ty: self.checked.type_of(e).clone(),
            literal: e.literal(),
            size: self.size(e),
        }
    }

    fn call(&mut self, e: &Expr, function: &str, args: &[Expr]) -> Range {
        if function == "dyn" && args.len() == 1 {
            let cost = self.cost(&args[0]).plus(Range::ONE);
            self.copy_sizes(e, &args[0]);
            return cost;
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut nodes = Vec::with_capacity(args.len());
        for arg in args {
            costs.push(self.cost(arg));
            nodes.push(self.node(arg));
        }
        let overloads = self.checked.overloads(e);
        if overloads.is_empty() {
            return Range::ZERO;
        }
        let mut sum = Range::ZERO;
        let mut target = None;
        if let Some(receiver) = self.checked.target(e) {
            sum = self.cost(receiver);
            target = Some(self.node(receiver));
        }
        let mut cost = EMPTY;
        let mut size: Option<Range> = None;
        for overload in overloads {
            let estimate = self.overload(e, overload, target.as_ref(), args, &nodes, &costs);
            cost = cost.or(estimate.cost);
            if let Some(s) = estimate.size {
                size = Some(size.map_or(s, |known| known.or(s)));
            }
            let step = match overload.row.id {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let Some(step) = step {
                size = self.entry(&args[0]).map(|entry| entry.value);
                let path = self.extended(&args[0], step);
                self.set_path(e, path);
            }
            if size.is_none() {
                size = self.size(e);
            }
        }
        self.set_size(e, size);
        sum.plus(cost)
    }

    fn overload(
        &mut self,
        e: &Expr,
        overload: &Function,
        target: Option<&Node>,
        args: &[Expr],
        nodes: &[Node],
        costs: &[Range],
    ) -> Estimate {
        let plain = |cost| Estimate { cost, size: None };
        match overload.row.id {
            "logical_and" | "logical_or" => {
                let both = costs[0].plus(costs[1]);
                return plain(Range::new(costs[0].min, both.max));
            }
            "conditional" => {
                let (then, otherwise) = (&args[1], &args[2]);
                let size = self
                    .size_or_unknown(then)
                    .or(self.size_or_unknown(otherwise));
                if let (Some(a), Some(b)) = (self.entry(then), self.entry(otherwise)) {
                    self.set_entry(e, Some(a.or(b)));
                }
                return Estimate {
                    cost: costs[0].plus(costs[1].or(costs[2])),
                    size: Some(size),
                };
            }
            "add_string" | "add_bytes" | "add_list" => {
                if let (Some(a), Some(b)) = (self.entry(&args[0]), self.entry(&args[1])) {
                    self.set_entry(e, Some(a.or(b)));
                }
            }
            _ => {}
        }
        let arguments = costs.iter().copied().fold(Range::ZERO, Range::plus);
        match (overload.row.estimate)(&self.sizes, target, nodes) {
            Some(estimate) => Estimate {
                cost: estimate.cost.plus(arguments),
                size: estimate.size,
            },
            None => plain(Range::ONE.plus(arguments)),
        }
    }

    fn list(&mut self, e: &Expr, items: &[super::ast::Item]) -> Range {
        let mut sum = Range::just(LIST_CREATE);
        let mut of = if items.is_empty() { Range::ZERO } else { EMPTY };
        for item in items {
            sum = sum.plus(self.cost(&item.value));
            of = of.or(self.size_or_unknown(&item.value));
        }
        let entry = Entry {
            list: true,
            key: Range::ONE,
            value: of,
        };
        self.set_entry(e, Some(entry));
        sum
    }

    fn map(&mut self, e: &Expr, entries: &[super::ast::Entry]) -> Range {
        let mut sum = Range::just(MAP_CREATE);
        let start = if entries.is_empty() {
            Range::ZERO
        } else {
            EMPTY
        };
        let (mut key, mut value) = (start, start);
        for entry in entries {
            sum = sum
                .plus(self.cost(&entry.key))
                .plus(self.cost(&entry.value));
            key = key.or(self.size_or_unknown(&entry.key));
            value = value.or(self.size_or_unknown(&entry.value));
        }
        let entry = Entry {
            list: false,
            key,
            value,
        };
        self.set_entry(e, Some(entry));
        sum
    }

    fn push(&mut self, name: &str, path: Vec<Str>, size: Option<Range>, entry: Option<Entry>) {
        self.locals.push(Local {
            name: name.into(),
            path,
            size,
            entry,
        });
    }

    fn push_value(&mut self, name: &str, e: &Expr) {
        let (path, entry) = (self.path(e), self.entry(e));
        let size = self.size(e);
        self.push(name, path, size, entry);
    }

    /// Declares the variables that run over `range`.
    fn push_loop(&mut self, fold: &Fold) {
        let range = &fold.range;
        let entry = self.entry(range);
        let list = entry.map_or_else(
            || matches!(self.checked.type_of(range), Type::List(_)),
            |e| e.list,
        );
        let (key, value) = (entry.map(|e| e.key), entry.map(|e| e.value));
        let (keys, values) = if list {
            ("@indices", "@items")
        } else {
            ("@keys", "@values")
        };
        match &fold.var2 {
            Some(var2) => {
                let path = self.extended(range, keys);
                self.push(&fold.var, path, key, None);
                let path = self.extended(range, values);
                self.push(var2, path, value, None);
            }
            None if list => {
                let path = self.extended(range, values);
                self.push(&fold.var, path, value, None);
            }
            None => {
                let path = self.extended(range, keys);
                self.push(&fold.var, path, key, None);
            }
        }
    }

    fn fold(&mut self, e: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let depth = self.locals.len();
        self.push_value(&fold.accu, &fold.init);
        self.push_loop(fold);
        let round = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(depth + 1);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(depth);
        let rounds = self.size_or_unknown(&fold.range);
        sum = sum.plus(rounds.times(round));
        match &fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.set_size(e, size);
            }
            Kind::List(_) | Kind::Map(_) => {
                self.set_size(e, Some(rounds));
                let entry = self.entry(&fold.step);
                self.set_entry(e, entry);
            }
            _ => {}
        }
        sum
    }

    /// A fold over nothing gives a value a name.
    fn bind(&mut self, e: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let depth = self.locals.len();
        self.push_value(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(depth);
        self.copy_sizes(e, &fold.result);
        sum
    }
}
