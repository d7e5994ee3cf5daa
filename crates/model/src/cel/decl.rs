//! Declared shapes of objects: what the checker knows of `self` or `object`, how JSON becomes CEL
//! values, and how large they can be (apiserver `pkg/cel/types.go`, `pkg/cel/common/schemas.go`).

use super::types::{ObjectType, Type};
use crate::Str;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest request, which bounds every value in it (apiserver `pkg/apis/cel/config.go`).
pub const MAX_REQUEST: u64 = 3 * 1024 * 1024;

/// The shape of one value.
#[derive(Clone, Debug)]
pub struct Decl {
    pub kind: DeclKind,
    /// The fewest bytes such a value takes as JSON.
    pub min_size: u64,
    /// The most characters, items or entries it can have.
    pub max_elements: u64,
}

#[derive(Clone, Debug)]
pub enum DeclKind {
    /// Anything, as it is.
    Dyn,
    /// The same, of a known size.
    Any,
    /// An integer or a string.
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    /// A string in base64.
    Bytes,
    Duration,
    Date,
    Timestamp,
    List(Arc<Decl>, ListKind),
    Map(Arc<Decl>),
    Object(Object),
}

/// What makes elements of a list the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Set,
    /// Elements with equal values in these fields.
    Map(Vec<Str>),
}

#[derive(Clone, Debug)]
pub struct Object {
    /// `object` until a name is given.
    pub name: Str,
    /// By escaped name.
    pub fields: BTreeMap<Str, Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    /// As in JSON.
    pub name: Str,
    pub decl: Arc<Decl>,
}

static DYN: Decl = Decl::plain(DeclKind::Dyn, 1, MAX_REQUEST);

impl Decl {
    #[must_use]
    pub const fn plain(kind: DeclKind, min_size: u64, max_elements: u64) -> Self {
        Self {
            kind,
            min_size,
            max_elements,
        }
    }

    /// The shape of what nobody declared.
    #[must_use]
    pub fn dynamic() -> &'static Self {
        &DYN
    }

    /// An object whose fields can be named as they are.
    #[must_use]
    pub fn fields<'f>(name: &str, fields: impl IntoIterator<Item = (&'f str, Self)>) -> Self {
        let object = Object {
            name: name.into(),
            fields: BTreeMap::new(),
        };
        let mut decl = Self::plain(DeclKind::Object(object), 2, 0);
        for (name, field) in fields {
            decl.declare(name, field);
        }
        decl
    }

    /// Gives an object one more field, in place of one of that name.
    pub(crate) fn declare(&mut self, name: &str, decl: Self) {
        if let DeclKind::Object(object) = &mut self.kind {
            let field = Field {
                name: name.into(),
                decl: Arc::new(decl),
            };
            object.fields.insert(name.into(), field);
        }
    }

    /// The type of such values; objects without a name of their own get `name`.
    #[must_use]
    pub fn type_named(self: &Arc<Self>, name: &str) -> Type {
        match &self.kind {
            DeclKind::Dyn | DeclKind::IntOrString => Type::Dyn,
            DeclKind::Any => Type::Any,
            DeclKind::Bool => Type::Bool,
            DeclKind::Int => Type::Int,
            DeclKind::Double => Type::Double,
            DeclKind::String => Type::String,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Duration => Type::Duration,
            DeclKind::Date | DeclKind::Timestamp => Type::Timestamp,
            DeclKind::List(of, _) => Type::list(of.type_named(&format!("{name}.@idx"))),
            DeclKind::Map(of) => Type::map(Type::String, of.type_named(&format!("{name}.@elem"))),
            DeclKind::Object(object) => Type::Object(Arc::new(ObjectType {
                name: if object.name == "object" {
                    name.into()
                } else {
                    object.name.clone()
                },
                decl: Arc::clone(self),
            })),
        }
    }

    /// The shape of elements or values.
    #[must_use]
    pub fn element(&self) -> Option<&Self> {
        match &self.kind {
            DeclKind::List(of, _) | DeclKind::Map(of) => Some(of),
            _ => None,
        }
    }
}
