//! A host's life: start, where it listens, who holds the directory, stop.

use freehold_e2e::Sandbox;
use std::os::unix::fs::PermissionsExt as _;

fn address(said: &str) -> String {
    let line = said
        .lines()
        .find(|l| l.starts_with("Address:"))
        .unwrap_or_default();
    line.trim_start_matches("Address:").trim().to_owned()
}

#[test]
fn up_says_address_kubeconfig_and_how_to_stop_and_keeps_its_port() {
    let mut sandbox = Sandbox::new();
    let said = sandbox.up();
    let first = address(&said);
    assert!(
        first.starts_with("https://127.0.0.1:") && !first.ends_with(":0"),
        "{said}"
    );
    assert!(
        said.contains(&sandbox.admin().display().to_string()),
        "{said}"
    );
    let listed = sandbox.freehold(&["get", "tenants"]);
    assert!(
        listed.clone().ok().is_empty() && listed.stderr.contains("no tenants"),
        "{listed:#?}"
    );
    sandbox.down();
    let again = address(&sandbox.up_with(&[]));
    assert_eq!(first, again, "the address is remembered");
    sandbox.down();
}

#[test]
fn secrets_in_the_data_directory_are_readable_by_their_owner_only() {
    let sandbox = Sandbox::with_host();
    let mut left = vec![sandbox.data_dir()];
    let mut seen = 0;
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_dir() {
                left.push(entry.path());
                continue;
            }
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let secret = entry.path().to_string_lossy().contains(".key")
                || entry.path().ends_with("admin.kubeconfig");
            seen += usize::from(secret);
            assert!(
                !secret || mode == 0o600,
                "{} has mode {mode:o}",
                entry.path().display()
            );
        }
    }
    assert!(
        seen >= 3,
        "the authority's key, the token key and the kubeconfig"
    );
    let mode = std::fs::metadata(sandbox.data_dir())
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn a_second_host_on_a_directory_says_who_holds_it_and_ends() {
    let mut sandbox = Sandbox::new();
    let first = address(&sandbox.up());
    let said = sandbox
        .freehold(&["up", "--listen", "127.0.0.1:0"])
        .fails(1);
    assert!(
        said.contains("held by process") && said.contains(&first),
        "{said}"
    );
    let said = sandbox
        .freehold(&["up", "--detach", "--listen", "127.0.0.1:0"])
        .fails(1);
    assert!(
        said.contains("held by process") && said.contains(&first),
        "{said}"
    );
    let said = sandbox
        .freehold(&["quickstart", "--exit", "--listen", "127.0.0.1:0"])
        .fails(1);
    assert!(said.contains("held by process"), "{said}");
}

#[test]
fn an_occupied_port_is_said_with_a_way_out() {
    let sandbox = Sandbox::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = sandbox.freehold(&["up", "--listen", &address]).fails(1);
    assert!(
        said.contains(&address) && said.contains("--listen 127.0.0.1:0"),
        "{said}"
    );
}

#[test]
fn a_detached_host_runs_on_and_down_ends_it() {
    let sandbox = Sandbox::new();
    let said = sandbox
        .freehold(&["up", "--detach", "--listen", "127.0.0.1:0"])
        .ok();
    assert!(said.contains("freehold down"), "{said}");
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    let stopped = sandbox.freehold(&["down"]).ok();
    assert!(stopped.contains("stopped"), "{stopped}");
    assert!(
        sandbox
            .freehold(&["get", "tenants"])
            .fails(1)
            .contains("freehold up")
    );
    let said = sandbox.freehold(&["down"]).ok();
    assert!(said.contains("no host runs"), "{said}");
}

#[test]
fn another_name_for_the_host_is_in_its_certificates_and_kubeconfigs() {
    let mut sandbox = Sandbox::new();
    let said = sandbox.up_with(&["--listen", "127.0.0.1:0", "--advertise", "localhost"]);
    assert!(address(&said).starts_with("https://localhost:"), "{said}");
    let kubeconfig = sandbox.control_plane("acme", "dev");
    assert!(
        std::fs::read_to_string(&kubeconfig)
            .unwrap()
            .contains("server: https://localhost:")
    );
    sandbox.freehold(&["get", "tenants", "acme"]).done();
}
