//! `freehold kubeconfig`: a short-lived certificate, asked for with a key that never leaves this
//! process, through a CertificateSigningRequest on the host.

use super::user_config::{single, to_yaml, write_private};
use super::{Global, Printer, Target, Trouble, names, objects};
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use freehold_api::names::{
    ANNOTATION_CSR_CONTROL_PLANE, ANNOTATION_CSR_NAMESPACE, SIGNER_CONTROL_PLANE_ADMIN,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long the signer has.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: objects::Which,
    /// How long it is valid, between 10m and 24h
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    expires: String,
    // `-o` is the global format; a kubeconfig is always YAML, so `--output` means a file here.
    /// Write it to a file (mode 0600) instead of standard output
    #[arg(long = "output", id = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    let expires = names::expiry(&args.expires)?;
    let target = Target::connect(global).await?;
    let found = args.which.find(&target.client).await?;
    let config = issue(&target.client, &found, expires).await?;
    let text = to_yaml(&config)?;
    match &args.file {
        None => out.raw(text),
        Some(path) => {
            write_private(path, &text)?;
            out.note(format!(
                "{}: kubeconfig valid for {} written to {}",
                found.shown(),
                args.expires,
                path.display()
            ));
        }
    }
    Ok(())
}

/// Asks for a certificate and makes a kubeconfig of it.
pub(crate) async fn issue(
    client: &Client,
    found: &objects::Found,
    expires: Duration,
) -> Result<Kubeconfig> {
    let cluster = cluster(found)?;
    let asked = freehold_tenancy::pki::Request::generate("kubernetes-admin")?;
    let certificate = certificate(client, found, &asked.csr, expires).await?;
    let user = AuthInfo {
        client_certificate_data: Some(BASE64.encode(certificate)),
        client_key_data: Some(BASE64.encode(asked.key).into()),
        ..AuthInfo::default()
    };
    Ok(single(&found.name, cluster, user))
}

/// Where the control plane answers and how it is recognised.
fn cluster(found: &objects::Found) -> Result<Cluster> {
    let text = |key: &str| {
        found
            .object
            .data
            .pointer(&format!("/status/endpoint/{key}"))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let (Some(server), Some(ca)) = (text("server"), text("certificateAuthorityData")) else {
        return Err(
            Trouble::new(format!("{} has no endpoint yet", found.shown()))
                .advise("`freehold describe control-plane` shows what it waits for.")
                .into(),
        );
    };
    Ok(Cluster {
        server: Some(server),
        certificate_authority_data: Some(ca),
        tls_server_name: text("serverName").filter(|name| !name.is_empty()),
        ..Cluster::default()
    })
}

async fn certificate(
    client: &Client,
    found: &objects::Found,
    csr: &str,
    expires: Duration,
) -> Result<Vec<u8>> {
    let shown = format!("a certificate for {}", found.shown());
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let request = request(found, csr, expires);
    let created = api
        .create(&PostParams::default(), &request)
        .await
        .map_err(|e| Trouble::from_api("request", &shown, e))?;
    let name = created.name_any();
    let decided = tokio::time::timeout(LIMIT, decision(&api, &name)).await;
    // The request has served its purpose; one that stays is cleaned up by the host in time.
    let _ = api.delete(&name, &DeleteParams::default()).await;
    match decided {
        Ok(Ok(Ok(certificate))) => Ok(certificate),
        Ok(Ok(Err(why))) => Err(Trouble::new(format!("{shown} was refused: {why}"))
            .advise("You need the permission to create controlplanes/kubeconfig in the tenant's namespace: its owners have it.")
            .into()),
        Ok(Err(e)) => Err(Trouble::from_api("follow the request for", &shown, e).into()),
        Err(_) => Err(Trouble::new(format!("{shown} was not signed within {} s", LIMIT.as_secs()))
            .advise("Is Freehold's operator running on that host? `freehold doctor` and the host's log tell more.")
            .into()),
    }
}

/// Asks until it is decided. Owners may read a request by its name, but not watch all of them.
async fn decision(
    api: &Api<CertificateSigningRequest>,
    name: &str,
) -> Result<Result<Vec<u8>, String>, kube::Error> {
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(outcome) = outcome(&api.get(name).await?) {
            return Ok(outcome);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

fn request(found: &objects::Found, csr: &str, expires: Duration) -> CertificateSigningRequest {
    let namespace = names::namespace_of(&found.tenant);
    let annotations = [
        (ANNOTATION_CSR_NAMESPACE.to_owned(), namespace),
        (ANNOTATION_CSR_CONTROL_PLANE.to_owned(), found.name.clone()),
    ];
    CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("freehold-".to_owned()),
            annotations: Some(annotations.into_iter().collect()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(csr.as_bytes().to_vec()),
            signer_name: SIGNER_CONTROL_PLANE_ADMIN.to_owned(),
            usages: Some(vec![
                "digital signature".to_owned(),
                "client auth".to_owned(),
            ]),
            expiration_seconds: i32::try_from(expires.as_secs()).ok(),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

/// The certificate, or why there is none; nothing while undecided.
fn outcome(csr: &CertificateSigningRequest) -> Option<Result<Vec<u8>, String>> {
    let status = csr.status.as_ref()?;
    if let Some(certificate) = &status.certificate {
        return Some(Ok(certificate.0.clone()));
    }
    let refused = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "Denied" || c.type_ == "Failed")?;
    Some(Err(refused
        .message
        .clone()
        .or_else(|| refused.reason.clone())
        .unwrap_or_else(|| refused.type_.clone())))
}
