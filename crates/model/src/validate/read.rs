//! Reading fields of objects that typed decoding has been over, and noting what is wrong.

use crate::field::{FieldError, Path};
use crate::quantity::Quantity;
use crate::rules::Problems;
use crate::value::prefix;
use crate::{Map, Value};

/// Fields as Go sees them: absent and null are the zero value.
pub(crate) trait Read {
    fn part(&self, key: &str) -> Option<&Value>;
    fn text(&self, key: &str) -> &str;
    fn list(&self, key: &str) -> &[Value];
    fn map(&self, key: &str) -> Option<&Map>;
    fn int(&self, key: &str) -> Option<i64>;
    fn flag(&self, key: &str) -> bool;

    #[inline(always)]
    fn has(&self, key: &str) -> bool {
        self.part(key).is_some()
    }

    /// The value of an optional string; `None` is not the same as empty.
    #[inline(always)]
    fn string(&self, key: &str) -> Option<&str> {
        self.part(key).and_then(Value::as_str)
    }

    /// The strings of a list.
    fn texts<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.list(key)
            .iter()
            .map(|v| v.as_str().unwrap_or_default())
    }

    #[inline(always)]
    fn number(&self, key: &str) -> i64 {
        self.int(key).unwrap_or(0)
    }
}

/// What a field of a struct that [`fields`] makes holds; [`NOTHING`] when it is not there.
pub(crate) trait Given {
    fn given(&self) -> Option<&Value>;
    fn as_text(&self) -> &str;
    fn as_list(&self) -> &[Value];
    fn is_on(&self) -> bool;
}

impl Given for Value {
    #[inline(always)]
    fn given(&self) -> Option<&Value> {
        Some(self).filter(|v| !v.is_null())
    }

    #[inline(always)]
    fn as_text(&self) -> &str {
        self.as_str().unwrap_or_default()
    }

    #[inline(always)]
    fn as_list(&self) -> &[Value] {
        self.as_array().unwrap_or_default()
    }

    #[inline(always)]
    fn is_on(&self) -> bool {
        self.as_bool().unwrap_or(false)
    }
}

/// Whether texts ascend, as those must for which an object is gone through.
pub(crate) const fn ascending(keys: &[&str]) -> bool {
    let mut i = 1;
    while i < keys.len() {
        let (before, now) = (keys[i - 1].as_bytes(), keys[i].as_bytes());
        let mut at = 0;
        while at < before.len() && at < now.len() && before[at] == now[at] {
            at += 1;
        }
        let less = at < now.len() && (at == before.len() || before[at] < now[at]);
        if !less {
            return false;
        }
        i += 1;
    }
    true
}

/// A struct of fields that are looked up together, in one walk over their object.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $key:literal,)+ }) => {
        $(#[$doc])*
        struct $name<'a> {
            $($field: &'a $crate::Value,)+
        }

        impl<'a> $name<'a> {
            fn of(object: &'a $crate::Value) -> Self {
                const { assert!($crate::validate::read::ascending(&[$($key),+])) }
                let mut walk = $crate::value::Walk::over(Some(object));
                let nothing = &$crate::validate::read::NOTHING;
                Self { $($field: walk.next($key).unwrap_or(nothing),)+ }
            }
        }
    };
}
pub(crate) use fields;

impl Read for Value {
    #[inline]
    fn part(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|v| !v.is_null())
    }

    #[inline]
    fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    #[inline]
    fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).unwrap_or_default()
    }

    #[inline]
    fn map(&self, key: &str) -> Option<&Map> {
        self.get(key).and_then(Value::as_object)
    }

    #[inline]
    fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_i64)
    }

    #[inline]
    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// An object whose fields are asked for by many names, most of which it does not have: an index by a
/// hash of the name answers without looking through them. Names that the caller writes out are hashed
/// when it is compiled.
pub(crate) struct Fields<'a> {
    map: Option<&'a Map>,
    /// one more than the place of the only field with this hash; [`SEVERAL`] when there are more
    index: [u8; 64],
}

const SEVERAL: u8 = u8::MAX;

#[inline(always)]
fn hash(prefix: u64, length: usize) -> usize {
    (prefix ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 58
}

impl<'a> Fields<'a> {
    pub(crate) fn of(object: &'a Value) -> Self {
        let mut fields = Self {
            map: object.as_object(),
            index: [0; 64],
        };
        let mut place: u8 = 0;
        for (prefix, length) in fields.map.into_iter().flat_map(Map::outlines) {
            // those beyond are looked for
            place = place.saturating_add(1);
            let known = &mut fields.index[hash(prefix, length)];
            *known = if *known == 0 { place } else { SEVERAL };
        }
        fields
    }

    #[inline(always)]
    fn find(&self, key: &str) -> Option<&'a Value> {
        let prefix = prefix(key);
        match self.index[hash(prefix, key.len())] {
            0 => None,
            SEVERAL => self.map?.get(key),
            place => self.map?.get_at(usize::from(place) - 1, prefix, key),
        }
    }
}

impl Read for Fields<'_> {
    #[inline(always)]
    fn part(&self, key: &str) -> Option<&Value> {
        self.find(key).filter(|v| !v.is_null())
    }

    #[inline(always)]
    fn text(&self, key: &str) -> &str {
        self.find(key).and_then(Value::as_str).unwrap_or_default()
    }

    #[inline(always)]
    fn list(&self, key: &str) -> &[Value] {
        let items = self.find(key).and_then(Value::as_array);
        items.unwrap_or_default()
    }

    #[inline(always)]
    fn map(&self, key: &str) -> Option<&Map> {
        self.find(key).and_then(Value::as_object)
    }

    #[inline(always)]
    fn int(&self, key: &str) -> Option<i64> {
        self.find(key).and_then(Value::as_i64)
    }

    #[inline(always)]
    fn flag(&self, key: &str) -> bool {
        self.find(key).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// An object without fields, for parts that are not there.
pub(crate) static NOTHING: Value = Value::Null;

pub(crate) fn quantity(value: &Value) -> Quantity {
    value
        .as_str()
        .and_then(|s| Quantity::parse(s).ok())
        .unwrap_or_else(Quantity::zero)
}

/// What is wrong so far.
#[derive(Default)]
pub(crate) struct Report {
    /// of the server that judges; matters to expressions
    pub minor: u8,
    pub(crate) errors: Vec<FieldError>,
}

impl Report {
    pub(crate) fn required(&mut self, path: impl Into<String>, detail: &str) {
        self.errors.push(FieldError::required(path, detail));
    }

    pub(crate) fn forbidden(&mut self, path: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError::forbidden(path, detail));
    }

    pub(crate) fn invalid(
        &mut self,
        path: impl Into<String>,
        value: &Value,
        detail: impl Into<String>,
    ) {
        self.errors.push(FieldError::invalid(path, value, detail));
    }

    pub(crate) fn invalid_str(
        &mut self,
        path: impl Into<String>,
        value: &str,
        detail: impl Into<String>,
    ) {
        self.errors
            .push(FieldError::invalid_str(path, value, detail));
    }

    pub(crate) fn invalid_int(
        &mut self,
        path: impl Into<String>,
        value: i64,
        detail: impl Into<String>,
    ) {
        self.errors
            .push(FieldError::invalid_int(path, value, detail));
    }

    pub(crate) fn duplicate(&mut self, path: impl Into<String>, value: &str) {
        self.errors.push(FieldError::duplicate(path, &value.into()));
    }

    /// One error per problem of a string.
    pub(crate) fn problems(&mut self, path: Path<'_>, value: &str, problems: Problems) {
        if problems.is_empty() {
            return;
        }
        self.errors.extend(
            problems
                .into_iter()
                .map(|p| FieldError::invalid_str(path, value, p)),
        );
    }

    /// One error per problem of a number.
    pub(crate) fn int_problems(&mut self, path: Path<'_>, value: i64, problems: Problems) {
        if problems.is_empty() {
            return;
        }
        self.errors.extend(
            problems
                .into_iter()
                .map(|p| FieldError::invalid_int(path, value, p)),
        );
    }

    pub(crate) fn not_supported(
        &mut self,
        path: impl Into<String>,
        value: &str,
        supported: &[&str],
    ) {
        self.errors
            .push(FieldError::not_supported(path, &value.into(), supported));
    }

    /// A string that must be one of a few; absent is an error of its own.
    pub(crate) fn one_of(&mut self, path: Path<'_>, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else {
            self.one_of_if_set(path, value, supported);
        }
    }

    /// A string that must be one of a few when it is there.
    pub(crate) fn one_of_if_set(&mut self, path: Path<'_>, value: &str, supported: &[&str]) {
        if !value.is_empty() && !supported.contains(&value) {
            self.not_supported(path, value, supported);
        }
    }

    pub(crate) fn non_negative(&mut self, path: Path<'_>, value: i64) {
        if value < 0 {
            self.invalid_int(path, value, "must be greater than or equal to 0");
        }
    }

    pub(crate) fn positive(&mut self, path: Path<'_>, value: i64) {
        if value <= 0 {
            self.invalid_int(path, value, "must be greater than zero");
        }
    }

    /// A required string of a kind of name.
    pub(crate) fn required_name(
        &mut self,
        path: Path<'_>,
        value: &str,
        rule: fn(&str) -> Problems,
    ) {
        if value.is_empty() {
            self.required(path, "");
        } else {
            self.problems(path, value, rule(value));
        }
    }

    /// As [`Self::one_of_if_set`] for a string that is a pointer in Go: empty is not absent.
    pub(crate) fn one_of_pointer(
        &mut self,
        path: Path<'_>,
        value: Option<&str>,
        supported: &[&str],
    ) {
        if let Some(value) = value
            && !supported.contains(&value)
        {
            self.not_supported(path, value, supported);
        }
    }

    /// A string that may not change.
    pub(crate) fn immutable_text(&mut self, path: Path<'_>, new: &str, old: &str) {
        if new != old {
            self.invalid_str(path, new, crate::meta::IMMUTABLE);
        }
    }

    /// What may not change.
    pub(crate) fn immutable(&mut self, path: Path<'_>, new: Option<&Value>, old: Option<&Value>) {
        let (new, old) = (new.unwrap_or(&NOTHING), old.unwrap_or(&NOTHING));
        if !same(new, old) {
            self.invalid(path, new, crate::meta::IMMUTABLE);
        }
    }
}

/// Semantic equality: nothing and an empty list are the same. An empty object is a struct that is
/// there: empty maps are not in objects that were defaulted.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    equal(a, b, false)
}

/// Fields that hold quantities, or maps of them: `1` and `+1` are the same there.
const AMOUNTS: [&str; 9] = [
    "allocatedResources",
    "capacity",
    "divisor",
    "limits",
    "maximumVolumeSize",
    "overhead",
    "podFixed",
    "requests",
    "sizeLimit",
];

fn equal(a: &Value, b: &Value, amounts: bool) -> bool {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match (a, b) {
        _ if empty(a) && empty(b) => true,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, false))
        }
        (Value::Object(x), Value::Object(y)) => {
            let nothing = Value::Null;
            x.keys().chain(y.keys()).all(|k| {
                let (x, y) = (x.get(k).unwrap_or(&nothing), y.get(k).unwrap_or(&nothing));
                equal(x, y, amounts || AMOUNTS.contains(&k))
            })
        }
        (Value::String(x), Value::String(y)) if amounts && x != y => {
            Quantity::parse(x).is_ok_and(|x| Quantity::parse(y).is_ok_and(|y| x == y))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Given as _, Read as _, ascending, same};
    use crate::{Map, Value, value};

    fields! {
        Several {
            nothing: "",
            policy: "restartPolicy",
            rules: "restartPolicyRules",
            grace: "terminationGracePeriodSeconds",
            message: "terminationMessagePath",
            z: "z",
        }
    }

    #[test]
    fn fields_are_found_in_one_walk_beside_others_that_begin_as_they_do() {
        let keys = [
            "",
            "a",
            "restartP",
            "restartPolicies",
            "restartPolicy",
            "restartPolicyRules",
            "terminationGracePeriodSeconds",
            "terminationMessage",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "z",
            "zz",
        ];
        assert!(ascending(&keys) && !ascending(&["a", "a"]) && !ascending(&["ab", "a"]));
        for subset in 0..1_u32 << keys.len() {
            let picked = (0..).zip(keys).filter(|(i, _)| subset >> i & 1 == 1);
            let object = Value::Object(picked.map(|(_, key)| (key, key)).collect());
            let several = Several::of(&object);
            for (key, found) in [
                ("", several.nothing),
                ("restartPolicy", several.policy),
                ("restartPolicyRules", several.rules),
                ("terminationGracePeriodSeconds", several.grace),
                ("terminationMessagePath", several.message),
                ("z", several.z),
            ] {
                assert_eq!(found.given(), object.get(key), "{key} of {object:?}");
                assert_eq!(object.part(key), object.get(key), "{key} of {object:?}");
            }
        }
        assert!(Several::of(&Value::Null).z.given().is_none());
    }

    #[test]
    fn an_index_of_fields_finds_what_the_object_has() {
        for n in [0, 1, 20, 60, 254, 255, 300] {
            let names: Vec<String> = (0..n)
                .map(|i| format!("name{i}{}", "x".repeat(i % 30)))
                .collect();
            let map: Map = names
                .iter()
                .map(|name| (name.as_str(), name.as_str()))
                .collect();
            let object = Value::Object(map);
            let fields = Fields::of(&object);
            for name in &names {
                assert_eq!(fields.string(name), Some(name.as_str()));
                assert!(!fields.has(&format!("{name}-")));
            }
        }
        assert!(!Fields::of(&Value::Null).has("name"));
    }

    #[test]
    fn amounts_are_compared_as_such_and_structs_that_are_there_are_not_absent() {
        for (a, b, equal) in [
            (
                value!({"limits": {"cpu": "1"}}),
                value!({"limits": {"cpu": "+1"}}),
                true,
            ),
            (
                value!({"labels": {"cpu": "1"}}),
                value!({"labels": {"cpu": "+1"}}),
                false,
            ),
            (value!({"list": []}), value!({}), true),
            (value!({"windowsOptions": {}}), value!({}), false),
        ] {
            assert_eq!(same(&a, &b), equal, "{a:?} {b:?}");
        }
    }
}
