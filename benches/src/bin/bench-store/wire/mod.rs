//! Writers of a server in another process, who take as little of the machine as they can: what is
//! measured shall be the server. One thread for all of them, HTTP/2 by hand, requests that are
//! prepared but for the key, and everything that is ready in one call to the system.

mod connection;
mod fields;
mod request;

use crate::load::{Measured, Work};
use anyhow::{Result, ensure};
use connection::{Connection, PATIENCE};
use request::Request;
use rustix::event::epoll;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A keyspace: who serves it, and what its keys begin with there.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) prefix: String,
}

/// Clients that write as fast as they are answered, one connection to each address; also the
/// processor time that they took.
pub(crate) fn write(
    places: &[Place],
    clients: usize,
    work: Work,
    time: Duration,
) -> Result<(Measured, Duration)> {
    let mut addresses: Vec<_> = places.iter().map(|place| place.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut connections = Vec::new();
    for address in addresses {
        let asked = (0..clients).map(|n| &places[n % places.len()]);
        let here = asked.filter(|place| place.address == address);
        let requests = here.map(|place| Request::new(&place.prefix, work));
        connections.push(Connection::open(address, requests.collect())?);
    }
    let before = clock_gettime(ClockId::ThreadCPUTime);
    let start = Instant::now();
    drive(&mut connections, start + time)?;
    let took = start.elapsed();
    let after = clock_gettime(ClockId::ThreadCPUTime);
    for connection in &connections {
        // Every put of this connection was at a revision of its own.
        let puts = connection.times.len() as u64;
        ensure!(connection.revisions() >= puts, "fewer revisions than puts");
    }
    let times = connections.into_iter().flat_map(|one| one.times).collect();
    let client = Duration::try_from(after)?.saturating_sub(Duration::try_from(before)?);
    Ok((Measured::new(times, took), client))
}

fn drive(connections: &mut [Connection], until: Instant) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (n, connection) in connections.iter_mut().enumerate() {
        let data = epoll::EventData::new_u64(n as u64);
        epoll::add(&poll, &connection.stream, data, epoll::EventFlags::IN)?;
        connection.ask(until);
        connection.send()?;
    }
    let limit = Timespec::try_from(PATIENCE)?;
    let mut events = Vec::with_capacity(connections.len());
    while !connections.iter().all(Connection::rests) {
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&poll, room, Some(&limit))?;
        ensure!(!events.is_empty(), "no answer in {PATIENCE:?}");
        for event in &events {
            let connection = &mut connections[usize::try_from(event.data.u64())?];
            connection.hear()?;
            connection.ask(until);
            connection.send()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_store::embedded::{Embedded, Options};
    use freehold_store::{Keyspaces as _, server};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_counted_is_written() {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), Options::default()).await;
        let engine = engine.expect("open");
        let mut places = Vec::new();
        for name in ["a", "b"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a port");
            places.push(Place {
                address: listener.local_addr().expect("an address"),
                prefix: format!("/{name}/"),
            });
            let store = engine.open(name).await.expect("a keyspace");
            tokio::spawn(async move { server::serve(listener, store).await });
        }
        let mut counted = 0;
        for work in [Work::Put, Work::Create] {
            let places = places.clone();
            let wrote = move || write(&places, 5, work, Duration::from_millis(300));
            let wrote = tokio::task::spawn_blocking(wrote).await.expect("a thread");
            let (measured, client) = wrote.expect("answers");
            assert!(measured.calls() > 5 && !client.is_zero());
            counted += measured.calls() as u64;
        }
        let mut there = 0;
        for name in ["a", "b"] {
            let store = engine.open(name).await.expect("a keyspace");
            there += store.head().await.expect("a head").keys;
        }
        assert_eq!(there, counted);
        engine.close();
    }
}
