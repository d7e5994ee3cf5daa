//! Literals that can never work, and lists and maps of mixed types, are refused when an expression is
//! compiled (cel-go `cel/validator.go`).

use super::ast::{Entry, Expr, Item, Kind, Literal};
use super::check::Checked;
use super::issues::Issues;
use super::types::Type;
use crate::go_regex;
use crate::time::{Instant, parse_duration};

pub(crate) fn validate(checked: &Checked, minor: u16) -> Result<(), Issues> {
    let mut issues = Issues::default();
    let mut look = Look {
        checked,
        issues: &mut issues,
        values: minor >= 29,
    };
    look.at(&checked.expr, false);
    if issues.is_empty() {
        Ok(())
    } else {
        Err(issues)
    }
}

struct Look<'c> {
    checked: &'c Checked,
    issues: &'c mut Issues,
    /// Kubernetes 1.29 and later look at values, too.
    values: bool,
}

impl Look<'_> {
    /// `exempt`: within the arguments of `format`, which may be of different types.
    fn at(&mut self, e: &Expr, exempt: bool) {
        let mut below_exempt = exempt;
        match &e.kind {
            Kind::Call { function, args, .. } if self.values => {
                below_exempt |= function == "format";
                if let Some(arg) = args.first()
                    && let Some(literal) = arg.literal()
                    && !is_good(function, literal)
                {
                    let message = format!("invalid {function} argument");
                    self.issues.add(arg.at, message);
                }
                super::clauses::check(self.checked, e, self.issues);
            }
            Kind::List(items) if !exempt => self.list(items),
            Kind::Map(entries) if !exempt => self.map(entries),
            _ => {}
        }
        e.kind.children(&mut |child| self.at(child, below_exempt));
    }

    /// The first element that differs from the first one.
    fn list(&mut self, items: &[Item]) {
        let of = |i: &Item| plain(self.checked.type_of(&i.value), i.optional).clone();
        let Some(first) = items.first().map(of) else {
            return;
        };
        if let Some(other) = items.iter().find(|i| of(i) != first) {
            let found = of(other);
            self.mismatch(other.value.at, &first, &found);
        }
    }

    /// Every key and every value that differs from the first one.
    fn map(&mut self, entries: &[Entry]) {
        let key = |e: &Entry| self.checked.type_of(&e.key).clone();
        let value = |e: &Entry| plain(self.checked.type_of(&e.value), e.optional).clone();
        let Some(first) = entries.first() else {
            return;
        };
        let (first_key, first_value) = (key(first), value(first));
        let found: Vec<(u32, Type, u32, Type)> = entries
            .iter()
            .map(|e| (e.key.at, key(e), e.value.at, value(e)))
            .collect();
        for (key_at, key, value_at, value) in found {
            if key != first_key {
                self.mismatch(key_at, &first_key, &key);
            }
            if value != first_value {
                self.mismatch(value_at, &first_value, &value);
            }
        }
    }

    fn mismatch(&mut self, at: u32, expected: &Type, found: &Type) {
        let message = format!("expected type '{expected}' but found '{found}'");
        self.issues.add(at, message);
    }
}

fn plain(t: &Type, optional: bool) -> &Type {
    match t.inside_optional() {
        Some(inner) if optional => inner,
        _ => t,
    }
}

fn is_good(function: &str, literal: &Literal) -> bool {
    match (function, literal) {
        ("duration", Literal::String(s)) => parse_duration(s).is_ok(),
        ("timestamp", Literal::String(s)) => Instant::parse(s).is_ok_and(super::lib::in_range),
        ("duration", Literal::Int(_)) => false,
        ("timestamp", Literal::Int(i)) => super::lib::in_range(Instant {
            seconds: *i,
            nanos: 0,
        }),
        ("matches", Literal::String(s)) => go_regex::compile(s).is_ok(),
        _ => true,
    }
}
