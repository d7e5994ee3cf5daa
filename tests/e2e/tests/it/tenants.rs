//! Two tenants: what each can do, what neither can, and what is left when one goes.

use freehold_e2e::{Sandbox, json, needs_kubectl};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn verify_attacks_two_tenants_and_every_boundary_holds() {
    let sandbox = Sandbox::with_host();
    sandbox
        .freehold(&[
            "create",
            "tenant",
            "acme",
            "--owner",
            "user:ann",
            "--owner",
            "group:acme-devs",
        ])
        .done();
    sandbox
        .freehold(&["create", "tenant", "globex", "--owner", "user:bob"])
        .done();
    sandbox
        .freehold(&["create", "control-plane", "dev", "--tenant", "acme"])
        .done();
    sandbox
        .freehold(&["create", "control-plane", "prod", "--tenant", "globex"])
        .done();
    let report = json(&sandbox.freehold(&["verify", "-o", "json"]).ok());
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 40, "{report:#}");
    for check in checks {
        assert_eq!(check["outcome"], "held", "{check}");
    }
    let one = json(&sandbox.freehold(&["verify", "acme", "-o", "json"]).ok());
    assert!(one["checks"].as_array().unwrap().len() < checks.len());
}

#[test]
fn verify_says_not_made_when_a_control_plane_cannot_be_attacked() {
    let sandbox = Sandbox::with_host();
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    sandbox
        .freehold(&["create", "control-plane", "dev", "--tenant", "acme"])
        .done();
    sandbox
        .freehold(&["sleep", "dev", "--tenant", "acme"])
        .done();
    sandbox.until("it is asleep", || {
        json(&sandbox.freehold(&["verify", "-o", "json"]).ok())["checks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["between"] == "acme/dev" && c["outcome"] == "not made")
    });
}

#[test]
fn one_tenants_credentials_are_nothing_to_another_or_to_the_host() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let acme = sandbox.control_plane("acme", "dev");
    let globex = sandbox.control_plane("globex", "prod");
    sandbox
        .kubectl(&globex, &["create", "configmap", "plans"])
        .done();
    let listed = sandbox
        .kubectl(&acme, &["get", "configmaps", "-A", "-o", "name"])
        .ok();
    assert!(!listed.contains("plans"), "{listed}");

    // kubectl takes the credentials from one file and the address from the other.
    let mut mixed = yaml_of(&sandbox, &globex);
    mixed["users"] = yaml_of(&sandbox, &acme)["users"].clone();
    mixed["contexts"][0]["context"]["user"] = mixed["users"][0]["name"].clone();
    let file = sandbox.path("mixed.json");
    std::fs::write(&file, mixed.to_string()).unwrap();
    sandbox.kubectl(&file, &["get", "namespaces"]).fails(1);

    let token = sandbox.kubectl(&acme, &["create", "token", "default"]).ok();
    let mut host = yaml_of(&sandbox, &sandbox.admin());
    host["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    std::fs::write(&file, host.to_string()).unwrap();
    let said = sandbox.kubectl(&file, &["get", "namespaces"]).fails(1);
    assert!(
        said.contains("nauthorized") || said.contains("logged in"),
        "{said}"
    );
}

fn yaml_of(sandbox: &Sandbox, kubeconfig: &std::path::Path) -> Value {
    json(
        &sandbox
            .kubectl(kubeconfig, &["config", "view", "--raw", "-o", "json"])
            .ok(),
    )
}

#[test]
fn an_owner_gets_a_kubeconfig_of_its_own_control_plane_and_of_no_other() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    sandbox
        .freehold(&["create", "tenant", "acme", "--owner", "user:ann"])
        .done();
    sandbox
        .freehold(&["create", "tenant", "globex", "--owner", "user:bob"])
        .done();
    sandbox
        .freehold(&["create", "control-plane", "prod", "--tenant", "globex"])
        .done();
    let admin = yaml_of(&sandbox, &sandbox.admin());
    let as_user = |user: &str| {
        let mut config = admin.clone();
        config["users"][0]["user"]["as"] = user.into();
        let file = sandbox.path(&format!("{user}.json"));
        std::fs::write(&file, config.to_string()).unwrap();
        file
    };
    let (ann, bob) = (as_user("ann"), as_user("bob"));
    sandbox
        .freehold_with(
            &ann,
            &["create", "control-plane", "dev", "--tenant", "acme"],
        )
        .done();
    let kubeconfig = sandbox.path("dev.yaml");
    let path = kubeconfig.to_string_lossy().into_owned();
    sandbox
        .freehold_with(
            &ann,
            &["kubeconfig", "dev", "--tenant", "acme", "--output", &path],
        )
        .done();
    assert_eq!(
        std::fs::metadata(&kubeconfig).unwrap().permissions().mode() & 0o777,
        0o600
    );
    sandbox.kubectl(&kubeconfig, &["get", "namespaces"]).done();
    let said = sandbox
        .freehold_with(&bob, &["kubeconfig", "dev", "--tenant", "acme"])
        .fails(1);
    assert!(said.contains("acme/dev"), "{said}");
    sandbox.freehold_with(&ann, &["get", "tenants"]).fails(1);
    sandbox
        .freehold_with(&ann, &["delete", "tenant", "acme"])
        .fails(1);
    sandbox
        .freehold_with(
            &ann,
            &["create", "control-plane", "x", "--tenant", "globex"],
        )
        .fails(1);
    sandbox
        .kubectl(&ann, &["get", "secret", "dev-ca", "-n", "tenant-acme"])
        .fails(1);
    sandbox
        .freehold_with(
            &ann,
            &["delete", "control-plane", "dev", "--tenant", "acme"],
        )
        .done();
}

#[test]
fn ctx_switches_kubectl_and_finds_the_way_back() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    for (tenant, name) in [("acme", "dev"), ("globex", "dev"), ("globex", "prod")] {
        sandbox.control_plane(tenant, name);
    }
    sandbox.freehold(&["ctx", "prod"]).done();
    let file = sandbox.path("home/.kube/config");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let view = yaml_of(&sandbox, &file);
    assert_eq!(view["current-context"], "prod");
    let context = view["contexts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "prod")
        .unwrap();
    assert_eq!(
        (&context["context"]["cluster"], &context["context"]["user"]),
        (&"prod-cluster".into(), &"prod-admin".into())
    );
    sandbox
        .kubectl(&file, &["create", "namespace", "only-in-prod"])
        .done();

    // The commands still talk to the host, not to the control plane that kubectl looks at.
    let listed = sandbox
        .freehold_with(&file, &["get", "control-planes", "-o", "name"])
        .ok();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let said = sandbox.freehold_with(&file, &["ctx", "dev"]).fails(2);
    assert!(
        said.contains("acme/dev") && said.contains("globex/dev"),
        "{said}"
    );
    sandbox.freehold_with(&file, &["ctx", "acme/dev"]).done();
    assert!(
        !sandbox
            .kubectl(&file, &["get", "namespaces", "-o", "name"])
            .ok()
            .contains("only-in-prod")
    );
    sandbox.freehold_with(&file, &["ctx"]).done();
    sandbox
        .kubectl(&file, &["get", "tenants.freehold.dev"])
        .done();
}

#[test]
fn a_control_plane_sleeps_when_told_and_says_how_to_wake_it() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let kubeconfig = sandbox.control_plane("acme", "dev");
    sandbox
        .kubectl(&kubeconfig, &["create", "configmap", "kept"])
        .done();
    sandbox
        .freehold(&["sleep", "dev", "--tenant", "acme"])
        .done();
    let said = sandbox
        .kubectl(&kubeconfig, &["get", "--raw", "/api/v1/namespaces"])
        .fails(1);
    assert!(said.contains("freehold wake"), "{said}");
    sandbox
        .freehold(&["wake", "dev", "--tenant", "acme"])
        .done();
    sandbox
        .kubectl(&kubeconfig, &["get", "configmap", "kept"])
        .done();
}

#[test]
fn an_idle_control_plane_falls_asleep_and_the_next_request_wakes_it() {
    needs_kubectl!();
    let mut sandbox = Sandbox::new();
    sandbox.up_with(&["--listen", "127.0.0.1:0", "--sleep-after", "1s", "-v"]);
    let kubeconfig = sandbox.control_plane("acme", "dev");
    sandbox
        .kubectl(&kubeconfig, &["create", "configmap", "kept"])
        .done();
    sandbox.until("it fell asleep", || sandbox.host_log().contains("asleep"));
    sandbox
        .kubectl(&kubeconfig, &["get", "configmap", "kept"])
        .done();
}

#[test]
fn objects_are_shown_in_every_format() {
    let sandbox = Sandbox::with_host();
    sandbox.control_plane("acme", "dev");
    sandbox.control_plane("globex", "prod");
    let table = sandbox.freehold(&["get", "control-planes"]).ok();
    assert!(
        table.lines().next().unwrap().starts_with("TENANT") && table.contains("globex"),
        "{table}"
    );
    let wide = sandbox
        .freehold(&["get", "control-planes", "-o", "wide"])
        .ok();
    assert!(wide.contains("dev.tenant-acme.freehold.internal"), "{wide}");
    let one = sandbox
        .freehold(&["get", "control-planes", "--tenant", "acme"])
        .ok();
    assert!(!one.contains("globex") && one.contains("dev"), "{one}");
    let object = json(
        &sandbox
            .freehold(&["get", "control-planes", "dev", "-o", "json"])
            .ok(),
    );
    assert_eq!(object["metadata"]["name"], "dev");
    assert!(
        sandbox
            .freehold(&["get", "tenants", "acme", "-o", "yaml"])
            .ok()
            .contains("kind: Tenant")
    );
    assert_eq!(
        sandbox.freehold(&["get", "tenants", "-o", "name"]).ok(),
        "tenant.freehold.dev/acme\ntenant.freehold.dev/globex\n"
    );
    let said = sandbox
        .freehold(&["get", "control-planes", "nope"])
        .fails(1);
    assert!(said.contains("nope"), "{said}");
    let described = sandbox.freehold(&["describe", "control-plane", "dev"]).ok();
    for part in ["Endpoint:", "Ready=True", "Serving=True", "Events:"] {
        assert!(described.contains(part), "{part}: {described}");
    }
    assert!(
        sandbox
            .freehold(&["describe", "tenant", "acme"])
            .ok()
            .contains("dev")
    );
}

#[test]
fn the_api_refuses_what_the_command_line_would_refuse() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    for (field, value) in [
        ("version", "latest"),
        ("placement", "Moon"),
        ("power", "Off"),
        ("engine", "Diesel"),
    ] {
        let manifest = format!(
            "apiVersion: freehold.dev/v1alpha1\nkind: ControlPlane\nmetadata: {{name: bad, namespace: tenant-acme}}\nspec: {{{field}: {value}}}\n"
        );
        let said = sandbox.apply(&admin, &manifest).fails(1);
        assert!(said.contains(field), "{said}");
    }
}

#[test]
fn creating_for_a_tenant_that_is_not_there_says_so() {
    let sandbox = Sandbox::with_host();
    let said = sandbox
        .freehold(&["create", "control-plane", "dev", "--tenant", "nobody"])
        .fails(1);
    assert!(
        said.contains("nobody") && said.contains("create tenant"),
        "{said}"
    );
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    let said = sandbox.freehold(&["create", "tenant", "acme"]).fails(1);
    assert!(said.contains("already exists"), "{said}");
    let said = sandbox
        .freehold(&["delete", "control-plane", "dev", "--tenant", "acme"])
        .fails(1);
    assert!(said.contains("acme/dev"), "{said}");
}

#[test]
fn deletion_leaves_nothing_neither_on_the_host_nor_on_disk() {
    needs_kubectl!();
    let mut sandbox = Sandbox::with_host();
    let admin = sandbox.admin();
    let everything = |sandbox: &Sandbox| {
        let kinds = "namespaces,secrets,configmaps,serviceaccounts,roles,rolebindings,clusterrolebindings,certificatesigningrequests,tenants.freehold.dev,controlplanes.freehold.dev";
        sandbox
            .kubectl(&admin, &["get", kinds, "-A", "-o", "name"])
            .ok()
    };
    let before = everything(&sandbox);
    let kubeconfig = sandbox.control_plane("acme", "dev");
    let secret = "a-text-that-must-not-stay-on-disk";
    sandbox
        .kubectl(
            &kubeconfig,
            &[
                "create",
                "configmap",
                "c",
                &format!("--from-literal=a={secret}"),
            ],
        )
        .done();
    sandbox
        .freehold(&["delete", "control-plane", "dev", "--tenant", "acme"])
        .done();
    sandbox
        .kubectl(&kubeconfig, &["get", "namespaces", "--request-timeout=5s"])
        .fails(1);
    sandbox.freehold(&["delete", "tenant", "acme"]).done();
    assert_eq!(everything(&sandbox), before);
    sandbox.down();
    let mut left = vec![sandbox.data_dir()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_dir() {
                left.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(
                    !found,
                    "{} still has the tenant's data",
                    entry.path().display()
                );
            }
        }
    }
}

#[test]
fn a_control_plane_may_have_a_port_of_its_own_for_clients_without_sni() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let manifest = format!(
        "apiVersion: freehold.dev/v1alpha1\nkind: ControlPlane\nmetadata: {{name: dev, namespace: tenant-acme}}\nspec: {{endpoint: {{port: {port}}}}}\n"
    );
    sandbox.apply(&sandbox.admin(), &manifest).done();
    sandbox
        .kubectl(
            &sandbox.admin(),
            &[
                "-n",
                "tenant-acme",
                "wait",
                "--for=condition=Ready",
                "fhcp/dev",
                "--timeout=30s",
            ],
        )
        .done();
    let kubeconfig = sandbox.kubeconfig("acme", "dev");
    let mut config = yaml_of(&sandbox, &kubeconfig);
    let server = format!("https://127.0.0.1:{port}");
    assert_eq!(config["clusters"][0]["cluster"]["server"], server.as_str());
    config["clusters"][0]["cluster"]
        .as_object_mut()
        .unwrap()
        .remove("tls-server-name");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    sandbox
        .kubectl(&kubeconfig, &["create", "namespace", "mine"])
        .done();
    let hosts = sandbox
        .kubectl(&sandbox.admin(), &["get", "namespaces"])
        .ok();
    assert!(
        !hosts.contains("mine"),
        "it is the control plane that answers there: {hosts}"
    );
}

#[test]
fn what_runs_after_a_restart_is_what_ran_before() {
    needs_kubectl!();
    let mut sandbox = Sandbox::with_host();
    let kubeconfig = sandbox.control_plane("acme", "dev");
    sandbox
        .kubectl(&kubeconfig, &["create", "configmap", "kept"])
        .done();
    let token = sandbox
        .kubectl(&kubeconfig, &["create", "token", "default"])
        .ok();
    sandbox.down();
    sandbox.up_with(&[]);
    sandbox
        .kubectl(&kubeconfig, &["get", "configmap", "kept"])
        .done();
    let mut config = yaml_of(&sandbox, &kubeconfig);
    config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let who = sandbox.kubectl(&kubeconfig, &["auth", "whoami"]).ok();
    assert!(
        who.contains("system:serviceaccount:default:default"),
        "{who}"
    );
    let state = sandbox.freehold(&["get", "control-planes"]).ok();
    assert!(state.contains("True"), "{state}");
}
