//! What defaulting knows of a struct before it sees one: which fields there is anything to do about,
//! and what comes into those that are not set.

use super::{RULE_NAMES, RULES, Rule, Walk, is_zero_scalar, pods, zero};
use crate::Value;
use crate::catalogue::{Field, PerType, Shape, Struct, TypeId, Types};
use crate::value::{Str, prefix, same, suffix};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The plans of an arena, by type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    with_defaults: PerType<Plan>,
    form_only: PerType<Plan>,
}

/// What comes into a field by itself.
#[derive(Clone, Copy)]
pub(super) enum Given {
    Text(&'static str),
    Int(i64),
    Object,
}

impl Given {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Int(number) => number.into(),
            Self::Object => Value::object(),
        }
    }
}

/// A field of a type, what comes into it, and whether an explicit zero counts as missing.
pub(super) type Fill = (&'static str, Given, bool);

pub(super) struct Plan {
    /// places of fields, found by a hash of the name; [`EMPTY`] between them
    slots: Box<[u16]>,
    /// how far a hash is shifted to be an index of `slots`
    shift: u32,
    facts: Box<[Fact]>,
    /// ascending
    fills: Box<[Filled]>,
    pub(super) rule: Option<Rule>,
}

/// A field.
pub(super) struct Fact {
    prefix: u64,
    /// see [`suffix`]
    suffix: u64,
    length: u32,
    pub(super) ty: TypeId,
    /// index in the plan's `fills`, or [`EMPTY`]
    fill: u16,
    /// there may be something to do below it
    pub(super) deep: bool,
    /// quantities below it are rounded
    pub(super) rounds: bool,
    /// Go leaves it out when it is null …
    omit_null: bool,
    /// … and when it is zero
    omit_zero: bool,
}

/// A field that is there even though nobody set it.
struct Filled {
    place: u16,
    value: Value,
    /// an explicit zero counts as missing
    zero: bool,
}

const EMPTY: u16 = u16::MAX;

#[inline(always)]
fn hash(prefix: u64, length: usize, shift: u32) -> usize {
    let mixed = (prefix ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> shift) as usize
}

impl Types {
    /// The plan of the struct at `id`.
    pub(super) fn plan(&self, id: TypeId, s: &Struct, defaults: bool) -> &Plan {
        let of_kind = if defaults {
            &self.plans.with_defaults
        } else {
            &self.plans.form_only
        };
        let all = of_kind.all(self.len());
        all[id.0 as usize].get_or_init(|| Box::new(Plan::new(self, id, s, defaults)))
    }

    /// Whether nothing below is ever defaulted or written in another form.
    fn is_plain(&self, id: TypeId) -> bool {
        match self.get(id) {
            Shape::Map(item) => self.is_plain(*item),
            Shape::List(list) => self.is_plain(list.item),
            Shape::Struct(_)
            | Shape::Quantity
            | Shape::SchemaOrBool(_)
            | Shape::SchemaOrArray(_)
            | Shape::SchemaOrStrings(_) => false,
            _ => true,
        }
    }
}

impl Plan {
    fn new(types: &Types, id: TypeId, s: &Struct, defaults: bool) -> Self {
        let rule = RULES.get(id.0 as usize).copied().flatten();
        let given = GIVEN.get(&id).copied().unwrap_or_default();
        let (rule, given) = if defaults {
            (rule, given)
        } else {
            (None, &[][..])
        };
        let rounds = s.name.starts_with(CORE)
            && s.name != "io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus";
        let mut fills = Vec::new();
        let mut facts = Vec::with_capacity(s.fields.len());
        for (place, field) in (0..EMPTY).zip(&s.fields) {
            let rounds = rounds && matches!(types.get(field.ty), Shape::Map(_));
            let given = given.iter().find(|(name, ..)| *name == field.json);
            let mut fact = Fact {
                prefix: prefix(&field.json),
                suffix: suffix(&field.json),
                length: u32::try_from(field.json.len()).unwrap_or(u32::MAX),
                ty: field.ty,
                fill: EMPTY,
                deep: !types.is_plain(field.ty),
                rounds,
                omit_null: field.omit_empty,
                omit_zero: field.omit_empty && !field.pointer,
            };
            if let Some((value, zero)) = unset(types, field, given, &fact, defaults) {
                fact.fill = u16::try_from(fills.len()).unwrap_or(EMPTY);
                fills.push(Filled { place, value, zero });
            }
            facts.push(fact);
        }
        let bits = (facts.len() * 2).next_power_of_two().max(2).ilog2();
        let shift = u64::BITS - bits;
        let mut slots = vec![EMPTY; 1 << bits].into_boxed_slice();
        for (place, fact) in (0..EMPTY).zip(&facts) {
            let mut at = hash(fact.prefix, fact.length as usize, shift);
            while slots[at] != EMPTY {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = place;
        }
        Self {
            slots,
            shift,
            facts: facts.into(),
            fills: fills.into(),
            rule,
        }
    }

    /// The field called `key`, whose prefix is `wanted`.
    #[inline]
    pub(super) fn find(&self, s: &Struct, wanted: u64, key: &str) -> Option<&Fact> {
        let mut at = hash(wanted, key.len(), self.shift);
        loop {
            let place = usize::from(*self.slots.get(at)?);
            // none is at the place that means nothing
            let fact = self.facts.get(place)?;
            if fact.prefix == wanted
                && fact.length as usize == key.len()
                && fact.suffix == suffix(key)
                && (key.len() <= 16 || same(&s.fields[place].json, key))
            {
                return Some(fact);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// How many fields are there by themselves.
    pub(super) fn fills(&self) -> u16 {
        self.fills.len() as u16
    }

    /// One of them: prefix of the key, key and value.
    pub(super) fn entry<'a>(&'a self, s: &'a Struct, fill: u16) -> (u64, &'a Str, &'a Value) {
        let fill = &self.fills[usize::from(fill)];
        let place = usize::from(fill.place);
        (self.facts[place].prefix, &s.fields[place].json, &fill.value)
    }

    /// What stands in such a field by itself, unless this value does.
    #[inline]
    pub(super) fn instead_of(&self, fill: u16, value: &Value) -> Option<&Value> {
        let fill = &self.fills[usize::from(fill)];
        let unset = value.is_null() || fill.zero && is_zero_scalar(value);
        unset.then_some(&fill.value)
    }
}

impl Fact {
    /// Which of the plan's fields it is that are there by themselves.
    #[inline]
    pub(super) fn fill(&self) -> Option<u16> {
        (self.fill != EMPTY).then_some(self.fill)
    }

    /// Whether Go writes the field with this value.
    #[inline]
    pub(super) fn keeps(&self, value: &Value) -> bool {
        !(self.omit_null && value.is_null() || self.omit_zero && super::is_zero(value))
    }
}

/// What a field has when nobody set it, in its final form, and whether zero is replaced by it, too:
/// structs that are held by value, what a rule gives, the `+default` marker, what Go always writes.
fn unset(
    types: &Types,
    field: &Field,
    given: Option<&Fill>,
    fact: &Fact,
    defaults: bool,
) -> Option<(Value, bool)> {
    let marker = field.facts.as_ref().and_then(|f| f.default.as_ref());
    let marker = marker.filter(|m| defaults && (field.pointer || !is_zero_scalar(m)));
    let (mut value, zero_too) = match (given, marker) {
        _ if field.nested => (Value::object(), false),
        (Some((_, given, zero)), _) => (given.value(), *zero),
        (None, Some(marker)) => (marker.clone(), !field.pointer),
        (None, None) => (Value::Null, false),
    };
    Walk::new(types, defaults).value(field.ty, &mut value, fact.rounds);
    if !field.omit_empty && value.is_null() && !field.pointer {
        value = zero(types.get(field.ty));
    }
    fact.keeps(&value).then_some((value, zero_too))
}

/// How many fields defaulting may add to a struct: who makes one leaves room for them.
pub(crate) fn spare(s: &Struct) -> usize {
    let marked = |f: &Field| f.facts.as_ref().is_some_and(|f| f.default.is_some());
    let own = s.fields.iter().filter(|f| f.nested || marked(f)).count();
    let name = s.name.strip_prefix(CORE).unwrap_or_default();
    let given = pods::GIVEN.iter().find(|(of, _)| *of == name);
    let by_rule = RULE_NAMES.get(s.name.as_str()).map_or(0, |_| 2);
    // What a pod's rule adds to those of its containers.
    let of_others = usize::from(matches!(name, "ResourceRequirements" | "PodSpec"));
    own + given.map_or(0, |(_, fills)| fills.len()) + by_rule + of_others
}

const CORE: &str = "io.k8s.api.core.v1.";

/// What rules give without looking, by type.
static GIVEN: LazyLock<HashMap<TypeId, &'static [Fill]>> = LazyLock::new(|| {
    let catalogue = crate::Catalogue::builtin(crate::catalogue::DEFAULT_MINOR);
    let id = |name: &str| {
        Some(
            catalogue
                .as_ref()?
                .type_named(&format!("io.k8s.api.core.v1.{name}"))?
                .1,
        )
    };
    pods::GIVEN
        .iter()
        .filter_map(|(name, fills)| Some((id(name)?, *fills)))
        .collect()
});
