//! Certificate signing requests: who asks is set by the server; approving and signing need rights
//! on the signer (pkg/registry/certificates, plugin/pkg/admission/certificates).

use crate::pipeline::Call;
use freehold_model::{ApiError, Value};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn conditions(object: &Value) -> &[Value] {
    object
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .unwrap_or_default()
}

fn is_decision(condition: &Value) -> bool {
    matches!(condition.str_at(&["type"]), Some("Approved" | "Denied"))
}

pub(super) fn create(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    object.set(&["spec", "username"], call.user.name.as_str());
    for field in ["uid", "groups", "extra"] {
        object.unset(&["spec", field]);
    }
    if !call.user.uid.is_empty() {
        object.set(&["spec", "uid"], call.user.uid.as_str());
    }
    if !call.user.groups.is_empty() {
        object.set(&["spec", "groups"], call.user.groups.clone());
    }
    for (key, values) in &call.user.extra {
        object.set(&["spec", "extra", key], values.clone());
    }
    if object.str_at(&["spec", "signerName"]) == Some(CLIENT_SIGNER) && asks_for_masters(object) {
        let name = object.str_at(&["metadata", "name"]).unwrap_or("");
        let why = format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
        return Err(call.forbidden(name, &why));
    }
    Ok(())
}

/// Whether the request's subject has the organization that may do anything. A request that cannot
/// be read is refused by validation.
fn asks_for_masters(object: &Value) -> bool {
    use base64::Engine as _;
    let encoded = object.str_at(&["spec", "request"]).unwrap_or("");
    let Ok(pem) = base64::engine::general_purpose::STANDARD.decode(encoded) else {
        return false;
    };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else {
        return false;
    };
    let Ok((_, request)) = X509CertificationRequest::from_der(&pem.contents) else {
        return false;
    };
    let subject = &request.certification_request_info.subject;
    subject
        .iter_organization()
        .any(|o| o.as_str() == Ok(freehold_policy::GROUP_MASTERS))
}

/// `/approval` changes conditions.
pub(super) fn approve(call: &Call, object: &mut Value, old: &Value) -> Result<(), ApiError> {
    stamp(call, object, old);
    if conditions(object) == conditions(old) || call.may_use_signer("approve", old) {
        return Ok(());
    }
    Err(call.forbidden(&call.info.name, &refusal("approve", old)))
}

/// `/status` brings the certificate; decisions are not made there.
pub(super) fn sign(call: &Call, object: &mut Value, old: &Value) -> Result<(), ApiError> {
    let mut all: Vec<Value> = conditions(object)
        .iter()
        .filter(|c| !is_decision(c))
        .cloned()
        .collect();
    let kept = conditions(old).iter().filter(|c| is_decision(c)).cloned();
    all.splice(0..0, kept);
    if all.is_empty() {
        object.unset(&["status", "conditions"]);
    } else {
        object.set(&["status", "conditions"], Value::Array(all));
    }
    stamp(call, object, old);
    let certificate = |v: &Value| v.at(&["status", "certificate"]).cloned();
    let same = certificate(object) == certificate(old) && conditions(object) == conditions(old);
    if same || call.may_use_signer("sign", old) {
        return Ok(());
    }
    Err(call.forbidden(&call.info.name, &refusal("sign", old)))
}

fn refusal(verb: &str, object: &Value) -> String {
    let signer = object.str_at(&["spec", "signerName"]).unwrap_or("");
    format!("user not permitted to {verb} requests with signerName {signer:?}")
}

/// Times that the client left out.
fn stamp(call: &Call, object: &mut Value, old: &Value) {
    let now = call.rfc3339();
    let before = conditions(old).to_vec();
    let mut all = conditions(object).to_vec();
    for c in &mut all {
        if c.str_at(&["lastUpdateTime"]).is_none() {
            c.set(&["lastUpdateTime"], now.as_str());
        }
        if c.str_at(&["lastTransitionTime"]).is_none() {
            let same =
                |b: &&Value| b.get("type") == c.get("type") && b.get("status") == c.get("status");
            let since = before
                .iter()
                .find(same)
                .and_then(|b| b.str_at(&["lastTransitionTime"]));
            let since = since.unwrap_or(&now).to_owned();
            c.set(&["lastTransitionTime"], since);
        }
    }
    if !all.is_empty() {
        object.set(&["status", "conditions"], Value::Array(all));
    }
}

impl Call {
    /// Whether the user may `approve` or `sign` for the signer of a request.
    fn may_use_signer(&self, verb: &str, object: &Value) -> bool {
        let signer = object.str_at(&["spec", "signerName"]).unwrap_or("");
        let domain = signer.split('/').next().unwrap_or("");
        [signer.to_owned(), format!("{domain}/*")]
            .into_iter()
            .any(|name| {
                let asked = freehold_policy::Attributes {
                    verb: verb.into(),
                    group: "certificates.k8s.io".into(),
                    version: "*".into(),
                    resource: "signers".into(),
                    name,
                    ..Default::default()
                };
                self.cp.authz.authorize(&self.user, &asked).allowed
            })
    }
}
