//! Every bound on tenant input, in one place.

use crate::{ApiError, Value};
use std::borrow::Cow;

/// The largest request body, as upstream's API server takes it (3 MiB).
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// The deepest nesting of any document.
pub const MAX_DEPTH: usize = 100;
/// The most values in one document (a 3 MiB body of `[,]` would otherwise cost 50 MB of memory).
pub const MAX_NODES: usize = 200_000;
/// The deepest nesting of what is stored, and the most values: objects grow on their way, by defaults
/// and field managers among others, and a patch adds to what is there.
pub const MAX_STORED_DEPTH: usize = MAX_DEPTH + 28;
pub const MAX_STORED_NODES: usize = 2 * MAX_NODES;
/// YAML aliases that one document may follow.
pub const MAX_ALIASES: usize = 1_000;
/// JSON patch operations in one request, as upstream.
pub const MAX_PATCH_OPS: usize = 10_000;
/// How many values one JSON patch may shift while it inserts into and removes from long containers:
/// a bound on time, not on meaning (10,000 inserts in front of 5,000 items reach it).
pub const MAX_SHIFTED: usize = 50_000_000;
/// Bytes of a selector: a URL holds less, and every term costs time on every object.
pub const MAX_SELECTOR: usize = 64 * 1024;
/// Update entries of managedFields kept apart, as upstream; older ones are merged into one per version.
pub const MAX_UPDATERS: usize = 10;
/// Bytes that YAML's aliases may copy into one document.
pub const MAX_COPIED: usize = 2 * MAX_BODY;
/// Versions of one CRD, and selectable fields of one of them.
pub const MAX_VERSIONS: usize = 32;
pub const MAX_SELECTABLE: usize = 8;
/// Variables of one admission policy: each is compiled among those before it.
pub const MAX_POLICY_VARIABLES: usize = 128;
/// Places that validation of one custom object may visit: about a fifth of a second.
pub const MAX_VISITS: usize = 5_000_000;
/// Steps of all patterns on one custom object, were none of their automata cached: two or three seconds
/// then, thousandths of that else. Ten thousand networks and a pattern of 1,000 states take a third.
pub const MAX_PATTERN_WORK: usize = 500_000_000;
/// Keys and values of all annotations together, as upstream.
pub const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Bytes of the name of a field manager, as upstream.
pub const MAX_FIELD_MANAGER: usize = 128;
/// Nodes of the schemas of all versions of one CRD. The largest public CRDs have about 10,000.
pub const MAX_SCHEMA_NODES: usize = 100_000;
/// Nesting of schemas; upstream has no bound of its own below the decoder's.
pub const MAX_SCHEMA_DEPTH: usize = 64;
/// Bytes that the compiled form of one pattern may take.
pub const MAX_REGEX: usize = 1024 * 1024;
/// Patterns longer than this are refused unseen.
pub const MAX_PATTERN: usize = 16 * 1024;
/// Objects that a conversion webhook is asked for at a time, and the bytes they may have.
pub const MAX_WEBHOOK_OBJECTS: usize = 100;
pub const MAX_WEBHOOK_REQUEST: usize = 1024 * 1024;
/// Bytes of a webhook's answer that are read.
pub const MAX_WEBHOOK_ANSWER: usize = MAX_BODY;
/// Bytes of a webhook's own words in an error.
pub const MAX_WEBHOOK_MESSAGE: usize = 1024;

/// Bytes of a path in a report: its keys come from the tenant.
pub(crate) const MAX_PATH: usize = 512;

/// A text, or its beginning and that there is more.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let mut short = text[..text.floor_char_boundary(most)].to_owned();
    short.push('…');
    short.into()
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// of the JSON form, near enough for a bound
    pub(crate) bytes: usize,
    pub(crate) nodes: usize,
    /// objects and lists around the innermost value
    pub(crate) depth: usize,
}

impl Extent {
    /// Of a tree that is within the bounds on depth, as every decoder and patch leaves it.
    pub(crate) fn of(value: &Value) -> Self {
        let mut whole = Self {
            bytes: 0,
            nodes: 1,
            depth: 0,
        };
        match value {
            Value::Null | Value::Bool(_) => whole.bytes = 4,
            Value::Int(_) | Value::Float(_) => whole.bytes = 8,
            Value::String(s) => whole.bytes = s.len() + 2,
            Value::Array(items) => {
                whole.bytes = 2;
                items.iter().for_each(|item| whole.hold(item, 1));
            }
            Value::Object(map) => {
                whole.bytes = 2;
                map.iter().for_each(|(k, v)| whole.hold(v, k.len() + 4));
            }
        }
        if matches!(value, Value::Array(_) | Value::Object(_)) {
            whole.depth += 1;
        }
        whole
    }

    fn hold(&mut self, part: &Value, besides: usize) {
        let part = Self::of(part);
        self.bytes += part.bytes + besides;
        self.nodes += part.nodes;
        self.depth = self.depth.max(part.depth);
    }
}

/// Whether an object may be stored: what is stored must be readable.
///
/// # Errors
/// 413 with the bound.
pub fn check_stored(object: &Value) -> Result<(), ApiError> {
    let Extent { nodes, depth, .. } = Extent::of(object);
    if depth > MAX_STORED_DEPTH {
        return Err(ApiError::too_large(format!(
            "Request entity too large: the object would be nested deeper than {MAX_STORED_DEPTH}"
        )));
    }
    if nodes > MAX_STORED_NODES {
        return Err(ApiError::too_large(format!(
            "Request entity too large: the object would have more than {MAX_STORED_NODES} values"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json, value};

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
    }

    #[test]
    fn the_extent_of_a_tree_is_told() {
        let told = Extent::of(&value!({"a": [1, "text"], "b": null}));
        let want = Extent {
            bytes: 2 + (5 + 2 + 9 + 7) + (5 + 4),
            nodes: 5,
            depth: 2,
        };
        assert_eq!(told, want);
        assert_eq!(Extent::of(&Value::Null).depth, 0);
    }

    #[test]
    fn what_may_be_stored_can_be_read() {
        let many = |n: usize| Value::Array(vec![Value::Int(1); n - 1]);
        for (value, fits) in [
            (nested(MAX_STORED_DEPTH), true),
            (nested(MAX_STORED_DEPTH + 1), false),
            (many(MAX_STORED_NODES), true),
            (many(MAX_STORED_NODES + 1), false),
        ] {
            let checked = check_stored(&value);
            let read = json::parse_stored(&json::to_vec(&value));
            assert_eq!(checked.is_ok(), fits);
            assert_eq!(read.is_ok(), fits);
            assert!(fits || checked.is_err_and(|e| e.code == 413));
        }
    }
}
