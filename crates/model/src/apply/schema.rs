//! Types as structured-merge-diff sees them: what kube-openapi `pkg/schemaconv` makes of the
//! published schemas.

use super::set::Elem;
use crate::catalogue::{Field, ListKind, Shape, Struct, TypeId, Types};
use crate::{Map, Str, Value};

/// The type of one place.
#[derive(Clone, Copy)]
pub(crate) struct Ty<'a> {
    types: &'a Types,
    kind: TyKind,
}

#[derive(Clone, Copy)]
enum TyKind {
    /// a declared type; `Some`: this place says whether it is atomic
    Declared(TypeId, Option<bool>),
    /// free-form: maps are granular, lists atomic
    Deduced,
    /// free-form and atomic throughout
    Untyped,
}

/// What a place holds, given its value.
#[derive(Clone, Copy)]
pub(crate) enum Atom<'a> {
    Scalar(Scalar),
    List(List<'a>),
    Map(Fields<'a>),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scalar {
    Numeric,
    String,
    Bool,
    Any,
}

#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    pub(crate) item: Ty<'a>,
    pub(crate) kind: &'a ListKind,
}

/// Fields of a struct or map.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    types: &'a Types,
    declared: Option<&'a Struct>,
    rest: Option<Ty<'a>>,
    pub(crate) atomic: bool,
}

impl<'a> Ty<'a> {
    pub(crate) fn root(types: &'a Types, root: TypeId) -> Self {
        Self {
            types,
            kind: TyKind::Declared(root, None),
        }
    }

    fn with(self, kind: TyKind) -> Self {
        Self { kind, ..self }
    }

    /// What the type is for `value`: free-form types take the form of the value, and so does
    /// nothing (null or absent) prefer maps over scalars over lists.
    pub(crate) fn atom(self, value: Option<&Value>) -> Atom<'a> {
        let free = |rest: TyKind, atomic: bool| match value {
            Some(Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_)) => {
                Atom::Scalar(Scalar::Any)
            }
            Some(Value::Array(_)) => Atom::List(List {
                item: self.with(TyKind::Untyped),
                kind: &ListKind::Atomic,
            }),
            _ => Atom::Map(Fields {
                types: self.types,
                declared: None,
                rest: Some(self.with(rest)),
                atomic,
            }),
        };
        let (id, atomic_here) = match self.kind {
            TyKind::Declared(id, atomic) => (id, atomic),
            TyKind::Deduced => return free(TyKind::Deduced, false),
            TyKind::Untyped => return free(TyKind::Untyped, true),
        };
        match self.types.get(id) {
            Shape::Struct(s) => {
                let open = s.preserve_unknown || s.fields.is_empty();
                Atom::Map(Fields {
                    types: self.types,
                    declared: Some(s),
                    rest: open.then(|| self.with(TyKind::Deduced)),
                    atomic: atomic_here.unwrap_or(s.atomic),
                })
            }
            Shape::Map(item) => Atom::Map(Fields {
                types: self.types,
                declared: None,
                rest: Some(self.with(TyKind::Declared(*item, None))),
                atomic: atomic_here.unwrap_or(false),
            }),
            Shape::List(list) => Atom::List(List {
                item: self.with(TyKind::Declared(list.item, None)),
                kind: &list.kind,
            }),
            Shape::String | Shape::Bytes => Atom::Scalar(Scalar::String),
            Shape::Bool => Atom::Scalar(Scalar::Bool),
            Shape::Int32 | Shape::Int64 | Shape::Float => Atom::Scalar(Scalar::Numeric),
            Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration => {
                Atom::Scalar(Scalar::Any)
            }
            Shape::Raw => free(TyKind::Untyped, true),
            // A number or a string has no `type` in the published schema, but `oneOf`: to upstream's field
            // manager it may be anything, and only decoding the result refuses maps and lists. Quantities are
            // published alike, but known to it by name (kube-openapi `pkg/schemaconv/openapi.go`).
            Shape::IntOrString
            | Shape::FieldsV1
            | Shape::Json
            | Shape::SchemaOrBool(_)
            | Shape::SchemaOrArray(_)
            | Shape::SchemaOrStrings(_) => free(TyKind::Deduced, atomic_here.unwrap_or(false)),
        }
    }

    /// The type below `elem`, by the declared shape alone.
    pub(crate) fn below(self, elem: &Elem) -> Option<Self> {
        let sample = match elem {
            Elem::Field(_) => Value::object(),
            _ => Value::Array(Vec::new()),
        };
        match (self.atom(Some(&sample)), elem) {
            (Atom::Map(fields), Elem::Field(name)) => fields.ty(name),
            (Atom::List(list), Elem::Key(_)) => Some(list.item),
            _ => None,
        }
    }

    /// Whether `name` is a declared field here.
    pub(crate) fn declares(self, name: &str) -> bool {
        matches!(self.atom(Some(&Value::Object(Map::new()))), Atom::Map(f) if f.declares(name))
    }
}

impl<'a> Fields<'a> {
    fn field(&self, name: &str) -> Option<&'a Field> {
        self.declared.and_then(|s| s.field(name))
    }

    pub(crate) fn declares(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The type of a field; `None` for one that is not declared in a closed struct.
    pub(crate) fn ty(&self, name: &str) -> Option<Ty<'a>> {
        self.known(name).0
    }

    /// The same, and whether the field is declared.
    pub(crate) fn known(&self, name: &str) -> (Option<Ty<'a>>, bool) {
        let Some(f) = self.field(name) else {
            return (self.rest, false);
        };
        let atomic = (f.map_atomic || f.map_granular).then_some(f.map_atomic);
        let ty = Ty {
            types: self.types,
            kind: TyKind::Declared(f.ty, atomic),
        };
        (Some(ty), true)
    }

    /// Whether this is a free-form map without any declared field.
    pub(crate) fn is_deduced(&self) -> bool {
        let deduced = self.rest.is_some_and(|t| matches!(t.kind, TyKind::Deduced));
        deduced && self.declared.is_none_or(|s| s.fields.is_empty())
    }
}

impl List<'_> {
    pub(crate) fn is_atomic(&self) -> bool {
        *self.kind == ListKind::Atomic
    }

    /// What identifies an item.
    ///
    /// # Errors
    /// Upstream's words for items that have no identity.
    pub(crate) fn elem(&self, item: &Value) -> Result<Elem, String> {
        let keys = match self.kind {
            ListKind::Atomic => return Err("invalid indexing of non-associative list".into()),
            ListKind::Set => {
                return match item {
                    Value::Object(_) => {
                        Err("associative list without keys has an element that's a map type".into())
                    }
                    Value::Array(_) => {
                        Err("not supported: associative list with lists as elements".into())
                    }
                    Value::Null => Err(
                        "associative list without keys has an element that's an explicit null"
                            .into(),
                    ),
                    scalar => Ok(Elem::Value(scalar.clone())),
                };
            }
            ListKind::Map(keys) => keys,
        };
        let map = match item {
            Value::Object(map) => map,
            Value::Null => {
                return Err("associative list with keys may not have a null element".into());
            }
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let mut found: Vec<(Str, Value)> = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(value) = map.get(key).cloned().or_else(|| self.default_of(key)) {
                found.push((key.clone(), value));
            }
        }
        if found.is_empty() {
            let names: Vec<String> = keys.iter().map(|k| crate::field::quote(k)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                 default values for any key fields)",
                names.join(" ")
            ));
        }
        if found.len() > 1 {
            found.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Ok(Elem::Key(found))
    }

    fn default_of(&self, key: &str) -> Option<Value> {
        match self.item.atom(Some(&Value::Object(Map::new()))) {
            Atom::Map(fields) => fields.field(key)?.facts.as_ref()?.default.clone(),
            _ => None,
        }
    }
}

/// What Go writes for a new, empty object of a built-in kind: structs that are no pointers, and
/// fields without `omitempty`. A create is compared with this, so that `status: {}` is nobody's.
pub(crate) fn empty(types: &Types, id: TypeId) -> Value {
    let Shape::Struct(s) = types.get(id) else {
        return match types.get(id) {
            Shape::String => "".into(),
            Shape::Bool => Value::Bool(false),
            Shape::Int32 | Shape::Int64 | Shape::Float => Value::Int(0),
            Shape::Quantity => "0".into(),
            Shape::IntOrString => Value::Int(0),
            Shape::Duration => "0s".into(),
            _ => Value::Null,
        };
    };
    let mut map = Map::new();
    for field in s.fields.iter().filter(|f| !f.omit_empty) {
        map.insert(
            field.json.clone(),
            if field.pointer {
                Value::Null
            } else {
                empty(types, field.ty)
            },
        );
    }
    Value::Object(map)
}
