//! The signer of client certificates for control planes.
//!
//! Somebody who may `create controlplanes/kubeconfig` makes a key, and a
//! CertificateSigningRequest on the host for `freehold.dev/control-plane-admin` that names the
//! control plane in annotations. The key stays with them; nobody needs to read a CA's key.

use crate::control_plane::credentials::{MASTERS, text};
use crate::host::{self, Host, now_text};
use crate::pki::Authority;
use crate::{Error, Result};
use freehold_api::{ControlPlaneName, names};
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::watcher;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// The shortest, the usual and the longest life of a certificate.
const SHORTEST: i32 = 10 * 60;
const USUAL: i32 = 60 * 60;
const LONGEST: i32 = 24 * 60 * 60;
/// A control plane that has no CA by then gets none in time for this request.
const CA_WITHIN: time::Duration = time::Duration::minutes(2);
/// Requests are removed when they are this old; their certificate was fetched long ago.
const KEPT: time::Duration = time::Duration::hours(1);
/// A pass over one request ends within this time.
const PASS_WITHIN: Duration = Duration::from_secs(20);

/// Runs until told to stop.
pub(crate) async fn run(host: Arc<Host>, shutdown: CancellationToken) {
    Controller::new(
        Api::<CertificateSigningRequest>::all(host.client.clone()),
        watcher::Config::default(),
    )
    .with_config(Config::default().concurrency(8))
    .graceful_shutdown_on(shutdown.cancelled_owned())
    .run(pass, again, host)
    .for_each(|_| std::future::ready(()))
    .await;
}

fn key(request: &CertificateSigningRequest) -> String {
    format!("csr/{}", request.uid().unwrap_or_default())
}

fn again(request: Arc<CertificateSigningRequest>, error: &Error, host: Arc<Host>) -> Next {
    let wait = host.failed(&key(&request));
    tracing::warn!(request = %request.name_any(), error = %error.chain(), ?wait, "a request failed");
    Next::requeue(wait)
}

async fn pass(request: Arc<CertificateSigningRequest>, host: Arc<Host>) -> Result<Next> {
    if request.spec.signer_name != names::SIGNER_CONTROL_PLANE_ADMIN {
        return Ok(Next::await_change());
    }
    tokio::time::timeout(PASS_WITHIN, Box::pin(reconcile(&request, &host)))
        .await
        .map_err(|_| Error::TooLate {
            what: format!("the request {} was not done", request.name_any()),
            seconds: PASS_WITHIN.as_secs(),
        })?
}

async fn reconcile(request: &CertificateSigningRequest, host: &Host) -> Result<Next> {
    let api: Api<CertificateSigningRequest> = Api::all(host.client.clone());
    if request.metadata.deletion_timestamp.is_some() {
        return Ok(Next::await_change());
    }
    if is_done(request) {
        return forget(request, &api).await;
    }
    let asked = match Asked::read(request) {
        Ok(asked) => asked,
        Err(why) => return decide(&api, request, "Failed", "InvalidRequest", &why).await,
    };
    if !allowed(&request.spec, &asked, host).await? {
        let why = format!(
            "{} may not create controlplanes/kubeconfig for {}/{}",
            request.spec.username.as_deref().unwrap_or("(nobody)"),
            asked.namespace,
            asked.control_plane
        );
        return decide(&api, request, "Denied", "Forbidden", &why).await;
    }
    let secrets: Api<Secret> = Api::namespaced(host.client.clone(), &asked.namespace);
    let secret = host::get(&secrets, &names::secret::ca(asked.control_plane.as_str())).await?;
    let (Some(cert), Some(ca_key)) = (
        text(secret.as_ref(), names::secret::CA_CERT),
        text(secret.as_ref(), names::secret::CA_KEY),
    ) else {
        if age(request) > CA_WITHIN {
            let why = format!(
                "the control plane {}/{} does not exist or has no certificates",
                asked.namespace, asked.control_plane
            );
            return decide(&api, request, "Failed", "NotFound", &why).await;
        }
        return Ok(Next::requeue(host.failed(&key(request))));
    };
    let authority = Authority::from_pem(cert, ca_key)?;
    let signed = authority.sign_request(&asked.csr, &asked.user, &[MASTERS], asked.valid);
    let certificate = match signed {
        Ok(certificate) => certificate,
        Err(error) => {
            return decide(&api, request, "Failed", "InvalidRequest", &error.chain()).await;
        }
    };
    approve(&api, request).await?;
    if deliver(&api, request, certificate).await? {
        tracing::info!(
            control_plane = %format!("{}/{}", asked.namespace, asked.control_plane),
            user = %asked.user, seconds = asked.valid.as_secs(), "a client certificate was issued"
        );
    }
    host.went_well(&key(request));
    Ok(Next::requeue(Duration::from_secs(3600)))
}

fn is_done(request: &CertificateSigningRequest) -> bool {
    let Some(status) = &request.status else {
        return false;
    };
    status.certificate.is_some()
        || status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Denied" || c.type_ == "Failed")
}

fn age(request: &CertificateSigningRequest) -> time::Duration {
    let created = request
        .creation_timestamp()
        .and_then(|t| OffsetDateTime::from_unix_timestamp(t.0.as_second()).ok());
    created.map_or(time::Duration::ZERO, |c| OffsetDateTime::now_utc() - c)
}

async fn forget(
    request: &CertificateSigningRequest,
    api: &Api<CertificateSigningRequest>,
) -> Result<Next> {
    let left = KEPT - age(request);
    if left.is_positive() {
        let seconds = left.whole_seconds().unsigned_abs() + 1;
        return Ok(Next::requeue(Duration::from_secs(seconds)));
    }
    host::delete(api, request).await?;
    Ok(Next::await_change())
}

/// What a request asks for.
struct Asked {
    namespace: String,
    control_plane: ControlPlaneName,
    csr: String,
    user: String,
    valid: Duration,
}

impl Asked {
    fn read(request: &CertificateSigningRequest) -> Result<Self, String> {
        let annotation = |name: &str| {
            request
                .annotations()
                .get(name)
                .cloned()
                .ok_or_else(|| format!("the annotation {name} is missing"))
        };
        let namespace = annotation(names::ANNOTATION_CSR_NAMESPACE)?;
        // a namespace's name has the same form as a control plane's
        ControlPlaneName::new(namespace.clone())
            .map_err(|_| format!("{namespace:?} is no namespace"))?;
        let control_plane = ControlPlaneName::new(annotation(names::ANNOTATION_CSR_CONTROL_PLANE)?)
            .map_err(|e| e.to_string())?;
        let usages: Vec<&str> = request
            .spec
            .usages
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let known = ["client auth", "digital signature", "key encipherment"];
        if !usages.contains(&"client auth") {
            return Err("spec.usages must contain \"client auth\"".to_owned());
        }
        if let Some(other) = usages.iter().find(|u| !known.contains(u)) {
            return Err(format!("spec.usages: {other:?} is not given here"));
        }
        let user = request.spec.username.clone().unwrap_or_default();
        if user.is_empty() {
            return Err("the requester is not known".to_owned());
        }
        let csr = String::from_utf8(request.spec.request.0.clone())
            .map_err(|_| "spec.request is not PEM".to_owned())?;
        let seconds = request.spec.expiration_seconds.unwrap_or(USUAL);
        let seconds = seconds.clamp(SHORTEST, LONGEST);
        Ok(Self {
            namespace,
            control_plane,
            csr,
            user,
            valid: Duration::from_secs(u64::from(seconds.unsigned_abs())),
        })
    }
}

/// Asks the host whether the requester may have this.
async fn allowed(spec: &CertificateSigningRequestSpec, asked: &Asked, host: &Host) -> Result<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            groups: spec.groups.clone(),
            uid: spec.uid.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some(names::GROUP.to_owned()),
                version: Some(names::VERSION.to_owned()),
                resource: Some("controlplanes".to_owned()),
                subresource: Some("kubeconfig".to_owned()),
                verb: Some("create".to_owned()),
                namespace: Some(asked.namespace.clone()),
                name: Some(asked.control_plane.to_string()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(host.client.clone());
    let answer = api
        .create(&PostParams::default(), &review)
        .await
        .map_err(Error::host("review access"))?;
    Ok(answer
        .status
        .is_some_and(|s| s.allowed && s.denied != Some(true)))
}

async fn approve(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
) -> Result<()> {
    condition(
        api,
        request,
        "Approved",
        "Allowed",
        "the requester may create controlplanes/kubeconfig",
    )
    .await
}

/// Ends a request without a certificate.
async fn decide(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
    type_: &str,
    reason: &str,
    why: &str,
) -> Result<Next> {
    tracing::info!(request = %request.name_any(), %type_, %why, "no certificate was issued");
    condition(api, request, type_, reason, why).await?;
    Ok(Next::requeue(Duration::from_secs(3600)))
}

/// Adds a condition: Approved and Denied by the approval subresource, Failed by the status.
async fn condition(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
    type_: &str,
    reason: &str,
    message: &str,
) -> Result<()> {
    let status = request.status.as_ref();
    let mut conditions: Vec<_> = status
        .and_then(|s| s.conditions.clone())
        .unwrap_or_default()
        .iter()
        .filter_map(|c| serde_json::to_value(c).ok())
        .collect();
    if conditions.iter().any(|c| c["type"] == type_) {
        return Ok(());
    }
    let now = now_text();
    conditions.push(json!({
        "type": type_, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now,
    }));
    let patch = json!({ "status": { "conditions": conditions } });
    let name = request.name_any();
    let params = PatchParams::default();
    let patch = Patch::Merge(&patch);
    let answer = if type_ == "Failed" {
        api.patch_status(&name, &params, &patch).await
    } else {
        api.patch_approval(&name, &params, &patch).await
    };
    answer.map_err(Error::host(format!("decide on the request {name}")))?;
    Ok(())
}

/// `false`: it was done already. What was seen of the request may be older than the certificate of the
/// pass before, which nobody can change.
async fn deliver(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
    certificate: String,
) -> Result<bool> {
    let name = request.name_any();
    let certificate = ByteString(certificate.into_bytes());
    let patch = json!({ "status": { "certificate": certificate } });
    let delivered = api
        .patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    if let Err(error) = &delivered
        && host::is_code(error, 422)
        && host::get(api, &name).await?.as_ref().is_some_and(is_done)
    {
        return Ok(false);
    }
    delivered.map_err(Error::host(format!("deliver the certificate of {name}")))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut serde_json::Value)) -> CertificateSigningRequest {
        let mut value = json!({
            "metadata": {"name": "r", "annotations": {
                "freehold.dev/namespace": "tenant-acme",
                "freehold.dev/control-plane": "prod",
            }},
            "spec": {
                "signerName": names::SIGNER_CONTROL_PLANE_ADMIN,
                "request": "Y3Ny",
                "usages": ["client auth", "digital signature"],
                "username": "joe",
            },
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_request_is_read_and_its_life_bounded() {
        let cases = [
            (json!(null), 3600),
            (json!(1), 600),
            (json!(7200), 7200),
            (json!(999_999), 86_400),
        ];
        for (asked, given) in cases {
            let asked = Asked::read(&request(|r| r["spec"]["expirationSeconds"] = asked)).unwrap();
            assert_eq!(asked.valid.as_secs(), given);
            assert_eq!(asked.user, "joe");
            assert_eq!(asked.csr, "csr");
        }
    }

    #[test]
    fn ill_formed_requests_are_refused() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 5] = [
            (
                |r| r["metadata"]["annotations"] = json!({}),
                "freehold.dev/namespace",
            ),
            (
                |r| r["metadata"]["annotations"]["freehold.dev/control-plane"] = json!("a/b"),
                "control plane name",
            ),
            (
                |r| r["spec"]["usages"] = json!(["server auth"]),
                "client auth",
            ),
            (
                |r| r["spec"]["usages"] = json!(["client auth", "cert sign"]),
                "cert sign",
            ),
            (|r| r["spec"]["username"] = json!(""), "requester"),
        ];
        for (change, word) in cases {
            let why = Asked::read(&request(change)).err().unwrap();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn decided_requests_are_left_alone() {
        assert!(!is_done(&request(|_| ())));
        assert!(!is_done(&request(|r| {
            r["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        })));
        for type_ in ["Denied", "Failed"] {
            let decided = request(|r| {
                r["status"] = json!({"conditions": [{"type": type_, "status": "True"}]});
            });
            assert!(is_done(&decided));
        }
        assert!(is_done(&request(
            |r| r["status"] = json!({"certificate": "eA=="})
        )));
    }
}
