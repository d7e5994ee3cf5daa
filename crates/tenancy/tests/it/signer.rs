//! Client certificates for control planes.

use crate::control_planes::{object, ready_control_plane, ready_tenant};
use crate::harness::{Host, create, until};
use freehold_api::names;
use freehold_tenancy::pki::{Request, validity};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::Api;
use serde_json::json;

fn request(name: &str, namespace: &str, seconds: i32, csr: &str) -> CertificateSigningRequest {
    object(json!({
        "metadata": {"name": name, "annotations": {
            names::ANNOTATION_CSR_NAMESPACE: namespace,
            names::ANNOTATION_CSR_CONTROL_PLANE: "prod",
        }},
        "spec": {
            "signerName": names::SIGNER_CONTROL_PLANE_ADMIN,
            "request": ByteString(csr.as_bytes().to_vec()),
            "usages": ["client auth"],
            "expirationSeconds": seconds,
        },
    }))
}

fn decided(request: &CertificateSigningRequest) -> Option<String> {
    let status = request.status.as_ref()?;
    if status.certificate.is_some() {
        return Some("Issued".into());
    }
    let conditions = status.conditions.iter().flatten();
    let mut ends = conditions.filter(|c| c.type_ == "Denied" || c.type_ == "Failed");
    ends.next().map(|c| c.type_.clone())
}

#[tokio::test]
async fn an_owner_gets_a_certificate_and_nobody_else_does() {
    certificates(&Host::start().await).await;
}

/// The story of that test, on any host.
pub(crate) async fn certificates(host: &Host) {
    ready_tenant(
        host,
        "acme",
        json!({"owners": [{"kind": "User", "name": "joe"}]}),
    )
    .await;
    ready_tenant(
        host,
        "globex",
        json!({"owners": [{"kind": "Group", "name": "eves"}]}),
    )
    .await;
    ready_control_plane(host, "acme", "prod").await;
    let all = host.all::<CertificateSigningRequest>();
    let asked = Request::generate("whoever").unwrap();

    let joe: Api<CertificateSigningRequest> = Api::all(host.as_user("joe", &[]));
    create(&joe, &request("joes", "tenant-acme", 3600, &asked.csr)).await;
    let issued = until(&all, "joes", |r| decided(r).is_some()).await;
    assert_eq!(decided(&issued).as_deref(), Some("Issued"));
    // the owner fetches it, and may not look at other requests
    let status = joe.get("joes").await.unwrap().status.unwrap();
    let cert = String::from_utf8(status.certificate.unwrap().0).unwrap();
    let (from, until_) = validity(&cert).unwrap();
    assert!((60..=70).contains(&(until_ - from).whole_minutes()));
    assert!(joe.list(&Default::default()).await.is_err());

    let eve: Api<CertificateSigningRequest> = Api::all(host.as_user("eve", &["eves"]));
    create(&eve, &request("eves", "tenant-acme", 3600, &asked.csr)).await;
    let denied = until(&all, "eves", |r| decided(r).is_some()).await;
    assert_eq!(decided(&denied).as_deref(), Some("Denied"));

    let mut nowhere = request("junk", "tenant-acme", 3600, &asked.csr);
    nowhere.metadata.annotations = None;
    create(&joe, &nowhere).await;
    let failed = until(&all, "junk", |r| decided(r).is_some()).await;
    assert_eq!(decided(&failed).as_deref(), Some("Failed"));
}
