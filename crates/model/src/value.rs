//! The tree that objects are parsed into when (and only when) they are changed.
//!
//! Maps are vectors sorted by key: encoding is deterministic, lookups are a binary search, and a
//! hostile document of many keys costs O(n log n) because decoders collect first and sort once.

/// Strings up to 24 bytes (most field names and values) live inline.
pub type Str = compact_str::CompactString;

/// A JSON-shaped value. Integers that fit stay integers, as in Kubernetes' own decoder.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Str),
    Array(Vec<Value>),
    Object(Map),
}

/// An object: unique keys in ascending byte order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Map(Vec<(Str, Value)>);

impl Map {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sorts `entries` and keeps the last of equal keys; the keys that occurred more than once
    /// are returned so that strict decoding can report them.
    #[must_use]
    pub fn from_entries(mut entries: Vec<(Str, Value)>) -> (Self, Vec<Str>) {
        let sorted = entries.windows(2).all(|w| w[0].0 < w[1].0);
        let mut duplicates = Vec::new();
        if !sorted {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            // Stable sort keeps document order among equals: let the later one win.
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(later, earlier);
                    if duplicates.last() != Some(&earlier.0) {
                        duplicates.push(earlier.0.clone());
                    }
                }
                same
            });
        }
        (Self(entries), duplicates)
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.as_str().cmp(key))
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|i| &self.0[i].1)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).ok().map(|i| &mut self.0[i].1)
    }

    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, value)),
            Err(i) => {
                self.0.insert(i, (key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|i| self.0.remove(i).1)
    }

    /// The value under `key`, inserted as given by `make` when absent.
    pub fn entry_or(&mut self, key: &str, make: impl FnOnce() -> Value) -> &mut Value {
        let i = match self.find(key) {
            Ok(i) => i,
            Err(i) => {
                self.0.insert(i, (key.into(), make()));
                i
            }
        };
        &mut self.0[i].1
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(k, v)| (k.as_str(), v))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.0.iter().map(|(k, _)| k.as_str())
    }

    pub fn into_entries(self) -> Vec<(Str, Value)> {
        self.0
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<Str>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Self {
        Self::from_entries(
            iter.into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        )
        .0
    }
}

impl Value {
    #[must_use]
    pub fn object() -> Self {
        Self::Object(Map::new())
    }

    /// A number as it comes back from JSON: `1.0` is written `1` and read as an integer.
    #[must_use]
    pub fn from_f64(f: f64) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "checked to be a small whole number"
        )]
        if f.fract() == 0.0 && f.abs() < 9.0e15 {
            Self::Int(f as i64)
        } else {
            Self::Float(f)
        }
    }

    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) = self {
            Some(s)
        } else {
            None
        }
    }

    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self {
            Some(*b)
        } else {
            None
        }
    }

    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Int(i) = self {
            Some(*i)
        } else {
            None
        }
    }

    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(a) = self {
            Some(a)
        } else {
            None
        }
    }

    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Self::Array(a) = self {
            Some(a)
        } else {
            None
        }
    }

    #[must_use]
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(m) = self {
            Some(m)
        } else {
            None
        }
    }

    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(m) = self {
            Some(m)
        } else {
            None
        }
    }

    /// Field `key` of an object; `None` for other kinds of value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object().and_then(|m| m.get(key))
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut().and_then(|m| m.get_mut(key))
    }

    /// Follows object fields: `at(&["metadata", "name"])`.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |v, key| v.get(key))
    }

    #[must_use]
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).and_then(Self::as_str)
    }

    /// Sets a nested field, making objects on the way (a non-object on the way is replaced).
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let mut here = self;
        for key in path {
            if here.as_object().is_none() {
                *here = Self::object();
            }
            let Self::Object(map) = here else { return };
            here = map.entry_or(key, || Self::Null);
        }
        *here = value.into();
    }

    /// Removes a nested field and returns it.
    pub fn unset(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut here = self;
        for key in parents {
            here = here.get_mut(key)?;
        }
        here.as_object_mut()?.remove(last)
    }

    /// What JSON calls the type of this value, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}
impl From<i32> for Value {
    fn from(v: i32) -> Self {
        Self::Int(v.into())
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::String(v.into())
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::String(v.into())
    }
}
impl From<Str> for Value {
    fn from(v: Str) -> Self {
        Self::String(v)
    }
}
impl From<Map> for Value {
    fn from(v: Map) -> Self {
        Self::Object(v)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Self {
        Self::Array(v.into_iter().map(Into::into).collect())
    }
}

/// Builds a [`Value`] from JSON-like syntax: `value!({"a": 1, "b": [x, "y"], "c": expr})`.
#[macro_export]
macro_rules! value {
    (null) => { $crate::Value::Null };
    ([ $($item:tt),* $(,)? ]) => { $crate::Value::Array(vec![ $( $crate::value!($item) ),* ]) };
    ({ $($key:literal : $val:tt),* $(,)? }) => {
        $crate::Value::Object(<$crate::Map as ::core::iter::FromIterator<($crate::Str, $crate::Value)>>::from_iter(
            [ $( ($crate::Str::from($key), $crate::value!($val)) ),* ]
        ))
    };
    (($other:expr)) => { $crate::Value::from($other) };
    ($other:expr) => { $crate::Value::from($other) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_wins_and_is_reported() {
        let (m, dup) = Map::from_entries(vec![
            ("b".into(), 1.into()),
            ("a".into(), 2.into()),
            ("b".into(), 3.into()),
            ("b".into(), 4.into()),
        ]);
        assert_eq!(dup, ["b"]);
        assert_eq!(m.get("b"), Some(&Value::Int(4)));
        assert_eq!(m.len(), 2);
    }

    #[test]
    fn the_macro_builds_nested_values() {
        let n = 3;
        let v = value!({"a": {"b": [1, "x", null, true]}, "n": n, "e": (n + 1)});
        assert_eq!(
            v.at(&["a", "b"]).and_then(Value::as_array).map(<[_]>::len),
            Some(4)
        );
        assert_eq!(v.get("e"), Some(&Value::Int(4)));
    }
}
