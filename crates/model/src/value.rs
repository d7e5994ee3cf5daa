//! The tree that objects are parsed into when (and only when) they are changed.
//!
//! Maps are vectors sorted by key: encoding is deterministic, lookups are a binary search, and a
//! hostile document of many keys costs O(n log n) because decoders collect first and sort once.

mod walk;

use std::cmp::Ordering;
pub(crate) use walk::Walk;

/// Strings up to 24 bytes (most field names and values) live inline.
pub type Str = compact_str::CompactString;

/// Up to this many entries a map is looked through from the front.
const SMALL: usize = 32;

/// Up to this many entries are put in order without moving them.
const SORTED_APART: usize = 48;

/// The first eight bytes as a number that orders as the text does; equal numbers say nothing yet.
#[inline(always)]
pub(crate) fn prefix(text: &str) -> u64 {
    let bytes = text.as_bytes();
    if let Some(first) = bytes.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
            let missing = 8 * (8 - bytes.len() as u32);
            u64::from(first) << 32 | u64::from(last) << missing
        }
        _ => match bytes {
            [a, b, c, ..] => u64::from_be_bytes([*a, *b, *c, 0, 0, 0, 0, 0]),
            [a, b] => u64::from_be_bytes([*a, *b, 0, 0, 0, 0, 0, 0]),
            [a] => u64::from(*a) << 56,
            [] => 0,
        },
    }
}

/// As [`prefix`] of a part of a text, by what is behind it.
#[inline(always)]
pub(crate) fn prefix_at(text: &str, start: usize, len: usize) -> u64 {
    let bytes = text.as_bytes();
    match bytes.get(start..).and_then(|rest| rest.first_chunk()) {
        Some(first) if len > 0 => {
            let missing = 8 * 8_usize.saturating_sub(len);
            u64::from_be_bytes(*first) & (u64::MAX << missing)
        }
        _ => prefix(&text[start..start + len]),
    }
}

/// The last eight bytes as a number, 0 for shorter texts. Texts of one length of up to sixteen bytes
/// are the same when this and [`prefix`] are.
#[inline(always)]
pub(crate) fn suffix(text: &str) -> u64 {
    let last = text.as_bytes().last_chunk();
    last.map_or(0, |last| u64::from_be_bytes(*last))
}

/// Equality of short texts without a call.
#[inline]
pub(crate) fn same(a: &str, b: &str) -> bool {
    alike(a.as_bytes(), b.as_bytes())
}

/// As [`same`] for bytes.
#[inline]
pub(crate) fn alike(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        (Some(x), Some(y)) if a.len() <= 16 => x == y && a.last_chunk::<8>() == b.last_chunk::<8>(),
        (Some(x), Some(y)) if a.len() <= 24 => {
            x == y && a.last_chunk::<8>() == b.last_chunk::<8>() && a[8..16] == b[8..16]
        }
        (Some(x), Some(y)) => x == y && a == b,
        _ => match (a.first_chunk::<4>(), b.first_chunk::<4>()) {
            (Some(x), Some(y)) => x == y && a.last_chunk::<4>() == b.last_chunk::<4>(),
            _ => a.iter().eq(b),
        },
    }
}

const EMPTY: Str = Str::const_new("");

/// So many bytes a [`Str`] holds without an allocation.
pub(crate) const WINDOW: usize = 24;

/// Puts something in the place of what is never dropped: the empty text, null.
#[inline(always)]
fn put<T>(place: &mut T, new: T) {
    std::mem::forget(std::mem::replace(place, new));
}

/// Makes an empty text a part of `text`.
// Short ones are copied with what is behind them and cut: whole words, made where they stay.
#[inline(always)]
fn put_piece(place: &mut Str, text: &str, start: usize, len: usize) {
    if len <= WINDOW
        && let Some(window) = text.get(start..start + WINDOW)
    {
        put(place, Str::from(window));
        place.truncate(len);
    } else {
        put(place, Str::from(&text[start..start + len]));
    }
}

/// A JSON-shaped value. Integers that fit stay integers, as in Kubernetes' own decoder.
// A tag of a whole word: values are moved in whole words, which processors forward from one move to
// the next. (With a byte of tag, decoding took a third longer.)
#[derive(Clone, Debug, PartialEq, Default)]
#[repr(u64)]
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
pub struct Map(Vec<Entry>);

/// One field. Most keys differ in their first bytes, which are found without following the key.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Entry {
    prefix: u64,
    key: Str,
    value: Value,
}

impl Entry {
    pub(crate) const EMPTY: Self = Self {
        prefix: 0,
        key: EMPTY,
        value: Value::Null,
    };

    pub(crate) fn new(key: Str, value: Value) -> Self {
        Self {
            prefix: prefix(&key),
            key,
            value,
        }
    }

    /// As [`Self::new`] where the prefix is known.
    pub(crate) fn known(prefix: u64, key: Str, value: Value) -> Self {
        Self { prefix, key, value }
    }

    pub(crate) fn put_key(&mut self, key: &str) {
        self.prefix = prefix(key);
        self.key = Str::from(key);
    }

    /// Gets a part of a text for a key, which was empty.
    #[inline]
    pub(crate) fn put_key_piece(&mut self, text: &str, start: usize, len: usize) {
        self.prefix = prefix_at(text, start, len);
        put_piece(&mut self.key, text, start, len);
    }

    #[inline(always)]
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    #[inline(always)]
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// One with the same key.
    pub(crate) fn with(&self, value: Value) -> Self {
        Self::known(self.prefix, self.key.clone(), value)
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    /// Puts a field with this key, whose prefix is known, behind others; its value is null.
    // A constant is put there in one piece, and what is put into it stays where it is.
    #[inline(always)]
    pub(crate) fn open<'e>(entries: &'e mut Vec<Self>, prefix: u64, key: &Str) -> &'e mut Value {
        if entries.len() < entries.capacity() && !key.is_heap_allocated() {
            entries.push(Self::EMPTY);
            if let Some(entry) = entries.last_mut() {
                entry.prefix = prefix;
                put(&mut entry.key, key.clone());
            }
        } else {
            Self::open_slowly(entries, prefix, key);
        }
        match entries.last_mut() {
            Some(entry) => &mut entry.value,
            None => unreachable!("it was pushed"),
        }
    }

    #[cold]
    #[inline(never)]
    fn open_slowly(entries: &mut Vec<Self>, prefix: u64, key: &Str) {
        entries.push(Self::known(prefix, key.clone(), Value::Null));
    }

    /// Whether this is the key, whose prefix is known. Short texts of one length and one prefix are the
    /// same.
    #[inline(always)]
    fn is(&self, prefix: u64, key: &str) -> bool {
        self.prefix == prefix
            && self.key.len() == key.len()
            && (key.len() <= 8 || same(&self.key, key))
    }

    #[inline]
    fn follows(&self, prefix: u64, key: &str) -> bool {
        self.prefix > prefix || self.prefix == prefix && self.key.as_str() > key
    }

    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let by_text = || self.key.cmp(&other.key);
        self.prefix.cmp(&other.prefix).then_with(by_text)
    }
}

impl Map {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sorts `entries` and keeps the last of equal keys; the keys that occurred more than once
    /// are returned so that strict decoding can report them.
    #[must_use]
    pub fn from_entries(entries: Vec<(Str, Value)>) -> (Self, Vec<Str>) {
        Self::sorted(entries.into_iter().map(|(k, v)| Entry::new(k, v)).collect())
    }

    fn sorted(mut entries: Vec<Entry>) -> (Self, Vec<Str>) {
        let sorted = entries.windows(2).all(|w| w[0].order(&w[1]).is_lt());
        let mut duplicates = Vec::new();
        if !sorted {
            entries.sort_by(Entry::order);
            // Stable sort keeps document order among equals: let the later one win.
            entries.dedup_by(|later, earlier| {
                let same = later.key == earlier.key;
                if same {
                    std::mem::swap(later, earlier);
                    if duplicates.last() != Some(&earlier.key) {
                        duplicates.push(earlier.key.clone());
                    }
                }
                same
            });
        }
        (Self(entries), duplicates)
    }

    /// As [`Self::from_entries`] for the entries from `start` on, which are taken away.
    pub(crate) fn from_tail(all: &mut Vec<Entry>, start: usize) -> (Self, Vec<Str>) {
        let tail = &mut all[start..];
        let n = tail.len();
        if n > SORTED_APART {
            return Self::sorted(all.split_off(start));
        }
        // Entries stay where they are until their place is known: they are large, a prefix small.
        let mut order = [(0_u64, 0_u8); SORTED_APART];
        for (i, entry) in tail.iter().enumerate() {
            let new = (entry.prefix, i as u8);
            let mut at = i;
            while at > 0 {
                let before = order[at - 1];
                let by_text = || tail[usize::from(before.1)].key.cmp(&entry.key);
                match before.0.cmp(&new.0).then_with(by_text) {
                    Ordering::Less => break,
                    Ordering::Equal => return Self::sorted(all.split_off(start)),
                    Ordering::Greater => order[at] = before,
                }
                at -= 1;
            }
            order[at] = new;
        }
        let mut entries = Vec::with_capacity(n);
        let sorted = order[..n].iter();
        entries.extend(sorted.map(|(_, i)| std::mem::take(&mut tail[usize::from(*i)])));
        all.truncate(start);
        (Self(entries), Vec::new())
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        let wanted = prefix(key);
        let order = |e: &Entry| e.prefix.cmp(&wanted).then_with(|| e.key.as_str().cmp(key));
        if self.0.len() > SMALL {
            return self.0.binary_search_by(order);
        }
        for (i, entry) in self.0.iter().enumerate() {
            match order(entry) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(i),
                Ordering::Greater => return Err(i),
            }
        }
        Err(self.0.len())
    }

    /// Where `key` is. Most maps are small.
    #[inline(always)]
    fn position(&self, key: &str) -> Option<usize> {
        self.place(prefix(key), key)
    }

    fn place(&self, wanted: u64, key: &str) -> Option<usize> {
        if self.0.len() > SMALL {
            return self.find(key).ok();
        }
        for (i, entry) in self.0.iter().enumerate() {
            if entry.prefix < wanted {
                continue;
            }
            // Their order says early that a key is not there.
            if entry.prefix > wanted {
                return None;
            }
            if entry.is(wanted, key) {
                return Some(i);
            }
        }
        None
    }

    #[must_use]
    #[inline(always)]
    pub fn get(&self, key: &str) -> Option<&Value> {
        // Inlined where the key is known, and so is its prefix.
        self.position(key).map(|i| &self.0[i].value)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.position(key).map(|i| &mut self.0[i].value)
    }

    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    pub fn insert(&mut self, key: impl Into<Str>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].value, value)),
            Err(i) => {
                self.0.insert(i, Entry::new(key, value));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).map(|i| self.0.remove(i).value)
    }

    /// The value under `key`, inserted as given by `make` when absent.
    pub fn entry_or(&mut self, key: &str, make: impl FnOnce() -> Value) -> &mut Value {
        let i = match self.find(key) {
            Ok(i) => i,
            Err(i) => {
                self.0.insert(i, Entry::new(key.into(), make()));
                i
            }
        };
        &mut self.0[i].value
    }

    /// A copy in which the value under `key` is what `change` makes of it; `None` leaves it out.
    pub(crate) fn clone_with(
        &self,
        key: &str,
        change: impl FnOnce(&Value) -> Option<Value>,
    ) -> Self {
        let Some(at) = self.position(key) else {
            return self.clone();
        };
        let (before, after) = (&self.0[..at], &self.0[at + 1..]);
        let here = &self.0[at];
        let mut entries = Vec::with_capacity(self.0.len());
        entries.extend_from_slice(before);
        entries.extend(change(&here.value).map(|v| Entry::known(here.prefix, here.key.clone(), v)));
        entries.extend_from_slice(after);
        Self(entries)
    }

    /// From entries whose keys are known to ascend.
    pub(crate) fn from_sorted(entries: Vec<Entry>) -> Self {
        debug_assert!(entries.windows(2).all(|w| w[0].order(&w[1]).is_lt()));
        Self(entries)
    }

    /// From entries in any order.
    pub(crate) fn of_entries(entries: Vec<Entry>) -> Self {
        Self::sorted(entries).0
    }

    /// The entries, in order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Puts entries in order that came in any; the last of equal keys stays. `false`: there were such.
    pub(crate) fn put_in_order(&mut self) -> bool {
        if self.0.is_sorted_by(|a, b| a.order(b).is_lt()) {
            return true;
        }
        let (map, duplicates) = Self::sorted(std::mem::take(&mut self.0));
        *self = map;
        duplicates.is_empty()
    }

    /// Puts in `missing`, of which none is here yet and whose keys descend; what comes with a key
    /// makes the value, in its place.
    pub(crate) fn fill_in<'a>(
        &mut self,
        missing: impl ExactSizeIterator<Item = (u64, &'a Str, &'a Value)>,
    ) {
        let (mut from, mut to) = (self.0.len(), self.0.len() + missing.len());
        self.0.reserve_exact(missing.len());
        self.0.resize_with(to, || Entry::EMPTY);
        let entries = &mut self.0[..];
        for (prefix, key, value) in missing {
            while from > 0 && entries[from - 1].follows(prefix, key) {
                from -= 1;
                to -= 1;
                entries.swap(from, to);
            }
            to -= 1;
            let place = &mut entries[to];
            place.prefix = prefix;
            place.key.clone_from(key);
            place.value.put_copy(value);
        }
    }

    /// Prefixes and lengths of the keys.
    pub(crate) fn outlines(&self) -> impl Iterator<Item = (u64, usize)> {
        self.0.iter().map(|e| (e.prefix, e.key.len()))
    }

    /// The value of entry `at` if its key is this one.
    #[inline(always)]
    pub(crate) fn get_at(&self, at: usize, wanted: u64, key: &str) -> Option<&Value> {
        let fits = |e: &&Entry| {
            e.prefix == wanted && e.key.len() == key.len() && (key.len() <= 8 || same(&e.key, key))
        };
        self.0.get(at).filter(fits).map(|e| &e.value)
    }

    /// Makes room for so many fields more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|e| keep(&e.key, &mut e.value));
    }

    /// As [`Self::retain`]; `keep` gets the prefix of the key, too.
    pub(crate) fn retain_known(&mut self, mut keep: impl FnMut(u64, &str, &mut Value) -> bool) {
        self.0.retain_mut(|e| keep(e.prefix, &e.key, &mut e.value));
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.0.iter().map(|e| (e.key.as_str(), &e.value))
    }

    /// As [`Self::iter`] with the prefixes of the keys.
    pub(crate) fn iter_known(&self) -> impl Iterator<Item = (u64, &str, &Value)> {
        self.0.iter().map(|e| (e.prefix, e.key.as_str(), &e.value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|e| (e.key.as_str(), &mut e.value))
    }

    /// As [`Self::iter_mut`], with the prefixes of the keys.
    pub(crate) fn iter_mut_known(&mut self) -> impl Iterator<Item = (u64, &str, &mut Value)> {
        let entries = self.0.iter_mut();
        entries.map(|e| (e.prefix, e.key.as_str(), &mut e.value))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.0.iter().map(|e| e.key.as_str())
    }

    pub fn into_entries(self) -> Vec<(Str, Value)> {
        self.0.into_iter().map(|e| (e.key, e.value)).collect()
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
        let entries = iter.into_iter();
        Self::sorted(
            entries
                .map(|(k, v)| Entry::new(k.into(), v.into()))
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

    /// Becomes a text, made in this place.
    #[inline]
    pub(crate) fn put_text(&mut self, text: &str) {
        *self = Self::String(Str::from(text));
    }

    /// Null becomes a part of a text, made in this place.
    #[inline(never)]
    pub(crate) fn put_piece(&mut self, text: &str, start: usize, len: usize) {
        if len <= WINDOW
            && let Some(window) = text.get(start..start + WINDOW)
        {
            self.put(Self::String(Str::from(window)));
            if let Self::String(place) = self {
                place.truncate(len);
            }
        } else {
            self.put_long(&text[start..start + len]);
        }
    }

    #[inline(never)]
    fn put_long(&mut self, text: &str) {
        self.put(Self::String(Str::from(text)));
    }

    /// Null becomes a copy.
    #[inline]
    pub(crate) fn put_copy(&mut self, value: &Self) {
        match value {
            Self::Null => {}
            Self::Int(number) => self.put(Self::Int(*number)),
            Self::String(text) => self.put(Self::String(text.clone())),
            Self::Object(map) if map.is_empty() => self.put(Self::object()),
            other => self.put(other.clone()),
        }
    }

    /// Null becomes another value.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: Self) {
        debug_assert!(self.is_null());
        put(self, value);
    }

    /// Becomes another value; most were null.
    #[inline(always)]
    fn become_new(&mut self, value: Self) {
        if self.is_null() {
            put(self, value);
        } else {
            *self = value;
        }
    }

    /// Becomes an object with room for so many fields, to be filled in ascending order.
    #[inline]
    pub(crate) fn open_object(&mut self, room: usize) -> &mut Vec<Entry> {
        self.become_new(Self::Object(Map(Vec::with_capacity(room))));
        match self {
            Self::Object(Map(entries)) => entries,
            _ => unreachable!("just made"),
        }
    }

    /// Becomes a list of so many nulls, to be replaced where they are.
    #[inline]
    pub(crate) fn open_array(&mut self, n: usize) -> &mut Vec<Self> {
        let mut items = Vec::with_capacity(n);
        items.resize_with(n, || Self::Null);
        self.become_new(Self::Array(items));
        match self {
            Self::Array(items) => items,
            _ => unreachable!("just made"),
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
    #[inline(always)]
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
    fn the_tail_of_a_list_of_entries_becomes_the_same_map() {
        let keys = [
            "zeta",
            "alpha",
            "containers",
            "containerStatuses",
            "a",
            "",
            "b",
            "alpha",
        ];
        for n in 0..=keys.len() {
            let entries = || keys[..n].iter().map(|k| (Str::from(*k), Value::from(*k)));
            let mut all = vec![Entry::new("x".into(), 1.into())];
            all.extend(entries().map(|(k, v)| Entry::new(k, v)));
            let want = Map::from_entries(entries().collect());
            assert_eq!(Map::from_tail(&mut all, 1), want);
            assert_eq!(all.len(), 1);
        }
        let many = (0..200).map(|i| (Str::from(format!("{}", i * 7 % 200)), Value::Int(i)));
        let want = Map::from_entries(many.clone().collect());
        let mut many = many.map(|(k, v)| Entry::new(k, v)).collect();
        assert_eq!(Map::from_tail(&mut many, 0), want);
    }

    #[test]
    fn prefixes_order_as_texts_and_short_texts_are_equal_when_their_bytes_are() {
        let texts = [
            "",
            "\0",
            "a",
            "ab",
            "abc",
            "abcd",
            "abcde",
            "abcdefg",
            "abcdefgh",
            "abcdefghi",
            "abd",
            "abcdefghijklmnop",
            "abcdefghijklmnoq",
            "abcdefghijklmnopqrstuvwxyz",
            "b",
            "é",
            "abcdé",
        ];
        for a in texts {
            for b in texts {
                assert_eq!(same(a, b), a == b, "{a:?} {b:?}");
                let (x, y) = (prefix(a), prefix(b));
                assert!(x == y || x.cmp(&y) == a.cmp(b), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_piece_of_a_text_is_what_a_slice_of_it_is() {
        let text =
            "plain \u{e9}t\u{e9} and \u{2028} more than four and twenty bytes of text, to the end";
        for start in 0..=text.len() {
            for end in start..=text.len() {
                let Some(part) = text.get(start..end) else {
                    continue;
                };
                let len = part.len();
                assert_eq!(prefix_at(text, start, len), prefix(part));
                let mut value = Value::Null;
                value.put_piece(text, start, len);
                assert_eq!(value, Value::from(part));
                let mut entry = Entry::EMPTY;
                entry.put_key_piece(text, start, len);
                assert_eq!(entry, Entry::new(part.into(), Value::Null));
            }
        }
    }

    #[test]
    fn large_and_small_maps_find_what_they_hold() {
        for n in [0, 1, SMALL, SMALL + 1, 200] {
            let key = |i: usize| format!("some-key-{}", i * 7919 % 1000);
            let map: Map = (0..n).map(|i| (key(i), i as i64)).collect();
            for i in 0..n {
                assert_eq!(map.get(&key(i)), Some(&Value::Int(i as i64)));
            }
            assert_eq!(map.get("some-key-"), None);
        }
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
