//! The labels of one object as a list is selected by them.

use crate::value::same;
use crate::{Map, Value, json};

/// Labels, each with a mark: 32 bits that its key makes and 32 that its value makes. What a selector
/// does not select is mostly told from the marks alone, which lie together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    marks: Box<[u64]>,
    /// key, value, key, value …
    text: Box<str>,
    /// where each of them ends
    ends: Box<[u32]>,
}

/// Equal for equal texts.
pub(super) fn mark(text: &str) -> u32 {
    let mut mark = text.len() as u64;
    for chunk in text.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mark = (mark.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (mark >> 32) as u32
}

/// The mark of a label.
pub(super) fn pair(key: u32, value: u32) -> u64 {
    u64::from(key) << 32 | u64::from(value)
}

/// Whether a label with this mark may have a key with that one.
#[inline(always)]
pub(super) fn is_key(pair: u64, key: u32) -> bool {
    (pair >> 32) as u32 == key
}

impl Labels {
    /// Of a tree's `metadata.labels`; values that are no texts are left out.
    #[must_use]
    pub fn of(labels: &Map) -> Self {
        let texts = labels.iter().filter_map(|(k, v)| Some((k, v.as_str()?)));
        Self::new(&texts.collect::<Vec<_>>())
    }

    /// Of the JSON of a stored object's `metadata.labels`; none when it is something else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        if let Some(labels) = plain(text) {
            return Self::new(&labels);
        }
        match json::parse(text).map(|d| d.value) {
            Ok(Value::Object(labels)) => Self::of(&labels),
            _ => Self::default(),
        }
    }

    fn new(labels: &[(&str, &str)]) -> Self {
        let marks = labels.iter().map(|(k, v)| pair(mark(k), mark(v)));
        let texts = || labels.iter().flat_map(|(k, v)| [*k, *v]);
        let mut end = 0;
        let ends = texts().map(|text| {
            end += text.len();
            // Texts behind this, more than any object has, are found to be empty.
            u32::try_from(end).unwrap_or(u32::MAX)
        });
        let ends = ends.collect();
        let mut text = String::with_capacity(end);
        texts().for_each(|t| text.push_str(t));
        Self {
            marks: marks.collect(),
            text: text.into(),
            ends,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The marks of the labels, see [`pair`].
    #[inline(always)]
    pub(super) fn marks(&self) -> &[u64] {
        &self.marks
    }

    /// Text `at` of all.
    fn text(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).map(|end| *end as usize);
        let start = at.checked_sub(1).map_or(Some(0), end);
        let range = start.zip(end(at)).map(|(start, end)| start..end);
        range.and_then(|r| self.text.get(r)).unwrap_or_default()
    }

    /// The value under `key`, if the object has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(mark(key), key)
    }

    /// As [`Self::get`] where the mark of the key is known.
    #[inline]
    pub(super) fn find(&self, mark: u32, key: &str) -> Option<&str> {
        let marks = self.marks.iter().enumerate();
        let mut alike = marks.filter(|(_, m)| is_key(**m, mark)).map(|(i, _)| 2 * i);
        let found = alike.find(|i| same(self.text(*i), key));
        found.map(|i| self.text(i + 1))
    }
}

/// Keys and values of an object as this server stores it: texts without escapes, nothing between.
fn plain(json: &[u8]) -> Option<Vec<(&str, &str)>> {
    fn text<'a>(rest: &mut &'a [u8], before: u8) -> Option<&'a str> {
        let [first, b'"', text @ ..] = *rest else {
            return None;
        };
        let end = memchr::memchr2(b'"', b'\\', text)?;
        let (text, after) = text.split_at(end);
        *rest = after.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok().filter(|_| *first == before)
    }
    let mut rest = json;
    let mut labels: Vec<(&str, &str)> = Vec::new();
    while rest != b"}" {
        let before = if labels.is_empty() { b'{' } else { b',' };
        let label = (text(&mut rest, before)?, text(&mut rest, b':')?);
        if labels.last().is_some_and(|(key, _)| *key >= label.0) {
            return None;
        }
        labels.push(label);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn labels_are_what_the_tree_has() {
        for text in [
            "{}",
            r#"{"a":"b"}"#,
            r#"{"":"","a":"b","app.kubernetes.io/name":"web","zone":""}"#,
            r#"{"a":"\"b\u0041","c\\":"d"}"#,
            r#"{ "b" : "1", "a" : "2" }"#,
            r#"{"a":"1","a":"2"}"#,
            r#"{"a":1,"b":"2"}"#,
            r#"{"é":"ü"}"#,
        ] {
            let labels = Labels::parse(text.as_bytes());
            let tree = json::parse(text.as_bytes()).unwrap().value;
            let map = tree.as_object().unwrap();
            assert_eq!(labels, Labels::of(map), "{text}");
            for key in [
                "",
                "a",
                "b",
                "c\\",
                "app.kubernetes.io/name",
                "zone",
                "é",
                "x",
            ] {
                let want = map.get(key).and_then(Value::as_str);
                assert_eq!(labels.get(key), want, "{text} {key}");
            }
        }
    }

    #[test]
    fn what_are_no_labels_is_none() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            r#"{"a""b"}"#,
            r#"{"a":"b""#,
            "}",
            r#"{"a":"b"}}"#,
        ] {
            assert!(Labels::parse(text.as_bytes()).is_empty(), "{text}");
        }
        assert!(Labels::of(value!({"a": 1}).as_object().unwrap()).is_empty());
    }
}
