//! Metadata rules: names, namespaces, labels, annotations, finalizers, owner references.
//!
//! As apimachinery `pkg/api/validation/objectmeta.go` and `pkg/apis/meta/v1/validation/`, with the
//! name rule of each kind as its `validation.go` has it.

use crate::field::{FieldError, Path};
use crate::limits::{MAX_ANNOTATIONS, MAX_FIELD_MANAGER};
use crate::rules::{self, Problems};
use crate::{Map, Resource, Value};
use std::borrow::Cow;

pub const IMMUTABLE: &str = "field is immutable";

/// Checks `metadata` of a new object: names by the kind's own rule, labels, annotations, …
#[must_use]
pub fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rule = name_rule(resource, object);
    check_object_meta(resource, object, &rule, &mut errors);
    if knows_kube_finalizers(resource) {
        check_kube_finalizers(object, &mut errors);
    }
    errors
}

/// Checks what may not change in `metadata` (name, namespace, uid, creationTimestamp …).
#[must_use]
pub fn validate_update(resource: &Resource, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Names are not checked by the kind's rule again: rules may become stricter over time.
    check_object_meta(resource, new, &NameRule::PathSegment, &mut errors);
    let path = Path::root("metadata");
    let (meta, old_meta) = (of(new), of(old));
    if checks_names_again(resource) {
        check_names(meta, &name_rule(resource, new), &path, &mut errors);
    }
    if old_meta.and_then(|m| m.get("deletionTimestamp")).is_some() {
        check_no_new_finalizers(meta, old_meta, &mut errors);
    }
    let generation = |m: Option<&Map>| {
        m.and_then(|m| m.get("generation"))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    if generation(meta) < generation(old_meta) {
        let detail = "must not be decremented";
        errors.push(FieldError::invalid_int(
            path.child("generation"),
            generation(meta),
            detail,
        ));
    }
    for field in ["name", "namespace", "uid"] {
        let (new, old) = (text(meta, field), text(old_meta, field));
        if new != old {
            errors.push(FieldError::invalid_str(path.child(field), new, IMMUTABLE));
        }
    }
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let value = |m: Option<&Map>| m.and_then(|m| m.get(field)).cloned().unwrap_or_default();
        let (new, old) = (value(meta), value(old_meta));
        if new != old {
            errors.push(FieldError::invalid(path.child(field), &new, IMMUTABLE));
        }
    }
    if knows_kube_finalizers(resource) {
        check_kube_finalizers(new, &mut errors);
    }
    errors
}

fn of(object: &Value) -> Option<&Map> {
    object.get("metadata").and_then(Value::as_object)
}

fn text<'a>(map: Option<&'a Map>, key: &str) -> &'a str {
    map.and_then(|m| m.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// How the name of a kind must look.
#[derive(Clone, Debug, PartialEq)]
enum NameRule {
    Subdomain,
    Label,
    PathSegment,
    /// the same, also before a suffix
    WholeSegment,
    /// a subdomain; upstream leaves generateName to the name that comes of it
    OnlyName,
    /// certificate signing requests: anything that fits into a path
    Any,
    /// the canonical form of an IP address
    Address,
    /// CRDs: exactly this name
    CustomResource(String),
    /// bundles of trust anchors: a subdomain after that of this signer
    TrustBundle(String),
    /// API services: exactly this name, and how upstream says so
    ApiService(String, String),
}

fn name_rule(resource: &Resource, object: &Value) -> NameRule {
    if resource.custom.is_some() {
        return NameRule::Subdomain;
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        // Services: relaxed from DNS-1035 to DNS-1123 labels in v1.36 (RelaxedServiceNameValidation).
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => NameRule::Label,
        ("rbac.authorization.k8s.io", _) => NameRule::WholeSegment,
        ("policy", "PodDisruptionBudget") | ("", "Event") => NameRule::PathSegment,
        ("certificates.k8s.io", "CertificateSigningRequest") => NameRule::Any,
        ("certificates.k8s.io", "ClusterTrustBundle") => {
            let signer = object.str_at(&["spec", "signerName"]);
            NameRule::TrustBundle(signer.unwrap_or_default().into())
        }
        ("resource.k8s.io", "DeviceClass") | ("", "ReplicationController") => NameRule::OnlyName,
        ("networking.k8s.io", "IPAddress") => NameRule::Address,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let spec = |path: &[&str]| object.str_at(path).unwrap_or_default();
            let want = format!(
                "{}.{}",
                spec(&["spec", "names", "plural"]),
                spec(&["spec", "group"])
            );
            NameRule::CustomResource(want)
        }
        ("apiregistration.k8s.io", "APIService") => {
            let spec = |key| object.str_at(&["spec", key]).unwrap_or_default();
            let want = format!("{}.{}", spec("version"), spec("group"));
            let says = format!(
                "must be `spec.version+\".\"+spec.group`: {}",
                crate::field::quote(&want)
            );
            NameRule::ApiService(want, says)
        }
        _ => NameRule::Subdomain,
    }
}

/// One error per problem; mostly there is none.
#[inline]
fn note(
    errors: &mut Vec<FieldError>,
    path: impl Into<String> + Copy,
    value: &str,
    problems: Problems,
) {
    for problem in problems {
        errors.push(FieldError::invalid_str(path, value, problem));
    }
}

fn address_problems(name: &str) -> Problems {
    let mut report = crate::validate::read::Report::default();
    crate::validate::net::canonical_ip(&mut report, Path::root("name"), name);
    report.errors.into_iter().map(|e| e.detail).collect()
}

/// A name as it will be: a trailing dash is fine before a suffix.
fn masked(name: &str, prefix: bool) -> Cow<'_, str> {
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => {
            let mut end = rest.len() - 1;
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            Cow::Owned(format!("{}a", &rest[..end]))
        }
        _ => Cow::Borrowed(name),
    }
}

/// kubernetes `pkg/apis/core/validation/names.go` `ValidateClusterTrustBundleName`
pub(crate) fn trust_bundle_problems(signer: &str, name: &str, prefix: bool) -> Problems {
    if signer.is_empty() {
        if name.contains(':') {
            let problem = "ClusterTrustBundle without signer name must not have \":\" in its name";
            return vec![problem.into()];
        }
        return rules::dns1123_subdomain(&masked(name, prefix));
    }
    let start = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&start) {
        Some(rest) => rules::dns1123_subdomain(&masked(rest, prefix)),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {start}"
        )],
    }
}

impl NameRule {
    /// `prefix`: a generateName, to which a suffix will be appended.
    fn check(&self, name: &str, prefix: bool) -> Problems {
        let masked = masked(name, prefix);
        match self {
            Self::TrustBundle(signer) => trust_bundle_problems(signer, name, prefix),
            Self::Subdomain => rules::dns1123_subdomain(&masked),
            Self::Label => rules::dns1123_label(&masked),
            // The newer checks count bytes and say so.
            Self::OnlyName if !prefix => rules::dns1123_subdomain(&masked)
                .into_iter()
                .map(|problem| problem.replace("253 characters", "253 bytes"))
                .collect(),
            Self::PathSegment | Self::OnlyName if prefix => rules::path_segment_prefix(name),
            Self::PathSegment | Self::WholeSegment | Self::OnlyName => rules::path_segment(name),
            Self::Any => Problems::new(),
            Self::Address => address_problems(name),
            Self::CustomResource(want) => {
                let mut problems = rules::dns1123_subdomain(&masked);
                if name != want {
                    problems.push("must be spec.names.plural+\".\"+spec.group".into());
                }
                problems
            }
            Self::ApiService(want, says) => {
                let problems = rules::path_segment(name);
                if problems.is_empty() && name != want {
                    vec![says.clone()]
                } else {
                    problems
                }
            }
        }
    }
}

/// Kinds that go through core's own metadata check allow only the standard unqualified finalizers.
fn knows_kube_finalizers(resource: &Resource) -> bool {
    resource.custom.is_none()
        && !matches!(
            resource.group.as_str(),
            "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "coordination.k8s.io"
                | "node.k8s.io"
                | "policy"
        )
        && !(resource.group.is_empty() && resource.kind == "Event")
}

fn check_names(meta: Option<&Map>, rule: &NameRule, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let generate = text(meta, "generateName");
    if !generate.is_empty() {
        let problems = rule.check(generate, true);
        note(errors, path.child("generateName"), generate, problems);
    }
    let name = text(meta, "name");
    if name.is_empty() {
        errors.push(FieldError::required(
            path.child("name"),
            "name or generateName is required",
        ));
    } else {
        let problems = rule.check(name, false);
        note(errors, path.child("name"), name, problems);
    }
}

/// The generic check behind every kind, when the kind's own finds nothing: a name is a segment of a
/// path.
pub(crate) fn validate_name_in_path(object: &Value, errors: &mut Vec<FieldError>) {
    let generate = text(of(object), "generateName");
    let problems = rules::path_segment_prefix(generate);
    note(errors, "metadata.generateName", generate, problems);
    let name = text(of(object), "name");
    let problems = rules::path_segment(name);
    note(errors, "metadata.name", name, problems);
}

/// Kinds whose updates go through the checks of a new object again.
fn checks_names_again(resource: &Resource) -> bool {
    resource.custom.is_none()
        && matches!(
            (resource.group.as_str(), resource.kind.as_str()),
            (
                "admissionregistration.k8s.io"
                    | "apiregistration.k8s.io"
                    | "flowcontrol.apiserver.k8s.io"
                    | "rbac.authorization.k8s.io",
                _
            ) | ("certificates.k8s.io", "ClusterTrustBundle")
                | (
                    "networking.k8s.io",
                    "IPAddress" | "IngressClass" | "Ingress"
                )
                | (
                    "node.k8s.io" | "discovery.k8s.io" | "resource.k8s.io",
                    "RuntimeClass"
                        | "EndpointSlice"
                        | "ResourceClaim"
                        | "ResourceClaimTemplate"
                        | "DeviceClass"
                )
                | ("apps", "ControllerRevision")
                | ("batch", "Job")
                | (
                    "",
                    "PersistentVolume"
                        | "PersistentVolumeClaim"
                        | "Pod"
                        | "Endpoints"
                        | "Node"
                        | "Namespace"
                        | "Secret"
                        | "ConfigMap"
                        | "ServiceAccount"
                        | "LimitRange"
                )
                | (
                    "storage.k8s.io",
                    "VolumeAttributesClass"
                        | "VolumeAttachment"
                        | "StorageClass"
                        | "CSINode"
                        | "CSIStorageCapacity"
                )
        )
}

fn check_object_meta(
    resource: &Resource,
    object: &Value,
    rule: &NameRule,
    errors: &mut Vec<FieldError>,
) {
    let meta = of(object);
    let path = Path::root("metadata");
    check_names(meta, rule, &path, errors);
    let namespace = text(meta, "namespace");
    if resource.namespaced {
        if namespace.is_empty() {
            errors.push(FieldError::required(path.child("namespace"), ""));
        } else {
            let problems = rules::dns1123_label(namespace);
            let at = path.child("namespace");
            note(errors, at, namespace, problems);
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(
            path.child("namespace"),
            "not allowed on this type",
        ));
    }
    let Some(meta) = meta else { return };
    if let Some(generation) = meta.get("generation").and_then(Value::as_i64)
        && generation < 0
    {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid_int(
            path.child("generation"),
            generation,
            detail,
        ));
    }
    check_labels(meta.get("labels"), &path.child("labels"), errors);
    check_annotations(meta.get("annotations"), &path.child("annotations"), errors);
    check_owners(meta, &path, errors);
    check_finalizers(meta, &path, errors);
    check_managed_fields(meta, &path, errors);
}

/// Keys and values of a label map anywhere in an object.
pub fn check_labels(labels: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in labels
        .and_then(Value::as_object)
        .iter()
        .flat_map(|m| m.iter())
    {
        note(errors, path, key, rules::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        note(errors, path, value, rules::label_value(value));
    }
}

/// Keys of an annotation map, and the size of all of it.
pub fn check_annotations(
    annotations: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let mut size = 0;
    for (key, value) in annotations
        .and_then(Value::as_object)
        .iter()
        .flat_map(|m| m.iter())
    {
        size += key.len() + value.as_str().map_or(0, str::len);
        let lower = if key.bytes().any(|b| b.is_ascii_uppercase()) {
            &key.to_lowercase()
        } else {
            key
        };
        note(errors, path, key, rules::qualified_name(lower));
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(path, MAX_ANNOTATIONS));
    }
}

fn items<'a>(meta: &'a Map, key: &str) -> &'a [Value] {
    meta.get(key).and_then(Value::as_array).unwrap_or_default()
}

fn check_owners(meta: &Map, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.child("ownerReferences");
    let mut controller: Option<(&str, &str)> = None;
    for owner in items(meta, "ownerReferences") {
        let get = |key| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let api_version = get("apiVersion");
        // As schema.ParseGroupVersion: "", "v1" or "group/v1"; anything else parses to nothing.
        let version = match api_version.split_once('/') {
            None => api_version,
            Some((_, v)) if v.contains('/') => "",
            Some((_, v)) => v,
        };
        if version.is_empty() {
            let detail = "version must not be empty";
            errors.push(FieldError::invalid_str(
                path.child("apiVersion"),
                api_version,
                detail,
            ));
        }
        for field in ["kind", "name", "uid"] {
            if get(field).is_empty() {
                errors.push(FieldError::invalid_str(
                    path.child(field),
                    "",
                    "must not be empty",
                ));
            }
        }
        if api_version == "v1" && get("kind") == "Event" {
            errors.push(FieldError::invalid(
                path,
                owner,
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            let current = (get("kind"), get("name"));
            if let Some((first_kind, first)) = controller {
                let (kind, name) = current;
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first_kind}/{first} and {kind}/{name}"
                );
                errors.push(FieldError::invalid(
                    path,
                    meta.get("ownerReferences").unwrap_or(&Value::Null),
                    detail,
                ));
            } else {
                controller = Some(current);
            }
        }
    }
}

fn check_finalizers(meta: &Map, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.child("finalizers");
    let finalizers = items(meta, "finalizers");
    for finalizer in finalizers.iter().filter_map(Value::as_str) {
        note(errors, path, finalizer, rules::qualified_name(finalizer));
    }
    let has = |name| finalizers.iter().any(|f| f.as_str() == Some(name));
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            path,
            &Value::Array(finalizers.to_vec()),
            detail,
        ));
    }
}

fn check_kube_finalizers(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(meta) = of(object) else { return };
    let path = Path::root("metadata");
    let path = path.child("finalizers");
    for (i, finalizer) in items(meta, "finalizers")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        if !finalizer.contains('/')
            && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion")
        {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid_str(path.index(i), finalizer, detail));
        }
    }
}

fn check_no_new_finalizers(new: Option<&Map>, old: Option<&Map>, errors: &mut Vec<FieldError>) {
    let names = |m: Option<&Map>| -> Vec<String> {
        m.map(|m| items(m, "finalizers"))
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let old = names(old);
    let mut extra: Vec<String> = names(new)
        .into_iter()
        .filter(|f| !old.contains(f))
        .collect();
    extra.sort();
    extra.dedup();
    if !extra.is_empty() {
        let shown: Vec<String> = extra.iter().map(|f| crate::field::quote(f)).collect();
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            shown.join(", ")
        );
        errors.push(FieldError::forbidden("metadata.finalizers", detail));
    }
}

fn check_managed_fields(meta: &Map, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = path.child("managedFields");
    for (i, entry) in items(meta, "managedFields").iter().enumerate() {
        let path = path.index(i);
        let get = |key| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        if !matches!(get("operation"), "Apply" | "Update") {
            let detail = "must be `Apply` or `Update`";
            errors.push(FieldError::invalid_str(
                path.child("operation"),
                get("operation"),
                detail,
            ));
        }
        if !matches!(get("fieldsType"), "" | "FieldsV1") {
            let detail = "must be `FieldsV1`";
            errors.push(FieldError::invalid_str(
                path.child("fieldsType"),
                get("fieldsType"),
                detail,
            ));
        }
        check_field_manager(get("manager"), &path.child("manager"), errors);
        if get("subresource").len() > 256 {
            errors.push(FieldError::too_long(path.child("subresource"), 256));
        }
    }
}

/// The name of a field manager, in managedFields or a request's `fieldManager`.
pub fn check_field_manager(manager: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if manager.len() > MAX_FIELD_MANAGER {
        errors.push(FieldError::too_long(path, MAX_FIELD_MANAGER));
    }
    for (at, c) in manager.char_indices() {
        if c.is_control() || (c != ' ' && c.is_whitespace()) {
            let detail = format!(
                "invalid character U+{:04X} (at position {at})",
                u32::from(c)
            );
            errors.push(FieldError::invalid_str(path, manager, detail));
        }
    }
}

/// A label selector inside an object (`spec.selector`, affinity terms …).
pub fn check_label_selector(
    selector: Option<&Value>,
    path: &Path<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(selector) = selector else { return };
    check_labels(
        selector.get("matchLabels"),
        &path.child("matchLabels"),
        errors,
    );
    let expressions = path.child("matchExpressions");
    let list = selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .unwrap_or_default();
    for (i, requirement) in list.iter().enumerate() {
        let path = expressions.index(i);
        let get = |key| {
            requirement
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let values = requirement
            .get("values")
            .and_then(Value::as_array)
            .unwrap_or_default();
        match get("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid_str(
                    path.child("operator"),
                    other,
                    detail,
                ));
            }
        }
        let key = get("key");
        let problems = rules::qualified_name(key);
        note(errors, path.child("key"), key, problems);
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            for problem in rules::label_value(value) {
                errors.push(FieldError::invalid_str(
                    path.child("values").index(j),
                    value,
                    problem,
                ));
            }
        }
    }
}

/// RFC 1123 label: at most 63 of `[a-z0-9-]`, alphanumeric at both ends.
#[must_use]
pub fn is_dns_label(s: &str) -> bool {
    rules::dns1123_label(s).is_empty()
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 bytes.
#[must_use]
pub fn is_dns_subdomain(s: &str) -> bool {
    rules::dns1123_subdomain(s).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{TypeId, Types};
    use crate::value;
    use std::sync::Arc;

    fn resource(group: &str, kind: &str, namespaced: bool) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            list_kind: "".into(),
            plural: "".into(),
            singular: "".into(),
            namespaced,
            short_names: Arc::default(),
            categories: Arc::default(),
            verbs: Arc::default(),
            subresources: Arc::default(),
            storage_group: group.into(),
            storage_version: "v1".into(),
            types: Arc::new(Types::default()),
            root: TypeId(0),
            columns: Arc::default(),
            custom: None,
        }
    }

    fn created(group: &str, kind: &str, namespaced: bool, meta: Value) -> Vec<String> {
        let object =
            value!({"metadata": (meta), "spec": {"group": "g.io", "names": {"plural": "ps"}}});
        validate_create(&resource(group, kind, namespaced), &object)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn each_kind_has_its_own_rule_for_names() {
        let name = |n: &str| value!({"name": n, "namespace": "a"});
        let none: [&str; 0] = [];
        assert_eq!(created("", "Pod", true, name("a.b")), none);
        assert_eq!(
            created("", "Service", true, name("a.b")),
            [r#"metadata.name: Invalid value: "a.b": must not contain dots"#]
        );
        assert_eq!(
            created(
                "rbac.authorization.k8s.io",
                "Role",
                true,
                name("system:Any_thing")
            ),
            none
        );
        assert_eq!(
            created("rbac.authorization.k8s.io", "Role", true, name("a/b")),
            [r#"metadata.name: Invalid value: "a/b": may not contain '/'"#]
        );
        assert_eq!(
            created(
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                false,
                value!({"name": "ps.g.io"})
            ),
            none
        );
        assert_eq!(
            created(
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                false,
                value!({"name": "x.g.io"})
            ),
            [r#"metadata.name: Invalid value: "x.g.io": must be spec.names.plural+"."+spec.group"#]
        );
        assert_eq!(
            created(
                "",
                "Pod",
                true,
                value!({"name": "ab-x", "generateName": "ab-", "namespace": "a"})
            ),
            none
        );
        assert_eq!(
            created("", "Pod", true, value!({"namespace": "a"})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert_eq!(
            created("", "Node", false, name("n")),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
        assert_eq!(
            created("", "Pod", true, value!({"name": "n"})),
            ["metadata.namespace: Required value"]
        );
    }

    /// apimachinery `pkg/api/validation/objectmeta_test.go`
    #[test]
    fn labels_annotations_owners_and_finalizers_are_checked() {
        let big = "x".repeat(MAX_ANNOTATIONS);
        let meta = value!({
            "name": "n", "namespace": "a",
            "labels": {"ok": "v", "k": "bad value"},
            "annotations": {"Example.COM/x": "any thing", "y": (big)},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
                {"apiVersion": "", "kind": "B", "name": "b", "uid": "2", "controller": true}
            ],
            "finalizers": ["orphan", "foregroundDeletion", "custom"],
            "managedFields": [{"operation": "Delete", "manager": "m"}]
        });
        let errors = created("", "Pod", true, meta);
        let wanted = [
            "metadata.labels: Invalid value: \"bad value\": a valid label must be",
            "metadata.annotations: Too long: may not be more than 262144 bytes",
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
            "metadata.ownerReferences: Invalid value: [",
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\",\"custom\"]: finalizer orphan and foregroundDeletion cannot be both set",
            "metadata.managedFields[0].operation: Invalid value: \"Delete\": must be `Apply` or `Update`",
            "metadata.finalizers[2]: Invalid value: \"custom\": name is neither a standard finalizer name nor is it fully qualified",
        ];
        assert_eq!(errors.len(), wanted.len(), "{errors:#?}");
        for (error, want) in errors.iter().zip(wanted) {
            assert!(error.starts_with(want), "{error}\n{want}");
        }
    }

    #[test]
    fn identity_may_not_change_and_a_dying_object_gets_no_new_finalizers() {
        let r = resource("", "Pod", true);
        let old = value!({"metadata": {"name": "n", "namespace": "a", "uid": "1", "creationTimestamp": "2020-01-01T00:00:00Z",
            "deletionTimestamp": "2020-01-02T00:00:00Z", "generation": 2, "finalizers": ["a/b"]}});
        assert_eq!(validate_update(&r, &old, &old), []);
        let mut new = old.clone();
        new.set(&["metadata", "uid"], "2");
        new.set(&["metadata", "generation"], 1);
        new.set(&["metadata", "finalizers"], value!(["a/b", "c/d"]));
        new.unset(&["metadata", "deletionTimestamp"]);
        let errors: Vec<String> = validate_update(&r, &new, &old)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            errors,
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}",
                "metadata.generation: Invalid value: 1: must not be decremented",
                "metadata.uid: Invalid value: \"2\": field is immutable",
                "metadata.deletionTimestamp: Invalid value: null: field is immutable",
            ]
        );
    }
}
