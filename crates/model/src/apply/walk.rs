//! Walks over values by their types: structured-merge-diff `typed/{compare,merge,remove,tofieldset,
//! reconcile_schema,validate}.go`.

use super::fields::elem_text;
use super::schema::{Atom, Fields, List, Scalar, Ty};
use super::set::{Elem, Set, equal};
use crate::field::quote;
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
        // most of an object stays as it is; below that depth the check would cost more than it saves
        if self.depth < 4 && old.is_some() && old == new {
            return;
        }
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
            set.graft(elem.clone(), below);
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
                for (key, old, new) in zip(old, new) {
                    if let Some(ty) = fields.ty(key) {
                        self.child(Elem::field(key), ty, old, new);
                    }
                }
                None
            }
        }
    }

    fn list(&mut self, list: List<'_>, old: &[Value], new: &[Value]) {
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

/// The keys of two maps, each with its two values.
fn zip<'a>(
    old: Option<&'a Map>,
    new: Option<&'a Map>,
) -> impl Iterator<Item = (&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let mut old = old.into_iter().flat_map(Map::iter).peekable();
    let mut new = new.into_iter().flat_map(Map::iter).peekable();
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let old = if order.is_le() { old.next() } else { None };
        let new = if order.is_ge() { new.next() } else { None };
        let key = old.or(new).map(|(key, _)| key)?;
        Some((key, old.map(|(_, v)| v), new.map(|(_, v)| v)))
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
            let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
            let elems: Vec<(Elem, &Value)> = items(Some(value))
                .iter()
                .filter_map(|v| Some((list.elem(v).ok()?, v)))
                .collect();
            for (elem, _) in &elems {
                if !seen.insert(elem) {
                    twice.insert(elem);
                }
            }
            let mut children = Vec::new();
            for (elem, value) in &elems {
                if !twice.contains(elem) {
                    let mut below = Set::default();
                    fill(list.item, value, &mut below);
                    if !below.is_empty() {
                        children.push((elem.clone(), below));
                    }
                }
            }
            let mut members: Vec<Elem> = elems.iter().map(|(elem, _)| elem.clone()).collect();
            // What is no item of such a list (a pruned one) has a place in it all the same.
            if elems.len() < items(Some(value)).len() {
                members.push(Elem::Index(-1));
            }
            // the set of a list has nothing else in it
            *set = Set::collected(members, children);
            false
        }
        Atom::Map(fields) => {
            for (key, value) in entries(Some(value)).into_iter().flat_map(Map::iter) {
                let Some(ty) = fields.ty(key) else { continue };
                let mut below = Set::default();
                let leaf = fill(ty, value, &mut below);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if leaf || empty || !fields.declares(key) {
                    set.insert(Elem::field(key));
                }
                set.graft(Elem::field(key), below);
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
            let merged: Map = zip(olds, news)
                .filter_map(|(key, old, new)| {
                    let value = match fields.ty(key) {
                        Some(ty) => merge(ty, old, new),
                        None => new.or(old).cloned(),
                    };
                    Some((key, value?))
                })
                .collect();
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
    }
}

/// Items of both lists: those of `new` in their order, those only in `old` where they stood
/// between their neighbours.
fn merge_list(list: List<'_>, old: &[Value], new: &[Value]) -> Option<Value> {
    let index = |values: &[Value]| -> Vec<(Elem, usize)> {
        values
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some((list.elem(v).ok()?, i)))
            .collect()
    };
    let (olds, news) = (index(old), index(new));
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
    (!new.is_empty()).then(|| set.recursive_difference(&gone).union(&new))
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
        let only_children = set.children.iter().map(|(e, _)| e).filter(|e| !set.has(e));
        for (elem, member) in only_children
            .map(|e| (e, false))
            .chain(set.members.iter().map(|e| (e, true)))
        {
            let Some(ty) = below(elem) else { continue };
            let child = set.child(elem);
            let (mut child_gone, mut child_new) = (Set::default(), Set::default());
            let atomic = member && child.is_none();
            if reconcile_node(ty, child, atomic, &mut child_gone, &mut child_new) {
                gone.insert(elem.clone());
                new.insert(elem.clone());
            }
            gone.graft(elem.clone(), child_gone);
            new.graft(elem.clone(), child_new);
        }
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
    check_node(ty, value, &mut String::new(), &mut errors);
    errors
}

fn check_node(ty: Ty<'_>, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let mut add = |what: String| {
        errors.push(if path.is_empty() {
            what
        } else {
            format!("{path}: {what}")
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
            Value::Array(items) => check_list(list, items, path, errors),
            other => add(format!("expected list, got &{{{}}}", plain(other))),
        },
        Atom::Map(fields) => match value {
            Value::Object(map) => check_map(fields, map, path, errors),
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

fn check_list(list: List<'_>, items: &[Value], path: &mut String, errors: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let step = if list.is_atomic() {
            format!("[{i}]")
        } else {
            match list.elem(item) {
                Ok(elem) => {
                    let text = elem_text(&elem);
                    if !seen.insert(elem) {
                        errors.push(format!("{path}: duplicate entries for key {text}"));
                    }
                    text
                }
                Err(why) => {
                    errors.push(format!("{path}: element {i}: {why}"));
                    return;
                }
            }
        };
        let length = path.len();
        path.push_str(&step);
        check_node(list.item, item, path, errors);
        path.truncate(length);
    }
}

fn check_map(fields: Fields<'_>, map: &Map, path: &mut String, errors: &mut Vec<String>) {
    for (key, value) in map.iter() {
        let length = path.len();
        path.push('.');
        path.push_str(key);
        match fields.ty(key) {
            Some(ty) => check_node(ty, value, path, errors),
            None => {
                // upstream stops at the first of these
                errors.push(format!("{path}: field not declared in schema"));
                path.truncate(length);
                return;
            }
        }
        path.truncate(length);
    }
}
