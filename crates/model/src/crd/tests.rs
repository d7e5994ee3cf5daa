//! CRDs compiled, objects pruned, defaulted and checked; messages are those of a real
//! kube-apiserver 1.36.

use super::*;
use crate::catalogue::{DEFAULT_MINOR, ListKind, Shape};
use crate::{json, value};

fn v(text: &str) -> Value {
    json::parse(text.as_bytes()).expect(text).value
}

fn crd(schema: &str) -> Value {
    let mut crd = value!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {}}]
        }
    });
    crd.get_mut("spec")
        .and_then(|s| s.get_mut("versions"))
        .and_then(Value::as_array_mut)
        .expect("versions")[0]
        .set(&["schema", "openAPIV3Schema"], v(schema));
    crd
}

/// A schema with `properties` of `spec`.
fn spec(properties: &str) -> Value {
    crd(&format!(
        r#"{{"type":"object","properties":{{"spec":{{"type":"object","properties":{properties}}}}}}}"#
    ))
}

fn compiled(crd: &Value) -> Arc<Resource> {
    compile(crd, DEFAULT_MINOR).expect("compiles").resources[0].clone()
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn problems(properties: &str, spec_value: &str) -> Vec<String> {
    let resource = compiled(&spec(properties));
    texts(&validate(
        &resource,
        &v(&format!(r#"{{"spec":{spec_value}}}"#)),
        None,
    ))
}

#[test]
fn a_crd_becomes_a_resource_like_a_built_in_one() {
    let mut crd = crd(r#"{"type":"object","properties":{
            "spec":{"type":"object","properties":{
                "replicas":{"type":"integer","default":1},
                "ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["port"],
                    "items":{"type":"object","required":["port"],"properties":{"port":{"type":"integer"}}}},
                "tags":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
                "size":{"x-kubernetes-int-or-string":true},
                "labels":{"type":"object","additionalProperties":{"type":"string"}}}},
            "status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}"#);
    crd.set(&["spec", "names", "shortNames"], value!(["wd"]));
    let version = &mut crd
        .get_mut("spec")
        .and_then(|s| s.get_mut("versions"))
        .and_then(Value::as_array_mut)
        .expect("v")[0];
    version.set(&["subresources"], value!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}));
    version.set(
        &["additionalPrinterColumns"],
        value!([{"name": "Size", "type": "string", "jsonPath": ".spec.size", "priority": 1}]),
    );
    let r = compiled(&crd);
    assert_eq!(
        (r.kind.as_str(), r.plural.as_str(), r.api_version().as_str()),
        ("Widget", "widgets", "example.org/v1")
    );
    assert_eq!(
        r.subresources
            .iter()
            .map(|s| s.name.as_str())
            .collect::<Vec<_>>(),
        ["status", "scale"]
    );
    assert_eq!(
        r.columns
            .iter()
            .map(|c| c.name.as_str())
            .collect::<Vec<_>>(),
        ["Name", "Size"]
    );
    assert_eq!(r.columns[1].priority, 1);
    assert!(r.namespaced && r.has_status() && *r.short_names == ["wd"]);
    let root = r.types.structure(r.root).expect("struct");
    let names: Vec<&str> = root.fields.iter().map(|f| f.json.as_str()).collect();
    assert_eq!(names, ["apiVersion", "kind", "metadata", "spec", "status"]);
    let spec = r
        .types
        .structure(root.field("spec").expect("spec").ty)
        .expect("struct");
    let shape = |name: &str| r.types.get(spec.field(name).expect("field").ty);
    assert!(
        matches!(shape("ports"), Shape::List(l) if l.kind == ListKind::Map(vec!["port".into()]))
    );
    assert!(matches!(shape("tags"), Shape::List(l) if l.kind == ListKind::Set));
    assert_eq!(shape("size"), &Shape::IntOrString);
    assert!(matches!(shape("labels"), Shape::Map(_)));
    assert_eq!(
        r.types.get(root.field("status").expect("status").ty),
        &Shape::Json
    );
}

/// An object with a list of so many empty items.
fn items(count: usize) -> Value {
    let mut object = v(r#"{"kind":"Widget","metadata":{"name":"n"},"spec":{}}"#);
    object.set(
        &["spec", "list"],
        Value::Array(vec![Value::object(); count]),
    );
    object
}

#[test]
fn defaults_make_an_object_only_so_large() {
    let large = spec(&format!(
        r#"{{"list":{{"type":"array","items":{{"type":"object","properties":{{"e":{{"type":"string","default":"{}"}}}}}}}}}}"#,
        "x".repeat(100_000)
    ));
    // Each level of defaults makes eight of the next.
    let nested = (0..8).fold(r#"{"type":"object"}"#.to_owned(), |inner, _| {
        let eight = ["{}"; 8].join(",");
        let list = format!(r#"{{"type":"array","default":[{eight}],"items":{inner}}}"#);
        format!(r#"{{"type":"object","default":{{}},"properties":{{"l":{list}}}}}"#)
    });
    let many = spec(&format!(r#"{{"nested":{nested}}}"#));
    for (definition, count, fits) in [
        (&large, 20, true),
        (&large, 190_000, false),
        (&many, 1, false),
    ] {
        let r = compiled(definition);
        let mut object = items(count);
        match prune_and_default(&r, &mut object) {
            Ok(_) => assert!(fits, "{count}"),
            Err(e) => assert!(!fits && e.code == 413, "{count}: {}", e.message),
        }
    }
}

#[test]
fn patterns_take_only_so_many_steps() {
    let r = compiled(&spec(
        r#"{"text":{"type":"string","pattern":"^[ab]*a[ab]{300}$"}}"#,
    ));
    for (length, fits) in [(10_000, true), (2_000_000, false)] {
        let mut object = items(0);
        object.set(&["spec"], value!({"text": ("a".repeat(length))}));
        let errors = validate(&r, &object, None);
        let told = errors
            .iter()
            .any(|e| e.detail.contains("too large for the schema's patterns"));
        assert_eq!(told, !fits, "{length}: {errors:?}");
    }
}

#[test]
fn alternatives_are_looked_at_only_so_often() {
    let all = vec![r#"{"minimum":1}"#; 1000].join(",");
    let r = compiled(&spec(&format!(
        r#"{{"list":{{"type":"array","items":{{"type":"integer","allOf":[{all}]}}}}}}"#
    )));
    // Each item is looked at by each of them.
    let most = crate::limits::MAX_VISITS / 1000;
    for (count, fits) in [(most / 10, true), (most + 500, false)] {
        let mut object = items(0);
        let list = Value::Array(vec![Value::Int(1); count]);
        object.set(&["spec"], value!({"list": (list)}));
        let errors = validate(&r, &object, None);
        let told = errors
            .iter()
            .any(|e| e.detail.contains("patterns and alternatives to be checked"));
        assert_eq!(told, !fits, "{count}");
    }
}

#[test]
fn a_definition_has_so_many_schema_nodes_and_no_more() {
    let with = |nodes: usize| {
        // Besides there are the root, `spec` and what has the alternatives.
        let any = vec!["{}"; nodes - 3].join(",");
        spec(&format!(r#"{{"a":{{"type":"integer","anyOf":[{any}]}}}}"#))
    };
    let refused = |crd: &Value| match compile(crd, DEFAULT_MINOR) {
        Ok(_) => false,
        Err(errors) => {
            let text = texts(&errors).join("\n");
            assert!(text.contains("at most 100000 schema nodes"), "{text}");
            true
        }
    };
    let most = crate::limits::MAX_SCHEMA_NODES;
    assert!(!refused(&with(most)));
    assert!(refused(&with(most + 1)));
    // All versions together.
    for (nodes, fits) in [(most / 2, true), (most / 2 + 1, false)] {
        let mut crd = with(nodes);
        let versions = crd.get_mut("spec").and_then(|s| s.get_mut("versions"));
        let versions = versions.and_then(Value::as_array_mut).expect("versions");
        let mut second = versions[0].clone();
        second.set(&["name"], "v2");
        second.set(&["storage"], Value::Bool(false));
        versions.push(second);
        assert_eq!(refused(&crd), !fits, "{nodes}");
    }
}

#[test]
fn what_is_unknown_is_told_within_bounds() {
    let r = compiled(&spec(
        r#"{"map":{"type":"object","additionalProperties":{"type":"object","properties":{"d":{"type":"string"}}}}}"#,
    ));
    let mut object = items(0);
    let flood: crate::Map = (0..10_000)
        .map(|i| (format!("k{i}"), Value::Int(1)))
        .collect();
    let long = "x".repeat(100_000);
    object.set(&["spec", "map", &long], Value::Object(flood));
    let removed = prune_and_default(&r, &mut object).expect("small");
    assert_eq!(removed.len(), crate::strict::MAX_REPORTED);
    assert!(
        removed
            .iter()
            .all(|path| path.len() < crate::limits::MAX_PATH + 8)
    );
    let left = object
        .at(&["spec", "map", &long])
        .and_then(Value::as_object);
    assert_eq!(left.map(crate::Map::len), Some(0));
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let r = compiled(&spec(
        r#"{"a":{"type":"integer","default":3},
            "inner":{"type":"object","default":{},"properties":{"b":{"type":"string","default":"x"}}},
            "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"known":{"type":"object","properties":{"c":{"type":"string"}}}}},
            "map":{"type":"object","additionalProperties":{"type":"object","properties":{"d":{"type":"string"}}}},
            "list":{"type":"array","items":{"type":"object","properties":{"e":{"type":"string","default":"y"}}}},
            "nil":{"type":"string","nullable":true},
            "not":{"type":"string"}}"#,
    ));
    let mut object = v(
        r#"{"kind":"Widget","metadata":{"name":"n"},"extra":1,"spec":{
            "unknown":1,"a":null,"free":{"z":{"y":1},"known":{"c":"1","f":2}},
            "map":{"k":{"d":"1","x":2}},"list":[{},{"e":"1","g":1}],"nil":null,"not":null}}"#,
    );
    let removed = prune_and_default(&r, &mut object).expect("small");
    assert_eq!(
        removed,
        [
            "extra",
            "spec.free.known.f",
            "spec.list[1].g",
            "spec.map.k.x",
            "spec.unknown"
        ]
    );
    assert_eq!(
        object,
        v(
            r#"{"kind":"Widget","metadata":{"name":"n"},"spec":{"a":3,"inner":{"b":"x"},
            "free":{"z":{"y":1},"known":{"c":"1"}},"map":{"k":{"d":"1"}},"list":[{"e":"y"},{"e":"1"}],"nil":null}}"#
        )
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of cases")]
fn wrong_values_are_reported_in_upstreams_words() {
    for (properties, value, want) in [
        (
            r#"{"a":{"type":"integer"}}"#,
            r#"{"a":"x"}"#,
            vec![
                r#"spec.a: Invalid value: "string": spec.a in body must be of type integer: "string""#,
            ],
        ),
        (
            r#"{"a":{"type":"integer","minimum":1}}"#,
            r#"{"a":0}"#,
            vec!["spec.a: Invalid value: 0: spec.a in body should be greater than or equal to 1"],
        ),
        (
            r#"{"a":{"type":"number","maximum":1.5,"exclusiveMaximum":true}}"#,
            r#"{"a":1.5}"#,
            vec!["spec.a: Invalid value: 1.5: spec.a in body should be less than 1.5"],
        ),
        (
            r#"{"a":{"type":"integer","multipleOf":5}}"#,
            r#"{"a":7}"#,
            vec!["spec.a: Invalid value: 7: spec.a in body should be a multiple of 5"],
        ),
        (
            r#"{"a":{"type":"string","pattern":"^a+$"}}"#,
            r#"{"a":"b"}"#,
            vec![r#"spec.a: Invalid value: "b": spec.a in body should match '^a+$'"#],
        ),
        (
            r#"{"a":{"type":"string","maxLength":2}}"#,
            r#"{"a":"abc"}"#,
            vec!["spec.a: Too long: may not be more than 2 bytes"],
        ),
        (
            r#"{"a":{"type":"string","minLength":2}}"#,
            r#"{"a":"a"}"#,
            vec![r#"spec.a: Invalid value: "a": spec.a in body should be at least 2 chars long"#],
        ),
        (
            r#"{"a":{"type":"string","enum":["x","y"]}}"#,
            r#"{"a":"z"}"#,
            vec![r#"spec.a: Unsupported value: "z": supported values: "x", "y""#],
        ),
        (
            r#"{"a":{"type":"string","format":"date-time"}}"#,
            r#"{"a":"z"}"#,
            vec![r#"spec.a: Invalid value: "z": spec.a in body must be of type date-time: "z""#],
        ),
        (
            r#"{"a":{"type":"array","maxItems":1,"items":{"type":"string"}}}"#,
            r#"{"a":["x",1]}"#,
            vec![
                r#"spec.a[1]: Invalid value: "integer": spec.a[1] in body must be of type string: "integer""#,
                "spec.a: Too many: 2: must have at most 1 item",
            ],
        ),
        (
            r#"{"a":{"type":"array","minItems":1,"items":{"type":"string"}}}"#,
            r#"{"a":[]}"#,
            vec!["spec.a: Invalid value: 0: spec.a in body should have at least 1 items"],
        ),
        (
            r#"{"a":{"type":"object","required":["b"],"properties":{"b":{"type":"string"}}}}"#,
            r#"{"a":{}}"#,
            vec!["spec.a.b: Required value"],
        ),
        (
            r#"{"a":{"x-kubernetes-int-or-string":true}}"#,
            r#"{"a":true}"#,
            vec![
                r#"spec.a: Invalid value: "boolean": spec.a in body must be of type integer,string: "boolean""#,
            ],
        ),
        (
            r#"{"a":{"type":"integer","format":"int32"}}"#,
            r#"{"a":4294967296}"#,
            vec![
                r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.a"#,
            ],
        ),
        (
            r#"{"a":{"type":"string","nullable":true},"b":{"type":"number"}}"#,
            r#"{"a":null,"b":3}"#,
            vec![],
        ),
        (
            r#"{"a":{"type":"object","properties":{"x":{"type":"string"},"y":{"type":"string"}},"oneOf":[{"required":["x"]},{"required":["y"]}]}}"#,
            r#"{"a":{"x":"1","y":"2"}}"#,
            vec![
                r#"<nil>: Invalid value: "": "spec.a" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (
            r#"{"a":{"type":"integer","anyOf":[{"minimum":5},{"maximum":2}]}}"#,
            r#"{"a":3}"#,
            vec![
                r#"<nil>: Invalid value: "": "spec.a" must validate at least one schema (anyOf)"#,
                "spec.a: Invalid value: 3: spec.a in body should be greater than or equal to 5",
            ],
        ),
        (
            r#"{"a":{"type":"integer","not":{"minimum":5}}}"#,
            r#"{"a":6}"#,
            vec![r#"<nil>: Invalid value: "": "spec.a" must not validate the schema (not)"#],
        ),
        (
            r#"{"a":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}}}"#,
            r#"{"a":["x","y","x","x"]}"#,
            vec![r#"spec.a[2]: Duplicate value: "x""#],
        ),
        (
            r#"{"a":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["n"],"items":{"type":"object","required":["n"],"properties":{"n":{"type":"string"}}}}}"#,
            r#"{"a":[{"n":"x"},{"n":"x"}]}"#,
            vec![r#"spec.a[1]: Duplicate value: {"n":"x"}"#],
        ),
        (
            r#"{"a":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}"#,
            r#"{"a":{"kind":"X y"}}"#,
            vec![
                "spec.a.apiVersion: Required value",
                "spec.a.kind: Invalid value",
            ],
        ),
    ] {
        let got = problems(properties, value);
        assert_eq!(got.len(), want.len(), "{got:?}");
        assert!(
            got.iter()
                .zip(&want)
                .all(|(g, w)| g == w || w.ends_with("value") && g.starts_with(w)),
            "{got:?}"
        );
    }
}

#[test]
fn what_was_wrong_before_and_did_not_change_is_forgiven() {
    let r = compiled(&spec(
        r#"{"a":{"type":"string","enum":["x"]},"b":{"type":"string","enum":["x"]}}"#,
    ));
    let old = v(r#"{"spec":{"a":"old","b":"x"}}"#);
    let mut new = old.clone();
    new.set(&["spec", "b"], "y");
    let errors = texts(&validate(&r, &new, Some(&old)));
    assert_eq!(
        errors,
        [r#"spec.b: Unsupported value: "y": supported values: "x""#]
    );
}

#[test]
fn definitions_that_are_wrong_are_refused_in_upstreams_words() {
    let good = spec("{}");
    assert_eq!(texts(&validate_create(&good, 36)), Vec::<String>::new());
    let cases: [(Value, &str); 9] = [
        (
            {
                let mut c = good.clone();
                c.set(&["metadata", "name"], "x");
                c
            },
            r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
        ),
        (
            {
                let mut c = good.clone();
                c.set(&["spec", "scope"], "Global");
                c
            },
            r#"spec.scope: Unsupported value: "Global": supported values: "Cluster", "Namespaced""#,
        ),
        (
            crd(r#"{"type":"object","properties":{"spec":{}}}"#),
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            crd(r#"{"type":"object","properties":{"a":{"type":"array"}}}"#),
            "spec.validation.openAPIV3Schema.properties[a].items: Required value: must be specified",
        ),
        (
            spec(r#"{"a":{"type":"integer","anyOf":[{"type":"string"}]}}"#),
            "spec.validation.openAPIV3Schema.properties[spec].properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            spec(r#"{"a":{"type":"strin"}}"#),
            r#"spec.validation.openAPIV3Schema.properties[spec].properties[a].type: Unsupported value: "strin": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ),
        (
            spec(r#"{"a":{"type":"string","default":1}}"#),
            r#"spec.validation.openAPIV3Schema.properties[spec].properties[a].default: Invalid value: "integer": spec.validation.openAPIV3Schema.properties[spec].properties[a].default in body must be of type string: "integer""#,
        ),
        (
            spec(r#"{"a":{"type":"object","default":{"x":1}}}"#),
            r#"spec.validation.openAPIV3Schema.properties[spec].properties[a].default: Invalid value: {"x":1}: must not have unknown fields"#,
        ),
        (
            spec(r#"{"a":{"$ref":"x"}}"#),
            "spec.validation.openAPIV3Schema.properties[spec].properties[a].$ref: Forbidden: $ref is not supported",
        ),
    ];
    for (crd, want) in cases {
        let got = texts(&validate_create(&crd, 36));
        assert_eq!(got.len(), 1, "{got:?}");
        // kube-openapi spells the path of a default itself empty: the message starts with " in body"
        assert!(
            got[0] == want || want.contains("default in body"),
            "{got:?}"
        );
    }
}

#[test]
fn schemas_are_bounded_in_size_and_depth() {
    // nested deeper than the decoder allows documents to be: build it by hand
    let mut value = v(r#"{"type":"string"}"#);
    for _ in 0..70 {
        value = value!({"type": "array", "items": (value)});
    }
    let mut big = crd(r#"{"type":"object"}"#);
    let version = &mut big
        .get_mut("spec")
        .and_then(|s| s.get_mut("versions"))
        .and_then(Value::as_array_mut)
        .expect("v")[0];
    version.set(&["schema", "openAPIV3Schema", "properties", "a"], value);
    let errors = texts(&compile(&big, DEFAULT_MINOR).expect_err("too deep"));
    assert_eq!(
        errors,
        ["spec.validation.openAPIV3Schema: Forbidden: schemas may nest at most 64 deep"]
    );
}

#[test]
fn names_are_accepted_unless_a_neighbour_has_them() {
    let mut crd = spec("{}");
    let free = accepted_status(&crd, &UsedNames::default(), "2026-01-01T00:00:00Z");
    assert_eq!(
        free,
        v(
            r#"{"acceptedNames":{"kind":"Widget","listKind":"WidgetList","plural":"widgets","singular":"widget"},
            "conditions":[
            {"lastTransitionTime":"2026-01-01T00:00:00Z","message":"no conflicts found","reason":"NoConflicts","status":"True","type":"NamesAccepted"},
            {"lastTransitionTime":"2026-01-01T00:00:00Z","message":"the initial names have been accepted","reason":"InitialNamesAccepted","status":"True","type":"Established"}],
            "storedVersions":["v1"]}"#
        )
    );
    let mut used = UsedNames::default();
    crd.set(&["status"], free);
    used.add(&crd);
    crd.set(&["status"], Value::object());
    let taken = accepted_status(&crd, &used, "2026-01-01T00:00:00Z");
    let condition = &taken
        .at(&["conditions"])
        .and_then(Value::as_array)
        .expect("conditions")[0];
    assert_eq!(condition.str_at(&["reason"]), Some("ListKindConflict"));
    assert_eq!(
        condition.str_at(&["message"]),
        Some("\"WidgetList\" is already in use")
    );
}

/// A definition with one rule, and the same with another description.
fn ruled(rule: &str, more: &str) -> Value {
    let text = format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"as.example.org"}},
        "spec":{{"group":"example.org","scope":"Cluster","names":{{"plural":"as","singular":"a","kind":"A","listKind":"AList"}},
        "conversion":{{"strategy":"None"}},
        "versions":[{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{{"type":"object",{more}"properties":{{
        "l":{{"type":"array","items":{{"type":"string"}},"x-kubernetes-validations":[{{"rule":"{rule}"}}]}}}}}}}}}}]}}}}"#
    );
    let mut crd = json::parse(text.as_bytes()).expect("JSON").value;
    crd.set(&["status", "storedVersions"], vec!["v1"]);
    crd
}

// apiextensions-apiserver pkg/apis/apiextensions/validation/validation.go: preexistingExpressions,
// suppressExpressionCostForUnchangedSchema
#[test]
fn rules_that_stay_are_judged_as_stored_ones() {
    // sortBy came with 1.35, and a server takes what the version before it knows.
    let new = ruled("self.sortBy(x, x).size() > 1", "");
    let about = |errors: Vec<FieldError>| texts(&errors).join(" ");
    assert!(about(validate_create(&new, 34)).contains("undeclared reference to 'sortBy'"));
    let changed = ruled("self.sortBy(x, x).size() > 1", r#""description":"d","#);
    assert!(!about(validate_update(&changed, &new, 34)).contains("undeclared"));
    // Too dear for a new schema and for a changed one, but not for one that stays.
    let dear = ruled("self.all(a, self.exists(b, a == b))", "");
    let why = "estimated rule cost exceeds budget";
    assert!(about(validate_create(&dear, 36)).contains(why));
    let again = about(validate_update(&dear, &dear, 36));
    assert!(!again.contains(why), "{again}");
    let changed = ruled(
        "self.all(a, self.exists(b, a == b))",
        r#""description":"d","#,
    );
    assert!(about(validate_update(&changed, &dear, 36)).contains(why));
}
