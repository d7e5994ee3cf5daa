//! Type checking of decoded input and unknown fields (`fieldValidation`).
//!
//! Does to a [`Value`] what decoding into Go's types does: wrong JSON types are errors in the words
//! of `encoding/json`, unknown fields are dropped and named as `sigs.k8s.io/json` names them, and
//! quantities, times and durations take their canonical form.

use crate::catalogue::{Field, Shape, Struct, TypeId, Types};
use crate::limits::{MAX_PATH, cut};
use crate::quantity::Quantity;
use crate::time::{self, Instant};
use crate::value::{Map, Str};
use crate::{ApiError, Resource, Value, bytes64, json};

/// As many unknown fields as upstream reports at most (`kubernetes_patch.go`).
pub(crate) const MAX_REPORTED: usize = 100;

/// Reads JSON as an object of a built-in kind, when neither decoding nor [`check_and_prune`] would
/// have anything to say about it: the same object in half the time. `None`: go the long way, which
/// says what it is.
#[must_use]
pub fn decode_clean(resource: &Resource, bytes: &[u8]) -> Option<Value> {
    match resource.custom {
        Some(_) => None,
        None => json::typed::parse(&resource.types, resource.root, bytes),
    }
}

/// Checks JSON types against the kind and removes unknown fields, returning their paths
/// (`spec.foo`, for `unknown field "spec.foo"`). Null means absent and is removed, as in Go.
///
/// # Errors
/// 400 when a value has the wrong JSON type, in the words of upstream's decoder.
pub fn check_and_prune(resource: &Resource, object: &mut Value) -> Result<Vec<String>, ApiError> {
    check(
        &resource.types,
        resource.root,
        object,
        resource.custom.is_some(),
    )
    .map_err(|why| {
        let (kind, version) = (&resource.kind, &resource.version);
        let why = if resource.custom.is_some() {
            from_metadata(why)
        } else {
            why
        };
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    })
}

/// Of custom resources upstream decodes the metadata alone: paths begin there.
fn from_metadata(why: String) -> String {
    let field = why.split_once("Go struct field ").map(|(_, f)| f);
    match field.and_then(|f| f.split_once('.')) {
        Some((name, path)) if path.starts_with("metadata.") => {
            why.replacen(&format!(" {name}.metadata."), &format!(" {name}."), 1)
        }
        _ => why,
    }
}

/// As [`check_and_prune`] for a value of any type. `custom`: the types come from a schema, whose
/// own validation reports wrong types later (422) and to which null means something.
///
/// # Errors
/// The bare message of upstream's decoder.
pub fn check(
    types: &Types,
    root: TypeId,
    value: &mut Value,
    custom: bool,
) -> Result<Vec<String>, String> {
    let mut checker = Checker {
        types,
        custom,
        unknown: Vec::new(),
        mismatch: None,
        refused: None,
    };
    checker.value(root, value, &At::Root);
    // What a type's own decoder refuses ends Go's decoding at once; other mismatches wait for the end.
    match checker.refused.or(checker.mismatch) {
        Some(why) => Err(why),
        None => Ok(checker.unknown),
    }
}

/// Gives an object the shape that Go writes: drops zero values of fields that are left out when
/// empty, adds those that are always written (`status: {}`, `rules: null`). Idempotent; wanted before
/// defaulting (an empty `protocol: ""` counts as absent) and again on what is stored, but not on an
/// apply configuration, where every field that is present is owned.
pub fn normalise(resource: &Resource, object: &mut Value) {
    if resource.custom.is_none() {
        shape(&resource.types, resource.root, object);
    }
}

/// As [`normalise`] for a value of any built-in type.
pub fn shape(types: &Types, id: TypeId, value: &mut Value) {
    match (types.get(id), value) {
        (Shape::Struct(s), Value::Object(map)) => shape_struct(types, s, map),
        (Shape::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|v| shape(types, list.item, v))
        }
        (Shape::Map(item), Value::Object(map)) => {
            map.iter_mut().for_each(|(_, v)| shape(types, *item, v))
        }
        (
            Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id),
            value @ Value::Object(_),
        ) => shape(types, *id, value),
        (Shape::SchemaOrArray(id), Value::Array(items)) => {
            items.iter_mut().for_each(|v| shape(types, *id, v))
        }
        _ => {}
    }
}

fn shape_struct(types: &Types, s: &Struct, map: &mut Map) {
    let mut fields = s.cursor();
    let mut missing = Vec::new();
    map.retain_known(|prefix, key, value| {
        let field = fields.seek(prefix, key, |f| missing.extend(always_written(types, f)));
        let Some(field) = field else {
            return true;
        };
        shape(types, field.ty, value);
        // A null of an always written field stays null, a null of another one is nothing.
        !(field.omit_empty
            && (value.is_null() || (!field.pointer && is_zero(types, field.ty, value))))
    });
    for field in fields.rest() {
        missing.extend(always_written(types, field));
    }
    for (key, value) in missing {
        map.insert(key, value);
    }
}

pub(crate) fn always_written(types: &Types, field: &Field) -> Option<(Str, Value)> {
    if field.omit_empty {
        return None;
    }
    Some((field.json.clone(), unset(types, field)))
}

/// What Go writes for a field that was never set.
pub(crate) fn unset(types: &Types, field: &Field) -> Value {
    if field.pointer {
        Value::Null
    } else {
        zero(types, field.ty)
    }
}

/// What Go writes for a value of this type that was never set.
fn zero(types: &Types, id: TypeId) -> Value {
    match types.get(id) {
        Shape::Struct(s) => {
            let mut map = Map::new();
            shape_struct(types, s, &mut map);
            Value::Object(map)
        }
        Shape::String => Value::String(Str::default()),
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => Value::Int(0),
        Shape::Quantity => Value::from("0"),
        Shape::Duration => Value::from("0s"),
        _ => Value::Null,
    }
}

/// What `omitempty` leaves out.
pub(crate) fn is_zero(types: &Types, id: TypeId, value: &Value) -> bool {
    zero_of(types.get(id), value)
}

/// As [`is_zero`] where the type is at hand.
#[inline]
pub(crate) fn zero_of(shape: &Shape, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Int(i) => *i == 0 && !matches!(shape, Shape::IntOrString | Shape::Raw | Shape::Json),
        Value::Float(f) => *f == 0.0 && matches!(shape, Shape::Float),
        Value::String(s) => s.is_empty() && matches!(shape, Shape::String | Shape::Bytes),
        Value::Array(items) => items.is_empty() && matches!(shape, Shape::List(_)),
        Value::Object(map) => map.is_empty() && matches!(shape, Shape::Map(_) | Shape::Struct(_)),
    }
}

/// Where the checker stands. Type errors name fields only, unknown fields are named with indices
/// and map keys.
enum At<'a> {
    Root,
    /// (parent, owner type, field)
    Field(&'a At<'a>, &'a Struct, &'a str),
    Key(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl At<'_> {
    fn strict_path(&self, out: &mut String) {
        match self {
            At::Root => {}
            At::Field(parent, _, name) | At::Key(parent, name) => {
                parent.strict_path(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            At::Index(parent, i) => {
                parent.strict_path(out);
                out.push_str(&format!("[{i}]"));
            }
        }
    }

    /// `PodSpec.spec.containers`: the innermost struct, then all field names.
    fn go_field(&self) -> Option<String> {
        match self {
            At::Root => None,
            At::Key(parent, _) | At::Index(parent, _) => parent.go_field(),
            At::Field(_, owner, _) => {
                let mut names = String::new();
                self.field_names(&mut names);
                Some(format!("{}.{names}", short_name(&owner.name)))
            }
        }
    }

    fn field_names(&self, out: &mut String) {
        match self {
            At::Root => {}
            At::Key(parent, _) | At::Index(parent, _) => parent.field_names(out),
            At::Field(parent, _, name) => {
                parent.field_names(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
        }
    }
}

/// `Pod` of `io.k8s.api.core.v1.Pod`
fn short_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What Go calls the type.
fn go_type(types: &Types, id: TypeId) -> String {
    match types.get(id) {
        Shape::Struct(s) => {
            let mut parts = s.name.rsplit('.');
            let name = parts.next().unwrap_or_default();
            parts
                .next()
                .map_or_else(|| name.to_owned(), |package| format!("{package}.{name}"))
        }
        Shape::Map(item) => format!("map[string]{}", go_type(types, *item)),
        Shape::List(list) => format!("[]{}", go_type(types, list.item)),
        Shape::Bool => "bool".into(),
        Shape::Int32 | Shape::IntOrString => "int32".into(),
        Shape::Int64 => "int64".into(),
        Shape::Float => "float64".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::Quantity => "resource.Quantity".into(),
        _ => "string".into(),
    }
}

/// What `encoding/json` calls a value in its messages.
fn json_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Int(_) | Value::Float(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

struct Checker<'t> {
    types: &'t Types,
    custom: bool,
    unknown: Vec<String>,
    /// first value of a wrong JSON type
    mismatch: Option<String>,
    /// first value that its type's own decoder refused
    refused: Option<String>,
}

impl Checker<'_> {
    fn mismatch(&mut self, value: &str, go_type: &str, at: &At<'_>) {
        if self.custom || self.mismatch.is_some() {
            return;
        }
        self.mismatch = Some(match at.go_field() {
            Some(field) => format!(
                "json: cannot unmarshal {value} into Go struct field {field} of type {go_type}"
            ),
            None => format!("json: cannot unmarshal {value} into Go value of type {go_type}"),
        });
    }

    fn refuse(&mut self, why: impl ToString) {
        if !self.custom && self.refused.is_none() {
            self.refused = Some(why.to_string());
        }
    }

    /// What a type's own decoder finds ends the decoding of everything around it.
    fn by_its_own_decoder(&mut self, decode: impl FnOnce(&mut Self)) {
        let outside = self.mismatch.take();
        decode(self);
        let inside = std::mem::replace(&mut self.mismatch, outside);
        if self.refused.is_none() {
            self.refused = inside;
        }
    }

    fn report_unknown(&mut self, key: &str, at: &At<'_>) {
        if self.unknown.len() < MAX_REPORTED {
            let mut path = String::new();
            At::Key(at, key).strict_path(&mut path);
            self.unknown.push(cut(&path, MAX_PATH).into_owned());
        }
    }

    fn value(&mut self, id: TypeId, value: &mut Value, at: &At<'_>) {
        let types = self.types;
        match (types.get(id), value) {
            (Shape::Struct(s), Value::Object(map)) => self.structure(s, map, at),
            (Shape::Map(item), Value::Object(map)) => self.map(*item, map, at),
            (Shape::List(list), Value::Array(items)) => self.list(list.item, items, at),
            (Shape::String, Value::String(_))
            | (Shape::Bool, Value::Bool(_))
            | (Shape::Int64, Value::Int(_)) => {}
            (Shape::Float, value @ Value::Float(_)) => {
                if let Value::Float(f) = value {
                    *value = Value::from_f64(*f);
                }
            }
            (Shape::Float, Value::Int(_)) | (Shape::Raw | Shape::Json, _) => {}
            (Shape::FieldsV1, Value::Object(_)) | (Shape::SchemaOrBool(_), Value::Bool(_)) => {}
            (Shape::SchemaOrStrings(_) | Shape::SchemaOrArray(_), Value::Array(_))
                if self.custom => {}
            (Shape::Int32, Value::Int(i)) => {
                if i32::try_from(*i).is_err() {
                    self.mismatch(&format!("number {i}"), "int32", at);
                }
            }
            (Shape::Int32 | Shape::Int64, Value::Float(f)) => {
                let shown = json::to_vec(&Value::Float(*f));
                let shown = format!("number {}", String::from_utf8_lossy(&shown));
                self.mismatch(&shown, &go_type(types, id), at);
            }
            (Shape::IntOrString, Value::String(_)) => {}
            (Shape::IntOrString, Value::Int(i)) if i32::try_from(*i).is_ok() => {}
            (Shape::IntOrString, number @ (Value::Int(_) | Value::Float(_))) => {
                let shown = json::to_vec(number);
                let shown = format!("number {}", String::from_utf8_lossy(&shown));
                self.by_its_own_decoder(|checker| checker.mismatch(&shown, "int32", at));
            }
            (
                Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) | Shape::SchemaOrStrings(id),
                value @ Value::Object(_),
            ) => self.by_its_own_decoder(|checker| checker.value(*id, value, at)),
            (Shape::SchemaOrArray(id), Value::Array(items)) if !items.is_empty() => {
                self.by_its_own_decoder(|checker| checker.list(*id, items, at));
            }
            (Shape::SchemaOrStrings(_), Value::Array(items)) => {
                if let Some(other) = items.iter().find(|v| v.as_str().is_none()) {
                    let kind = json_kind(other);
                    self.by_its_own_decoder(|checker| checker.mismatch(&kind, "string", at));
                }
            }
            // Go's decoder of these looks at objects and lists only.
            (Shape::SchemaOrArray(_) | Shape::SchemaOrStrings(_), other) if !self.custom => {
                *other = Value::Null;
            }
            (Shape::SchemaOrBool(_), _) => self.refuse("boolean or JSON schema expected"),
            (Shape::Bytes, value @ Value::Array(_)) if !self.custom => self.byte_list(value, at),
            (
                Shape::Bytes | Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration,
                value,
            ) => {
                self.special(id, value, at);
            }
            (Shape::IntOrString, value) => {
                let (kind, ty) = (json_kind(value), go_type(types, id));
                self.by_its_own_decoder(|checker| checker.mismatch(&kind, &ty, at));
            }
            (_, value) => {
                let kind = json_kind(value);
                self.mismatch(&kind, &go_type(types, id), at);
            }
        }
    }

    /// Go reads a list of numbers into bytes, too.
    fn byte_list(&mut self, value: &mut Value, at: &At<'_>) {
        let mut bytes = Vec::new();
        for item in value.as_array().unwrap_or_default() {
            match item {
                Value::Null => bytes.push(0),
                Value::Int(i) => match u8::try_from(*i) {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => return self.mismatch(&format!("number {i}"), "uint8", at),
                },
                Value::Float(_) => {
                    let shown = json::to_vec(item);
                    let shown = format!("number {}", String::from_utf8_lossy(&shown));
                    return self.mismatch(&shown, "uint8", at);
                }
                other => return self.mismatch(&json_kind(other), "uint8", at),
            }
        }
        *value = Value::String(Str::from(bytes64::encode(&bytes)));
    }

    /// Types with a text form of their own, brought to their canonical text.
    fn special(&mut self, id: TypeId, value: &mut Value, at: &At<'_>) {
        let shape = self.types.get(id);
        let number = match value {
            Value::Int(_) | Value::Float(_) if *shape == Shape::Quantity => {
                Some(String::from_utf8_lossy(&json::to_vec(value)).into_owned())
            }
            _ => None,
        };
        let Some(text) = number.as_deref().or(value.as_str()) else {
            let kind = json_kind(value);
            if *shape == Shape::Quantity {
                self.refuse(crate::quantity::ParseError::Format);
            } else if *shape == Shape::Bytes {
                self.mismatch(&kind, &go_type(self.types, id), at);
            } else {
                let ty = go_type(self.types, id);
                self.by_its_own_decoder(|checker| checker.mismatch(&kind, &ty, at));
            }
            return;
        };
        let canonical = match shape {
            Shape::Bytes if bytes64::is_canonical(text) => return,
            Shape::Time if Instant::is_plain(text) => return,
            Shape::Quantity if number.is_none() && crate::quantity::is_plain(text) => return,
            Shape::Bytes => match bytes64::decode(text) {
                Ok(bytes) => Ok(Str::from(bytes64::encode(&bytes))),
                Err(why) => {
                    // Not the type's own decoder: Go goes on and reports it at the end.
                    self.mismatch.get_or_insert(why);
                    return;
                }
            },
            Shape::Quantity => Quantity::parse(text.trim())
                .map(|q| Str::from(q.to_string()))
                .map_err(|e| e.to_string()),
            Shape::Time => Instant::parse(text).map(Instant::to_text),
            Shape::MicroTime => Instant::parse_micro(text).map(Instant::to_micro_text),
            _ => time::parse_duration(text).map(time::duration_text),
        };
        match canonical {
            Ok(canonical) if value.as_str() != Some(&canonical) => {
                *value = Value::String(canonical)
            }
            Ok(_) => {}
            Err(why) => self.refuse(why),
        }
    }

    fn structure(&mut self, s: &Struct, map: &mut Map, at: &At<'_>) {
        let mut fields = s.cursor();
        map.retain_known(|prefix, key, value| {
            let Some(field) = fields.seek(prefix, key, |_| ()) else {
                if !s.preserve_unknown {
                    self.report_unknown(key, at);
                }
                return s.preserve_unknown;
            };
            if value.is_null() {
                return self.custom;
            }
            // The metadata of a custom object is Go's, like any other.
            let custom = self.custom;
            self.custom &= !(key == "metadata" && matches!(at, At::Root));
            self.value(field.ty, value, &At::Field(at, s, key));
            self.custom = custom;
            true
        });
    }

    fn map(&mut self, item: TypeId, map: &mut Map, at: &At<'_>) {
        for (key, value) in map.iter_mut() {
            self.element(item, value, &At::Key(at, key));
        }
    }

    fn list(&mut self, item: TypeId, items: &mut [Value], at: &At<'_>) {
        for (i, value) in items.iter_mut().enumerate() {
            self.element(item, value, &At::Index(at, i));
        }
    }

    /// An element of a list or map: null is its zero value there.
    fn element(&mut self, item: TypeId, value: &mut Value, at: &At<'_>) {
        if !value.is_null() {
            self.value(item, value, at);
        } else if !self.custom {
            *value = match self.types.get(item) {
                Shape::Struct(_) => Value::object(),
                _ => zero(self.types, item),
            };
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::catalogue::{List, ListKind};
    use crate::value;

    /// A little of `Deployment`, by hand.
    #[expect(
        clippy::too_many_lines,
        reason = "one sample type with a field of every shape"
    )]
    pub(crate) fn sample_types() -> (Types, TypeId) {
        let mut types = Types::default();
        let string = types.push(Shape::String);
        let int32 = types.push(Shape::Int32);
        let boolean = types.push(Shape::Bool);
        let quantity = types.push(Shape::Quantity);
        let time = types.push(Shape::Time);
        let bytes = types.push(Shape::Bytes);
        let strings = types.push(Shape::Map(string));
        let quantities = types.push(Shape::Map(quantity));
        let port = types.push(Shape::IntOrString);
        let field = |json: &str, ty, tag| Field {
            json: json.into(),
            ty,
            tag,
            omit_empty: true,
            ..Field::default()
        };
        let structure = |name: &str, mut fields: Vec<Field>| {
            fields.sort_by(|a, b| a.json.cmp(&b.json));
            Shape::Struct(Struct {
                name: format!("io.k8s.api.core.v1.{name}").into(),
                fields,
                ..Struct::default()
            })
        };
        let container = types.push(structure(
            "Container",
            vec![
                Field {
                    omit_empty: false,
                    ..field("name", string, 1)
                },
                field("image", string, 2),
                field("tty", boolean, 3),
                field("limits", quantities, 4),
                Field {
                    pointer: true,
                    ..field("port", port, 5)
                },
            ],
        ));
        let containers = types.push(Shape::List(List {
            item: container,
            kind: ListKind::Atomic,
            wrapped: false,
        }));
        let spec = types.push(structure(
            "PodSpec",
            vec![
                Field {
                    omit_empty: false,
                    ..field("containers", containers, 1)
                },
                Field {
                    pointer: true,
                    ..field("replicas", int32, 2)
                },
                field("data", bytes, 3),
            ],
        ));
        let meta = types.push(structure(
            "ObjectMeta",
            vec![
                field("name", string, 1),
                field("labels", strings, 2),
                field("creationTimestamp", time, 3),
            ],
        ));
        let status = types.push(structure("PodStatus", vec![field("phase", string, 1)]));
        let root = types.push(structure(
            "Pod",
            vec![
                field("apiVersion", string, 0),
                field("kind", string, 0),
                Field {
                    omit_empty: false,
                    ..field("metadata", meta, 1)
                },
                Field {
                    omit_empty: false,
                    ..field("spec", spec, 2)
                },
                Field {
                    omit_empty: false,
                    ..field("status", status, 3)
                },
            ],
        ));
        (types, root)
    }

    fn checked(mut value: Value) -> (Result<Vec<String>, String>, Value) {
        let (types, root) = sample_types();
        let result = check(&types, root, &mut value, false);
        (result, value)
    }

    /// sigs.k8s.io/json `kubernetes_patch.go`
    #[test]
    fn unknown_fields_are_dropped_and_named_with_indices_and_keys() {
        let (unknown, value) = checked(value!({
            "Kind": "x",
            "spec": {"containers": [{"name": "a"}, {"name": "b", "limits": {"cpu": "1"}, "foo": {"bar": 1}}], "nope": 1}
        }));
        assert_eq!(
            unknown.unwrap(),
            ["Kind", "spec.containers[1].foo", "spec.nope"]
        );
        assert_eq!(
            value,
            value!({"spec": {"containers": [{"name": "a"}, {"name": "b", "limits": {"cpu": "1"}}]}})
        );
    }

    /// Go `encoding/json/decode.go`
    #[test]
    fn wrong_types_are_refused_in_the_decoders_words() {
        for (value, want) in [
            (
                value!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field PodSpec.spec.replicas of type int32",
            ),
            (
                value!({"spec": {"replicas": 3000000000i64}}),
                "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.replicas of type int32",
            ),
            (
                value!({"spec": {"replicas": (Value::Float(1.5))}}),
                "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.replicas of type int32",
            ),
            (
                value!({"spec": {"containers": {}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                value!({"spec": {"containers": [{"tty": "yes"}]}}),
                "json: cannot unmarshal string into Go struct field Container.spec.containers.tty of type bool",
            ),
            (
                value!({"metadata": {"labels": {"a": 1}}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                value!({"spec": {"containers": [{"limits": {"cpu": "1x"}}], "replicas": "x"}}),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                value!({"metadata": {"creationTimestamp": 3}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            (
                value!({"metadata": {"creationTimestamp": "x"}}),
                "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
            ),
            (
                value!({"spec": {"data": "!"}}),
                "illegal base64 data at input byte 0",
            ),
            (
                value!({"spec": {"containers": [{"port": true}]}}),
                "json: cannot unmarshal bool into Go struct field Container.spec.containers.port of type int32",
            ),
            (
                value!(["x"]),
                "json: cannot unmarshal array into Go value of type v1.Pod",
            ),
        ] {
            assert_eq!(checked(value).0.unwrap_err(), want);
        }
    }

    #[test]
    fn values_take_their_canonical_form_and_null_is_absent() {
        let (unknown, value) = checked(value!({
            "metadata": {"creationTimestamp": "2024-01-01T01:00:00.5+01:00", "name": null, "labels": {"a": null}},
            "spec": {
                "containers": [{"limits": {"cpu": 1, "memory": "1024Mi", "x": (Value::Float(0.5))}}, null],
                "data": "Zm9v\n"
            }
        }));
        assert_eq!(unknown, Ok(vec![]));
        assert_eq!(
            value,
            value!({
                "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z", "labels": {"a": ""}},
                "spec": {"containers": [{"limits": {"cpu": "1", "memory": "1Gi", "x": "500m"}}, {}], "data": "Zm9v"}
            })
        );
    }

    #[test]
    fn normalised_objects_have_the_shape_that_go_writes() {
        let (types, root) = sample_types();
        let mut value = value!({
            "metadata": {"name": "", "labels": {}},
            "spec": {"replicas": 0, "containers": [{"tty": false, "image": "i"}]}
        });
        shape(&types, root, &mut value);
        let want = value!({
            "metadata": {},
            "spec": {"replicas": 0, "containers": [{"image": "i", "name": ""}]},
            "status": {}
        });
        assert_eq!(value, want);
        shape(&types, root, &mut value);
        assert_eq!(value, want);
        let mut empty = value!({"kind": "Pod"});
        shape(&types, root, &mut empty);
        assert_eq!(
            empty,
            value!({"kind": "Pod", "metadata": {}, "spec": {"containers": null}, "status": {}})
        );
    }

    #[test]
    fn a_flood_of_unknown_fields_gives_a_bounded_report() {
        let many: Map = (0..1000)
            .map(|i| (format!("{i}{}", "k".repeat(2000)), 1))
            .collect();
        let unknown = checked(Value::Object(many)).0.unwrap();
        assert_eq!(unknown.len(), MAX_REPORTED);
        assert!(unknown.iter().all(|p| p.len() < MAX_PATH + 8));
    }
}
