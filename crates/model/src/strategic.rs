//! Strategic merge patch, by the merge keys of the catalogue.
//!
//! Behaviour follows apimachinery `pkg/util/strategicpatch/patch.go` (`mergeMap` with
//! `MergeParallelList` and `IgnoreUnmatchedNulls`). Where upstream returns a bare error, and so
//! answers 500, this answers 400 with the same words: the fault is the client's.

use crate::catalogue::{Field, Shape, TypeId, Types};
use crate::patch::does_not_apply;
use crate::{ApiError, Map, Str, Value};
use std::collections::{HashMap, HashSet};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_ELEMENT_ORDER: &str = "invalid patch format of setElementOrder list";

/// Applies a strategic merge patch to an object of type `root`. When it fails, `target` is left
/// empty.
///
/// # Errors
/// 400/422 with upstream's messages for directives that do not fit.
pub fn strategic_merge(
    types: &Types,
    root: TypeId,
    target: &mut Value,
    patch: &Value,
) -> Result<(), ApiError> {
    let Value::Object(patch) = patch else {
        let got = if matches!(patch, Value::Int(_) | Value::Float(_)) {
            "number"
        } else {
            patch.type_name()
        };
        return Err(bad(format!(
            "json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
        )));
    };
    let original = match std::mem::take(target) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    *target = Value::Object(merge_map(original, patch.clone(), At { types, ty: root })?);
    Ok(())
}

/// The schema at one place.
#[derive(Clone, Copy)]
struct At<'a> {
    types: &'a Types,
    ty: TypeId,
}

impl<'a> At<'a> {
    fn field(self, key: &str) -> Result<&'a Field, ApiError> {
        match self.types.get(self.ty) {
            Shape::Struct(s) => s.field(key).ok_or_else(|| {
                let name = s.name.rsplit('.').next().unwrap_or_default();
                bad(format!(
                    "unable to find api field in struct {name} for the json field {key:?}"
                ))
            }),
            other => {
                let kind = match other {
                    Shape::Map(_) => "map",
                    Shape::List(_) => "slice",
                    Shape::String => "string",
                    Shape::Bool => "bool",
                    _ => {
                        let text = format!(
                            "unable to find api field in struct for the json field {key:?}"
                        );
                        return Err(bad(text));
                    }
                };
                Err(bad(format!(
                    "merging an object in json but data type is not struct, instead is: {kind}"
                )))
            }
        }
    }

    fn into(self, field: &Field) -> Self {
        Self {
            ty: field.ty,
            ..self
        }
    }

    /// The item type of a list field.
    fn items(self, field: &Field) -> Result<Self, ApiError> {
        match self.types.get(field.ty) {
            Shape::List(list) => Ok(Self {
                ty: list.item,
                ..self
            }),
            _ => Err(bad("expected slice or array type, but got: struct")),
        }
    }
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::bad_request(message)
}

/// `$prefix/name` → `name`.
fn directed<'a>(key: &'a str, prefix: &str, error: &'static str) -> Result<&'a str, ApiError> {
    match key.split_once('/') {
        Some((head, name)) if head == prefix => Ok(name),
        _ => Err(bad(error)),
    }
}

fn merge_map(mut original: Map, mut patch: Map, at: At<'_>) -> Result<Map, ApiError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(&mut original, &mut patch, at)?;
    for (key, value) in patch.into_entries() {
        if key.starts_with(DELETE_FROM_LIST) {
            let name = directed(&key, DELETE_FROM_LIST, BAD_PRIMITIVE_LIST)?;
            delete_from_list(&mut original, name, value, at)?;
            continue;
        }
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let old = original.get_mut(&key).map(std::mem::take);
        let merged = match (old, value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let field = at.field(&key)?;
                let replaces = replaces_struct(at, field);
                Some(Value::Object(if replaces {
                    new
                } else {
                    merge_map(old, new, at.into(field))?
                }))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let field = at.field(&key)?;
                let items = at.items(field)?;
                Some(Value::Array(if field.patch_merge {
                    merge_list(old, new, items, field)?
                } else {
                    new
                }))
            }
            (_, new) => without_directives(without_nulls(new)),
        };
        match merged {
            Some(value) => {
                original.insert(key, value);
            }
            None => {
                original.remove(&key);
            }
        }
    }
    Ok(original)
}

/// The one struct field of the built-in API that is marked `patchStrategy:"replace"`
/// (`k8s.io/api/policy/v1/types.go`).
fn replaces_struct(at: At<'_>, field: &Field) -> bool {
    field.json == "selector"
        && at
            .types
            .structure(at.ty)
            .is_some_and(|s| s.name.ends_with("policy.v1.PodDisruptionBudgetSpec"))
}

/// `$retainKeys`: what the list does not name is cleared; the patch may set only what it names.
fn retain_keys(original: &mut Map, patch: &mut Map) -> Result<(), ApiError> {
    let Some(list) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(list) = list else {
        return Err(bad(BAD_RETAIN_KEYS));
    };
    let keep: HashSet<&str> = list.iter().filter_map(Value::as_str).collect();
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER);
        if !value.is_null() && !directive && !keep.contains(key) {
            return Err(bad(BAD_RETAIN_KEYS));
        }
    }
    original.retain(|key, _| keep.contains(key));
    Ok(())
}

fn delete_from_list(
    original: &mut Map,
    name: &str,
    value: Value,
    at: At<'_>,
) -> Result<(), ApiError> {
    if value.is_null() {
        original.remove(name);
        return Ok(());
    }
    let (Some(Value::Array(old)), Value::Array(remove)) = (original.get_mut(name), value) else {
        return Ok(());
    };
    let field = at.field(name)?;
    let items = at.items(field)?;
    if old.is_empty() && remove.is_empty() {
        return Ok(());
    }
    if element_kind(&[old, &remove])? == Kind::Map {
        *old = merge_list(std::mem::take(old), remove, items, field)?;
        return Ok(());
    }
    let gone: HashSet<Scalar<'_>> = remove.iter().map(Scalar::of).collect();
    old.retain(|v| !gone.contains(&Scalar::of(v)));
    Ok(())
}

/// Handles every `$setElementOrder/x` together with the patch's own `x`, and takes both out.
fn set_element_orders(original: &mut Map, patch: &mut Map, at: At<'_>) -> Result<(), ApiError> {
    let keys: Vec<Str> = patch
        .keys()
        .filter(|k| k.starts_with(ELEMENT_ORDER))
        .map(Str::from)
        .collect();
    for key in keys {
        let Some(order) = patch.remove(&key) else {
            continue;
        };
        let Value::Array(order) = order else {
            return Err(bad(format!(
                "expected a []interface {{}}, but received a {}",
                go_type(&order)
            )));
        };
        let name = directed(&key, ELEMENT_ORDER, BAD_ELEMENT_ORDER)?;
        let live = list_of(original.get(name))?.cloned();
        let wanted = list_of(patch.get(name))?.cloned();
        let field = at.field(name)?;
        let items = at.items(field)?;
        check_order(
            wanted.as_deref().unwrap_or_default(),
            &order,
            field.patch_merge_key(),
        )?;
        let merged = match (live.clone(), wanted.clone()) {
            (None, None) => continue,
            (Some(live), None) => live,
            (None, Some(wanted)) => wanted.into_iter().filter_map(without_directives).collect(),
            (Some(live), Some(wanted)) if field.patch_merge => {
                merge_list(live, wanted, items, field)?
            }
            (Some(_), Some(wanted)) => wanted,
        };
        let mut live = live.unwrap_or_default();
        let kind = element_kind(&[&live, wanted.as_deref().unwrap_or_default()])?;
        if kind == Kind::Map && field.patch_merge_key().is_none() {
            // maps without a merge key have no order that could be set
            let all = merged.iter().chain(&order).chain(&live);
            if let Some(map) = all.filter_map(Value::as_object).next() {
                return Err(no_merge_key(map, ""));
            }
        }
        if let (Some(wanted), Some(merge_key)) = (&wanted, field.patch_merge_key())
            && field.patch_merge
        {
            live = live_order(&live, wanted, merge_key);
        }
        let merged = arrange(merged, &order, &live, field.patch_merge_key())?;
        original.insert(name, Value::Array(merged));
        patch.remove(name);
    }
    Ok(())
}

fn list_of(value: Option<&Value>) -> Result<Option<&Vec<Value>>, ApiError> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(bad(format!(
            "expected a []interface {{}}, but received a {}",
            go_type(other)
        ))),
    }
}

/// The patch's items must come in the order of `$setElementOrder`, and be named there.
fn check_order(patch: &[Value], order: &[Value], merge_key: Option<&str>) -> Result<(), ApiError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let deleted = |item: &&Value| item.get(PATCH).and_then(Value::as_str) == Some("delete");
    let mut items = patch
        .iter()
        .filter(|item| merge_key.is_none() || !deleted(item))
        .peekable();
    let mut positions = order.iter().peekable();
    while let (Some(item), Some(candidate)) = (items.peek(), positions.peek()) {
        if item.get(PATCH).is_some() {
            items.next();
            continue;
        }
        if element_key(item, merge_key)? == element_key(candidate, merge_key)? {
            items.next();
        }
        positions.next();
    }
    if items.peek().is_none() {
        return Ok(());
    }
    let list = |items: &[Value]| {
        let mut s = String::new();
        go_list(&mut s, items);
        s
    };
    Err(bad(format!(
        "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
        list(patch),
        list(order)
    )))
}

/// What identifies an element: the value of its merge key, or itself.
fn element_key<'a>(item: &'a Value, merge_key: Option<&str>) -> Result<Scalar<'a>, ApiError> {
    let Some(key) = merge_key else {
        return Ok(Scalar::of(item));
    };
    let Value::Object(map) = item else {
        return Err(bad(format!(
            "expected a map[string]interface {{}}, but received a {}",
            go_type(item)
        )));
    };
    map.get(key)
        .map(Scalar::of)
        .ok_or_else(|| no_merge_key(map, key))
}

fn no_merge_key(map: &Map, key: &str) -> ApiError {
    let mut s = String::new();
    go_map(&mut s, map);
    bad(format!(
        "map: {s} does not contain declared merge key: {key}"
    ))
}

fn unknown_directive(directive: &Value, map: &Map) -> ApiError {
    let (mut d, mut m) = (String::new(), String::new());
    go_value(&mut d, directive);
    go_map(&mut m, map);
    bad(format!("unknown patch type: {d} in map: {m}"))
}

/// Merges a list whose items are all maps or all scalars, and puts it in upstream's order.
fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    at: At<'_>,
    field: &Field,
) -> Result<Vec<Value>, ApiError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let kind = element_kind(&[&original, &patch])?;
    if kind != Kind::Map {
        let server_order = original.clone();
        let order = patch.clone();
        let mut seen = HashSet::new();
        let all: Vec<Value> = original.into_iter().chain(patch).collect();
        let first: Vec<bool> = all.iter().map(|v| seen.insert(Scalar::of(v))).collect();
        drop(seen);
        let unique = all
            .into_iter()
            .zip(first)
            .filter(|(_, first)| *first)
            .map(|(v, _)| v)
            .collect();
        return arrange(unique, &order, &server_order, None);
    }
    let Some(merge_key) = field.patch_merge_key() else {
        return Err(bad("cannot merge lists without merge key for struct"));
    };
    let (original, patch) = special_elements(original, patch, merge_key)?;
    let server_order = keys_only(&original, merge_key);
    let order = keys_only(&patch, merge_key);
    let merged = merge_elements(original, patch, merge_key, at)?;
    arrange(merged, &order, &server_order, Some(merge_key))
}

/// Enough of each element to order by, so that whole elements need no copy.
fn keys_only(items: &[Value], merge_key: &str) -> Vec<Value> {
    let keep = |map: &Map| {
        map.get(merge_key)
            .map(|v| (merge_key, v.clone()))
            .into_iter()
            .collect::<Map>()
    };
    items
        .iter()
        .map(|v| {
            v.as_object()
                .map_or_else(|| v.clone(), |m| Value::Object(keep(m)))
        })
        .collect()
}

/// The order of the live list as upstream sees it after the merge: items that the patch deletes make
/// room at the end of Go's array, and items that it adds are written there.
fn live_order(live: &[Value], patch: &[Value], merge_key: &str) -> Vec<Value> {
    let directive = |item: &Value| item.get(PATCH).and_then(Value::as_str).map(str::to_owned);
    let is = |item: &Value, what| directive(item).as_deref() == Some(what);
    let mut order = keys_only(live, merge_key);
    if patch.iter().any(|item| is(item, "replace")) {
        return order;
    }
    let key = |item: &Value| item.get(merge_key).map(OwnedScalar::of);
    let gone: HashSet<OwnedScalar> = patch
        .iter()
        .filter(|item| is(item, "delete"))
        .filter_map(key)
        .collect();
    order.retain(|item| key(item).is_none_or(|k| !gone.contains(&k)));
    let mut known: HashSet<OwnedScalar> = order.iter().filter_map(key).collect();
    for item in keys_only(patch, merge_key)
        .into_iter()
        .zip(patch)
        .filter(|(_, given)| given.get(PATCH).is_none())
        .map(|(item, _)| item)
    {
        if order.len() < live.len() && key(&item).is_some_and(|k| known.insert(k)) {
            order.push(item);
        }
    }
    order
}

/// Handles `$patch` in list elements: deletes what is named, or replaces the whole list.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), ApiError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut deletes = Vec::new();
    let mut replace = false;
    for item in patch {
        let Some(map) = item.as_object() else {
            continue;
        };
        let Some(directive) = map.get(PATCH) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                deletes.push(
                    map.get(merge_key)
                        .cloned()
                        .ok_or_else(|| no_merge_key(map, merge_key))?,
                );
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(bad("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown_directive(directive, map)),
        }
    }
    let gone: HashSet<Scalar<'_>> = deletes.iter().map(Scalar::of).collect();
    original.retain(|v| {
        v.get(merge_key)
            .is_none_or(|key| !gone.contains(&Scalar::of(key)))
    });
    if replace {
        Ok((plain, Vec::new()))
    } else {
        Ok((original, plain))
    }
}

fn merge_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
    at: At<'_>,
) -> Result<Vec<Value>, ApiError> {
    let mut positions: HashMap<OwnedScalar, usize> = HashMap::new();
    for (i, item) in original.iter().enumerate() {
        if let Some(key) = item.get(merge_key) {
            positions.entry(OwnedScalar::of(key)).or_insert(i);
        }
    }
    for item in patch {
        let Value::Object(new) = item else { continue };
        let key = OwnedScalar::of(
            new.get(merge_key)
                .ok_or_else(|| no_merge_key(&new, merge_key))?,
        );
        if let Some(old) = positions.get(&key).map(|i| &mut original[*i]) {
            let Value::Object(map) = std::mem::take(old) else {
                continue;
            };
            *old = Value::Object(merge_map(map, new, at)?);
        } else {
            positions.insert(key, original.len());
            original.push(Value::Object(new));
        }
    }
    Ok(original)
}

/// Orders `merged`: items named in `order` in that order, the others as in `live`; between the
/// two groups the live order decides, and what the live list does not know comes first.
fn arrange(
    merged: Vec<Value>,
    order: &[Value],
    live: &[Value],
    merge_key: Option<&str>,
) -> Result<Vec<Value>, ApiError> {
    let rank = |list: &[Value]| -> Result<HashMap<OwnedScalar, usize>, ApiError> {
        let mut ranks = HashMap::with_capacity(list.len());
        for (i, item) in list.iter().enumerate() {
            ranks
                .entry(element_key(item, merge_key)?.owned())
                .or_insert(i);
        }
        Ok(ranks)
    };
    let (by_order, by_live) = (rank(order)?, rank(live)?);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let key = element_key(&item, merge_key)?.owned();
        let live_rank = by_live.get(&key).copied();
        match by_order.get(&key) {
            Some(i) => named.push((*i, live_rank, item)),
            None => others.push((live_rank.unwrap_or(usize::MAX), live_rank, item)),
        }
    }
    named.sort_by_key(|(rank, _, _)| *rank);
    others.sort_by_key(|(rank, _, _)| *rank);
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, l, _)), Some((_, r, _))) => matches!((l, r), (Some(l), Some(r)) if l < r),
        };
        let next = if other_first {
            others.next()
        } else {
            named.next()
        };
        out.extend(next.map(|(_, _, item)| item));
    }
}

/// Drops null fields of maps, also inside lists.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_entries()
                .into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Drops every map that carries a `$patch` directive.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_entries()
                .into_iter()
                .filter_map(|(k, v)| without_directives(v).map(|v| (k, v)))
                .collect(),
        )),
        Value::Array(items) => Some(Value::Array(
            items.into_iter().filter_map(without_directives).collect(),
        )),
        other => Some(other),
    }
}

/// The Go kinds that upstream tells apart in lists.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Map,
    Other(&'static str),
}

fn element_kind(lists: &[&[Value]]) -> Result<Kind, ApiError> {
    let mut first = None;
    for item in lists.iter().flat_map(|l| l.iter()) {
        let kind = match item {
            Value::Object(_) => Kind::Map,
            Value::Array(_) => return Err(does_not_apply()),
            other => Kind::Other(go_type(other)),
        };
        if *first.get_or_insert(kind) != kind {
            let mut s = String::from("[");
            for (i, list) in lists.iter().enumerate() {
                s.push_str(if i == 0 { "" } else { " " });
                go_list(&mut s, list);
            }
            return Err(bad(format!("list element types are not identical: {s}]")));
        }
    }
    first.ok_or_else(|| bad("no elements in any of the given slices"))
}

/// A scalar as a hash key. Maps and lists are equal to nothing but themselves by address, as no
/// key of a built-in list is one.
#[derive(PartialEq, Eq, Hash)]
enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(&'a str),
    Other(usize),
}

impl<'a> Scalar<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(*i),
            Value::Float(f) => Self::Float(f.to_bits()),
            Value::String(s) => Self::Text(s),
            other => Self::Other(std::ptr::from_ref(other).addr()),
        }
    }

    fn owned(&self) -> OwnedScalar {
        match self {
            Scalar::Null => OwnedScalar::Null,
            Scalar::Bool(b) => OwnedScalar::Bool(*b),
            Scalar::Int(i) => OwnedScalar::Int(*i),
            Scalar::Float(f) => OwnedScalar::Float(*f),
            Scalar::Text(s) => OwnedScalar::Text((*s).into()),
            Scalar::Other(address) => OwnedScalar::Other(*address),
        }
    }
}

/// [`Scalar`] that outlives the list it came from.
#[derive(PartialEq, Eq, Hash)]
enum OwnedScalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(Str),
    Other(usize),
}

impl OwnedScalar {
    fn of(value: &Value) -> Self {
        Scalar::of(value).owned()
    }
}

/// The Go type that a decoder gives a value.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// As Go prints a value with `%v`: `map[a:1 b:[x y]]`.
pub(crate) fn go_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(&b.to_string()),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&f.to_string()),
        Value::String(s) => out.push_str(s),
        Value::Array(items) => go_list(out, items),
        Value::Object(map) => go_map(out, map),
    }
}

fn go_list(out: &mut String, items: &[Value]) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { " " });
        go_value(out, item);
    }
    out.push(']');
}

fn go_map(out: &mut String, map: &Map) {
    out.push_str("map[");
    for (i, (key, value)) in map.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { " " });
        out.push_str(key);
        out.push(':');
        go_value(out, value);
    }
    out.push(']');
}

#[cfg(test)]
mod tests;
