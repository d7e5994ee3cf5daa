//! Measures one control plane in this process: `measure DIR` prints creates/s at 16 clients, µs of
//! gets and lists, and how fast a watch sees a write.

use bytes::Bytes;
use freehold_apiserver::{Config, ControlPlane, Limits, Service};
use freehold_model::{Catalogue, catalogue};
use freehold_policy::User;
use freehold_store::Keyspaces as _;
use freehold_store::embedded::{Embedded, Options};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use std::io::Write as _;
use std::time::Instant;
use tower::Service as _;

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn ask(
    service: &Service,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<(u16, Bytes), Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = service.clone().call(request).await?;
    let code = response.status().as_u16();
    Ok((code, response.into_body().collect().await?.to_bytes()))
}

fn pod(name: &str) -> Vec<u8> {
    format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"x"}}}},"spec":{{"containers":[{{"name":"c","image":"nginx","resources":{{"requests":{{"cpu":"10m","memory":"16Mi"}}}}}}]}}}}"#).into_bytes()
}

fn config_map(name: &str) -> Vec<u8> {
    format!(
        r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"{}"}}}}"#,
        "x".repeat(200)
    )
    .into_bytes()
}

async fn creates(
    service: &Service,
    kind: &str,
    body: fn(&str) -> Vec<u8>,
    clients: usize,
    each: usize,
) -> Result<f64, Error> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|c| {
            let (service, kind) = (service.clone(), kind.to_owned());
            tokio::spawn(async move {
                for i in 0..each {
                    let path = format!("/api/v1/namespaces/default/{kind}");
                    let (code, answer) =
                        ask(&service, "POST", &path, body(&format!("o-{c}-{i}"))).await?;
                    if code != 201 {
                        return Err(Error::from(String::from_utf8_lossy(&answer).into_owned()));
                    }
                }
                Ok(())
            })
        })
        .collect();
    for t in tasks {
        t.await??;
    }
    Ok((clients * each) as f64 / start.elapsed().as_secs_f64())
}

async fn reads(service: &Service, out: &mut std::io::Stdout) -> Result<(), Error> {
    for (what, path, n) in [
        ("get a pod", "/api/v1/namespaces/default/pods/o-1-1", 20_000),
        ("list 8,000 pods", "/api/v1/namespaces/default/pods", 20),
        (
            "list 500 of 8,000 pods",
            "/api/v1/namespaces/default/pods?limit=500",
            200,
        ),
        (
            "list pods by label",
            "/api/v1/namespaces/default/pods?labelSelector=app%3Dy",
            20,
        ),
        (
            "list pods by node",
            "/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3Dy",
            5,
        ),
        ("discovery /apis", "/apis", 200),
        ("openapi v3 apps/v1", "/openapi/v3/apis/apps/v1", 20),
    ] {
        let start = Instant::now();
        let mut bytes = 0;
        for _ in 0..n {
            let (code, body) = ask(service, "GET", path, Vec::new()).await?;
            if code != 200 {
                return Err(String::from_utf8_lossy(&body).into_owned().into());
            }
            bytes = body.len();
        }
        writeln!(
            out,
            "{what}: {:.1} µs, {bytes} bytes",
            start.elapsed().as_secs_f64() * 1e6 / f64::from(n)
        )?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut out = std::io::stdout();
    let dir = std::env::args().nth(1).ok_or("usage: measure DIR")?;
    let engine = Embedded::open(&dir, Options::default()).await?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&rcgen::KeyPair::generate()?)?.pem();
    let begin = Instant::now();
    let cp = ControlPlane::start(Config {
        name: "measure".into(),
        store: engine.open("measure").await?,
        catalogue: Catalogue::builtin(catalogue::DEFAULT_MINOR).ok_or("no catalogue")?,
        client_ca_pem: ca,
        service_account_key_pem: rcgen::KeyPair::generate()?.serialize_pem(),
        issuer: "https://kubernetes.default.svc".into(),
        external_address: "https://127.0.0.1:6443".into(),
        service_cidr: "10.96.0.0/16".into(),
        limits: Limits::default(),
    })
    .await?;
    writeln!(
        out,
        "start: {:.1} ms, {:?}",
        begin.elapsed().as_secs_f64() * 1e3,
        cp.activity()
    )?;
    let service = cp.service(User {
        name: "m".into(),
        groups: vec!["system:masters".into()],
        ..User::default()
    });
    writeln!(
        out,
        "config maps created at 16 clients: {:.0}/s",
        creates(&service, "configmaps", config_map, 16, 500).await?
    )?;
    writeln!(
        out,
        "pods created at 16 clients: {:.0}/s",
        creates(&service, "pods", pod, 16, 500).await?
    )?;
    reads(&service, &mut out).await?;
    writeln!(out, "{:?}", cp.activity())?;
    Ok(())
}
