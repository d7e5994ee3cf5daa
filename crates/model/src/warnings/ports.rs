//! Ports of a pod's containers that hide each other (kubernetes `pkg/api/pod/warnings.go`).

use super::list::{MOST_PAIRS, Warnings};
use super::pods::containers;
use crate::Value;
use crate::field::{Path, quote};
use crate::validate::read::Read as _;
use std::fmt;

struct Port<'a> {
    /// list of containers, container, port
    at: (&'static str, usize, usize),
    port: &'a Value,
    number: i64,
    host: i64,
}

/// A port as Go's `%+v` shows its internal type.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0;
        write!(
            f,
            "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
            port.text("name"),
            port.number("hostPort"),
            port.number("containerPort"),
            port.text("protocol"),
            port.text("hostIP")
        )
    }
}

pub(super) fn check(spec: &Value, spec_at: Path<'_>, out: &mut Warnings) {
    let all: Vec<Port<'_>> = containers(spec)
        .flat_map(|(list, i, container)| {
            let ports = container.list("ports").iter().enumerate();
            ports.map(move |(n, port)| Port {
                at: (list, i, n),
                port,
                number: port.number("containerPort"),
                host: port.number("hostPort"),
            })
        })
        .collect();
    let mut pairs = MOST_PAIRS;
    for (i, port) in all.iter().enumerate() {
        if port.host == 0 && !port.port.text("hostIP").is_empty() {
            named(spec_at, port, |at| {
                let port = Shown(port.port);
                out.at(at, format_args!("hostIP set without hostPort: {port}"));
            });
        }
        for other in &all[..i] {
            if pairs == 0 || out.is_full() {
                return;
            }
            pairs -= 1;
            if let Some(why) = conflict(port, other) {
                pair(spec_at, port, other, |at, other| {
                    out.at(at, format_args!("{why} port definition with {other}"));
                });
            }
        }
    }
    if out.minor >= 33 {
        names(&all, spec_at, out);
    }
}

fn conflict(port: &Port<'_>, other: &Port<'_>) -> Option<&'static str> {
    let protocol = |port: &Port<'_>| port.port.text("protocol") == other.port.text("protocol");
    if port.number != other.number || !protocol(port) {
        return None;
    }
    let (ip, other_ip) = (port.port.text("hostIP"), other.port.text("hostIP"));
    if ip == other_ip && port.host == other.host {
        Some("duplicate")
    } else if port.host == 0 || other.host == 0 {
        Some("overlapping")
    } else if port.host == other.host && ip.is_empty() != other_ip.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

/// The first port of a name keeps it.
fn names(all: &[Port<'_>], spec_at: Path<'_>, out: &mut Warnings) {
    let mut pairs = MOST_PAIRS;
    for (i, port) in all.iter().enumerate() {
        let name = port.port.text("name");
        if name.is_empty() {
            continue;
        }
        if pairs < i || out.is_full() {
            return;
        }
        pairs -= i;
        let first = all[..i].iter().find(|p| p.port.text("name") == name);
        if let Some(first) = first {
            let name = quote(name);
            pair(spec_at, port, first, |at, first| {
                out.at(at, format_args!("duplicate port name {name} with {first}, services and probes that select ports by name will use {first}"));
            });
        }
    }
}

fn named(spec_at: Path<'_>, port: &Port<'_>, then: impl FnOnce(Path<'_>)) {
    let (list, i, n) = port.at;
    let at = spec_at.child(list);
    let at = at.index(i);
    let at = at.child("ports");
    then(at.index(n));
}

fn pair(
    spec_at: Path<'_>,
    port: &Port<'_>,
    other: &Port<'_>,
    then: impl FnOnce(Path<'_>, Path<'_>),
) {
    named(spec_at, port, |at| {
        named(spec_at, other, |other| then(at, other));
    });
}
