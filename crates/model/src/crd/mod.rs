//! CustomResourceDefinitions compiled to the same [`Resource`] as built-in kinds.

mod check;
pub(crate) mod definition;
mod formats;
mod prune;
mod rule_path;
mod rules;
mod rules_check;
mod scale;
pub(crate) mod schema;
mod status;
mod types;
mod unsupported;
mod validate;
mod version;

pub use definition::{validate_create, validate_update};
pub use formats::unrecognized as unrecognized_formats;
pub use schema::Schema;
pub use status::{UsedNames, accepted_status, non_structural, stored_versions};

use crate::catalogue::{Column, Resource, Subresource};
use crate::field::{ErrorKind, FieldError};
use crate::{ApiError, Str, Value};
use std::sync::Arc;

/// Whether a string has a format; formats that nobody checks have all strings.
pub(crate) fn has_format(format: &str, text: &str) -> bool {
    formats::check(format, text).unwrap_or(true)
}

/// What is particular to a kind from a CRD.
#[derive(Debug, Default)]
pub struct Custom {
    /// name of the CRD object
    pub crd: Str,
    /// the version's openAPIV3Schema as given, for OpenAPI
    pub schema: Value,
    /// the same, read
    pub root: Arc<Schema>,
    /// its CEL rules, compiled
    pub(crate) rules: Option<rules::Rules>,
    pub selectable_fields: Vec<Str>,
    /// what requests about a deprecated version are warned with
    pub deprecation: Option<Str>,
    /// `{specReplicasPath, statusReplicasPath, labelSelectorPath}`
    pub scale: Option<[Str; 3]>,
}

/// One compiled CRD: a resource per served version, storage version first.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    pub resources: Vec<Arc<Resource>>,
    /// versions that objects may be stored in, but that nobody can ask for
    pub unserved: Vec<Arc<Resource>>,
}

/// Compiles a CRD object that passed validation, for a server of a minor version.
///
/// # Errors
/// Field errors in the CRD's own paths (non-structural schemas, bad names, too large schemas …).
pub fn compile(crd: &Value, minor: u8) -> Result<Compiled, Vec<FieldError>> {
    let (errors, schemas) = definition::check_stored(crd, minor);
    if !errors.is_empty() {
        return Err(errors);
    }
    let versions = crd
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let is = |v: &Value, key: &str| v.get(key) == Some(&Value::Bool(true));
    let storage = versions
        .iter()
        .find(|v| is(v, "storage"))
        .and_then(|v| v.str_at(&["name"]))
        .unwrap_or_default();
    let mut left = schema::MAX_NODES;
    let (mut resources, mut unserved) = (Vec::new(), Vec::new());
    for (i, version) in versions.iter().enumerate() {
        let read = schemas.get(i).cloned().flatten();
        let served = is(version, "served");
        match left.checked_sub(read.as_ref().map_or(0, |r| r.nodes)) {
            Some(rest) => left = rest,
            None if !served => continue,
            None => {
                let path = format!("spec.versions[{i}].schema.openAPIV3Schema");
                return Err(vec![schema::too_many_nodes(&path)]);
            }
        }
        let root = read.map(|r| r.schema).unwrap_or_default();
        let list = if served {
            &mut resources
        } else {
            &mut unserved
        };
        list.push(Arc::new(resource(crd, version, storage, root)));
    }
    resources.sort_by_key(|r| r.version != storage);
    Ok(Compiled {
        resources,
        unserved,
    })
}

fn text(value: &Value, path: &[&str]) -> Str {
    value.str_at(path).unwrap_or_default().into()
}

fn strings(value: &Value, path: &[&str]) -> Vec<Str> {
    let items = value.at(path).and_then(Value::as_array).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .map(Into::into)
        .collect()
}

fn resource(crd: &Value, version: &Value, storage: &str, root: Arc<Schema>) -> Resource {
    let raw = version.at(&["schema", "openAPIV3Schema"]).cloned();
    let kind = text(crd, &["spec", "names", "kind"]);
    let or = |name: Str, default: String| {
        if name.is_empty() {
            default.into()
        } else {
            name
        }
    };
    let (group, name) = (text(crd, &["spec", "group"]), text(version, &["name"]));
    let (types, type_id) = types::build(&root, &kind);
    let scale = version
        .at(&["subresources", "scale"])
        .filter(|v| !v.is_null());
    let selectable = version
        .at(&["selectableFields"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    Resource {
        list_kind: or(
            text(crd, &["spec", "names", "listKind"]),
            format!("{kind}List"),
        ),
        singular: or(
            text(crd, &["spec", "names", "singular"]),
            kind.to_lowercase().into(),
        ),
        plural: text(crd, &["spec", "names", "plural"]),
        namespaced: crd.str_at(&["spec", "scope"]) == Some("Namespaced"),
        short_names: strings(crd, &["spec", "names", "shortNames"]).into(),
        categories: strings(crd, &["spec", "names", "categories"]).into(),
        verbs: [
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ]
        .map(Into::into)
        .into(),
        subresources: subresources(version, &group, &name, &kind).into(),
        storage_group: group.clone(),
        storage_version: storage.into(),
        types: Arc::new(types),
        root: type_id,
        columns: columns(version).into(),
        custom: Some(Arc::new(Custom {
            rules: rules::of_schema(&root),
            crd: text(crd, &["metadata", "name"]),
            schema: raw.unwrap_or_default(),
            root,
            deprecation: deprecation(version, &group, &name, &kind),
            selectable_fields: selectable.iter().map(|f| text(f, &["jsonPath"])).collect(),
            scale: scale.map(|s| {
                [
                    "specReplicasPath",
                    "statusReplicasPath",
                    "labelSelectorPath",
                ]
                .map(|k| text(s, &[k]))
            }),
        })),
        group,
        version: name,
        kind,
    }
}

/// apiextensions-apiserver pkg/apiserver/customresource_handler.go
fn deprecation(version: &Value, group: &Str, name: &Str, kind: &Str) -> Option<Str> {
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        return None;
    }
    Some(match version.str_at(&["deprecationWarning"]) {
        Some(text) => text.into(),
        None => format!("{group}/{name} {kind} is deprecated").into(),
    })
}

fn subresources(version: &Value, group: &Str, name: &Str, kind: &Str) -> Vec<Subresource> {
    let verbs: Arc<[Str]> = ["get", "patch", "update"].map(Into::into).into();
    let has = |key: &str| {
        version
            .at(&["subresources", key])
            .is_some_and(|v| !v.is_null())
    };
    let mut out = Vec::new();
    if has("status") {
        let (group, version, kind) = (group.clone(), name.clone(), kind.clone());
        out.push(Subresource {
            name: "status".into(),
            group,
            version,
            kind,
            verbs: verbs.clone(),
        });
    }
    if has("scale") {
        out.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs,
        });
    }
    out
}

/// `Name` and the version's own columns; without any, `Age`.
fn columns(version: &Value) -> Vec<Column> {
    let column = |name: &str, ty: &str, format: &str, description: &str, json_path: &str| Column {
        name: name.into(),
        ty: ty.into(),
        format: format.into(),
        description: description.into(),
        priority: 0,
        json_path: json_path.into(),
    };
    let mut out = vec![column(
        "Name",
        "string",
        "name",
        "Name of the object, unique among its siblings.",
        "",
    )];
    let own = version
        .at(&["additionalPrinterColumns"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    for c in own {
        let get = |key: &str| c.str_at(&[key]).unwrap_or_default();
        let path = get("jsonPath");
        let described = match get("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            text => text.to_owned(),
        };
        let priority = c
            .get("priority")
            .and_then(Value::as_i64)
            .unwrap_or_default();
        let priority = i32::try_from(priority).unwrap_or(i32::MAX);
        out.push(Column {
            priority,
            ..column(get("name"), get("type"), get("format"), &described, path)
        });
    }
    if own.is_empty() {
        out.push(column(
            "Age",
            "date",
            "",
            "When the object was created.",
            ".metadata.creationTimestamp",
        ));
    }
    out
}

/// Drops unknown fields and nulls, applies schema defaults, in place, to a custom object. Returns
/// the paths of what was unknown, ascending.
///
/// # Errors
/// 413 when the defaults would make it too large.
pub fn prune_and_default(resource: &Resource, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let Some(custom) = &resource.custom else {
        return Ok(Vec::new());
    };
    let mut unknown = prune::prune(object, &custom.root);
    prune::metadata(resource, object, &mut unknown);
    unknown.sort();
    prune::drop_nulls(object, Some(&custom.root));
    prune::default(object, &custom.root, &mut prune::Room::new())?;
    Ok(unknown)
}

/// Removes what a version's schema does not know from an object that was converted to it; nothing
/// is defaulted then: apiextensions `schemaCoercingConverter`.
pub fn prune_converted(resource: &Resource, object: &mut Value) {
    let Some(custom) = &resource.custom else {
        return;
    };
    prune::prune(object, &custom.root);
    prune::metadata(resource, object, &mut Vec::new());
    prune::drop_nulls(object, Some(&custom.root));
}

/// Makes of a stored object what the schema of now says of it, in the version it is stored in:
/// apiextensions `crdConversionRESTOptionsGetter`. Defaults that would make it too large to be written
/// are left out. With it the bytes that defaults added.
#[must_use]
pub fn settle(resource: &Resource, stored: &Value) -> (Value, usize) {
    let mut object = stored.clone();
    prune_converted(resource, &mut object);
    let mut room = prune::Room::new();
    if let Some(custom) = &resource.custom
        && prune::default(&mut object, &custom.root, &mut room).is_err()
    {
        object = stored.clone();
        prune_converted(resource, &mut object);
        room = prune::Room::new();
    }
    let generation = object.at(&["metadata", "generation"]);
    if generation.and_then(Value::as_i64).unwrap_or(0) == 0 && object.get("metadata").is_some() {
        object.set(&["metadata", "generation"], 1_i64);
    }
    (object, room.used())
}

/// Checks a custom object against its schema (types, required, enum, bounds, pattern, formats …);
/// on update, what was wrong before and did not change is forgiven.
#[must_use]
pub fn validate(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    validate_telling(resource, object, old, &mut Vec::new())
}

/// As [`validate`]; `forgiven` is told of rules that an object breaks where it has not changed.
#[must_use]
pub fn validate_telling(
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    forgiven: &mut Vec<FieldError>,
) -> Vec<FieldError> {
    let Some(custom) = &resource.custom else {
        return Vec::new();
    };
    let mut errors = validate::schema(&custom.root, object, old, "");
    scale::check(custom, object, &mut errors);
    validate::embedded(&custom.root, object, "", false, &mut errors);
    let mut before = Vec::new();
    if let Some(old) = old {
        validate::lists(&custom.root, old, "", &mut before);
    }
    if before.is_empty() {
        validate::lists(&custom.root, object, "", &mut errors);
    }
    if let Some(rules) = &custom.rules {
        if errors.iter().any(blocks_rules) {
            errors.push(FieldError::new(
                ErrorKind::Invalid,
                "<nil>",
                "null",
                "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
            ));
        } else {
            errors.extend(rules::evaluate_all(rules, object, old, forgiven));
        }
    }
    errors
}

/// What makes an object so wrong that no rule is evaluated on it.
fn blocks_rules(error: &FieldError) -> bool {
    matches!(
        error.kind,
        ErrorKind::NotSupported
            | ErrorKind::Required
            | ErrorKind::TooLong
            | ErrorKind::TooMany
            | ErrorKind::TypeInvalid
    )
}

#[cfg(test)]
mod tests;
