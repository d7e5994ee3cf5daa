//! The tree of an expression, macros already expanded.

use crate::Str;

/// Names the accumulator of a macro; no source text can spell it.
pub const ACCUMULATOR: &str = "@result";

/// One node. `id` is its place in the checker's tables, `at` where it stands in the source
/// (in characters), `height` how deep the tree below it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub id: u32,
    pub at: u32,
    pub height: u16,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Str),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Literal(Literal),
    Ident(Str),
    Select {
        operand: Box<Expr>,
        field: Str,
        /// `has(operand.field)`
        test: bool,
    },
    Call {
        function: Str,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List(Vec<Item>),
    Map(Vec<Entry>),
    Struct {
        name: Str,
        fields: Vec<FieldInit>,
    },
    Fold(Box<Fold>),
}

/// An element of a list, `?element` when optional.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub optional: bool,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub optional: bool,
    pub key: Expr,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldInit {
    pub at: u32,
    pub optional: bool,
    pub name: Str,
    pub value: Expr,
}

/// What the macros become: `accu = init; for var in range while condition { accu = step } result`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    pub range: Expr,
    pub var: Str,
    pub var2: Option<Str>,
    pub accu: Str,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

/// A parsed expression; `nodes` ids have been given out.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub expr: Expr,
    pub nodes: u32,
}

impl Kind {
    /// Visits the nodes directly below.
    pub fn children(&self, visit: &mut dyn FnMut(&Expr)) {
        match self {
            Self::Literal(_) | Self::Ident(_) => {}
            Self::Select { operand, .. } => visit(operand),
            Self::Call { target, args, .. } => {
                if let Some(target) = target {
                    visit(target);
                }
                args.iter().for_each(visit);
            }
            Self::List(items) => items.iter().for_each(|i| visit(&i.value)),
            Self::Map(entries) => {
                for e in entries {
                    visit(&e.key);
                    visit(&e.value);
                }
            }
            Self::Struct { fields, .. } => fields.iter().for_each(|f| visit(&f.value)),
            Self::Fold(f) => {
                for e in [&f.range, &f.init, &f.condition, &f.step, &f.result] {
                    visit(e);
                }
            }
        }
    }

    pub fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        match self {
            Self::Literal(_) | Self::Ident(_) => {}
            Self::Select { operand, .. } => visit(operand),
            Self::Call { target, args, .. } => {
                if let Some(target) = target {
                    visit(target);
                }
                args.iter_mut().for_each(visit);
            }
            Self::List(items) => items.iter_mut().for_each(|i| visit(&mut i.value)),
            Self::Map(entries) => {
                for e in entries {
                    visit(&mut e.key);
                    visit(&mut e.value);
                }
            }
            Self::Struct { fields, .. } => fields.iter_mut().for_each(|f| visit(&mut f.value)),
            Self::Fold(f) => {
                let f = &mut **f;
                for e in [
                    &mut f.range,
                    &mut f.init,
                    &mut f.condition,
                    &mut f.step,
                    &mut f.result,
                ] {
                    visit(e);
                }
            }
        }
    }

    #[must_use]
    pub fn height(&self) -> u16 {
        let mut highest = 0;
        self.children(&mut |e| highest = highest.max(e.height));
        highest.saturating_add(1)
    }
}

impl Expr {
    #[must_use]
    pub fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            _ => None,
        }
    }

    /// `a.b.c` as one name, where the expression is nothing else.
    #[must_use]
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select {
                operand,
                field,
                test: false,
            } => Some(format!("{}.{field}", operand.qualified_name()?)),
            _ => None,
        }
    }

    #[must_use]
    pub fn literal(&self) -> Option<&Literal> {
        match &self.kind {
            Kind::Literal(literal) => Some(literal),
            _ => None,
        }
    }
}
