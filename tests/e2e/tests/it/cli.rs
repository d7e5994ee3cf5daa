//! What the command line says, word for word. After a wanted change:
//! `FREEHOLD_UPDATE_SNAPSHOTS=1 cargo test -p freehold-e2e cli`.

use freehold_e2e::{Run, Sandbox};
use std::path::PathBuf;

fn snapshot(name: &str, run: &Run) {
    let text = format!(
        "exit code {:?}\n--- stdout\n{}--- stderr\n{}",
        run.code, run.stdout, run.stderr
    );
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/snapshots")
        .join(format!("{name}.txt"));
    if std::env::var_os("FREEHOLD_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &text).expect("writing a snapshot");
        return;
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, wanted, "differs from {}", file.display());
}

#[test]
fn help_says_what_there_is() {
    let sandbox = Sandbox::new();
    snapshot("help", &sandbox.freehold(&["--help"]));
    for command in ["up", "create", "get", "kubeconfig", "ctx", "verify"] {
        snapshot(
            &format!("help-{command}"),
            &sandbox.freehold(&[command, "--help"]),
        );
    }
    snapshot(
        "help-create-control-plane",
        &sandbox.freehold(&["create", "control-plane", "--help"]),
    );
}

#[test]
fn bad_input_is_refused_with_code_2_and_advice_before_anything_is_sent() {
    // There is no host at all: nothing could be sent.
    let sandbox = Sandbox::new();
    for (name, args) in [
        ("bad-command", &["frobnicate"][..]),
        ("bad-tenant-name", &["create", "tenant", "ACME"]),
        ("bad-tenant-path", &["create", "tenant", "../../etc"]),
        ("bad-owner", &["create", "tenant", "acme", "--owner", "ann"]),
        (
            "bad-owner-system",
            &[
                "create",
                "tenant",
                "acme",
                "--owner",
                "group:system:masters",
            ],
        ),
        (
            "bad-version",
            &[
                "create",
                "control-plane",
                "dev",
                "--tenant",
                "acme",
                "--version",
                "1.99",
            ],
        ),
        (
            "bad-version-text",
            &[
                "create",
                "control-plane",
                "dev",
                "--tenant",
                "acme",
                "--version",
                "latest",
            ],
        ),
        (
            "bad-placement",
            &[
                "create",
                "control-plane",
                "dev",
                "--tenant",
                "acme",
                "--placement",
                "moon",
            ],
        ),
        ("missing-tenant", &["create", "control-plane", "dev"]),
        (
            "bad-expiry",
            &["kubeconfig", "dev", "--tenant", "acme", "--expires", "1d"],
        ),
        (
            "bad-expiry-long",
            &["kubeconfig", "dev", "--tenant", "acme", "--expires", "25h"],
        ),
        ("bad-listen", &["up", "--listen", "6443"]),
        ("bad-advertise", &["up", "--advertise", "https://x"]),
        ("bad-sleep-after", &["up", "--sleep-after", "soon"]),
        ("bad-format", &["get", "tenants", "-o", "xml"]),
        ("bad-shell", &["completion", "cobol"]),
    ] {
        let run = sandbox.freehold(args);
        assert_eq!(run.code, Some(2), "{run:#?}");
        assert_eq!(run.stdout, "", "{run:#?}");
        snapshot(name, &run);
    }
    assert!(
        !sandbox.data_dir().exists(),
        "a refused command made a data directory"
    );
}

#[test]
fn without_a_host_commands_say_where_they_looked() {
    let sandbox = Sandbox::new();
    let said = sandbox.freehold(&["get", "tenants"]).fails(1);
    assert!(
        said.contains("admin.kubeconfig")
            && said.contains(".kube/config")
            && said.contains("freehold up"),
        "{said}"
    );
    let said = sandbox
        .freehold(&["--kubeconfig", "nowhere.yaml", "get", "tenants"])
        .fails(1);
    assert!(said.contains("nowhere.yaml"), "{said}");
    sandbox.freehold(&["down"]).done();
}

#[test]
fn completion_and_version_need_no_host() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.freehold(&["completion", shell]).ok();
        assert!(
            script.contains("quickstart") && script.contains("control-plane"),
            "{script}"
        );
    }
    let version = sandbox.freehold(&["version"]).ok();
    assert!(
        version.contains("Kubernetes offered") && version.contains("Host: not reached"),
        "{version}"
    );
}

#[test]
fn doctor_claims_only_what_it_tried() {
    let sandbox = Sandbox::new();
    let found: serde_json::Value =
        serde_json::from_str(&sandbox.freehold(&["doctor", "-o", "json"]).ok()).unwrap();
    let findings = found["findings"].as_array().unwrap();
    for what in [
        "cores",
        "memory",
        "durable writes",
        "port 6443",
        "cgroup v2",
        "user namespaces",
        "kubectl",
    ] {
        assert!(
            findings.iter().any(|f| f["what"] == what),
            "{what}: {found}"
        );
    }
    let machine = findings.iter().find(|f| f["what"] == "KVM machine");
    assert!(
        machine.is_none_or(|m| m["state"] == "not tested"),
        "{found}"
    );
    assert!(!sandbox.data_dir().exists(), "doctor left something behind");
}
