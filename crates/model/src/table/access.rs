//! Rows of roles, certificates, admission and aggregated APIs.

use super::{Cells, Row, human_duration, labels, texts};
use crate::Value;

pub(super) fn cells(row: &Row<'_>, kind: &str) -> Cells {
    match kind {
        "RoleBinding" | "ClusterRoleBinding" => binding(row),
        "CertificateSigningRequest" => signing_request(row),
        "ClusterTrustBundle" => vec![("SignerName", signer(row))],
        "PodCertificateRequest" => pod_certificate(row),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            vec![("Webhooks", row.count(&["webhooks"]))]
        }
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => vec![
            ("Validations", row.count(&["spec", "validations"])),
            ("Mutations", row.count(&["spec", "mutations"])),
            ("ParamKind", param_kind(row).into()),
        ],
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => vec![
            ("PolicyName", row.text(&["spec", "policyName"]).into()),
            ("ParamRef", param_ref(row).into()),
        ],
        "APIService" => api_service(row),
        _ => Cells::new(),
    }
}

fn part<'a>(value: &'a Value, key: &str) -> &'a str {
    value.str_at(&[key]).unwrap_or_default()
}

fn binding(row: &Row<'_>) -> Cells {
    let of = |kind: &str| {
        let names = row
            .list(&["subjects"])
            .iter()
            .filter(|s| part(s, "kind") == kind)
            .map(|s| match kind {
                "ServiceAccount" => format!("{}/{}", part(s, "namespace"), part(s, "name")),
                _ => part(s, "name").to_owned(),
            });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        (
            "Role",
            format!(
                "{}/{}",
                row.text(&["roleRef", "kind"]),
                row.text(&["roleRef", "name"])
            )
            .into(),
        ),
        ("Users", of("User")),
        ("Groups", of("Group")),
        ("ServiceAccounts", of("ServiceAccount")),
    ]
}

fn signer(row: &Row<'_>) -> Value {
    match row.text(&["spec", "signerName"]) {
        "" => "<none>".into(),
        name => name.into(),
    }
}

fn signing_request(row: &Row<'_>) -> Cells {
    let duration = row
        .at(&["spec", "expirationSeconds"])
        .and_then(Value::as_i64)
        .map_or_else(|| "<none>".into(), human_duration);
    let has = |kind: &str| row.condition(kind).is_some();
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !row.text(&["status", "certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    vec![
        ("SignerName", signer(row)),
        ("Requestor", row.text(&["spec", "username"]).into()),
        ("RequestedDuration", duration.into()),
        ("Condition", status.into()),
    ]
}

fn pod_certificate(row: &Row<'_>) -> Cells {
    let states = ["Issued", "Denied", "Failed"];
    let last = row
        .list(&["status", "conditions"])
        .iter()
        .rfind(|c| states.contains(&part(c, "type")));
    vec![
        ("PodName", row.text(&["spec", "podName"]).into()),
        (
            "ServiceAccountName",
            row.text(&["spec", "serviceAccountName"]).into(),
        ),
        ("NodeName", row.text(&["spec", "nodeName"]).into()),
        ("SignerName", row.text(&["spec", "signerName"]).into()),
        ("State", last.map_or("Pending", |c| part(c, "type")).into()),
        (
            "UnverifiedUserAnnotations",
            labels(row.map(&["spec", "unverifiedUserAnnotations"])).into(),
        ),
    ]
}

fn param_kind(row: &Row<'_>) -> String {
    row.at(&["spec", "paramKind"]).map_or_else(
        || "<unset>".into(),
        |p| format!("{}/{}", part(p, "apiVersion"), part(p, "kind")),
    )
}

fn param_ref(row: &Row<'_>) -> String {
    let Some(reference) = row.at(&["spec", "paramRef"]) else {
        return "<unset>".into();
    };
    match (part(reference, "name"), part(reference, "namespace")) {
        ("", _) if reference.at(&["selector"]).is_some_and(|s| !s.is_null()) => {
            go_selector(reference.get("selector").unwrap_or(&Value::Null))
        }
        ("", _) => "<unset>".into(),
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    }
}

/// As Go prints the struct of a selector.
fn go_selector(selector: &Value) -> String {
    let labels: String = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(crate::Map::iter)
        .map(|(k, v)| format!("{k}: {},", v.as_str().unwrap_or_default()))
        .collect();
    let terms: String = selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .map(|t| {
            let values = texts(
                t.get("values")
                    .and_then(Value::as_array)
                    .unwrap_or_default(),
                " ",
            );
            let (key, op) = (part(t, "key"), part(t, "operator"));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{op},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}

fn api_service(row: &Row<'_>) -> Cells {
    let service = row.at(&["spec", "service"]).map_or_else(
        || "Local".to_owned(),
        |s| format!("{}/{}", part(s, "namespace"), part(s, "name")),
    );
    let available = row.condition("Available").map_or_else(
        || "Unknown".to_owned(),
        |c| match (part(c, "status"), part(c, "reason")) {
            ("True", _) | (_, "") => part(c, "status").to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    );
    vec![("Service", service.into()), ("Available", available.into())]
}
