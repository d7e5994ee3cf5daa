//! Tests of [`super`].

use super::*;
use crate::catalogue::{Facts, List, ListKind, Struct};
use crate::{json, value};
use std::sync::Arc;

fn v(text: &str) -> Value {
    json::parse(text.as_bytes()).expect(text).value
}

/// A recursive type with every patch strategy, as the fixture of upstream's own test has.
fn types() -> (Types, TypeId) {
    let mut types = Types::default();
    let text = types.push(Shape::String);
    let int = types.push(Shape::Int64);
    let map = types.push(Shape::Map(text));
    let root = types.push(Shape::Json);
    let items = types.push(Shape::List(List {
        item: root,
        kind: ListKind::Atomic,
        wrapped: false,
    }));
    let ints = types.push(Shape::List(List {
        item: int,
        kind: ListKind::Atomic,
        wrapped: false,
    }));
    let plain = |json: &str, ty| Field {
        json: json.into(),
        ty,
        ..Field::default()
    };
    let merging = |json: &str, ty, key: Option<&str>| Field {
        patch_merge: true,
        facts: key.map(|key| {
            Arc::new(Facts {
                patch_merge_key: Some(key.into()),
                ..Facts::default()
            })
        }),
        ..plain(json, ty)
    };
    let fields = vec![
        merging("ints", ints, None),
        merging("list", items, Some("name")),
        plain("map", map),
        plain("name", text),
        plain("other", text),
        plain("plainInts", ints),
        plain("plainList", items),
        Field {
            patch_retain_keys: true,
            ..plain("struct", root)
        },
        plain("value", text),
    ];
    types.set(
        root,
        Shape::Struct(Struct {
            name: "x.Item".into(),
            fields,
            ..Struct::default()
        }),
    );
    (types, root)
}

fn merged(original: &str, patch: &str) -> Result<Value, ApiError> {
    let (types, root) = types();
    let mut doc = v(original);
    strategic_merge(&types, root, &mut doc, &v(patch))?;
    Ok(doc)
}

#[test]
fn maps_and_scalars_merge() {
    for (original, patch, want) in [
        (
            r#"{"name":"a","value":"b"}"#,
            r#"{"value":"c","other":"d"}"#,
            r#"{"name":"a","value":"c","other":"d"}"#,
        ),
        (
            r#"{"name":"a","value":"b"}"#,
            r#"{"value":null,"other":null}"#,
            r#"{"name":"a"}"#,
        ),
        (
            r#"{"map":{"a":"1","b":"2"}}"#,
            r#"{"map":{"b":null,"c":"3"}}"#,
            r#"{"map":{"a":"1","c":"3"}}"#,
        ),
        (
            r#"{"map":{"a":"1"}}"#,
            r#"{"map":{"$patch":"delete"}}"#,
            r#"{"map":{}}"#,
        ),
        (
            r#"{"map":{"a":"1"}}"#,
            r#"{"map":{"b":"2","$patch":"replace"}}"#,
            r#"{"map":{"b":"2"}}"#,
        ),
        (r#"{}"#, r#"{"map":{"$patch":"delete"}}"#, "{}"),
        (
            r#"{}"#,
            r#"{"struct":{"name":"a","value":null}}"#,
            r#"{"struct":{"name":"a"}}"#,
        ),
        (r#"{"name":"a"}"#, r#"{"$patch":"replace"}"#, "{}"),
        (
            r#"{"name":"a"}"#,
            r#"{"$patch":"replace","other":"x"}"#,
            r#"{"other":"x"}"#,
        ),
        (
            r#"{"name":"a"}"#,
            r#"{"name":{"value":"x"}}"#,
            r#"{"name":{"value":"x"}}"#,
        ),
    ] {
        assert_eq!(merged(original, patch), Ok(v(want)), "{patch}");
    }
}

#[test]
fn retain_keys_clears_what_it_does_not_name() {
    for (original, patch, want) in [
        (
            r#"{"struct":{"name":"a","value":"b"}}"#,
            r#"{"struct":{"$retainKeys":["name","other"],"other":"c"}}"#,
            r#"{"struct":{"name":"a","other":"c"}}"#,
        ),
        (
            r#"{"struct":{"name":"a"}}"#,
            r#"{"struct":{"$retainKeys":[]}}"#,
            r#"{"struct":{}}"#,
        ),
        (
            r#"{"struct":{"name":"a","value":"b"}}"#,
            r#"{"struct":{"$retainKeys":["name"],"value":null}}"#,
            r#"{"struct":{"name":"a"}}"#,
        ),
    ] {
        assert_eq!(merged(original, patch), Ok(v(want)), "{patch}");
    }
    for patch in [
        r#"{"struct":{"$retainKeys":["name"],"value":"x"}}"#,
        r#"{"struct":{"$retainKeys":"name"}}"#,
    ] {
        let e = merged(r#"{"struct":{"name":"a"}}"#, patch).unwrap_err();
        assert_eq!(
            (e.code, e.message.as_str()),
            (400, "invalid patch format of retainKeys")
        );
    }
}

#[test]
fn lists_merge_by_key_and_keep_upstreams_order() {
    for (original, patch, want) in [
        (
            r#"{"list":[{"name":"1"},{"name":"2","value":"b"},{"name":"3"}]}"#,
            r#"{"list":[{"name":"3","value":"c"},{"name":"1","value":"a"}]}"#,
            r#"{"list":[{"name":"2","value":"b"},{"name":"3","value":"c"},{"name":"1","value":"a"}]}"#,
        ),
        (
            r#"{"list":[{"name":"1"}]}"#,
            r#"{"list":[{"name":"9","value":"n"}]}"#,
            r#"{"list":[{"name":"9","value":"n"},{"name":"1"}]}"#,
        ),
        (
            r#"{"list":[{"name":"1"},{"name":"1"},{"name":"2"}]}"#,
            r#"{"list":[{"name":"1","$patch":"delete"}]}"#,
            r#"{"list":[{"name":"2"}]}"#,
        ),
        (
            r#"{"list":[{"name":"1"}]}"#,
            r#"{"list":[{"name":"2"},{"$patch":"replace"}]}"#,
            r#"{"list":[{"name":"2"}]}"#,
        ),
        (
            r#"{"list":[{"name":"1"}]}"#,
            r#"{"list":[{"$patch":"replace"}]}"#,
            r#"{"list":[]}"#,
        ),
        (r#"{"list":[]}"#, r#"{"list":[]}"#, r#"{"list":[]}"#),
        (
            r#"{"list":[{"name":"1","list":[{"name":"a"}]}]}"#,
            r#"{"list":[{"name":"1","list":[{"name":"b"}]}]}"#,
            r#"{"list":[{"name":"1","list":[{"name":"b"},{"name":"a"}]}]}"#,
        ),
        (
            r#"{"plainList":[{"name":"1"}]}"#,
            r#"{"plainList":[{"name":"2"}]}"#,
            r#"{"plainList":[{"name":"2"}]}"#,
        ),
        (
            r#"{"ints":[1,2]}"#,
            r#"{"ints":[2,3]}"#,
            r#"{"ints":[1,2,3]}"#,
        ),
        (
            r#"{"ints":[1,2,3]}"#,
            r#"{"ints":[3,1]}"#,
            r#"{"ints":[2,3,1]}"#,
        ),
        (
            r#"{}"#,
            r#"{"list":[{"name":"1","$patch":"delete"},{"name":"2","value":null}]}"#,
            r#"{"list":[{"name":"2"}]}"#,
        ),
    ] {
        assert_eq!(merged(original, patch), Ok(v(want)), "{patch}");
    }
}

#[test]
fn parallel_lists_delete_scalars_and_set_the_order() {
    for (original, patch, want) in [
        (
            r#"{"ints":[1,2,3]}"#,
            r#"{"$deleteFromPrimitiveList/ints":[2,9]}"#,
            r#"{"ints":[1,3]}"#,
        ),
        (
            r#"{"plainInts":[1,2]}"#,
            r#"{"$deleteFromPrimitiveList/plainInts":[2]}"#,
            r#"{"plainInts":[1]}"#,
        ),
        (
            r#"{"name":"a"}"#,
            r#"{"$deleteFromPrimitiveList/ints":[2]}"#,
            r#"{"name":"a"}"#,
        ),
        (
            r#"{"ints":[1,2,3]}"#,
            r#"{"$deleteFromPrimitiveList/ints":[1],"$setElementOrder/ints":[3,4,2],"ints":[4]}"#,
            r#"{"ints":[3,4,2]}"#,
        ),
        (
            r#"{"ints":[1,3]}"#,
            r#"{"$setElementOrder/ints":[3,2,1]}"#,
            r#"{"ints":[3,1]}"#,
        ),
        (
            r#"{"list":[{"name":"1"},{"name":"s"},{"name":"3"}]}"#,
            r#"{"$setElementOrder/list":[{"name":"3"},{"name":"2"},{"name":"1"}],"list":[{"name":"2","value":"x"}]}"#,
            r#"{"list":[{"name":"s"},{"name":"3"},{"name":"2","value":"x"},{"name":"1"}]}"#,
        ),
        (
            r#"{"list":[{"name":"1"},{"name":"2"}]}"#,
            r#"{"$setElementOrder/list":[{"name":"2"}],"list":[{"name":"1","$patch":"delete"}]}"#,
            r#"{"list":[{"name":"2"}]}"#,
        ),
        (
            r#"{}"#,
            r#"{"$setElementOrder/list":[{"name":"2"},{"name":"1"}],"list":[{"name":"2"},{"name":"1"}]}"#,
            r#"{"list":[{"name":"2"},{"name":"1"}]}"#,
        ),
    ] {
        assert_eq!(merged(original, patch), Ok(v(want)), "{patch}");
    }
}

#[test]
fn directives_that_do_not_fit_are_refused_in_upstreams_words() {
    for (original, patch, code, words) in [
        (
            r#"{"list":[{"name":"1"}]}"#,
            r#"{"list":[{"value":"b"}]}"#,
            400,
            "map: map[value:b] does not contain declared merge key: name",
        ),
        (
            r#"{"list":[{"name":"1"},{"name":"3"}]}"#,
            r#"{"$setElementOrder/list":[{"name":"1"},{"name":"3"}],"list":[{"name":"3"},{"name":"1"}]}"#,
            400,
            "The order in patch list:\n[map[name:3] map[name:1]]\n doesn't match $setElementOrder list:\n[map[name:1] map[name:3]]\n",
        ),
        (
            r#"{"map":{}}"#,
            r#"{"map":{"$patch":"fold"}}"#,
            400,
            "unknown patch type: fold in map: map[$patch:fold]",
        ),
        (
            r#"{"list":[{"name":"1"}]}"#,
            r#"{"list":[{"name":"1","$patch":"merge"}]}"#,
            400,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            r#"{"ints":[1]}"#,
            r#"{"$deleteFromPrimitiveList":[1]}"#,
            400,
            "invalid patch format of primitive list",
        ),
        (
            r#"{"ints":[1]}"#,
            r#"{"ints":["a"]}"#,
            400,
            "list element types are not identical: [[1] [a]]",
        ),
        (
            r#"{"ints":[1]}"#,
            r#"{"ints":[[1]]}"#,
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            r#"{}"#,
            r#"{"$setElementOrder/none":[1]}"#,
            400,
            "unable to find api field in struct Item for the json field \"none\"",
        ),
    ] {
        let e = merged(original, patch).expect_err(patch);
        assert_eq!((e.code, e.message.as_str()), (code, words), "{patch}");
    }
}

#[test]
fn long_lists_merge_in_linear_time() {
    let items: Vec<Value> = (0..20_000)
        .map(|i| value!({"name": (format!("n{i}"))}))
        .collect();
    let doc = Value::Object(
        [("list", Value::Array(items.clone()))]
            .into_iter()
            .collect(),
    );
    let patch = Value::Object(
        [("list", Value::Array(items.into_iter().rev().collect()))]
            .into_iter()
            .collect(),
    );
    let (types, root) = types();
    let (mut out, start) = (doc, std::time::Instant::now());
    strategic_merge(&types, root, &mut out, &patch).expect("merges");
    assert!(start.elapsed().as_secs() < 5);
    assert_eq!(
        out.get("list")
            .and_then(|l| l.as_array())
            .and_then(|l| l[0].str_at(&["name"])),
        Some("n19999")
    );
}

/// Upstream keeps the live order in the array that it deletes from and appends to.
#[test]
fn items_that_are_added_take_the_place_of_deleted_ones_in_the_live_order() {
    let live = |keys: &[&str]| -> Vec<Value> {
        keys.iter()
            .map(|key| crate::value!({"name": (*key)}))
            .collect()
    };
    let patch = [
        crate::value!({"name": null, "image": "x"}),
        crate::value!({"$patch": "delete", "name": "side"}),
        crate::value!({"name": "late"}),
    ];
    let order = super::live_order(&live(&["app", "side"]), &patch, "name");
    assert_eq!(
        order,
        [
            crate::value!({"name": "app"}),
            crate::value!({"name": null})
        ]
    );
    let replaced = [crate::value!({"$patch": "replace"})];
    assert_eq!(
        super::live_order(&live(&["a", "b"]), &replaced, "name"),
        live(&["a", "b"])
    );
}
