//! Sets of field paths, as a tree: structured-merge-diff `fieldpath/{set,element}.go`.
//!
//! A path may be a member, have members below it, or both: `metadata.labels` of a created object is
//! owned itself (`.`) and so are the labels.

use crate::{Str, Value};
use std::cmp::Ordering;

/// One step of a path. The order is that of upstream's path elements.
#[derive(Clone, Debug)]
pub(crate) enum Elem {
    /// a field of a struct or key of a map
    Field(Str),
    /// an item of a list, by its key fields (ascending by name)
    Key(Vec<(Str, Value)>),
    /// an item of a set
    Value(Value),
    /// an item of an atomic list; only ever read, never written by us
    Index(i64),
}

impl Elem {
    pub(crate) fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl Ord for Elem {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                for (a, b) in a.iter().zip(b) {
                    let order = a.0.cmp(&b.0).then_with(|| compare_values(&a.1, &b.1));
                    if order.is_ne() {
                        return order;
                    }
                }
                a.len().cmp(&b.len())
            }
            (Self::Value(a), Self::Value(b)) => compare_values(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Elem {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Elem {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Elem {}

/// A total order of values in which equal numbers are equal, whatever their form.
pub(crate) fn compare_values(a: &Value, b: &Value) -> Ordering {
    fn rank(v: &Value) -> u8 {
        match v {
            Value::Float(_) | Value::Int(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        #[allow(
            clippy::cast_precision_loss,
            reason = "upstream compares mixed numbers as floats"
        )]
        (Value::Int(a), Value::Float(b)) => (*a as f64).total_cmp(b),
        #[allow(
            clippy::cast_precision_loss,
            reason = "upstream compares mixed numbers as floats"
        )]
        (Value::Float(a), Value::Int(b)) => a.total_cmp(&(*b as f64)),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let unequal = a
                .iter()
                .zip(b)
                .map(|(a, b)| compare_values(a, b))
                .find(|o| o.is_ne());
            unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs = a.iter().zip(b.iter());
            let unequal = pairs.map(|(a, b)| a.0.cmp(b.0).then_with(|| compare_values(a.1, b.1)));
            unequal
                .into_iter()
                .find(|o| o.is_ne())
                .unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Equality as structured-merge-diff sees it: `1` equals `1.0`.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    compare_values(a, b).is_eq()
}

/// A set of paths below one place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Set {
    /// ascending
    pub(crate) members: Vec<Elem>,
    /// ascending; no child is empty
    pub(crate) children: Vec<(Elem, Set)>,
}

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.iter().all(|(_, c)| c.is_empty())
    }

    pub(crate) fn has(&self, elem: &Elem) -> bool {
        self.members.binary_search(elem).is_ok()
    }

    pub(crate) fn child(&self, elem: &Elem) -> Option<&Self> {
        self.children
            .binary_search_by(|(e, _)| e.cmp(elem))
            .ok()
            .map(|i| &self.children[i].1)
    }

    /// Of parts in any order: put in order once, however many they are. No child is empty.
    pub(crate) fn collected(mut members: Vec<Elem>, mut children: Vec<(Elem, Self)>) -> Self {
        let ascend = |a: &Elem, b: &Elem| a < b;
        if members.is_sorted_by(ascend) && children.is_sorted_by(|a, b| ascend(&a.0, &b.0)) {
            return Self { members, children };
        }
        members.sort();
        members.dedup();
        children.sort_by(|a, b| a.0.cmp(&b.0));
        children.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = earlier.1.union(&later.1);
            }
            same
        });
        Self { members, children }
    }

    pub(crate) fn insert(&mut self, elem: Elem) {
        if let Err(i) = self.members.binary_search(&elem) {
            self.members.insert(i, elem);
        }
    }

    /// Adds everything of `below` under `elem`.
    pub(crate) fn graft(&mut self, elem: Elem, below: Self) {
        if below.is_empty() {
            return;
        }
        match self.children.binary_search_by(|(e, _)| e.cmp(&elem)) {
            Ok(i) => {
                let old = std::mem::take(&mut self.children[i].1);
                self.children[i].1 = old.union(&below);
            }
            Err(i) => self.children.insert(i, (elem, below)),
        }
    }

    /// The set of one path of field names.
    pub(crate) fn of_path(path: &[&str]) -> Self {
        let mut set = Self::default();
        match path {
            [] => {}
            [last] => set.insert(Elem::field(last)),
            [first, rest @ ..] => set.graft(Elem::field(first), Self::of_path(rest)),
        }
        set
    }

    pub(crate) fn of_paths(paths: &[&[&str]]) -> Self {
        paths
            .iter()
            .fold(Self::default(), |set, path| set.union(&Self::of_path(path)))
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut members = Vec::with_capacity(self.members.len().max(other.members.len()));
        zip(
            &self.members,
            &other.members,
            |e| e,
            |a, b| members.extend(a.or(b).cloned()),
        );
        let mut children = Vec::new();
        zip(
            &self.children,
            &other.children,
            |(e, _)| e,
            |a, b| match (a, b) {
                (Some((e, a)), Some((_, b))) => children.push((e.clone(), a.union(b))),
                (a, b) => children.extend(a.or(b).cloned()),
            },
        );
        Self { members, children }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (mut members, mut children) = (Vec::new(), Vec::new());
        zip(
            &self.members,
            &other.members,
            |e| e,
            |a, b| members.extend(a.and_then(|a| b.map(|_| a.clone()))),
        );
        zip(
            &self.children,
            &other.children,
            |(e, _)| e,
            |a, b| {
                if let (Some((e, a)), Some((_, b))) = (a, b) {
                    push(&mut children, e, a.intersection(b));
                }
            },
        );
        Self { members, children }
    }

    /// Without the paths of `other`; what is below them stays.
    pub(crate) fn difference(mut self, other: &Self) -> Self {
        self.minus(other, false);
        self
    }

    /// Without the paths of `other` and everything below them.
    pub(crate) fn recursive_difference(mut self, other: &Self) -> Self {
        self.minus(other, true);
        self
    }

    fn minus(&mut self, other: &Self, recursive: bool) {
        let mut gone = Ascending(&other.members);
        if !other.members.is_empty() {
            self.members.retain(|e| gone.seek(e, |e| e).is_none());
        }
        if other.children.is_empty() && (!recursive || other.members.is_empty()) {
            return;
        }
        let (mut gone, mut below) = (Ascending(&other.members), Ascending(&other.children));
        self.children.retain_mut(|(e, child)| {
            if recursive && gone.seek(e, |e| e).is_some() {
                return false;
            }
            let Some((_, below)) = below.seek(e, |(e, _)| e) else {
                return true;
            };
            child.minus(below, recursive);
            !child.is_empty()
        });
    }

    /// Whether every path of it is one of `other`, too.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let (mut members, mut children) = (Ascending(&other.members), Ascending(&other.children));
        self.members
            .iter()
            .all(|e| members.seek(e, |e| e).is_some())
            && self.children.iter().all(|(e, child)| {
                let there = children.seek(e, |(e, _)| e);
                there.map_or_else(|| child.is_empty(), |(_, there)| child.is_within(there))
            })
    }

    /// Only what begins with one of the given paths; `*` stands for any step.
    pub(crate) fn only(&self, paths: &[&[&str]]) -> Self {
        let mut out = Self::default();
        for path in paths {
            out = out.union(&self.only_one(path));
        }
        out
    }

    fn only_one(&self, path: &[&str]) -> Self {
        let Some((first, rest)) = path.split_first() else {
            return self.clone();
        };
        let fits = |e: &Elem| *first == "*" || matches!(e, Elem::Field(name) if name == first);
        let mut children = Vec::new();
        for (e, child) in self.children.iter().filter(|(e, _)| fits(e)) {
            push(&mut children, e, child.only_one(rest));
        }
        Self {
            members: self.members.iter().filter(|e| fits(e)).cloned().collect(),
            children,
        }
    }

    /// Calls `f` with every path: members first, then what is below each child.
    pub(crate) fn each<'a>(&'a self, path: &mut Vec<&'a Elem>, f: &mut impl FnMut(&[&'a Elem])) {
        for member in &self.members {
            path.push(member);
            f(path);
            path.pop();
        }
        for (elem, child) in &self.children {
            path.push(elem);
            child.each(path, f);
            path.pop();
        }
    }
}

fn push(children: &mut Vec<(Elem, Set)>, elem: &Elem, set: Set) {
    if !set.is_empty() {
        children.push((elem.clone(), set));
    }
}

/// An ascending list that is asked for ascending elements.
struct Ascending<'a, T>(&'a [T]);

impl<'a, T> Ascending<'a, T> {
    fn seek(&mut self, wanted: &Elem, key: impl Fn(&T) -> &Elem) -> Option<&'a T> {
        while let [first, rest @ ..] = self.0 {
            match key(first).cmp(wanted) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => return Some(first),
                Ordering::Greater => return None,
            }
        }
        None
    }
}

/// Walks two ascending lists side by side.
fn zip<'a, T>(
    a: &'a [T],
    b: &'a [T],
    key: impl Fn(&T) -> &Elem,
    mut f: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let order = match (a.get(i), b.get(j)) {
            (Some(a), Some(b)) => key(a).cmp(key(b)),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => f(Some(&a[i]), None),
            Ordering::Greater => f(None, Some(&b[j])),
            Ordering::Equal => f(Some(&a[i]), Some(&b[j])),
        }
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fields::{decode, encode};
    use crate::{Map, value};

    /// Put in order one by one, these would take a minute.
    #[test]
    fn sets_of_very_many_items_in_no_order_are_read_at_once() {
        let key = |i: i64| Str::from(format!("v:{i}"));
        let many: Map = (0..150_000).map(|i| (key(i), Value::object())).collect();
        let set = decode(&Value::Object(many)).expect("a set");
        assert_eq!(set.members.len(), 150_000);
        assert!(set.members.is_sorted());
    }

    #[test]
    fn parts_that_occur_twice_are_one() {
        let part = |name: &str| (Elem::field("a"), Set::of_path(&[name]));
        let set = Set::collected(
            vec![Elem::field("b"), Elem::field("a"), Elem::field("b")],
            vec![part("y"), part("x"), part("y")],
        );
        let want = value!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {}});
        assert_eq!(encode(&set), want);
    }
}
