//! Who may depend on whom (docs/ARCHITECTURE.md): forbidden edges fail the check.

use crate::sh;
use anyhow::{Result, bail};
use std::fs;

/// (crate, packages it must not reach through normal dependencies, why)
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "freehold-model",
        &["tokio", "hyper", "kube-client", "rustls"],
        "the model is pure: no runtime, clock or I/O",
    ),
    (
        "freehold-policy",
        &["tokio", "hyper", "kube-client", "rustls"],
        "policy is pure: no runtime, clock or I/O",
    ),
    (
        "freehold-api",
        &["tokio", "hyper", "kube-client", "rustls"],
        "our types are pure",
    ),
    (
        "freehold-store",
        &["freehold-model", "freehold-apiserver", "kube-client"],
        "the store knows bytes, not objects",
    ),
    (
        "freehold-apiserver",
        &[
            "kube-client",
            "kube-runtime",
            "freehold-controllers",
            "freehold-tenancy",
            "freehold-api",
        ],
        "the API server knows neither clients nor controllers",
    ),
    (
        "freehold-controllers",
        &["freehold-store", "freehold-apiserver", "freehold-model"],
        "controllers know only the API",
    ),
    (
        "freehold-tenancy",
        &["freehold-store", "freehold-apiserver", "freehold-model"],
        "tenancy knows only the API of its host",
    ),
];

/// Ways to a clock. Crate `time` itself comes with x509-parser, which has the dates of certificates
/// as data; whoever knows what time it is hands it in.
const CLOCKS: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "ASN1Time::now",
    "validity().is_valid",
    "now_utc",
];

/// Modules that only the binary may name: the API server is given a `dyn Store`.
const DRIVERS: &[&str] = &[
    "freehold_store::embedded",
    "freehold_store::etcd",
    "freehold_store::postgres",
];

pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    for (krate, forbidden, why) in FORBIDDEN {
        let tree = sh::output(
            "cargo",
            &[
                "tree",
                "--package",
                krate,
                "--edges",
                "normal",
                "--prefix",
                "none",
            ],
        )?;
        for name in *forbidden {
            if tree
                .lines()
                .skip(1)
                .any(|l| l.split(' ').next() == Some(name))
            {
                wrong.push(format!(
                    "{krate} reaches {name}: {why} (cargo tree -p {krate} -e normal -i {name})"
                ));
            }
        }
    }
    for pure in ["crates/model/src", "crates/policy/src"] {
        for file in crate::tidy::files_below(pure, "rs")? {
            let text = fs::read_to_string(&file)?;
            // Tests may see how long something takes.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let test = file.ends_with("tests.rs");
            for clock in CLOCKS.iter().filter(|c| !test && code.contains(**c)) {
                wrong.push(format!("{} reads a clock: {clock}", file.display()));
            }
        }
    }
    for file in crate::tidy::files_below("crates/apiserver/src", "rs")? {
        let text = fs::read_to_string(&file)?;
        for driver in DRIVERS {
            // Below `mod tests` a concrete store is fine.
            if text
                .split("#[cfg(test)]")
                .next()
                .is_some_and(|code| code.contains(driver))
            {
                wrong.push(format!("{} names the driver {driver}", file.display()));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("dependency directions:\n  {}", wrong.join("\n  "));
    }
    sh::say(format!(
        "dependency directions: {} crates hold",
        FORBIDDEN.len()
    ))
}
