//! An acknowledged write survives `kill -9`.

use freehold_e2e::{Sandbox, json, needs_kubectl};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WRITERS: usize = 4;

#[test]
fn every_acknowledged_object_is_there_after_kill_9_during_writes() {
    needs_kubectl!();
    let mut sandbox = Sandbox::with_host();
    let kubeconfig = sandbox.control_plane("acme", "dev");
    let admin = sandbox.admin();
    let stop = AtomicBool::new(false);
    let mut acknowledged = BTreeSet::new();
    std::thread::scope(|scope| {
        let (sandbox, stop, kubeconfig, admin) = (&sandbox, &stop, &kubeconfig, &admin);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    let target = if writer % 2 == 0 { kubeconfig } else { admin };
                    let mut done = Vec::new();
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("w{writer}-{n}");
                        let run = sandbox.kubectl(
                            target,
                            &["create", "configmap", &name, "--from-literal=a=b"],
                        );
                        if run.code == Some(0) {
                            done.push((writer % 2, name));
                        }
                    }
                    done
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(3));
        kill_9(sandbox);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
    });
    sandbox.kill();
    assert!(
        acknowledged.len() > WRITERS,
        "too few writes to prove anything: {}",
        acknowledged.len()
    );
    sandbox.up_with(&[]);
    for (place, kubeconfig) in [(0, &kubeconfig), (1, &admin)] {
        let list = json(
            &sandbox
                .kubectl(kubeconfig, &["get", "configmaps", "-o", "json"])
                .ok(),
        );
        let names: BTreeSet<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|o| o["metadata"]["name"].as_str())
            .collect();
        for (_, name) in acknowledged.iter().filter(|(p, _)| *p == place) {
            assert!(
                names.contains(name.as_str()),
                "{name} was acknowledged and is lost"
            );
        }
    }
}

/// While the writers still hold the sandbox: by the process number in the lock file.
fn kill_9(sandbox: &Sandbox) {
    let lock = std::fs::read_to_string(sandbox.data_dir().join("lock")).expect("the lock file");
    let pid = json(&lock)["pid"].to_string();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
}

#[test]
fn a_deletion_that_a_crash_interrupts_goes_on_after_the_restart() {
    needs_kubectl!();
    let mut sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    sandbox.control_plane("acme", "dev");
    sandbox.control_plane("acme", "test");
    sandbox
        .kubectl(
            &admin,
            &["delete", "tenants.freehold.dev", "acme", "--wait=false"],
        )
        .done();
    sandbox.kill();
    sandbox.up_with(&[]);
    sandbox.until("nothing is left", || {
        let kinds = "tenants.freehold.dev,controlplanes.freehold.dev,namespaces";
        let left = sandbox
            .kubectl(&admin, &["get", kinds, "-A", "-o", "name"])
            .ok();
        !left.contains("acme") && !left.contains("controlplane")
    });
    sandbox.control_plane("acme", "dev");
}
