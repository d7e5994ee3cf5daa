//! Values while an expression runs. JSON is looked at through its declared shape, never copied.

use super::decl::{Decl, DeclKind, ListKind, Object};
use super::message::Message;
use super::types::{OPTIONAL, Type};
use crate::strategic::go_type;
use crate::time::{Instant, parse_duration};
use crate::{Map, Value, bytes64};
use std::any::Any;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::ops::Deref;
use std::rc::Rc;

/// Why an expression has no value. `&&`, `||` and their folds can absorb it, unless `fatal`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub message: String,
    /// The budget is spent: nothing more is evaluated.
    pub fatal: bool,
}

pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fatal: false,
        }
    }

    #[must_use]
    pub fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    /// As cel-go says that the cost limit is exceeded (`interpreter/runtimecost.go`).
    #[must_use]
    pub fn out_of_budget() -> Self {
        Self {
            message: "operation cancelled: actual cost limit exceeded".into(),
            fatal: true,
        }
    }
}

/// A value. Cloning is cheap: everything large is borrowed or shared.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Rc<[u8]>),
    Timestamp(Instant),
    /// nanoseconds
    Duration(i64),
    List(List<'a>),
    Map(Entries<'a>),
    Type(Rc<Type>),
    Optional(Option<Rc<Val<'a>>>),
    Opaque(Rc<dyn Opaque>),
    /// What `Object{…}` or `JSONPatch{…}` made.
    Message(Rc<Message<'a>>),
}

/// A value of a library: a quantity, an address, a decision.
pub trait Opaque: Debug {
    /// `kubernetes.Quantity`
    fn type_name(&self) -> &'static str;
    /// `other` has the same type name.
    fn equals(&self, other: &dyn Opaque) -> bool;
    /// Whether it can be asked for equality at all.
    fn is_comparable(&self) -> bool {
        true
    }
    /// For costs: how large it is.
    fn size(&self) -> u64 {
        1
    }
    /// For messages: its type, and what tells it from others.
    fn text(&self) -> String {
        self.type_name().to_owned()
    }
    fn as_any(&self) -> &dyn Any;
}

/// A string, borrowed from the object or the expression where possible.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(s) => s,
            Self::Shared(s) => s,
        }
    }
}

impl Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

#[derive(Clone, Debug)]
pub enum List<'a> {
    Json(&'a [Value], &'a Decl),
    Made(Rc<Vec<Val<'a>>>),
}

#[derive(Clone, Debug)]
pub enum Entries<'a> {
    Json(&'a Map, &'a Decl),
    Made(Rc<MadeMap<'a>>),
}

/// A map that an expression made: entries in the order they came.
#[derive(Clone, Debug, Default)]
pub struct MadeMap<'a> {
    entries: Vec<(Val<'a>, Val<'a>)>,
    index: HashMap<Key, usize>,
}

/// Keys that are equal as CEL numbers are one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Bool(bool),
    Number(i128),
    String(Rc<str>),
}

fn key_of(val: &Val) -> Option<Key> {
    match val {
        Val::Bool(b) => Some(Key::Bool(*b)),
        Val::Int(i) => Some(Key::Number((*i).into())),
        Val::Uint(u) => Some(Key::Number((*u).into())),
        Val::Double(d) if d.fract() == 0.0 && d.abs() < 1.9e19 =>
        {
            #[allow(clippy::cast_possible_truncation, reason = "checked: whole and small")]
            Some(Key::Number(*d as i128))
        }
        Val::String(s) => Some(Key::String(Rc::from(&**s))),
        _ => None,
    }
}

impl<'a> MadeMap<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts an entry in; `false` when it replaced one under this key.
    pub fn insert(&mut self, key: Val<'a>, value: Val<'a>) -> bool {
        let Some(name) = key_of(&key) else {
            // cel-go makes such maps, and finds nothing under such keys.
            self.entries.push((key, value));
            return true;
        };
        match self.index.get(&name) {
            Some(at) => {
                self.entries[*at].1 = value;
                false
            }
            None => {
                self.index.insert(name, self.entries.len());
                self.entries.push((key, value));
                true
            }
        }
    }

    #[must_use]
    pub fn get(&self, key: &Val) -> Option<&Val<'a>> {
        let at = self.index.get(&key_of(key)?)?;
        Some(&self.entries[*at].1)
    }

    #[must_use]
    pub fn entries(&self) -> &[(Val<'a>, Val<'a>)] {
        &self.entries
    }
}

impl<'a> List<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Errors
    /// There is no such element, or it has not the declared shape.
    pub fn get(&self, index: usize) -> Outcome<Val<'a>> {
        match self {
            Self::Json(items, decl) => {
                let element = decl.element().unwrap_or(Decl::dynamic());
                items.get(index).map(|v| Val::of(v, element)).transpose()
            }
            Self::Made(items) => Ok(items.get(index).cloned()),
        }?
        .ok_or_else(|| Failure::new(format!("index out of bounds: {index}")))
    }

    /// What makes its elements the same.
    #[must_use]
    pub fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, decl) => match &decl.kind {
                DeclKind::List(_, kind) => kind,
                _ => &ListKind::Atomic,
            },
            Self::Made(_) => &ListKind::Atomic,
        }
    }

    /// All elements, made as they are asked for.
    pub fn iter(&self) -> impl Iterator<Item = Outcome<Val<'a>>> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }
}

impl<'a> Entries<'a> {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Made(map) => map.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under `key`, if there is one.
    ///
    /// # Errors
    /// The value has not the declared shape.
    pub fn find(&self, key: &Val) -> Outcome<Option<Val<'a>>> {
        match (self, key) {
            (Self::Json(..), Val::String(key)) => self.field(key),
            (Self::Json(_, decl), _) if matches!(decl.kind, DeclKind::Dyn) => Ok(None),
            (Self::Json(..), _) => Err(Failure::no_such_overload()),
            (Self::Made(map), key) => Ok(map.get(key).cloned()),
        }
    }

    /// The value under a string key.
    ///
    /// # Errors
    /// The value has not the declared shape.
    pub fn field(&self, key: &str) -> Outcome<Option<Val<'a>>> {
        let (map, decl) = match self {
            Self::Json(map, decl) => (*map, *decl),
            Self::Made(map) => return Ok(map.get(&Val::String(Text::Borrowed(key))).cloned()),
        };
        match &decl.kind {
            DeclKind::Object(object) => {
                let Some(field) = object.named(key) else {
                    return Ok(None);
                };
                map.get(&field.name)
                    .filter(|v| !v.is_null())
                    .map(|v| Val::of(v, &field.decl))
                    .transpose()
            }
            DeclKind::Map(of) => map.get(key).map(|v| Val::of(v, of)).transpose(),
            _ => map
                .get(key)
                .map(|v| Val::of(v, Decl::dynamic()))
                .transpose(),
        }
    }

    /// The keys that an expression can see.
    #[must_use]
    pub fn keys(&self) -> Vec<Val<'a>> {
        let text = |s: &'a str| Val::String(Text::Borrowed(s));
        match self {
            Self::Made(map) => map.entries.iter().map(|(k, _)| k.clone()).collect(),
            Self::Json(map, decl) => match &decl.kind {
                DeclKind::Object(object) => object
                    .fields
                    .iter()
                    .filter(|(_, f)| map.contains_key(&f.name))
                    .map(|(name, _)| text(name))
                    .collect(),
                _ => map.keys().map(text).collect(),
            },
        }
    }
}

impl<'a> Val<'a> {
    #[must_use]
    pub fn text(s: &str) -> Self {
        Self::String(Text::Shared(s.into()))
    }

    #[must_use]
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Made(Rc::new(items)))
    }

    #[must_use]
    pub fn some(self) -> Self {
        Self::Optional(Some(Rc::new(self)))
    }

    /// JSON as a value of the declared shape.
    ///
    /// # Errors
    /// It has another shape.
    pub fn of(value: &'a Value, decl: &'a Decl) -> Outcome<Self> {
        let wrong = |want: &str| {
            Err(Failure::new(format!(
                "invalid data, expected {want}, got {}",
                go_type(value)
            )))
        };
        Ok(match (&decl.kind, value) {
            (DeclKind::Dyn | DeclKind::Any, value) => Self::plain(value, decl),
            (DeclKind::IntOrString, Value::Int(_) | Value::String(_)) => Self::plain(value, decl),
            (DeclKind::IntOrString, _) => {
                return Err(Failure::new(
                    "invalid data, expected XIntOrString value to be either a string or integer",
                ));
            }
            (_, Value::Null) => Self::Null,
            (DeclKind::Bool, Value::Bool(b)) => Self::Bool(*b),
            (DeclKind::Bool, _) => return wrong("bool"),
            (DeclKind::Int, Value::Int(i)) => Self::Int(*i),
            (DeclKind::Int, _) => return wrong("int"),
            #[allow(clippy::cast_precision_loss, reason = "as upstream")]
            (DeclKind::Double, Value::Int(i)) => Self::Double(*i as f64),
            (DeclKind::Double, Value::Float(f)) => Self::Double(*f),
            (DeclKind::Double, _) => return wrong("float"),
            (DeclKind::String, Value::String(s)) => Self::String(Text::Borrowed(s)),
            (kind, Value::String(s)) => match kind {
                DeclKind::Bytes | DeclKind::Duration | DeclKind::Date | DeclKind::Timestamp => {
                    formatted(kind, s)?
                }
                _ => return wrong_kind(kind),
            },
            (DeclKind::List(..), Value::Array(items)) => Self::List(List::Json(items, decl)),
            (DeclKind::Map(_) | DeclKind::Object(_), Value::Object(map)) => {
                Self::Map(Entries::Json(map, decl))
            }
            (DeclKind::List(..) | DeclKind::Map(_) | DeclKind::Object(_), _) => {
                return wrong_kind(&decl.kind);
            }
            _ => return wrong("string"),
        })
    }

    fn plain(value: &'a Value, decl: &'a Decl) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(*i),
            Value::Float(f) => Self::Double(*f),
            Value::String(s) => Self::String(Text::Borrowed(s)),
            Value::Array(items) => Self::List(List::Json(items, decl)),
            Value::Object(map) => Self::Map(Entries::Json(map, decl)),
        }
    }

    /// The type this value has while running.
    #[must_use]
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Type(_) => Type::Type(None),
            Self::Optional(_) => Type::Opaque(OPTIONAL.into(), [].into()),
            Self::Opaque(o) => Type::parse(o.type_name()),
            Self::Message(m) => Type::named(&m.name),
        }
    }

    #[must_use]
    pub fn type_name(&self) -> String {
        self.type_of().runtime_name().to_owned()
    }

    /// How large it is, for costs: characters, bytes, elements; 1 for everything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::String(s) => s.chars().count() as u64,
            Self::Bytes(b) => b.len() as u64,
            Self::List(l) => l.len() as u64,
            Self::Map(m) => m.len() as u64,
            Self::Optional(Some(v)) => v.size(),
            Self::Opaque(o) => o.size(),
            _ => 1,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// The library's own value behind it.
    #[must_use]
    pub fn downcast<T: Any>(&self) -> Option<&T> {
        match self {
            Self::Opaque(o) => o.as_any().downcast_ref(),
            _ => None,
        }
    }
}

fn wrong_kind<T>(kind: &DeclKind) -> Outcome<T> {
    Err(Failure::new(match kind {
        DeclKind::List(..) => {
            "invalid data, expected an array for the provided schema with type=array"
        }
        DeclKind::Map(_) | DeclKind::Object(_) => {
            "invalid data, expected a map for the provided schema with type=object"
        }
        _ => "invalid data, expected another type for the provided schema",
    }))
}

/// Strings whose format makes them something else (`pkg/cel/common/valuesunstructured.go`).
fn formatted<'a>(kind: &DeclKind, text: &str) -> Outcome<Val<'a>> {
    let fail = |what: &str, why: String| Err(Failure::new(format!("Invalid {what} {text}: {why}")));
    match kind {
        DeclKind::Bytes => match bytes64::decode(text) {
            Ok(bytes) => Ok(Val::Bytes(bytes.into())),
            Err(why) => fail("byte formatted string", why),
        },
        DeclKind::Duration => match parse_duration(text) {
            Ok(nanos) => Ok(Val::Duration(nanos)),
            Err(why) => fail("duration", why),
        },
        DeclKind::Date => match Instant::parse(&format!("{text}T00:00:00Z")) {
            Ok(at) => Ok(Val::Timestamp(at)),
            Err(why) => fail("date formatted string", why),
        },
        _ => match Instant::parse(text) {
            Ok(at) => Ok(Val::Timestamp(at)),
            Err(why) => fail("date-time formatted string", why),
        },
    }
}

impl Object {
    /// The field that `key` means: as escaped, or as in JSON where that is no escape sequence.
    fn named(&self, key: &str) -> Option<&super::decl::Field> {
        self.fields.get(key).or_else(|| {
            let json = super::escape::unescape(key)?;
            self.fields.get(&super::escape::escape(&json)?)
        })
    }

    /// Whether an expression can name a field of this name in JSON.
    #[must_use]
    pub fn names(&self, json: &str) -> bool {
        super::escape::escape(json).is_some_and(|escaped| self.fields.contains_key(&escaped))
    }
}

impl From<bool> for Val<'_> {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<i64> for Val<'_> {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<String> for Val<'_> {
    fn from(v: String) -> Self {
        Self::String(Text::Shared(v.into()))
    }
}
