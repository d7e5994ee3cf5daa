//! Types of expressions and the checker's algebra on them (cel-go `checker/types.go`).

use super::decl::{Decl, DeclKind};
use crate::Str;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Type {
    Dyn,
    /// A declared value of which nothing is known: as `dyn`, but called otherwise.
    Any,
    /// What something wrong has, so that one mistake is reported once.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// A type parameter of an overload, or one the checker made.
    Param(Str),
    /// A value with declared fields.
    Object(Arc<ObjectType>),
    /// `optional_type(T)`, `net.IP`
    Opaque(Str, Arc<[Type]>),
}

/// The declared fields of a value, known by name.
#[derive(Debug)]
pub struct ObjectType {
    pub name: Str,
    pub decl: Arc<Decl>,
}

impl ObjectType {
    /// Whether it is a library's own type, without fields.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        let DeclKind::Object(object) = &self.decl.kind else {
            return false;
        };
        // A policy without variables still has a place for them.
        self.name.starts_with("kubernetes.")
            && self.name != "kubernetes.variables"
            && object.fields.is_empty()
    }

    #[must_use]
    pub fn field(&self, name: &str, keywords: bool) -> Option<Type> {
        if matches!(self.decl.kind, DeclKind::Dyn) {
            return Some(Type::Dyn);
        }
        let DeclKind::Object(object) = &self.decl.kind else {
            return None;
        };
        // With `keywords`, words of the language are fields: `self.namespace`.
        let field = object.fields.get(name).or_else(|| {
            object.fields.get(
                &super::escape::escape(name)
                    .filter(|_| keywords && super::escape::is_reserved(name))?,
            )
        })?;
        Some(field.decl.type_named(&format!("{}.{name}", self.name)))
    }
}

/// The name of the type of optional values.
pub const OPTIONAL: &str = "optional_type";

/// Types of more parts are refused: expressions can double them at every step.
const MAX_PARTS: usize = 128;

impl Eq for Type {}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a, x), Self::Map(b, y)) => a == b && x == y,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Opaque(a, x), Self::Opaque(b, y)) => a == b && x == y,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Type {
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    #[must_use]
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    #[must_use]
    pub fn optional(of: Self) -> Self {
        Self::Opaque(OPTIONAL.into(), Arc::new([of]))
    }

    /// `T` of `optional_type(T)`
    #[must_use]
    pub fn inside_optional(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if name == OPTIONAL => params.first(),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any | Self::Error)
    }

    /// Whether it has more parts than a type may have.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        fn count(t: &Type, left: &mut usize) -> bool {
            let Some(rest) = left.checked_sub(1) else {
                return false;
            };
            *left = rest;
            match t {
                Type::List(of) | Type::Type(Some(of)) => count(of, left),
                Type::Map(k, v) => count(k, left) && count(v, left),
                Type::Opaque(_, params) => params.iter().all(|p| count(p, left)),
                _ => true,
            }
        }
        !count(self, &mut MAX_PARTS.clone())
    }

    /// Bool, numbers, times: values of size 1.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        match self {
            Self::Bool
            | Self::Double
            | Self::Duration
            | Self::Int
            | Self::Timestamp
            | Self::Uint => true,
            _ => self.inside_optional().is_some_and(Self::is_scalar),
        }
    }

    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Null | Self::Opaque(..) | Self::Object(_) | Self::Duration | Self::Timestamp
        )
    }

    /// Reads `list(map(string, A))`; a lone capital letter is a parameter. For tables of functions.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (name, inner) = match text.split_once('(') {
            Some((name, inner)) => (name, inner.strip_suffix(')').unwrap_or(inner)),
            None => (text, ""),
        };
        let params = split_top(inner);
        let param = |i: usize| params.get(i).map_or(Self::Dyn, |p| Self::parse(p));
        match name {
            "dyn" => Self::Dyn,
            "null_type" => Self::Null,
            "bool" => Self::Bool,
            "int" => Self::Int,
            "uint" => Self::Uint,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "timestamp" => Self::Timestamp,
            "duration" => Self::Duration,
            "list" => Self::list(param(0)),
            "map" => Self::map(param(0), param(1)),
            "type" => Self::Type(params.first().map(|p| Arc::new(Self::parse(p)))),
            _ if name.len() == 1 && name.chars().all(|c| c.is_ascii_uppercase()) => {
                Self::Param(name.into())
            }
            _ if name.starts_with("kubernetes.") => Self::named(name),
            _ => Self::Opaque(name.into(), params.iter().map(|p| Self::parse(p)).collect()),
        }
    }

    /// A type with fields nobody declared.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::Object(Arc::new(ObjectType {
            name: name.into(),
            decl: Arc::new(Decl::fields(name, [])),
        }))
    }

    /// As `type(x)` calls it.
    #[must_use]
    pub fn runtime_name(&self) -> &str {
        match self {
            Self::Dyn => "dyn",
            Self::Any => "google.protobuf.Any",
            Self::Error => "error",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Type(_) => "type",
            Self::Param(name) | Self::Opaque(name, _) => name,
            Self::Object(object) => &object.name,
        }
    }
}

/// Cuts at commas outside parentheses.
pub(crate) fn split_top(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                out.push(text[from..i].trim());
                from = i + 1;
            }
            _ => {}
        }
    }
    if !text[from..].trim().is_empty() {
        out.push(text[from..].trim());
    }
    out
}

/// As cel-go's messages name types.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("!error!"),
            Self::Any => f.write_str("any"),
            Self::Null => f.write_str("null"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Opaque(name, params) if !params.is_empty() => {
                let params: Vec<String> = params.iter().map(ToString::to_string).collect();
                write!(f, "{name}({})", params.join(", "))
            }
            other => f.write_str(other.runtime_name()),
        }
    }
}

/// What type parameters stand for.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    known: HashMap<Str, Type>,
    /// What was before each change, so that a failed attempt can be taken back.
    journal: Vec<(Str, Option<Type>)>,
}

impl Mapping {
    pub(crate) fn set(&mut self, param: Str, to: Type) {
        let before = self.known.insert(param.clone(), to);
        self.journal.push((param, before));
    }

    fn attempt(&mut self, fits: impl FnOnce(&mut Self) -> bool) -> bool {
        self.journal.clear();
        let fits = fits(self);
        if !fits {
            while let Some((param, before)) = self.journal.pop() {
                match before {
                    Some(t) => self.known.insert(param, t),
                    None => self.known.remove(&param),
                };
            }
        }
        fits
    }

    fn of(&self, t: &Type) -> Option<&Type> {
        match t {
            Type::Param(name) => self.known.get(name),
            _ => None,
        }
    }

    /// `t` with its parameters replaced; those still free become `dyn` when asked for.
    pub(crate) fn substitute(&self, t: &Type, free_to_dyn: bool) -> Type {
        if let Some(to) = self.of(t) {
            return self.substitute(to, free_to_dyn);
        }
        let sub = |t: &Type| self.substitute(t, free_to_dyn);
        match t {
            Type::Param(_) if free_to_dyn => Type::Dyn,
            Type::List(of) => Type::list(sub(of)),
            Type::Map(k, v) => Type::map(sub(k), sub(v)),
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(sub(of)))),
            Type::Opaque(name, params) if !params.is_empty() => {
                Type::Opaque(name.clone(), params.iter().map(sub).collect())
            }
            other => other.clone(),
        }
    }

    /// Whether a value of `from` may stand where `to` is wanted; learns what parameters must be.
    pub(crate) fn assign(&mut self, to: &Type, from: &Type) -> bool {
        self.attempt(|m| m.assignable(to, from))
    }

    pub(crate) fn assign_all(&mut self, to: &[Type], from: &[Type]) -> bool {
        self.attempt(|m| {
            to.len() == from.len() && to.iter().zip(from).all(|(t, f)| m.assignable(t, f))
        })
    }

    fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        if matches!(b, Type::Param(_)) {
            match self.settle(a, b) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if matches!(a, Type::Param(_)) {
            return self.settle(b, a).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        if matches!(a, Type::Null) {
            return b.is_nullable();
        }
        if matches!(b, Type::Null) {
            return a.is_nullable();
        }
        match (a, b) {
            (Type::List(a), Type::List(b)) => self.assignable(a, b),
            (Type::Map(a, x), Type::Map(b, y)) => self.assignable(a, b) && self.assignable(x, y),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Opaque(a, x), Type::Opaque(b, y)) => {
                a == b
                    && x.len() == y.len()
                    && x.iter().zip(y.iter()).all(|(x, y)| self.assignable(x, y))
            }
            _ => a == b,
        }
    }

    /// Lets parameter `param` be `t`: (possible, it already was something).
    fn settle(&mut self, t: &Type, param: &Type) -> (bool, bool) {
        if t == param {
            return (true, true);
        }
        let Type::Param(name) = param else {
            return (false, false);
        };
        if let Some(known) = self.of(param).cloned() {
            if *t == known {
                return (true, true);
            }
            if self.assignable(t, &known) {
                let general = most_general(t, &known);
                if self.is_free_of(param, &general) {
                    self.set(name.clone(), general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.is_free_of(param, t) {
            self.set(name.clone(), t.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether `param` does not occur within `t`: a type cannot contain itself.
    fn is_free_of(&self, param: &Type, t: &Type) -> bool {
        if param == t {
            return false;
        }
        match t {
            Type::Param(_) => self.of(t).is_none_or(|to| self.is_free_of(param, to)),
            Type::List(of) | Type::Type(Some(of)) => self.is_free_of(param, of),
            Type::Map(k, v) => self.is_free_of(param, k) && self.is_free_of(param, v),
            Type::Opaque(_, params) => params.iter().all(|p| self.is_free_of(param, p)),
            _ => true,
        }
    }
}

pub(crate) fn most_general(a: &Type, b: &Type) -> Type {
    if is_equal_or_wider(a, b) { a } else { b }.clone()
}

fn is_equal_or_wider(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Any | Type::Param(_), _) | (Type::Type(_), Type::Type(_)) => true,
        (_, Type::Dyn | Type::Any | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) => is_equal_or_wider(a, b),
        (Type::Map(a, x), Type::Map(b, y)) => is_equal_or_wider(a, b) && is_equal_or_wider(x, y),
        (Type::Opaque(a, x), Type::Opaque(b, y)) => {
            a == b
                && x.len() == y.len()
                && x.iter().zip(y.iter()).all(|(x, y)| is_equal_or_wider(x, y))
        }
        _ => a == b,
    }
}
