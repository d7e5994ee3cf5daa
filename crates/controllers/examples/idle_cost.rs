//! What the controllers of an idle control plane cost:
//! `cargo run --release -p freehold-controllers --example idle_cost [control planes]`.
//!
//! Starts control planes in this process, then their controllers, and reads the resident memory
//! and the processor time of the process before and after.

use freehold_apiserver::{ControlPlane, Limits};
use freehold_store::Keyspaces as _;
use freehold_store::embedded::{Embedded, Options};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn resident_kib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
}

/// Processor time of this process in clock ticks (100 a second).
fn ticks() -> Outcome<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .ok_or("no fields")?
        .split_whitespace()
        .collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

async fn control_plane(
    store: &Embedded,
    number: usize,
    ca: &str,
    key: &str,
) -> Outcome<Arc<ControlPlane>> {
    let name = format!("cp-{number}");
    let config = freehold_apiserver::Config {
        store: store.open(&name).await?,
        name,
        catalogue: freehold_model::Catalogue::builtin(freehold_model::catalogue::DEFAULT_MINOR)
            .ok_or("no catalogue")?,
        client_ca_pem: ca.into(),
        service_account_key_pem: key.into(),
        issuer: "https://test".into(),
        external_address: "https://127.0.0.1:6443".into(),
        service_cidr: "10.0.0.0/24".into(),
        limits: Limits::default(),
    };
    Ok(ControlPlane::start(config).await?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    use std::io::Write as _;
    let count: usize = std::env::args().nth(1).map_or(Ok(100), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let store = Embedded::open(dir.path(), Options::default()).await?;
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate()?)?.pem();
    let key = rcgen::KeyPair::generate()?.serialize_pem();
    let mut out = std::io::stdout();
    let empty = resident_kib()?;
    let mut planes = Vec::new();
    for number in 0..count {
        planes.push(control_plane(&store, number, &ca, &key).await?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let without = resident_kib()?;
    let start = Instant::now();
    let mut running = Vec::new();
    for plane in &planes {
        let user = freehold_policy::User {
            groups: vec![freehold_policy::GROUP_MASTERS.into()],
            ..freehold_policy::User::default()
        };
        let config = freehold_controllers::Config {
            name: plane.name().into(),
            root_ca_pem: ca.clone(),
            sign_token: None,
        };
        running.push(freehold_controllers::run_all(
            kube::Client::new(plane.service(user), "default"),
            config,
        ));
        // One after the other: what starting takes is given back and used by the next.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Until the last one is done.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let with = resident_kib()?;
    let busy = ticks()?;
    let idle = Duration::from_secs(10);
    tokio::time::sleep(idle).await;
    let busy = ticks()? - busy;
    writeln!(
        out,
        "{count} control planes, {:.1?} after the start of their controllers",
        start.elapsed()
    )?;
    writeln!(out, "  process before any:            {empty} KiB")?;
    writeln!(
        out,
        "  a control plane:               {} KiB",
        (without - empty) / count as u64
    )?;
    writeln!(
        out,
        "  its controllers:               {} KiB",
        with.saturating_sub(without) / count as u64
    )?;
    writeln!(
        out,
        "  processor time of all, idle:   {busy}0 ms in {idle:?}"
    )?;
    Ok(())
}
