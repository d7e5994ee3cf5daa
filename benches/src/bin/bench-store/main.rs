//! `cargo xtask bench store`: the embedded engine, called in the process and through its etcd
//! endpoint, against a real etcd in the same run. Every side makes every write durable.
//!
//! The endpoint is served by a process of its own, as etcd is, and both are asked by the same client:
//! the driver, and for writes one that takes next to no processor time (`wire`).
//! Rounds are interleaved, so that what else the machine does falls on all sides alike; each
//! figure is the median of the rounds.

mod figures;
mod load;
mod peers;
mod wire;

use anyhow::{Context as _, Result};
use figures::{Row, Table};
use freehold_store::embedded::{Embedded, Options};
use freehold_store::{Keyspaces as _, server};
use load::Work;
use peers::{Peer, To};
use std::io::Write as _;
use std::time::Duration;

/// Length of one measurement of one side.
const TIME: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;
/// Where rounds differ most: more of them, shorter.
const MANY_ROUNDS: usize = 9;
const SHORT_TIME: Duration = Duration::from_millis(700);
/// Events of one round.
const EVENTS: usize = 2000;
/// Keys of the large keyspace, each of about 1 KiB.
const KEYS: usize = 100_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            // What this program starts of itself.
            ["fill", dir] => figures::fill(dir.as_ref()).await,
            ["many", dir] => figures::many(dir.as_ref()).await,
            ["serve", dir, address] => serve(dir, address).await,
            ["endpoints", dir] => peers::endpoints(dir.as_ref()).await,
            ["reopen", dir] => figures::reopen(dir.as_ref()).await,
            ["etcd"] => against_etcd("").await,
            ["etcd", part @ ("writes" | "tenants" | "reads")] => against_etcd(part).await,
            ["engine"] => Box::pin(alone()).await,
            ["open"] => figures::open_after_kill(&mut Table::new(&["embedded"])).await,
            ["neighbours"] => figures::neighbours(&mut Table::new(&["embedded"])).await,
            [] => {
                against_etcd("").await?;
                Box::pin(alone()).await
            }
            _ => anyhow::bail!(
                "usage: bench store [etcd [writes|tenants|reads]|engine|open|neighbours]"
            ),
        }
    })
}

/// The endpoint alone, for etcd's own benchmark and for profiles.
async fn serve(dir: &str, address: &str) -> Result<()> {
    let engine = Embedded::open(dir, Options::default()).await?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    server::serve(listener, engine.open("one").await?).await?;
    Ok(())
}

/// All of it, or one part.
async fn against_etcd(part: &str) -> Result<()> {
    say(&load_line()?)?;
    let dir = tempfile::tempdir()?;
    let sides = [
        Peer::embedded(&dir.path().join("embedded")).await?,
        Peer::endpoint(&dir.path().join("endpoint")).await?,
        Peer::etcd(&dir.path().join("etcd"), 1).await?,
    ];
    let mut table = Table::new(&["embedded", "endpoint", "etcd"]);
    if matches!(part, "" | "writes") {
        writes(&mut table, &sides).await?;
    }
    if matches!(part, "" | "tenants") {
        tenants(&mut table, &sides, &dir.path().join("ten")).await?;
    }
    if matches!(part, "" | "reads") {
        for side in &sides {
            load::fill(&*side.big, KEYS).await.context(side.name)?;
        }
        events(&mut table, &sides).await?;
        reads(&mut table, &sides).await?;
    }
    say(&load_line()?)
}

async fn writes(table: &mut Table, sides: &[Peer; 3]) -> Result<()> {
    for (work, clients, name, budget) in [
        (Work::Put, 64, "put, 64 clients", 1.5),
        (Work::Create, 64, "create, 64 clients", 1.5),
        (Work::Put, 1, "put, 1 client", 0.8),
        (Work::Create, 1, "create, 1 client", 0.8),
    ] {
        let mut runs = vec![Vec::new(); sides.len()];
        for _ in 0..ROUNDS {
            for (side, runs) in sides.iter().zip(&mut runs) {
                runs.push(side.write(To::One, clients, work, TIME).await?);
            }
        }
        if clients == 1 {
            table.add(Row::latency(name, runs, budget))?;
        } else {
            table.rate(name, runs, budget)?;
        }
    }
    Ok(())
}

async fn tenants(table: &mut Table, sides: &[Peer; 3], dir: &std::path::Path) -> Result<()> {
    let mut runs = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (side, runs) in sides.iter().zip(&mut runs) {
            runs.push(side.write(To::Tenants, 60, Work::Put, TIME).await?);
        }
    }
    let name = "10 tenants x 6, etcd: prefixes";
    table.rate(name, runs, 1.2)?;
    let ten = Peer::etcd(dir, 10).await?;
    let mut runs = vec![Vec::new(); sides.len()];
    for _ in 0..MANY_ROUNDS {
        for (side, runs) in [&sides[0], &sides[1], &ten].into_iter().zip(&mut runs) {
            runs.push(side.write(To::Tenants, 60, Work::Put, SHORT_TIME).await?);
        }
    }
    table.rate("10 tenants x 6, etcd: 10 servers", runs, 4.0)
}

/// Directly after 100 MB were written: what the load leaves behind is part of the figure.
async fn events(table: &mut Table, sides: &[Peer; 3]) -> Result<()> {
    let mut runs = vec![Vec::new(); sides.len()];
    for _ in 0..MANY_ROUNDS {
        for (side, runs) in sides.iter().zip(&mut runs) {
            runs.push(load::events(&*side.one, EVENTS).await?);
        }
    }
    table.add(Row::tail("put to its event, p99, after 100 MB", runs, 0.5))
}

async fn reads(table: &mut Table, sides: &[Peer; 3]) -> Result<()> {
    for (name, budget, count_only) in [
        ("page of 1,000 of 100,000 keys", 0.25, false),
        ("count of 100,000 keys", 0.1, true),
    ] {
        let mut runs = vec![Vec::new(); sides.len()];
        for _ in 0..ROUNDS {
            for (side, runs) in sides.iter().zip(&mut runs) {
                runs.push(load::ranges(&*side.big, 30, count_only, KEYS).await?);
            }
        }
        table.add(Row::latency(name, runs, budget))?;
    }
    Ok(())
}

/// What has a budget of its own and no peer.
async fn alone() -> Result<()> {
    let mut table = Table::new(&["embedded"]);
    figures::open_after_kill(&mut table).await?;
    figures::many_keyspaces(&mut table)?;
    figures::neighbours(&mut table).await
}

fn load_line() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(format!("load average {}", text.trim()))
}

pub(crate) fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}
