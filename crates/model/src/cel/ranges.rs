//! Ranges of sizes and costs, and what estimators of calls can ask (cel-go `checker/cost.go`).

use super::ast::Literal;
use super::decl::{Decl, DeclKind};
use super::types::Type;
use crate::Str;

/// What traversing a string costs per character.
pub const STRING: f64 = 0.1;
/// What a pattern costs per character.
pub const REGEX: f64 = 0.25;
pub const LIST_CREATE: u64 = 10;
pub const MAP_CREATE: u64 = 30;
pub const STRUCT_CREATE: u64 = 40;

/// From the least to the most a size or a cost can be; sums and products stay at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub const UNKNOWN: Self = Self {
        min: 0,
        max: u64::MAX,
    };
    pub const ZERO: Self = Self::just(0);
    pub const ONE: Self = Self::just(1);

    #[must_use]
    pub const fn just(size: u64) -> Self {
        Self {
            min: size,
            max: size,
        }
    }

    #[must_use]
    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::new(
            self.min.saturating_add(other.min),
            self.max.saturating_add(other.max),
        )
    }

    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self::new(
            self.min.saturating_mul(other.min),
            self.max.saturating_mul(other.max),
        )
    }

    /// `factor` per unit, rounded up.
    #[must_use]
    pub fn per(self, factor: f64) -> Self {
        Self::new(scaled(self.min, factor), scaled(self.max, factor))
    }

    /// Whatever is in one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::new(self.min.min(other.min), self.max.max(other.max))
    }
}

/// `size` × `factor`, rounded up, saturating.
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are computed in floating point upstream; `as` saturates"
)]
pub fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// What a call can cost without its arguments, and how large its result can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub cost: Range,
    pub size: Option<Range>,
}

impl Estimate {
    #[must_use]
    pub const fn of(cost: Range) -> Option<Self> {
        Some(Self { cost, size: None })
    }

    #[must_use]
    pub const fn sized(cost: Range, size: Range) -> Option<Self> {
        Some(Self {
            cost,
            size: Some(size),
        })
    }
}

/// An argument, as far as it is known before anything runs.
#[derive(Clone, Debug)]
pub struct Node<'e> {
    /// `self`, `spec`, `@items`: where in a declared object it comes from; empty when from nowhere.
    pub path: Vec<Str>,
    pub ty: Type,
    pub literal: Option<&'e Literal>,
    /// Its size, where that follows from the expression.
    pub size: Option<Range>,
}

/// Answers how large something can be by the declared shape of the root variable.
#[derive(Clone, Copy)]
pub struct Sizes<'d> {
    pub(crate) root: Option<&'d Decl>,
}

impl Sizes<'_> {
    /// The most elements of what stands at `path` (its first name is the variable's).
    #[must_use]
    pub fn at(&self, path: &[Str]) -> Option<Range> {
        let mut here = self.root?;
        for step in path.get(1..)? {
            here = match (step.as_str(), &here.kind) {
                ("@items" | "@values", _) => here.element()?,
                ("@keys", DeclKind::Map(_)) => return Some(Range::new(0, KEY_SIZE)),
                (name, DeclKind::Object(object)) => &object.fields.get(name)?.decl,
                // Whatever the name, an attribute of a device.
                (_, DeclKind::Map(of)) if matches!(of.kind, DeclKind::Any) => of,
                _ => return None,
            };
        }
        Some(Range::new(0, here.max_elements))
    }

    /// How large an argument can be.
    #[must_use]
    pub fn size(&self, node: &Node) -> Range {
        node.size
            .or_else(|| self.at(&node.path))
            .unwrap_or(Range::UNKNOWN)
    }

    /// The elements of a list.
    #[must_use]
    pub fn element<'e>(&self, node: &Node<'e>) -> Option<Node<'e>> {
        let ty = match &node.ty {
            Type::List(of) => (**of).clone(),
            Type::Map(key, _) => (**key).clone(),
            Type::Opaque(_, params) => params.first()?.clone(),
            Type::Type(Some(of)) => (**of).clone(),
            _ => return None,
        };
        let mut path = node.path.clone();
        if !path.is_empty() {
            path.push("@items".into());
        }
        Some(Node {
            path,
            ty,
            literal: None,
            size: None,
        })
    }
}

/// Keys of maps are strings of declared size 0 upstream: `StringType.MaxElements` is never set.
const KEY_SIZE: u64 = 0;
