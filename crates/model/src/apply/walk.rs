//! Walks over values by their types: structured-merge-diff `typed/{compare,merge,remove,tofieldset,
//! reconcile_schema,validate}.go`.

use super::fields::elem_text;
use super::schema::{Atom, Fields, List, Scalar, Ty};
use super::set::{Elem, Set, equal};
use crate::field::quote;
use crate::value::Entry;
use crate::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What changed from one object to another.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) removed: Set,
    pub(crate) modified: Set,
    pub(crate) added: Set,
    /// how deep the compared place is
    depth: usize,
}

/// What happened to a place itself.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    None,
    Removed,
    Modified,
    Added,
}

impl Comparison {
    pub(crate) fn of(ty: Ty<'_>, old: &Value, new: &Value) -> Self {
        let mut out = Self::default();
        out.compare(ty, Some(old), Some(new));
        out
    }

    pub(crate) fn changed(&self) -> Set {
        self.modified.union(&self.added)
    }

    fn mark(&mut self, elem: Elem, mark: Mark) {
        match mark {
            Mark::None => {}
            Mark::Removed => self.removed.insert(elem),
            Mark::Modified => self.modified.insert(elem),
            Mark::Added => self.added.insert(elem),
        }
    }

    /// Compares one child and records it under `elem`.
    fn child(&mut self, elem: Elem, ty: Ty<'_>, old: Option<&Value>, new: Option<&Value>) {
        let mut below = Self {
            depth: self.depth + 1,
            ..Self::default()
        };
        let mark = below.compare(ty, old, new);
        for (set, below) in [
            (&mut self.removed, below.removed),
            (&mut self.modified, below.modified),
            (&mut self.added, below.added),
        ] {
            if !below.is_empty() {
                set.graft(elem.clone(), below);
            }
        }
        self.mark(elem, mark);
    }

    fn compare(&mut self, ty: Ty<'_>, old: Option<&Value>, new: Option<&Value>) -> Mark {
        let (was, is) = (ty.atom(old), ty.atom(new));
        let leaf = match (old, new) {
            (_, None) => self.atom(was, old, new),
            (None, _) => self.atom(is, old, new),
            _ if std::mem::discriminant(&was) == std::mem::discriminant(&is) => {
                self.atom(is, old, new)
            }
            _ => {
                // a free-form place changed its form
                let first = self.atom(was, old, new);
                self.atom(is, old, new).or(first)
            }
        };
        leaf.unwrap_or(match (old, new) {
            (None, _) => Mark::Added,
            (_, None) => Mark::Removed,
            _ => Mark::None,
        })
    }

    /// Compares by one form; `Some` when the place is a leaf.
    fn atom(&mut self, atom: Atom<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Mark> {
        let leaf = || {
            Some(match (old, new) {
                (None, _) => Mark::Added,
                (_, None) => Mark::Removed,
                (Some(old), Some(new)) if equal(old, new) => Mark::None,
                _ => Mark::Modified,
            })
        };
        match atom {
            Atom::Scalar(_) => leaf(),
            Atom::List(list) => {
                let (old, new) = (items(old), items(new));
                if list.is_atomic() || old.is_empty() && new.is_empty() {
                    return leaf();
                }
                self.list(list, old, new);
                None
            }
            Atom::Map(fields) => {
                let (old, new) = (entries(old), entries(new));
                if fields.atomic || old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
                    return leaf();
                }
                for (entry, old, new) in zip(old, new) {
                    // most of an object stays as it is; below that depth the check would cost more than it saves
                    if self.depth < 4 && old.is_some() && old == new {
                        continue;
                    }
                    if let Some(ty) = fields.ty(entry.key()) {
                        self.child(Elem::field(entry.key()), ty, old, new);
                    }
                }
                None
            }
        }
    }

    fn list(&mut self, list: List<'_>, old: &[Value], new: &[Value]) {
        if old == new {
            return;
        }
        let mut sides: BTreeMap<Elem, [Vec<&Value>; 2]> = BTreeMap::new();
        for (side, values) in [old, new].into_iter().enumerate() {
            for value in values {
                // items without identity were refused, or came before there was a rule
                if let Ok(elem) = list.elem(value) {
                    sides.entry(elem).or_default()[side].push(value);
                }
            }
        }
        for (elem, [old, new]) in sides {
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.child(elem, list.item, old.first().copied(), new.first().copied())
                }
                ([_, _, ..], [_, _, ..]) => {
                    let same =
                        old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| equal(a, b));
                    self.mark(elem, if same { Mark::None } else { Mark::Modified });
                }
                ([_, _, ..], new) => {
                    if let Some(new) = new.first() {
                        self.child(elem.clone(), list.item, None, Some(new));
                    }
                    self.mark(elem, Mark::Removed);
                }
                (old, _) => {
                    if let Some(old) = old.first() {
                        self.child(elem.clone(), list.item, Some(old), None);
                    }
                    self.mark(elem, Mark::Added);
                }
            }
        }
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).unwrap_or_default()
}

fn entries(value: Option<&Value>) -> Option<&Map> {
    value.and_then(Value::as_object)
}

/// The keys of two maps (an entry that has it), each with its two values.
fn zip<'a>(
    old: Option<&'a Map>,
    new: Option<&'a Map>,
) -> impl Iterator<Item = (&'a Entry, Option<&'a Value>, Option<&'a Value>)> {
    let mut old = old.map(Map::entries).unwrap_or_default();
    let mut new = new.map(Map::entries).unwrap_or_default();
    std::iter::from_fn(move || match (old, new) {
        ([], []) => None,
        ([a, rest @ ..], []) => {
            old = rest;
            Some((a, Some(a.value()), None))
        }
        ([], [b, rest @ ..]) => {
            new = rest;
            Some((b, None, Some(b.value())))
        }
        ([a, olds @ ..], [b, news @ ..]) => {
            let order = a.order(b);
            old = if order.is_le() { olds } else { old };
            new = if order.is_ge() { news } else { new };
            let entry = if order.is_le() { a } else { b };
            Some((
                entry,
                order.is_le().then(|| a.value()),
                order.is_ge().then(|| b.value()),
            ))
        }
    })
}

/// Every path that an object has: the leaves, items of lists and keys of maps.
pub(crate) fn to_set(ty: Ty<'_>, value: &Value) -> Set {
    let mut set = Set::default();
    fill(ty, value, &mut set);
    set
}

/// Adds what is below; `true` when the place itself is a leaf.
fn fill(ty: Ty<'_>, value: &Value, set: &mut Set) -> bool {
    match ty.atom(Some(value)) {
        Atom::Scalar(_) => true,
        Atom::List(list) if list.is_atomic() => true,
        Atom::Map(fields) if fields.atomic => true,
        Atom::List(list) => {
            let values = items(Some(value));
            let mut elems: Vec<(Elem, &Value)> = Vec::with_capacity(values.len());
            elems.extend(values.iter().filter_map(|v| Some((list.elem(v).ok()?, v))));
            let all = elems.len() == values.len();
            elems.sort_by(|a, b| a.0.cmp(&b.0));
            let (mut members, mut children) = (Vec::with_capacity(elems.len() + 1), Vec::new());
            let mut rest = elems.into_iter().peekable();
            while let Some((elem, value)) = rest.next() {
                // nobody knows what is below an item that occurs twice
                let mut twice = false;
                while rest.next_if(|(other, _)| *other == elem).is_some() {
                    twice = true;
                }
                let mut below = Set::default();
                if !twice {
                    fill(list.item, value, &mut below);
                }
                if !below.is_empty() {
                    children.push((elem.clone(), below));
                }
                members.push(elem);
            }
            // What is no item of such a list (a pruned one) has a place in it all the same.
            if !all {
                members.push(Elem::Index(-1));
            }
            // the set of a list has nothing else in it
            *set = Set::collected(members, children);
            false
        }
        Atom::Map(fields) => {
            // Names ascend, and so do their elements.
            for (key, value) in entries(Some(value)).into_iter().flat_map(Map::iter) {
                let (ty, declared) = fields.known(key);
                let Some(ty) = ty else { continue };
                let mut below = Set::default();
                let leaf = fill(ty, value, &mut below);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if leaf || empty || !declared {
                    set.members.push(Elem::field(key));
                }
                if !below.is_empty() {
                    set.children.push((Elem::field(key), below));
                }
            }
            false
        }
    }
}

/// `new` merged over `old`.
pub(crate) fn merge(ty: Ty<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let atom = if new.is_none() {
        ty.atom(old)
    } else {
        ty.atom(new)
    };
    let keep = || new.or(old).cloned();
    match atom {
        Atom::Scalar(_) => keep(),
        Atom::List(list) => {
            let (olds, news) = (items(old), items(new));
            if list.is_atomic() || olds.is_empty() && news.is_empty() {
                keep()
            } else {
                merge_list(list, olds, news)
            }
        }
        Atom::Map(fields) => {
            let (olds, news) = (entries(old), entries(new));
            if fields.atomic || olds.is_none_or(Map::is_empty) && news.is_none_or(Map::is_empty) {
                return keep();
            }
            let room = olds.map_or(0, Map::len).max(news.map_or(0, Map::len));
            let mut merged = Vec::with_capacity(room);
            merged.extend(zip(olds, news).filter_map(|(entry, old, new)| {
                let value = match fields.ty(entry.key()) {
                    Some(ty) => merge(ty, old, new),
                    None => new.or(old).cloned(),
                };
                Some(entry.with(value?))
            }));
            (!merged.is_empty()).then(|| Value::Object(Map::from_sorted(merged)))
        }
    }
}

/// Lists of so many items are looked through for items that occur twice.
const FEW: usize = 16;

/// An item's place in a list, and what identifies it.
type Indexed = (Elem, usize);

/// As [`merge_list`] where items need no search: only one list has any, or both have the same in the
/// same order.
fn merge_pairs(
    list: List<'_>,
    (olds, old): (&[Indexed], &[Value]),
    (news, new): (&[Indexed], &[Value]),
) -> Option<Vec<Value>> {
    if news.is_empty() {
        let merged = olds
            .iter()
            .map(|(_, i)| merge(list.item, Some(&old[*i]), None));
        return Some(merged.flatten().collect());
    }
    let same = |((a, _), (b, _)): (&Indexed, &Indexed)| a == b;
    let alike = olds.is_empty() || olds.len() == news.len() && olds.iter().zip(news).all(same);
    let distinct = |i: usize| news[..i].iter().all(|(other, _)| *other != news[i].0);
    if !alike || news.len() > FEW || !(1..news.len()).all(distinct) {
        return None;
    }
    let pair = |(n, (_, i)): (usize, &Indexed)| {
        let old = olds.get(n).map(|(_, i)| &old[*i]);
        merge(list.item, old, Some(&new[*i]))
    };
    Some(news.iter().enumerate().filter_map(pair).collect())
}

/// Items of both lists: those of `new` in their order, those only in `old` where they stood
/// between their neighbours.
fn merge_list(list: List<'_>, old: &[Value], new: &[Value]) -> Option<Value> {
    let index = |values: &[Value]| -> Vec<Indexed> {
        values
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some((list.elem(v).ok()?, i)))
            .collect()
    };
    let (olds, news) = (index(old), index(new));
    if let Some(merged) = merge_pairs(list, (&olds, old), (&news, new)) {
        return (!merged.is_empty()).then_some(Value::Array(merged));
    }
    // an item that occurs twice is merged with nothing
    let mut in_old: BTreeMap<&Elem, Option<&Value>> = BTreeMap::new();
    for (elem, i) in &olds {
        in_old
            .entry(elem)
            .and_modify(|v| *v = Some(&Value::Null))
            .or_insert(Some(&old[*i]));
    }
    let in_new: BTreeMap<&Elem, &Value> = news.iter().rev().map(|(e, i)| (e, &new[*i])).collect();
    let mut shared = news
        .iter()
        .map(|(e, _)| e)
        .filter(|e| in_old.contains_key(e))
        .peekable();
    let mut done: BTreeSet<&Elem> = BTreeSet::new();
    let mut out = Vec::with_capacity(olds.len().max(news.len()));
    let both = |elem: &Elem| {
        let old = in_old.get(elem).copied().flatten();
        merge(list.item, old, in_new.get(elem).copied())
    };
    let (mut l, mut r) = (0, 0);
    while l < olds.len() || r < news.len() {
        if let (Some((elem, _)), Some((other, _))) = (olds.get(l), news.get(r)) {
            if elem == other {
                done.insert(elem);
                out.extend(both(elem));
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            if in_new.contains_key(elem) && shared.peek().is_some_and(|next| *next != elem) {
                l += 1;
                continue;
            }
        }
        if let Some((elem, i)) = olds.get(l) {
            if !in_new.contains_key(elem) {
                out.extend(merge(list.item, Some(&old[*i]), None));
                l += 1;
                continue;
            }
            if done.contains(elem) {
                l += 1;
            }
        }
        if let Some((elem, _)) = news.get(r) {
            done.insert(elem);
            out.extend(both(elem));
            r += 1;
            if shared.peek() == Some(&elem) {
                shared.next();
            }
        }
    }
    (!out.is_empty()).then_some(Value::Array(out))
}

/// `value` without the paths of `gone`. What is left empty becomes null, and null is absent.
pub(crate) fn remove(ty: Ty<'_>, value: &Value, gone: &Set) -> Value {
    match ty.atom(Some(value)) {
        Atom::Scalar(_) => value.clone(),
        Atom::List(list) => {
            if list.is_atomic() {
                return Value::Null;
            }
            let mut out = Vec::new();
            for item in items(Some(value)) {
                let Ok(elem) = list.elem(item) else { continue };
                if gone.has(&elem) {
                    continue;
                }
                out.push(match gone.child(&elem) {
                    Some(below) => remove(list.item, item, below),
                    None => item.clone(),
                });
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Array(out)
            }
        }
        Atom::Map(fields) => {
            if fields.atomic {
                return Value::Null;
            }
            let mut out = Map::new();
            for (key, item) in entries(Some(value)).into_iter().flat_map(Map::iter) {
                let elem = Elem::field(key);
                if gone.has(&elem) {
                    continue;
                }
                let item = match (gone.child(&elem), fields.ty(key)) {
                    (Some(below), Some(ty)) => remove(ty, item, below),
                    _ => item.clone(),
                };
                out.insert(key, item);
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Object(out)
            }
        }
    }
}

/// The set with every declared field on the way to a member.
pub(crate) fn with_named(ty: Option<Ty<'_>>, set: &Set) -> Set {
    let mut out = Set {
        members: set.members.clone(),
        children: Vec::with_capacity(set.children.len()),
    };
    for (elem, child) in &set.children {
        if matches!((ty, elem), (Some(ty), Elem::Field(name)) if ty.declares(name)) {
            out.insert(elem.clone());
        }
        out.children.push((
            elem.clone(),
            with_named(ty.and_then(|t| t.below(elem)), child),
        ));
    }
    out
}

/// Adapts a set to types that became atomic since it was written. `None`: nothing changed.
pub(crate) fn reconcile(ty: Ty<'_>, set: &Set) -> Option<Set> {
    let (mut gone, mut new) = (Set::default(), Set::default());
    reconcile_node(ty, Some(set), false, &mut gone, &mut new);
    (!new.is_empty()).then(|| set.clone().recursive_difference(&gone).union(&new))
}

/// Returns `true` when the place itself became atomic.
fn reconcile_node<'a>(
    ty: Ty<'a>,
    set: Option<&Set>,
    atomic_before: bool,
    gone: &mut Set,
    new: &mut Set,
) -> bool {
    let descend = |below: &dyn Fn(&Elem) -> Option<Ty<'a>>, gone: &mut Set, new: &mut Set| {
        let Some(set) = set else { return };
        let mut visit = |elem: &Elem, member: bool, child: Option<&Set>| {
            let Some(ty) = below(elem) else { return };
            let (mut child_gone, mut child_new) = (Set::default(), Set::default());
            let atomic = member && child.is_none();
            if reconcile_node(ty, child, atomic, &mut child_gone, &mut child_new) {
                gone.insert(elem.clone());
                new.insert(elem.clone());
            }
            if !child_gone.is_empty() {
                gone.graft(elem.clone(), child_gone);
            }
            if !child_new.is_empty() {
                new.graft(elem.clone(), child_new);
            }
        };
        // Both ascend.
        let mut members = set.members.iter().peekable();
        for (elem, child) in &set.children {
            while let Some(member) = members.next_if(|m| *m < elem) {
                visit(member, true, None);
            }
            let member = members.next_if(|m| *m == elem).is_some();
            visit(elem, member, Some(child));
        }
        members.for_each(|member| visit(member, true, None));
    };
    match ty.atom(None) {
        Atom::Scalar(_) => false,
        Atom::List(list) if list.is_atomic() => !atomic_before,
        Atom::List(list) => {
            descend(&|_| Some(list.item), gone, new);
            false
        }
        Atom::Map(fields) if fields.is_deduced() => false,
        Atom::Map(fields) if fields.atomic => !atomic_before && set.is_some_and(|s| !s.is_empty()),
        Atom::Map(fields) => {
            descend(
                &|elem| {
                    if let Elem::Field(name) = elem {
                        fields.ty(name)
                    } else {
                        None
                    }
                },
                gone,
                new,
            );
            false
        }
    }
}

/// What is wrong with an applied configuration, each with its path, in upstream's words.
pub(crate) fn check(ty: Ty<'_>, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check_node(ty, value, None, &mut errors);
    errors
}

/// Where the check stands, spelled out only when something is wrong.
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Field(&'a str),
    Item(&'a Elem),
    Index(usize),
}

fn place_text(place: Option<&Place<'_>>) -> String {
    let Some(place) = place else {
        return String::new();
    };
    let mut text = place_text(place.parent);
    match place.step {
        Step::Field(name) => {
            text.push('.');
            text.push_str(name);
        }
        Step::Item(elem) => text.push_str(&elem_text(elem)),
        Step::Index(i) => text.push_str(&format!("[{i}]")),
    }
    text
}

fn check_node(ty: Ty<'_>, value: &Value, place: Option<&Place<'_>>, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let mut add = |what: String| {
        errors.push(match place {
            None => what,
            Some(_) => format!("{}: {what}", place_text(place)),
        })
    };
    match ty.atom(Some(value)) {
        Atom::Scalar(kind) => {
            let fits = matches!(
                (kind, value),
                (Scalar::Numeric, Value::Int(_) | Value::Float(_))
                    | (Scalar::String, Value::String(_))
                    | (Scalar::Bool, Value::Bool(_))
                    | (
                        Scalar::Any,
                        Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Bool(_)
                    )
            );
            if !fits {
                let got = match kind {
                    Scalar::Numeric => value.type_name().to_owned(),
                    Scalar::String => format!("&value.valueUnstructured{{Value:{}}}", shown(value)),
                    _ => format!("&{{{}}}", plain(value)),
                };
                add(format!("expected {}, got {got}", wanted(kind)));
            }
        }
        Atom::List(list) => match value {
            Value::Array(items) => check_list(list, items, place, errors),
            other => add(format!("expected list, got &{{{}}}", plain(other))),
        },
        Atom::Map(fields) => match value {
            Value::Object(map) => check_map(fields, map, place, errors),
            other => add(format!("expected map, got &{{{}}}", plain(other))),
        },
    }
}

fn wanted(kind: Scalar) -> &'static str {
    match kind {
        Scalar::Numeric => "numeric (int or float)",
        Scalar::String => "string",
        Scalar::Bool => "boolean",
        Scalar::Any => "any scalar",
    }
}

/// As Go prints it.
fn plain(value: &Value) -> String {
    let mut out = String::new();
    crate::strategic::go_value(&mut out, value);
    out.truncate(out.floor_char_boundary(crate::field::MAX_SHOWN));
    out
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        Value::Array(_) | Value::Object(_) => value.type_name().into(),
        other => String::from_utf8_lossy(&crate::json::to_vec(other)).into_owned(),
    }
}

fn check_list(
    list: List<'_>,
    items: &[Value],
    parent: Option<&Place<'_>>,
    errors: &mut Vec<String>,
) {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        if list.is_atomic() {
            let step = Step::Index(i);
            check_node(list.item, item, Some(&Place { parent, step }), errors);
            continue;
        }
        match list.elem(item) {
            Ok(elem) => {
                if seen.contains(&elem) {
                    let (path, text) = (place_text(parent), elem_text(&elem));
                    errors.push(format!("{path}: duplicate entries for key {text}"));
                }
                let step = Step::Item(&elem);
                check_node(list.item, item, Some(&Place { parent, step }), errors);
                if items.len() > 1 {
                    seen.insert(elem);
                }
            }
            Err(why) => {
                errors.push(format!("{}: element {i}: {why}", place_text(parent)));
                return;
            }
        }
    }
}

fn check_map(fields: Fields<'_>, map: &Map, parent: Option<&Place<'_>>, errors: &mut Vec<String>) {
    for (key, value) in map.iter() {
        let step = Step::Field(key);
        let place = Place { parent, step };
        match fields.ty(key) {
            Some(ty) => check_node(ty, value, Some(&place), errors),
            None => {
                // upstream stops at the first of these
                let path = place_text(Some(&place));
                errors.push(format!("{path}: field not declared in schema"));
                return;
            }
        }
    }
}
