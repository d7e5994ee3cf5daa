//! apiextensions.k8s.io/v1 and apiregistration.k8s.io/v1: apiextensions-apiserver
//! `pkg/apis/apiextensions/v1/defaults.go`, kube-aggregator `pkg/apis/apiregistration/v1/defaults.go`.

use super::{Rule, default, is_absent, is_empty, object, text};
use crate::{Map, Value, value};

pub(super) const RULES: &[(&str, Rule)] = &[
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        definition,
    ),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference",
        port,
    ),
    (
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference",
        port,
    ),
];

fn port(reference: &mut Map) {
    default(reference, "port", 443);
}

fn definition(crd: &mut Map) {
    let Some(spec) = object(crd, "spec") else {
        return;
    };
    let storage = spec
        .get("versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let storage = storage.filter(|v| v.get("storage").and_then(Value::as_bool) == Some(true));
    let stored: Vec<Value> = storage
        .map(|v| v.get("name").cloned().unwrap_or_else(|| "".into()))
        .take(1)
        .collect();
    if let Some(names) = object(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if text(names, "singular").is_empty() {
            names.insert("singular", kind.to_lowercase());
        }
        if text(names, "listKind").is_empty() && !kind.is_empty() {
            names.insert("listKind", format!("{kind}List"));
        }
    }
    default(spec, "conversion", value!({"strategy": "None"}));
    if let Some(conversion) = object(spec, "conversion") {
        // The internal type has no place for an empty webhook.
        let webhook = conversion.get("webhook").and_then(Value::as_object);
        if webhook.is_some_and(|w| {
            is_absent(w, "clientConfig") && is_absent(w, "conversionReviewVersions")
        }) {
            conversion.remove("webhook");
        }
    }
    if let Some(status) =
        object(crd, "status").filter(|s| is_empty(s, "storedVersions") && !stored.is_empty())
    {
        status.insert("storedVersions", stored);
    }
}
