//! A cached object: its stored bytes, where its resourceVersion is spliced in, and a lazy index.

use bytes::Bytes;
use freehold_model::select::Labels;
use freehold_model::{ApiError, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Every key starts with this.
pub const PREFIX: &str = "/registry/";

/// The key of an object; cluster-scoped objects have an empty namespace segment.
#[must_use]
pub fn key(group: &str, plural: &str, namespace: &str, name: &str) -> Bytes {
    let group = if group.is_empty() { "core" } else { group };
    let mut k = String::with_capacity(
        PREFIX.len() + group.len() + plural.len() + namespace.len() + name.len() + 3,
    );
    for part in [PREFIX, group, "/", plural, "/", namespace, "/", name] {
        k.push_str(part);
    }
    Bytes::from(k)
}

/// The parts of a key that the cache understands: `(group/plural, namespace, name)`.
#[must_use]
pub fn split(key: &str) -> Option<(&str, &str, &str)> {
    let rest = key.strip_prefix(PREFIX)?;
    let (before_name, name) = rest.rsplit_once('/')?;
    let (resource, namespace) = before_name.rsplit_once('/')?;
    resource
        .contains('/')
        .then_some((resource, namespace, name))
}

/// One version of one object.
#[derive(Debug)]
pub struct Object {
    pub rev: u64,
    pub create_rev: u64,
    pub lease: i64,
    pub value: Bytes,
    /// where `"resourceVersion":"N",` goes: right after the brace of the top-level `metadata`
    splice: u32,
    /// where `"apiVersion":"…",` and `"kind":"…",` of the object itself begin
    types: [u32; 2],
    /// how long they are; 0: not there, or not as this server writes them
    lengths: [u8; 2],
    namespace_len: u16,
    /// `namespace/name`
    path: Box<str>,
    labels: OnceLock<Labels>,
    /// the state of its kind's schema that has nothing to change about these bytes; 0: not looked yet
    settled: AtomicU64,
    /// revision that wrote these bytes, which that of a deletion did not
    written: u64,
}

impl Object {
    /// `None` when the bytes are not an object with metadata (nothing this server wrote).
    #[must_use]
    pub fn new(namespace: &str, name: &str, kv: &freehold_store::KeyValue) -> Option<Self> {
        Self::from_parts(
            namespace,
            name,
            kv.value.clone(),
            kv.mod_rev,
            kv.create_rev,
            kv.lease,
        )
    }

    #[must_use]
    pub fn from_parts(
        namespace: &str,
        name: &str,
        value: Bytes,
        rev: u64,
        create_rev: u64,
        lease: i64,
    ) -> Option<Self> {
        let places = Places::of(&value)?;
        Some(Self {
            rev,
            create_rev,
            lease,
            value,
            splice: places.splice,
            types: places.types,
            lengths: places.lengths,
            namespace_len: u16::try_from(namespace.len()).ok()?,
            path: format!("{namespace}/{name}").into_boxed_str(),
            labels: OnceLock::new(),
            settled: AtomicU64::new(0),
            written: rev,
        })
    }

    /// Whether these bytes are as the schema numbered `schema` has them.
    #[must_use]
    pub(crate) fn is_settled(&self, schema: u64) -> bool {
        self.settled.load(Ordering::Relaxed) == schema
    }

    #[must_use]
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn settle(&self, schema: u64) {
        self.settled.store(schema, Ordering::Relaxed);
    }

    /// `apiVersion` as stored, without parsing the rest.
    #[must_use]
    pub(crate) fn api_version(&self) -> Option<&str> {
        let quoted = std::str::from_utf8(member(&self.value, 1, b"apiVersion")?).ok()?;
        quoted.strip_prefix('"')?.strip_suffix('"')
    }

    /// `namespace/name`: the key inside a view.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.path[..self.namespace_len.into()]
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.path[usize::from(self.namespace_len) + 1..]
    }

    /// `metadata.labels`, read once.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        let text = || member(&self.value, self.splice as usize, b"labels");
        let read = || text().map(Labels::parse).unwrap_or_default();
        self.labels.get_or_init(read)
    }

    /// Whether `text` is a string anywhere in the object: cheap, and false for most objects that a
    /// selector does not select.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json::write_string(text, &mut quoted);
        memchr::memmem::find(&self.value, &quoted).is_some()
    }

    /// The object without its resourceVersion, to look something up in it: one that cannot be read has
    /// no fields. Whoever answers with it or changes it takes [`Self::read`].
    #[must_use]
    pub fn parse(&self) -> Value {
        json::parse_stored(&self.value).unwrap_or_default()
    }

    /// The object without its resourceVersion.
    ///
    /// # Errors
    /// 500 when the stored bytes are damaged: this server wrote none that it cannot read.
    pub fn read(&self) -> Result<Value, ApiError> {
        json::parse_stored(&self.value).map_err(|e| {
            let (namespace, name) = (self.namespace(), self.name());
            ApiError::internal(format!(
                "the stored object {namespace:?}/{name:?} cannot be read ({}): it was damaged or written by somebody else; restore it from a backup",
                e.message
            ))
        })
    }

    /// Appends the object's JSON with its resourceVersion.
    pub fn write_with_rev(&self, rev: u64, out: &mut Vec<u8>) {
        self.write_from(0, rev, out);
    }

    /// As [`Self::write_with_rev`], without `apiVersion` and `kind`: the items of a typed list have neither.
    pub(crate) fn write_untyped(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for (at, length) in self.types.into_iter().zip(self.lengths) {
            if length > 0 {
                out.extend_from_slice(&self.value[from..at as usize]);
                from = at as usize + usize::from(length);
            }
        }
        self.write_from(from, self.rev, out);
    }

    /// The rest of the JSON, from a place before its resourceVersion on.
    fn write_from(&self, from: usize, rev: u64, out: &mut Vec<u8>) {
        let (head, tail) = self.value.split_at(self.splice as usize);
        out.extend_from_slice(&head[from..]);
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(itoa(rev, &mut [0; 20]));
        out.extend_from_slice(if tail.first() == Some(&b'}') {
            b"\""
        } else {
            b"\","
        });
        out.extend_from_slice(tail);
    }

    /// Rough bytes this object keeps in memory.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.value.len() + self.path.len() + 160
    }

    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.value.len() + 48);
        self.write_with_rev(self.rev, &mut out);
        out
    }
}

/// An object as it was when deleted, with the revision of its deletion.
pub(super) fn tombstone(last: &Arc<Object>, rev: u64) -> Object {
    Object {
        rev,
        create_rev: last.create_rev,
        lease: last.lease,
        value: last.value.clone(),
        splice: last.splice,
        types: last.types,
        lengths: last.lengths,
        namespace_len: last.namespace_len,
        path: last.path.clone(),
        labels: OnceLock::new(),
        settled: AtomicU64::new(last.settled.load(Ordering::Relaxed)),
        written: last.written,
    }
}

fn itoa(mut n: u64, buf: &mut [u8; 20]) -> &[u8] {
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buf[at..];
        }
    }
}

/// Where things are in an object's bytes, as [`Object`] keeps it.
#[derive(Default)]
struct Places {
    splice: u32,
    types: [u32; 2],
    lengths: [u8; 2],
}

impl Places {
    fn of(json: &[u8]) -> Option<Self> {
        const METADATA: &[u8] = b"\"metadata\":{";
        const TYPES: [&[u8]; 2] = [b"\"apiVersion\":\"", b"\"kind\":\""];
        let mut places = Self::default();
        let mut depth = 0_u32;
        let mut i = 0;
        while i < json.len() {
            match json[i] {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.checked_sub(1)?,
                b'"' => {
                    if depth == 1 {
                        let rest = &json[i..];
                        if rest.starts_with(METADATA) {
                            places.splice = u32::try_from(i + METADATA.len()).ok()?;
                            return Some(places);
                        }
                        if let Some(n) = TYPES.iter().position(|key| rest.starts_with(key)) {
                            places.types[n] = u32::try_from(i).ok()?;
                            let end = string_end(rest, TYPES[n].len())?;
                            // A comma follows: metadata is behind them. Who else writes here may do it otherwise.
                            let usual = rest.get(end) == Some(&b',') && places.lengths[1] == 0;
                            let length = u8::try_from(end + 1).ok();
                            places.lengths[n] = length.filter(|_| usual).unwrap_or(0);
                        }
                    }
                    i = string_end(json, i + 1)?;
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
        None
    }
}

/// The offset behind the closing quote of a string whose content starts at `i`.
fn string_end(json: &[u8], mut i: usize) -> Option<usize> {
    loop {
        match json.get(i)? {
            b'\\' => i += 2,
            b'"' => return Some(i + 1),
            _ => i += 1,
        }
    }
}

/// The bytes of a member's value; `i` is just behind the brace of its object. Stored bytes have no
/// spaces between tokens.
fn member<'a>(json: &'a [u8], mut i: usize, key: &[u8]) -> Option<&'a [u8]> {
    while json.get(i) == Some(&b'"') {
        let end = string_end(json, i + 1)?;
        let found = &json[i + 1..end - 1] == key;
        let value = end + 1;
        i = value_end(json, value)?;
        if found {
            return Some(&json[value..i]);
        }
        i += 1;
    }
    None
}

/// The offset behind the value that starts at `i`.
fn value_end(json: &[u8], mut i: usize) -> Option<usize> {
    let mut depth = 0_u32;
    loop {
        match json.get(i)? {
            b'"' => {
                i = string_end(json, i + 1)?;
                if depth == 0 {
                    return Some(i);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(i),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            b',' if depth == 0 => return Some(i),
            _ => {}
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        Object::from_parts("ns", "a", Bytes::copy_from_slice(json.as_bytes()), 7, 3, 0)
            .expect("an object")
    }

    #[test]
    fn the_revision_goes_into_the_top_level_metadata_only() {
        let o = object(
            r#"{"a":{"metadata":{"x":1}},"b":"\"metadata\":{","metadata":{"name":"a"},"z":1}"#,
        );
        assert_eq!(
            String::from_utf8(o.to_json()).unwrap(),
            r#"{"a":{"metadata":{"x":1}},"b":"\"metadata\":{","metadata":{"resourceVersion":"7","name":"a"},"z":1}"#
        );
    }

    #[test]
    fn an_item_of_a_typed_list_says_not_what_it_is() {
        let untyped = |json: &str| {
            let mut out = Vec::new();
            object(json).write_untyped(&mut out);
            String::from_utf8(out).unwrap()
        };
        let metadata = r#""metadata":{"name":"a"}"#;
        let wanted = r#""metadata":{"resourceVersion":"7","name":"a"}"#;
        for (before, after) in [
            (r#""apiVersion":"v1","kind":"Pod","#, ""),
            (
                r#""action":"kind","apiVersion":"v1","count":1,"involvedObject":{"apiVersion":"v1","kind":"Pod"},"kind":"Event","message":"\"kind\":\"x\"","#,
                r#""action":"kind","count":1,"involvedObject":{"apiVersion":"v1","kind":"Pod"},"message":"\"kind\":\"x\"","#,
            ),
            ("", ""),
        ] {
            let json = format!(r#"{{{before}{metadata},"spec":{{"kind":"x"}}}}"#);
            let wanted = format!(r#"{{{after}{wanted},"spec":{{"kind":"x"}}}}"#);
            assert_eq!(untyped(&json), wanted);
        }
    }

    #[test]
    fn an_empty_metadata_stays_valid_json() {
        assert_eq!(
            object(r#"{"metadata":{}}"#).to_json(),
            br#"{"metadata":{"resourceVersion":"7"}}"#
        );
    }

    #[test]
    fn labels_are_found_without_parsing_the_rest() {
        let o = object(
            r#"{"metadata":{"annotations":{"labels":"no","x":"{\"labels\":1"},"generation":3,"labels":{"a":"b"},"name":"n"},"spec":{"labels":{"c":"d"}}}"#,
        );
        assert_eq!(o.labels().get("a"), Some("b"));
        let o_without = object(r#"{"metadata":{"name":"n"},"spec":{"labels":{"c":"d"}}}"#);
        assert!(o_without.labels().is_empty());
        assert!(object(r#"{"metadata":{}}"#).labels().is_empty());
        assert!(o.mentions("d") && !o.mentions("e"));
    }

    #[test]
    fn keys_split_as_they_were_joined() {
        let k = key("", "pods", "default", "a");
        assert_eq!(
            split(std::str::from_utf8(&k).unwrap()),
            Some(("core/pods", "default", "a"))
        );
        let k = key("apps", "deployments", "", "b.c");
        assert_eq!(
            split(std::str::from_utf8(&k).unwrap()),
            Some(("apps/deployments", "", "b.c"))
        );
        assert_eq!(split("/registry/core/pods"), None);
    }
}
