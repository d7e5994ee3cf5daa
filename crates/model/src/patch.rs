//! JSON patch (RFC 6902) and merge patch (RFC 7386) on [`Value`].
//!
//! Behaviour follows `evanphx/json-patch.v4` `patch.go` and `merge.go` within apiserver
//! `pkg/endpoints/handlers/patch.go`, with their departures from the RFCs: negative array indices
//! count from the end, `replace` and `copy` of a missing object key succeed.

use crate::limits::{Extent, MAX_BODY, MAX_DEPTH, MAX_PATCH_OPS, MAX_SHIFTED};
use crate::status::Details;
use crate::{ApiError, Map, Str, Value};

/// Applies a JSON patch document. When it fails, `target` is left in an undefined state.
///
/// # Errors
/// 400 for a malformed patch, 422 when an operation does not fit the object, 413 past a bound.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    if json_patch_unless(target, patch)? {
        Ok(())
    } else {
        Err(does_not_apply())
    }
}

/// As [`json_patch`], but an operation `test` that fails is no error: `false`.
///
/// # Errors
/// As [`json_patch`].
pub fn json_patch_unless(target: &mut Value, patch: &Value) -> Result<bool, ApiError> {
    let ops = match patch {
        Value::Array(ops) => ops.as_slice(),
        Value::Null => &[],
        other => return Err(malformed(other, "[]handlers.jsonPatchOp")),
    };
    if ops.len() > MAX_PATCH_OPS {
        return Err(ApiError::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_PATCH_OPS}, got {}",
            ops.len()
        )));
    }
    let mut work = Work::default();
    for op in ops {
        let fields = match op {
            Value::Object(fields) => fields,
            // Go decodes null into an empty operation, which then has no known kind.
            Value::Null => return Err(does_not_apply()),
            other => return Err(malformed(other, "handlers.jsonPatchOp")),
        };
        for key in ["op", "path", "from"] {
            match fields.get(key) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(other) => {
                    return Err(malformed(
                        other,
                        &format!("field jsonPatchOp.{key} of type string"),
                    ));
                }
            }
        }
    }
    for op in ops.iter().filter_map(Value::as_object) {
        if !operate(target, op, &mut work)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Applies a merge patch: null removes, objects merge, everything else replaces.
///
/// # Errors
/// 400 when the patch is no object.
pub fn merge_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_maps(target, patch),
        (target, Value::Object(_)) => *target = pruned(patch),
        (_, other) => return Err(malformed(other, "map[string]interface {}")),
    }
    Ok(())
}

fn merge_maps(target: &mut Map, patch: &Map) {
    for (key, value) in patch.iter() {
        match (target.get_mut(key), value) {
            (_, Value::Null) => {
                target.remove(key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge_maps(old, new),
            (_, new) => {
                target.insert(key, pruned(new));
            }
        }
    }
}

/// A copy without object fields that are null; nulls in arrays stay, as in `pruneNulls`.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, pruned(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(pruned).collect()),
        other => other.clone(),
    }
}

/// What an operation may cost.
#[derive(Default)]
struct Work {
    shifted: usize,
    copied: usize,
}

impl Work {
    fn shift(&mut self, by: usize) -> Result<(), ApiError> {
        self.shifted += by;
        if self.shifted > MAX_SHIFTED {
            return Err(ApiError::too_large(
                "The JSON patch moves too many values of long arrays or objects",
            ));
        }
        Ok(())
    }

    fn copy(&mut self, value: &Value) -> Result<(), ApiError> {
        self.copied += Extent::of(value).bytes;
        if self.copied > MAX_BODY {
            return Err(does_not_apply());
        }
        Ok(())
    }

    /// Before `value` is put to `path`. Upstream has no bound but that on bytes; a document that is put
    /// into itself a few times would be deeper than any stack.
    fn nest(&mut self, path: &str, value: &Value) -> Result<(), ApiError> {
        let Extent { nodes, depth, .. } = Extent::of(value);
        self.shift(nodes)?;
        let around = path.bytes().filter(|b| *b == b'/').count();
        if around + depth > MAX_DEPTH {
            return Err(ApiError::too_large(format!(
                "The JSON patch nests values deeper than {MAX_DEPTH}"
            )));
        }
        Ok(())
    }
}

fn malformed(value: &Value, expected: &str) -> ApiError {
    let got = match value {
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "number",
        other => other.type_name(),
    };
    let into = if expected.starts_with("field ") {
        "Go struct "
    } else {
        "Go value of type "
    };
    ApiError::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {got} into {into}{expected}"
    ))
}

/// Upstream keeps the operation's own words to itself: `NewGenericServerResponse` at 422.
pub(crate) fn does_not_apply() -> ApiError {
    let mut e = ApiError::new(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    );
    e.details = Some(Box::<Details>::default());
    e
}

/// `false`: what was tested is not so.
fn operate(doc: &mut Value, op: &Map, work: &mut Work) -> Result<bool, ApiError> {
    let text = |key: &str| {
        op.get(key)
            .and_then(Value::as_str)
            .ok_or_else(does_not_apply)
    };
    let value = || op.get("value").cloned().unwrap_or_default();
    let done = match text("op")? {
        "add" => add(doc, text("path")?, value(), work),
        "remove" => remove(doc, text("path")?, work).map(drop),
        "replace" => replace(doc, text("path")?, value(), work),
        "move" => {
            let (from, path) = (text("from")?, text("path")?);
            let value = remove(doc, from, work)?;
            add(doc, path, value, work)
        }
        "copy" => {
            let value = find(doc, text("from")?)?.cloned().unwrap_or_default();
            work.copy(&value)?;
            add(doc, text("path")?, value, work)
        }
        "test" => {
            let path = text("path")?;
            let want = op.get("value").unwrap_or(&Value::Null);
            let same = if path.is_empty() {
                doc == want
            } else {
                find(doc, path)?.unwrap_or(&Value::Null) == want
            };
            return Ok(same);
        }
        _ => return Err(does_not_apply()),
    };
    done.map(|()| true)
}

/// `~1` is `/` and `~0` is `~`, replaced in one pass from the left.
fn unescape(token: &str) -> Str {
    if !token.contains('~') {
        return token.into();
    }
    let mut out = Str::default();
    let mut rest = token;
    while let Some(at) = rest.find('~') {
        out.push_str(&rest[..at]);
        let (text, skip) = match rest.as_bytes().get(at + 1) {
            Some(b'1') => ("/", 2),
            Some(b'0') => ("~", 2),
            _ => ("~", 1),
        };
        out.push_str(text);
        rest = &rest[at + skip..];
    }
    out.push_str(rest);
    out
}

/// The container that holds the last token of `path`, and that token. What stands before the
/// first slash is ignored, as upstream does.
fn container<'a>(doc: &'a mut Value, path: &str) -> Result<(&'a mut Value, Str), ApiError> {
    let (_, tokens) = path.split_once('/').ok_or_else(does_not_apply)?;
    let (parents, last) = match tokens.rsplit_once('/') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, tokens),
    };
    let mut here = doc;
    for token in parents.iter().flat_map(|p| p.split('/')) {
        let token = unescape(token);
        here = match here {
            Value::Object(map) => map.get_mut(&token),
            Value::Array(items) => existing(items, &token).map(|i| &mut items[i]),
            _ => None,
        }
        .ok_or_else(does_not_apply)?;
    }
    if !matches!(here, Value::Object(_) | Value::Array(_)) {
        return Err(does_not_apply());
    }
    Ok((here, unescape(last)))
}

/// The position of an item that is there; negative numbers count from the end.
fn existing(items: &[Value], token: &str) -> Option<usize> {
    index(token, items.len()).filter(|i| *i < items.len())
}

fn index(token: &str, len: usize) -> Option<usize> {
    let i: i64 = token.parse().ok()?;
    if i >= 0 {
        usize::try_from(i).ok()
    } else {
        len.checked_sub(usize::try_from(i.unsigned_abs()).ok()?)
    }
}

/// The value at `path`; `None` when the last token is no key of an object that is there.
fn find<'a>(doc: &'a mut Value, path: &str) -> Result<Option<&'a Value>, ApiError> {
    let (here, key) = container(doc, path)?;
    match here {
        Value::Object(map) => Ok(map.get(&key)),
        Value::Array(items) => existing(items, &key)
            .map(|i| Some(&items[i]))
            .ok_or_else(does_not_apply),
        _ => Err(does_not_apply()),
    }
}

fn add(doc: &mut Value, path: &str, value: Value, work: &mut Work) -> Result<(), ApiError> {
    work.nest(path, &value)?;
    let (here, key) = container(doc, path)?;
    match here {
        Value::Object(map) => {
            work.shift(map.len())?;
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let i = index(&key, items.len() + 1)
                .filter(|i| *i <= items.len())
                .ok_or_else(does_not_apply)?;
            work.shift(items.len() - i)?;
            items.insert(i, value);
        }
        _ => return Err(does_not_apply()),
    }
    Ok(())
}

fn remove(doc: &mut Value, path: &str, work: &mut Work) -> Result<Value, ApiError> {
    let (here, key) = container(doc, path)?;
    match here {
        Value::Object(map) => {
            work.shift(map.len())?;
            map.remove(&key).ok_or_else(does_not_apply)
        }
        Value::Array(items) => {
            let i = existing(items, &key).ok_or_else(does_not_apply)?;
            work.shift(items.len() - i)?;
            Ok(items.remove(i))
        }
        _ => Err(does_not_apply()),
    }
}

fn replace(doc: &mut Value, path: &str, value: Value, work: &mut Work) -> Result<(), ApiError> {
    work.nest(path, &value)?;
    if path.is_empty() {
        if !matches!(value, Value::Object(_) | Value::Array(_)) {
            return Err(does_not_apply());
        }
        *doc = value;
        return Ok(());
    }
    let (here, key) = container(doc, path)?;
    match here {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) => {
            let i = existing(items, &key).ok_or_else(does_not_apply)?;
            items[i] = value;
        }
        _ => return Err(does_not_apply()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json, value};

    fn v(text: &str) -> Value {
        json::parse(text.as_bytes()).expect(text).value
    }

    fn patched(doc: &str, patch: &str) -> Result<Value, ApiError> {
        let mut doc = v(doc);
        json_patch(&mut doc, &v(patch))?;
        Ok(doc)
    }

    // The cases of evanphx/json-patch patch_test.go, in our own words.
    #[test]
    #[allow(clippy::too_many_lines, reason = "one table of cases")]
    fn operations_change_the_document_as_upstream_does() {
        for (doc, patch, want) in [
            (
                r#"{"a":1}"#,
                r#"[{"op":"add","path":"/b","value":2}]"#,
                r#"{"a":1,"b":2}"#,
            ),
            (
                r#"{"a":[1,3]}"#,
                r#"[{"op":"add","path":"/a/1","value":2}]"#,
                r#"{"a":[1,2,3]}"#,
            ),
            (
                r#"{"a":[1]}"#,
                r#"[{"op":"add","path":"/a/-","value":[2]}]"#,
                r#"{"a":[1,[2]]}"#,
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"[{"op":"add","path":"/a/2","value":3}]"#,
                r#"{"a":[1,2,3]}"#,
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"[{"op":"add","path":"/a/-1","value":3}]"#,
                r#"{"a":[1,2,3]}"#,
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"[{"op":"remove","path":"/a/-2"}]"#,
                r#"{"a":[2]}"#,
            ),
            (
                r#"{"a":1,"b":2}"#,
                r#"[{"op":"remove","path":"/a"}]"#,
                r#"{"b":2}"#,
            ),
            (
                r#"{"a":[1,2]}"#,
                r#"[{"op":"replace","path":"/a/0","value":9}]"#,
                r#"{"a":[9,2]}"#,
            ),
            // replace of a missing key adds it
            (
                r#"{}"#,
                r#"[{"op":"replace","path":"/a","value":9}]"#,
                r#"{"a":9}"#,
            ),
            (
                r#"{"a":{"b":1},"c":{}}"#,
                r#"[{"op":"move","from":"/a/b","path":"/c/d"}]"#,
                r#"{"a":{},"c":{"d":1}}"#,
            ),
            (
                r#"{"a":[1,2,3]}"#,
                r#"[{"op":"move","from":"/a/0","path":"/a/2"}]"#,
                r#"{"a":[2,3,1]}"#,
            ),
            (
                r#"{"a":{"b":1}}"#,
                r#"[{"op":"copy","from":"/a","path":"/c"}]"#,
                r#"{"a":{"b":1},"c":{"b":1}}"#,
            ),
            // copy of a missing key copies null
            (
                r#"{}"#,
                r#"[{"op":"copy","from":"/a","path":"/c"}]"#,
                r#"{"c":null}"#,
            ),
            (
                r#"{"a/b":1,"m~n":2}"#,
                r#"[{"op":"remove","path":"/a~1b"},{"op":"remove","path":"/m~0n"}]"#,
                "{}",
            ),
            (r#"{"~1":1}"#, r#"[{"op":"remove","path":"/~01"}]"#, "{}"),
            (r#"{"":1}"#, r#"[{"op":"remove","path":"/"}]"#, "{}"),
            (
                r#"{"a":1}"#,
                r#"[{"op":"add","path":"/b"}]"#,
                r#"{"a":1,"b":null}"#,
            ),
            (
                r#"{"a":1}"#,
                r#"[{"op":"test","path":"/a","value":1},{"op":"test","path":"/b","value":null}]"#,
                r#"{"a":1}"#,
            ),
            (
                r#"{"a":1}"#,
                r#"[{"op":"test","path":"","value":{"a":1}}]"#,
                r#"{"a":1}"#,
            ),
            (
                r#"{"a":1}"#,
                r#"[{"op":"replace","path":"","value":{"b":1}}]"#,
                r#"{"b":1}"#,
            ),
            (r#"{"a":1}"#, "[]", r#"{"a":1}"#),
        ] {
            assert_eq!(patched(doc, patch), Ok(v(want)), "{doc} {patch}");
        }
    }

    #[test]
    fn an_operation_that_does_not_fit_answers_422() {
        for (doc, patch) in [
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/b/c","value":1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a/c","value":1}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/2","value":1}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/x","value":1}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-3","value":1}]"#),
            (
                r#"{"a":[1]}"#,
                r#"[{"op":"replace","path":"/a/-","value":1}]"#,
            ),
            (r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/1"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":"1"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/x","path":"/y"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"merge","path":"/y"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","value":1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{}}]"#),
            (r#"{"a":1}"#, r#"[{"path":"/a"}]"#),
            (r#"{"a":1}"#, "[null]"),
        ] {
            let e = patched(doc, patch).expect_err(patch);
            assert_eq!((e.code, e.reason), (422, "Invalid"), "{patch}");
            assert_eq!(
                e.message,
                "the server rejected our request due to an error in our request"
            );
        }
    }

    #[test]
    fn a_malformed_patch_answers_400() {
        for (patch, want) in [
            (
                r#"{"op":"add"}"#,
                "cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (
                r"[3]",
                "cannot unmarshal number into Go value of type handlers.jsonPatchOp",
            ),
            (
                r#"[{"op":3}]"#,
                "cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
            ),
        ] {
            let e = patched("{}", patch).expect_err(patch);
            assert_eq!(
                (e.code, e.message),
                (400, format!("error decoding patch: json: {want}"))
            );
        }
    }

    #[test]
    fn too_many_operations_answer_413() {
        let op = value!({"op": "test", "path": "/a", "value": null});
        let patch = Value::Array(vec![op; MAX_PATCH_OPS + 1]);
        let e = json_patch(&mut Value::object(), &patch).unwrap_err();
        assert_eq!(e.code, 413);
        assert_eq!(
            e.message,
            "The allowed maximum operations in a JSON patch is 10000, got 10001"
        );
    }

    #[test]
    fn copies_that_double_a_document_are_stopped() {
        let mut doc = value!({"a": {"text": "0123456789012345678901234567890123456789"}});
        let ops = (0..60)
            .map(|i| value!({"op": "copy", "from": "/a", "path": (format!("/a/{i}"))}))
            .collect();
        assert_eq!(
            json_patch(&mut doc, &Value::Array(ops)).unwrap_err().code,
            422
        );
    }

    #[test]
    fn what_is_put_into_itself_gets_only_so_deep() {
        let grow = |kind: &str, op: Value| {
            let mut doc = value!({"x": {}, "y": {"x": {}}});
            let mut all = Vec::new();
            let mut path = String::from("/x");
            for _ in 0..60 {
                let mut op = op.clone();
                path += "/x";
                op.set(&["path"], path.as_str());
                all.push(op);
            }
            let e = json_patch(&mut doc, &Value::Array(all)).expect_err(kind);
            assert_eq!(e.code, 413, "{kind}");
            assert_eq!(e.message, "The JSON patch nests values deeper than 100");
            assert!(Extent::of(&doc).depth <= MAX_DEPTH, "{kind}");
        };
        // Every copy is as deep as what there is: 14 of them would make 16,000 levels.
        let mut doc = value!({"x": {}});
        let deepest = |n: usize| format!("/x{}", "/x".repeat((1 << n) - 1));
        let all =
            (0..14).map(|n| value!({"op": "copy", "from": "/x", "path": (deepest(n) + "/x")}));
        let e = json_patch(&mut doc, &Value::Array(all.collect())).expect_err("copies");
        assert_eq!(e.message, "The JSON patch nests values deeper than 100");
        let deep = v(&("[".repeat(60) + &"]".repeat(60)));
        grow("add", value!({"op": "add", "value": {"x": (deep.clone())}}));
        grow("replace", value!({"op": "replace", "value": {"x": (deep)}}));
        grow("copy", value!({"op": "copy", "from": "/x"}));
    }

    #[test]
    fn moving_a_large_part_to_and_fro_is_stopped() {
        let mut doc = value!({"a": (Value::Array(vec![Value::Int(0); 100_000]))});
        let there = value!({"op": "move", "from": "/a", "path": "/b"});
        let back = value!({"op": "move", "from": "/b", "path": "/a"});
        let all = (0..5_000).flat_map(|_| [there.clone(), back.clone()]);
        let e = json_patch(&mut doc, &Value::Array(all.collect())).expect_err("moves");
        assert_eq!(e.code, 413);
    }

    #[test]
    fn inserts_in_front_of_a_long_array_are_stopped() {
        let mut doc = Value::Object(
            [("a", Value::Array(vec![Value::Int(0); 20_000]))]
                .into_iter()
                .collect(),
        );
        let ops = Value::Array(vec![
            value!({"op": "add", "path": "/a/0", "value": 1});
            10_000
        ]);
        assert_eq!(json_patch(&mut doc, &ops).unwrap_err().code, 413);
    }

    // RFC 7386 appendix A, and json-patch's own treatment of nulls in new values.
    #[test]
    fn merge_patches_merge_objects_and_replace_the_rest() {
        for (doc, patch, want) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (
                r#"{"a":[{"b":"c"}]}"#,
                r#"{"a":[1,null]}"#,
                r#"{"a":[1,null]}"#,
            ),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (
                r#"{}"#,
                r#"{"a":{"bb":{"ccc":null}}}"#,
                r#"{"a":{"bb":{}}}"#,
            ),
            (
                r#"{"a":1}"#,
                r#"{"a":[{"x":null,"y":1}]}"#,
                r#"{"a":[{"y":1}]}"#,
            ),
        ] {
            let mut doc = v(doc);
            merge_patch(&mut doc, &v(patch)).expect(patch);
            assert_eq!(doc, v(want), "{patch}");
        }
        let e = merge_patch(&mut Value::object(), &v("[]")).unwrap_err();
        assert_eq!(
            (e.code, e.message.as_str()),
            (
                400,
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
            )
        );
    }
}
