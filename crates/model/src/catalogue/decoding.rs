//! What decoding knows of a struct before it sees a message of it: which bytes begin which of its
//! fields, and what is to be made of them.

use super::per_type::Lazy;
use super::{Shape, Struct, TypeId, Types};
use crate::Value;
use crate::strict::unset;
use crate::value::{Entry, Str, prefix};

pub(crate) struct Plan {
    /// by a field's first byte on the wire: one more than its place, 0 for what takes more to know; of
    /// those from 0x80 on the second byte is 1
    by_key: [u8; 256],
    pub(crate) slots: Box<[Slot]>,
    /// there are no slots: more fields than a word has bits
    pub(crate) many: bool,
    pub(crate) always_bits: u64,
    /// how many bits
    pub(crate) always: usize,
    pub(crate) spare: usize,
}

/// A field.
pub(crate) struct Slot {
    prefix: u64,
    key: Str,
    pub(crate) what: What,
    /// Go leaves it out when it is zero
    pub(crate) omit: bool,
    /// of the field, or of its items
    pub(crate) ty: TypeId,
    /// what Go writes when nothing said it
    unset: Value,
}

/// What there is a short way for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Text,
    Bool,
    Int32,
    Int64,
    Struct,
    Structs,
    Texts,
    /// of texts or quantities
    Map,
    Other,
    /// none of those: a field that came more than once
    Again,
}

/// More fields than a word has bits take the long way.
pub(crate) const MAX_FIELDS: usize = 64;

impl Types {
    /// The plan of the struct at `id`, of all.
    #[inline]
    pub(crate) fn decoding_of<'t>(&self, all: &'t [Lazy<Plan>], id: TypeId) -> &'t Plan {
        all[id.0 as usize].get_or_init(|| Box::new(Plan::of(self, id)))
    }

    /// The plans of all types.
    pub(crate) fn decoding(&self) -> &[Lazy<Plan>] {
        self.decoding.all(self.len())
    }
}

impl Plan {
    #[cold]
    fn of(types: &Types, id: TypeId) -> Self {
        match types.structure(id) {
            Some(s) => Self::new(types, s),
            None => Self::new(types, &Struct::default()),
        }
    }

    fn new(types: &Types, s: &Struct) -> Self {
        let mut by_key = [0; 256];
        let mut slots = Vec::new();
        if s.fields.len() <= MAX_FIELDS {
            for (n, field) in (1_u8..).zip(&s.fields) {
                // Tags up to 31, whether a number or bytes follow: the keys of those above 15 have a
                // second byte, which is 1.
                if field.outer == [0, 0] && (1..32).contains(&field.tag) {
                    let key = (field.tag as usize) << 3;
                    by_key[key] = n;
                    by_key[key | 2] = n;
                }
                let (what, ty) = what(types, field.ty);
                slots.push(Slot {
                    prefix: prefix(&field.json),
                    key: field.json.clone(),
                    what,
                    omit: field.omit_empty && !field.pointer,
                    ty,
                    unset: unset(types, field),
                });
            }
        }
        Self {
            by_key,
            slots: slots.into(),
            many: s.fields.len() > MAX_FIELDS,
            always_bits: s.always_bits(),
            always: s.always().len(),
            spare: s.spare(),
        }
    }

    /// The place of the field that begins with this byte, when that (and a 1 behind it) says it all.
    #[inline]
    pub(crate) fn place(&self, key: u8) -> Option<u8> {
        self.by_key[usize::from(key)].checked_sub(1)
    }
}

impl Slot {
    /// Begins the field behind `entries`; its value is null.
    #[inline(always)]
    pub(crate) fn open<'e>(&self, entries: &'e mut Vec<Entry>) -> &'e mut Value {
        Entry::open(entries, self.prefix, &self.key)
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn unset(&self) -> Value {
        self.unset.clone()
    }
}

fn what(types: &Types, id: TypeId) -> (What, TypeId) {
    let what = match types.get(id) {
        Shape::String => What::Text,
        Shape::Bool => What::Bool,
        Shape::Int32 => What::Int32,
        Shape::Int64 => What::Int64,
        Shape::Struct(_) => What::Struct,
        Shape::List(list) if !list.wrapped => match types.get(list.item) {
            Shape::Struct(_) => return (What::Structs, list.item),
            Shape::String => return (What::Texts, list.item),
            _ => What::Other,
        },
        Shape::Map(item) if matches!(types.get(*item), Shape::String | Shape::Quantity) => {
            return (What::Map, *item);
        }
        _ => What::Other,
    };
    (what, id)
}
