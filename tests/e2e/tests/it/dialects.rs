//! The foreign manifests, as their documents show them, by plain kubectl.

use freehold_e2e::{Sandbox, json, needs_kubectl};
use std::path::PathBuf;

fn fixture(name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/tenancy/tests/fixtures")
        .join(name);
    std::fs::read_to_string(&file).expect("a fixture of the tenancy crate")
}

/// Everything on the host that a tenant could leave behind.
fn everything(sandbox: &Sandbox) -> String {
    let kinds = "namespaces,secrets,configmaps,serviceaccounts,roles,rolebindings,resourcequotas,networkpolicies,clusterrolebindings,tenants.freehold.dev,controlplanes.freehold.dev";
    sandbox
        .kubectl(&sandbox.admin(), &["get", kinds, "-A", "-o", "name"])
        .ok()
}

#[test]
fn kamaji_customer2_is_ready_and_its_secret_decoded_as_documented_works() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    sandbox
        .kubectl(&admin, &["create", "namespace", "kamaji-system"])
        .done();
    let manifest = fixture("kamaji-customer2.yaml");
    sandbox.until("the namespace is settled", || {
        sandbox
            .kubectl(
                &admin,
                &["-n", "kamaji-system", "get", "serviceaccount", "default"],
            )
            .code
            == Some(0)
            && sandbox
                .kubectl(
                    &admin,
                    &[
                        "-n",
                        "kamaji-system",
                        "get",
                        "configmap",
                        "kube-root-ca.crt",
                    ],
                )
                .code
                == Some(0)
    });
    let before = everything(&sandbox);
    sandbox.apply(&admin, &manifest).done();
    sandbox.until("customer2 is Ready", || {
        let status = [
            "-n",
            "kamaji-system",
            "get",
            "tcp",
            "customer2",
            "-o",
            "jsonpath={.status.kubernetesResources.version.status}",
        ];
        sandbox.kubectl(&admin, &status).stdout == "Ready"
    });
    let table = sandbox
        .kubectl(&admin, &["-n", "kamaji-system", "get", "tcp"])
        .ok();
    assert!(
        table.contains("customer2") && table.contains("Ready") && table.contains("v1.28"),
        "{table}"
    );

    // The document's own pipeline.
    let decoded = sandbox.path("customer2-kubeconfig.yaml");
    let kubectl = freehold_e2e::kubectl_program().unwrap();
    let line = format!(
        r"{} --kubeconfig {} get secret customer2-admin-kubeconfig -n kamaji-system -o jsonpath='{{.data.admin\.conf}}' | base64 -d > {}",
        kubectl.display(),
        admin.display(),
        decoded.display()
    );
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &line])
            .status()
            .unwrap()
            .success()
    );
    sandbox
        .kubectl(&decoded, &["create", "namespace", "theirs"])
        .done();
    assert!(
        sandbox
            .kubectl(&decoded, &["version"])
            .ok()
            .contains("Server Version: v1.28.")
    );
    assert!(
        !sandbox
            .kubectl(&admin, &["get", "namespaces"])
            .ok()
            .contains("theirs")
    );

    let object = json(
        &sandbox
            .kubectl(
                &admin,
                &[
                    "-n",
                    "kamaji-system",
                    "get",
                    "tcp",
                    "customer2",
                    "-o",
                    "json",
                ],
            )
            .ok(),
    );
    let said = object["status"]["conditions"].to_string();
    assert!(
        said.contains("spec.addons.coreDNS"),
        "what has no effect yet is said by field: {said}"
    );

    sandbox
        .kubectl(
            &admin,
            &[
                "-n",
                "kamaji-system",
                "delete",
                "tcp",
                "customer2",
                "--timeout=60s",
            ],
        )
        .done();
    sandbox.until("nothing is left", || everything(&sandbox) == before);
}

#[test]
fn kamaji_datastore_is_accepted_as_written() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    sandbox
        .apply(&admin, &fixture("kamaji-datastore.yaml"))
        .done();
    let table = sandbox
        .kubectl(&admin, &["get", "datastores.kamaji.clastix.io"])
        .ok();
    assert!(table.contains("tenant-acme-etcd"), "{table}");
    sandbox
        .kubectl(
            &admin,
            &[
                "delete",
                "datastores.kamaji.clastix.io",
                "tenant-acme-etcd",
                "--timeout=60s",
            ],
        )
        .done();
}

#[test]
fn kubeflex_custom_tenant_is_ready_and_its_hooks_are_applied() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    sandbox
        .apply(&admin, &fixture("kubeflex-hooks.yaml"))
        .done();
    sandbox
        .apply(&admin, &fixture("kubeflex-custom-tenant.yaml"))
        .done();
    let cp = "controlplanes.tenancy.kflex.kubestellar.org/custom-tenant";
    sandbox
        .kubectl(
            &admin,
            &["wait", "--for=condition=Ready", cp, "--timeout=60s"],
        )
        .done();
    let object = json(&sandbox.kubectl(&admin, &["get", cp, "-o", "json"]).ok());
    let secret = &object["status"]["secretRef"];
    let get = |field: &str| secret[field].as_str().unwrap_or_default().to_owned();
    let template = format!(
        "go-template={{{{index .data \"{}\" | base64decode}}}}",
        get("key")
    );
    let kubeconfig = sandbox
        .kubectl(
            &admin,
            &[
                "-n",
                &get("namespace"),
                "get",
                "secret",
                &get("name"),
                "-o",
                &template,
            ],
        )
        .ok();
    let file = sandbox.path("custom-tenant.yaml");
    std::fs::write(&file, kubeconfig).unwrap();
    sandbox.kubectl(&file, &["get", "namespaces"]).done();
    sandbox.until("the hooks are applied", || {
        let maps = sandbox
            .kubectl(&admin, &["get", "configmaps", "-A", "-o", "name"])
            .ok();
        maps.contains("monitoring-of-custom-tenant") && maps.contains("networking")
    });
    sandbox
        .kubectl(&admin, &["delete", cp, "--timeout=60s"])
        .done();
    sandbox.until("its control plane is gone", || {
        sandbox
            .kubectl(
                &admin,
                &["get", "controlplanes.freehold.dev", "-A", "-o", "name"],
            )
            .ok()
            .is_empty()
    });
}

#[test]
fn capsule_dev_team_is_ready_and_the_documents_patch_adds_an_owner() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    sandbox
        .apply(&admin, &fixture("capsule-dev-team.yaml"))
        .done();
    let patch = r#"[{"op": "add", "path": "/spec/owners/-", "value": {"kind": "User", "name": "newuser"}}]"#;
    // As written: `tenant` means Capsule's here.
    sandbox
        .kubectl(
            &admin,
            &["patch", "tenant", "dev-team", "--type=json", "-p", patch],
        )
        .done();
    sandbox
        .kubectl(
            &admin,
            &[
                "wait",
                "--for=condition=Ready",
                "tenants.capsule.clastix.io/dev-team",
                "--timeout=60s",
            ],
        )
        .done();
    sandbox.until("the new owner is one of ours", || {
        let owners = [
            "get",
            "tenants.freehold.dev",
            "dev-team",
            "-o",
            "jsonpath={.spec.owners}",
        ];
        sandbox.kubectl(&admin, &owners).stdout.contains("newuser")
    });
    sandbox
        .kubectl(&admin, &["delete", "tenant", "dev-team", "--timeout=60s"])
        .done();
    sandbox.until("ours is gone too", || {
        sandbox
            .kubectl(&admin, &["get", "tenants.freehold.dev", "-o", "name"])
            .ok()
            .is_empty()
    });
}
