//! `cargo xtask bench api`: our API server against kube-apiserver and etcd, in the same run.

use anyhow::Result;
use bytes::Bytes;
use freehold_benches::client::{Client, Target};
use freehold_benches::load::{self, Measured};
use freehold_benches::peer;
use http::Method;
use std::io::Write as _;

const JSON: &str = "application/json";
const CLIENTS: usize = 16;

fn main() -> Result<()> {
    let each = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(250);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(each))
}

async fn run(each: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    std::fs::create_dir_all(&ours)?;
    std::fs::create_dir_all(&theirs)?;
    say(&format!(
        "{CLIENTS} clients, {each} requests each, one TLS connection per client\n"
    ))?;
    // One server at a time: both would otherwise share two cores with the clients.
    let our = measure("freehold", peer::freehold(&ours).await?, each).await?;
    let their = measure(
        "kube-apiserver + etcd",
        peer::kube_apiserver(&theirs).await?,
        each,
    )
    .await?;
    say("\nratio (ours / theirs)")?;
    for ((name, our), (_, their)) in our.iter().zip(&their) {
        let rate = our.per_second() / their.per_second();
        let tail = our.percentile(99).as_secs_f64() / their.percentile(99).as_secs_f64();
        say(&format!(
            "  {name:<22} {rate:>6.1}x per second   {tail:>5.2}x p99"
        ))?;
    }
    Ok(())
}

async fn measure(
    name: &str,
    server: peer::Running,
    each: usize,
) -> Result<Vec<(&'static str, Measured)>> {
    say(&format!(
        "{name}: ready after {:.2} s, {:.0} MiB",
        server.ready_after.as_secs_f64(),
        server.resident_mib()
    ))?;
    let mut results = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(&server.target).await?);
    }
    // Waits until the default service account exists, which pods need.
    settle(&server.target).await?;
    let maps = "/api/v1/namespaces/default/configmaps";
    results.push((
        "create ConfigMap 800 B",
        drive(&clients, each, Method::POST, |_, _| maps.into(), config_map).await?,
    ));
    let path = |c: usize, n: usize| format!("/api/v1/namespaces/default/configmaps/c{c}-{n}");
    results.push((
        "get ConfigMap",
        drive(&clients, each, Method::GET, path, |_, _| Bytes::new()).await?,
    ));
    let pods = "/api/v1/namespaces/default/pods";
    results.push((
        "create Pod",
        drive(&clients, each, Method::POST, |_, _| pods.into(), pod).await?,
    ));
    let list = |_: usize, _: usize| "/api/v1/namespaces/default/pods?limit=500".to_owned();
    results.push((
        "list 500 pods",
        drive(&clients, each.min(20), Method::GET, list, |_, _| {
            Bytes::new()
        })
        .await?,
    ));
    for (what, measured) in &results {
        say(&format!("  {what:<22} {measured}"))?;
    }
    say(&format!(
        "  memory after the load: {:.0} MiB\n",
        server.resident_mib()
    ))?;
    Ok(results)
}

async fn drive(
    clients: &[Client],
    each: usize,
    method: Method,
    path: impl Fn(usize, usize) -> String + Copy + Send + 'static,
    body: fn(usize, usize) -> Bytes,
) -> Result<Measured> {
    load::run(clients.len(), each, |index| {
        let client = clients[index].clone();
        let method = method.clone();
        Ok(move |number| {
            let (mut client, method) = (client.clone(), method.clone());
            async move {
                client
                    .call(method, &path(index, number), JSON, body(index, number))
                    .await?;
                Ok(())
            }
        })
    })
    .await
}

fn config_map(client: usize, number: usize) -> Bytes {
    let filler = "x".repeat(700);
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c{client}-{number}"}},"data":{{"k":"{filler}"}}}}"#).into()
}

fn pod(client: usize, number: usize) -> Bytes {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{client}-{number}","labels":{{"app":"bench"}}}},"spec":{{"automountServiceAccountToken":false,"containers":[{{"name":"main","image":"example/app:1","env":[{{"name":"A","value":"b"}}],"ports":[{{"containerPort":8080}}],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}}}}]}}}}"#
    )
    .into()
}

async fn settle(target: &Target) -> Result<()> {
    let mut client = Client::connect(target).await?;
    let account = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
    // Exists already where a controller made it.
    let _ = client
        .call(
            Method::POST,
            "/api/v1/namespaces/default/serviceaccounts",
            JSON,
            account.into(),
        )
        .await;
    Ok(())
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
