//! What decoding knows of a struct before it sees a message of it: which bytes begin which of its
//! fields, and what is to be made of them.

use super::per_type::Lazy;
use super::{Shape, Struct, TypeId, Types};
use crate::Value;
use crate::strict::unset;
use crate::value::{Entry, Str, prefix};

pub(crate) struct Plan {
    /// places from [`MAX_FIELDS`] on are those of messages that JSON inlines
    pub(crate) by_key: ByKey,
    pub(crate) inlined: Box<[Inlined]>,
    pub(crate) slots: Box<[Slot]>,
    /// what Go writes when nothing said it, by place
    pub(crate) unset: Box<[Value]>,
    /// there are no slots: more fields than a word has bits
    pub(crate) many: bool,
    pub(crate) always_bits: u64,
    /// how many bits
    pub(crate) always: usize,
    pub(crate) spare: usize,
}

/// By a field's first byte on the wire: one more than its place, 0 for what takes more to know; of
/// those from 0x80 on the second byte is 1.
pub(crate) struct ByKey([u8; 256]);

/// A message whose fields JSON has in the one around it.
pub(crate) struct Inlined {
    pub(crate) tag: u8,
    pub(crate) by_key: ByKey,
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
        let (mut by_key, mut inlined) = (ByKey([0; 256]), Vec::new());
        let (mut slots, mut values) = (Vec::new(), Vec::new());
        if s.fields.len() <= MAX_FIELDS {
            for (n, field) in (1_u8..).zip(&s.fields) {
                match field.outer {
                    [0, 0] => by_key.put(field.tag, n),
                    [tag, 0] => Inlined::of(&mut inlined, &mut by_key, tag).put(field.tag, n),
                    _ => {}
                }
                let (what, ty) = what(types, field.ty);
                slots.push(Slot {
                    prefix: prefix(&field.json),
                    key: field.json.clone(),
                    what,
                    omit: field.omit_empty && !field.pointer,
                    ty,
                });
                values.push(unset(types, field));
            }
        }
        Self {
            by_key,
            inlined: inlined.into(),
            slots: slots.into(),
            unset: values.into(),
            many: s.fields.len() > MAX_FIELDS,
            always_bits: s.always_bits(),
            always: s.always().len(),
            spare: s.spare(),
        }
    }
}

impl Inlined {
    /// What is known of the message `tag` in one with these others.
    fn of<'a>(all: &'a mut Vec<Self>, outer: &mut ByKey, tag: u8) -> &'a mut ByKey {
        let at = all.iter().position(|i| i.tag == tag).unwrap_or(all.len());
        if at == all.len() {
            outer.put_bytes(tag.into(), (MAX_FIELDS + at + 1) as u8);
            let by_key = ByKey([0; 256]);
            all.push(Self { tag, by_key });
        }
        &mut all[at].by_key
    }
}

impl ByKey {
    /// Tags up to 31, whether a number or bytes follow: the keys of those above 15 have a second
    /// byte, which is 1.
    fn put(&mut self, tag: u32, n: u8) {
        self.put_bytes(tag, n);
        if (1..32).contains(&tag) {
            self.0[(tag as usize) << 3] = n;
        }
    }

    fn put_bytes(&mut self, tag: u32, n: u8) {
        if (1..32).contains(&tag) {
            self.0[(tag as usize) << 3 | 2] = n;
        }
    }

    /// The place of the field that begins with this byte, when that (and a 1 behind it) says it all.
    #[inline(always)]
    pub(crate) fn place(&self, key: u8) -> Option<u8> {
        self.0[usize::from(key)].checked_sub(1)
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
