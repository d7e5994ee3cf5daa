//! Control planes whose data is in a datastore that somebody else runs.

use crate::real_etcd::{RealEtcd, free_port};
use crate::real_postgres::RealPostgres;
use freehold_e2e::{Sandbox, json, needs_kubectl};
use std::path::Path;

fn plane(name: &str, datastore: &str) -> String {
    format!(
        "apiVersion: freehold.dev/v1alpha1\nkind: ControlPlane\nmetadata:\n  name: {name}\n  namespace: tenant-acme\nspec:\n  tenant: acme\n  datastore:\n    name: {datastore}\n"
    )
}

fn condition(sandbox: &Sandbox, what: &str, condition: &str) -> String {
    let path = format!(
        "jsonpath={{.status.conditions[?(@.type==\"{condition}\")].status}}: {{.status.conditions[?(@.type==\"{condition}\")].message}}"
    );
    let args = ["get", what, "-n", "tenant-acme", "-o", &path];
    sandbox.kubectl(&sandbox.admin(), &args).stdout
}

fn ready(sandbox: &Sandbox, name: &str) {
    let what = format!("controlplanes.freehold.dev/{name}");
    sandbox.until("the control plane is ready", || {
        condition(sandbox, &what, "Ready").starts_with("True")
    });
}

fn names(sandbox: &Sandbox, kubeconfig: &Path) -> Option<String> {
    let args = ["get", "configmaps", "-o", "name", "--request-timeout=5s"];
    let run = sandbox.kubectl(kubeconfig, &args);
    (run.code == Some(0)).then_some(run.stdout)
}

fn create(sandbox: &Sandbox, kubeconfig: &Path, name: &str) {
    sandbox
        .kubectl(kubeconfig, &["create", "configmap", name])
        .done();
}

/// The first part of every story: a control plane in `db`, written to, over a restart of the host.
fn lives(sandbox: &mut Sandbox, datastore: &str) -> std::path::PathBuf {
    let admin = sandbox.admin();
    sandbox.apply(&admin, datastore).done();
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    sandbox.apply(&admin, &plane("dev", "db")).done();
    ready(sandbox, "dev");
    let kubeconfig = sandbox.kubeconfig("acme", "dev");
    create(sandbox, &kubeconfig, "first");
    sandbox.kill();
    sandbox.up_with(&[]);
    sandbox.until("it is there again", || {
        names(sandbox, &kubeconfig).is_some_and(|all| all.contains("configmap/first"))
    });
    let used = ["get", "fhds", "db", "-o", "jsonpath={.status.usedBy}"];
    sandbox.until("its use is told", || {
        sandbox
            .kubectl(&admin, &used)
            .stdout
            .contains("tenant-acme/dev")
    });
    kubeconfig
}

/// The last part: the datastore stays as long as it is used, and keeps nothing.
fn goes(sandbox: &Sandbox) {
    let admin = sandbox.admin();
    let delete = ["delete", "datastores.freehold.dev", "db", "--wait=false"];
    sandbox.kubectl(&admin, &delete).done();
    sandbox.until("it waits", || {
        condition(sandbox, "datastores.freehold.dev/db", "Terminating").contains("tenant-acme/dev")
    });
    let delete = [
        "delete",
        "controlplanes.freehold.dev",
        "dev",
        "-n",
        "tenant-acme",
    ];
    sandbox.kubectl(&admin, &delete).done();
    let get = ["get", "datastores.freehold.dev", "-o", "name"];
    sandbox.until("it goes", || {
        sandbox.kubectl(&admin, &get).stdout.is_empty()
    });
}

#[test]
fn a_control_plane_lives_in_postgres_through_its_bad_days() {
    needs_kubectl!();
    let Some(mut postgres) = RealPostgres::start() else {
        return;
    };
    let mut sandbox = Sandbox::with_host();
    let datastore = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: default\nstringData:\n  username: keeper\n  password: a-password-of-the-test\n---\napiVersion: freehold.dev/v1alpha1\nkind: DataStore\nmetadata:\n  name: db\nspec:\n  tenants: {{names: [acme]}}\n  driver: PostgreSQL\n  endpoints: [\"127.0.0.1:{}\"]\n  basicAuth:\n    username: {{secretReference: {{name: db, namespace: default}}}}\n    password: {{secretReference: {{name: db, namespace: default}}}}\n",
        postgres.port
    );
    let admin = sandbox.admin();
    let kubeconfig = lives(&mut sandbox, &datastore);
    let found = postgres.sql(
        "freehold",
        "SELECT count(*) FROM freehold.keyspace WHERE id LIKE 'cp-%'",
    );
    assert_eq!(found, "1");

    // What cannot be is said.
    sandbox.apply(&admin, &plane("lost", "nowhere")).done();
    sandbox.until("the missing datastore is named", || {
        condition(&sandbox, "controlplanes.freehold.dev/lost", "Serving")
            .contains("there is no DataStore nowhere, or this tenant may not use it")
    });
    let patch = [
        "patch",
        "controlplanes.freehold.dev",
        "dev",
        "-n",
        "tenant-acme",
        "--type=merge",
        "-p",
    ];
    let to = |name: &str| format!("{{\"spec\":{{\"datastore\":{{\"name\":\"{name}\"}}}}}}");
    sandbox
        .kubectl(&admin, &[&patch[..], &[&to("embedded")]].concat())
        .done();
    sandbox.until("moving is refused", || {
        condition(&sandbox, "controlplanes.freehold.dev/dev", "Serving")
            .contains("is not moved to embedded")
    });
    sandbox
        .kubectl(&admin, &[&patch[..], &[&to("db")]].concat())
        .done();
    sandbox.until("it is served again", || {
        names(&sandbox, &kubeconfig).is_some()
    });

    may_not_be_used_by_others(&sandbox, &kubeconfig);
    what_is_wrong_is_said(&sandbox, &postgres);
    sandbox.until("its numbers are told", || {
        let metrics = sandbox.kubectl(&admin, &["get", "--raw", "/metrics"]).ok();
        let mut lines = metrics.lines();
        lines.any(|line| {
            line.starts_with("freehold_store_commits_total{keyspace=\"cp-")
                && line.contains("datastore=\"db\"")
        })
    });

    postgres.kill();
    sandbox.until("the lost server is told", || {
        let said = condition(&sandbox, "datastores.freehold.dev/db", "Ready");
        said.starts_with("False") && said.contains("cannot be reached")
    });
    let refused = sandbox.kubectl(&kubeconfig, &["create", "configmap", "lost"]);
    let told = refused.stderr;
    assert!(told.contains("datastore"), "{told}");
    assert!(!told.contains(&postgres.port.to_string()), "{told}");
    postgres.kill_and_restart();
    sandbox.until("it answers again", || {
        condition(&sandbox, "datastores.freehold.dev/db", "Ready").starts_with("True")
    });
    sandbox.until("its control plane, too", || {
        names(&sandbox, &kubeconfig).is_some_and(|all| all.contains("configmap/first"))
    });
    create(&sandbox, &kubeconfig, "second");
    goes(&sandbox);
    let found = postgres.sql(
        "freehold",
        "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'freehold_cp%'",
    );
    assert_eq!(found, "0", "nothing is left");
}

/// A datastore in the same server that cannot be used, with a user from the secret of its name.
fn broken(name: &str, port: u16, more: &str) -> String {
    format!(
        "apiVersion: freehold.dev/v1alpha1\nkind: DataStore\nmetadata:\n  name: {name}\nspec:\n  tenants: {{names: [acme]}}\n  driver: PostgreSQL\n  endpoints: [\"localhost:{port}\"]\n{more}  basicAuth:\n    username: {{secretReference: {{name: {name}, namespace: default}}}}\n    password: {{secretReference: {{name: {name}, namespace: default}}}}\n"
    )
}

fn login(name: &str, password: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: default\nstringData:\n  username: keeper\n  password: {password}\n{more}---\n"
    )
}

/// What is wrong with a datastore is one sentence in its condition, and from `freehold store serve`;
/// a tenant is told only that it cannot be used.
fn what_is_wrong_is_said(sandbox: &Sandbox, postgres: &RealPostgres) {
    const RIGHT: &str = "a-password-of-the-test";
    let (admin, port) = (sandbox.admin(), postgres.port);
    let own = |names: &str| {
        let names = vec![names.to_owned()];
        rcgen::generate_simple_self_signed(names).expect("certificate")
    };
    let (server, other) = (own("localhost"), own("localhost").cert.pem());
    postgres.file("server.crt", &server.cert.pem());
    postgres.file("server.key", &server.signing_key.serialize_pem());
    for setting in [
        "ssl_cert_file = '../server.crt'",
        "ssl_key_file = '../server.key'",
        "ssl = on",
    ] {
        postgres.sql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    postgres.sql("postgres", "SELECT pg_reload_conf()");
    let indented: String = other.lines().map(|l| format!("    {l}\n")).collect();
    let ca = "  tlsConfig: {certificateAuthority: {certificate: {secretReference: {name: ca, namespace: default}}}}\n";
    let file = |name: &str, text: &str| {
        let path = sandbox.path(name);
        std::fs::write(&path, text).expect("write");
        path.display().to_string()
    };
    let (right, wrong, ca_file) = (
        file("right", RIGHT),
        file("wrong", "another"),
        file("other.crt", &other),
    );
    let stories = [
        (
            "password",
            login("password", "another", "") + &broken("password", port, ""),
            format!("freehold?password-file={wrong}"),
            "refuses the password of user \"keeper\"",
        ),
        (
            "database",
            login("database", RIGHT, "") + &broken("database", port, "  database: nothing\n"),
            format!("nothing?password-file={right}"),
            "there is no database \"nothing\"",
        ),
        (
            "ca",
            login("ca", RIGHT, &format!("  ca.crt: |\n{indented}")) + &broken("ca", port, ca),
            format!("freehold?password-file={right}&ca={ca_file}"),
            "no trusted TLS connection to PostgreSQL at",
        ),
    ];
    for (name, yaml, place, words) in &stories {
        sandbox.apply(&admin, yaml).done();
        let what = format!("datastores.freehold.dev/{name}");
        sandbox.until("what is wrong is said", || {
            let said = condition(sandbox, &what, "Ready");
            said.starts_with("False") && said.contains(words) && !said.contains('\n')
        });
        let place = format!("postgres://keeper@localhost:{port}/{place}");
        let run = sandbox.freehold(&["store", "serve", "--datastore", &place]);
        assert_eq!(run.code, Some(1), "{}", run.stdout);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let what = "controlplanes.freehold.dev/blind";
    sandbox.apply(&admin, &plane("blind", "password")).done();
    sandbox.until("its tenant is told where to look", || {
        let said = condition(sandbox, what, "Serving");
        said.contains("datastore password cannot be used at present")
            && !said.contains("keeper")
            && !said.contains(&port.to_string())
    });
    let repaired = login("password", RIGHT, "");
    sandbox.apply(&admin, &repaired).done();
    ready(sandbox, "blind");
    let delete = ["delete", what, "-n", "tenant-acme", "--timeout=60s"];
    sandbox.kubectl(&admin, &delete).done();
    for (name, ..) in stories {
        let delete = ["delete", "datastores.freehold.dev", name, "--timeout=60s"];
        sandbox.kubectl(&admin, &delete).done();
    }
}

/// Another tenant does not get in, and one that is no longer allowed is not served any more.
fn may_not_be_used_by_others(sandbox: &Sandbox, kubeconfig: &Path) {
    let admin = sandbox.admin();
    sandbox.freehold(&["create", "tenant", "globex"]).done();
    let theirs = plane("spy", "db")
        .replace("tenant-acme", "tenant-globex")
        .replace("tenant: acme", "tenant: globex");
    sandbox.apply(&admin, &theirs).done();
    let serving = "jsonpath={.status.conditions[?(@.type==\"Serving\")].reason}";
    let get = ["get", "fhcp", "spy", "-n", "tenant-globex", "-o", serving];
    sandbox.until("the other tenant is refused", || {
        sandbox.kubectl(&admin, &get).stdout == "DataStoreNotAllowed"
    });
    let allow = |names: &str| {
        let patch = format!("{{\"spec\":{{\"tenants\":{{\"names\":[{names}]}}}}}}");
        let args = ["patch", "fhds", "db", "--type=merge", "-p", &patch];
        sandbox.kubectl(&admin, &args).done();
    };
    allow("");
    sandbox.until("nobody is served any more", || {
        names(sandbox, kubeconfig).is_none()
    });
    allow("\"acme\"");
    sandbox.until("it is served again", || {
        names(sandbox, kubeconfig).is_some()
    });
    let delete = ["delete", "fhcp", "spy", "-n", "tenant-globex"];
    sandbox.kubectl(&admin, &delete).done();
}

fn in_etcd(etcd: &RealEtcd) -> String {
    format!(
        "apiVersion: freehold.dev/v1alpha1\nkind: DataStore\nmetadata:\n  name: db\nspec:\n  tenants: {{selector: {{}}}}\n  driver: etcd\n  endpoints: [\"127.0.0.1:{}\"]\n",
        etcd.port()
    )
}

#[test]
fn a_control_plane_lives_in_etcd() {
    needs_kubectl!();
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let mut sandbox = Sandbox::with_host();
    let datastore = in_etcd(&etcd);
    lives(&mut sandbox, &datastore);
    let wrong = datastore
        .replace("name: db", "name: wrong")
        .replace(&etcd.port().to_string(), &free_port().to_string());
    let admin = sandbox.admin();
    sandbox.apply(&admin, &wrong).done();
    sandbox.until("what is wrong is told", || {
        condition(&sandbox, "datastores.freehold.dev/wrong", "Ready").starts_with("False")
    });
    goes_but(&sandbox, "wrong");
}

fn goes_but(sandbox: &Sandbox, other: &str) {
    let admin = sandbox.admin();
    let delete = ["delete", "datastores.freehold.dev", other, "--timeout=30s"];
    sandbox.kubectl(&admin, &delete).done();
    goes(sandbox);
    let left = json(&sandbox.kubectl(&admin, &["get", "fhds", "-o", "json"]).ok());
    assert_eq!(left["items"].as_array().map(Vec::len), Some(0));
}

const DEV: &str = "controlplanes.freehold.dev/dev";

/// What the tenant of a control plane of 4 MiB is given, and one that asks for more.
const GIVEN: &str = r#"{"spec":{"controlPlanes":{"storage":{"bytes":"4Mi","objects":5000}}}}"#;

fn asks(datastore: &str) -> String {
    plane("dev", datastore) + "  storage: {bytes: 8Gi, watches: 100}\n"
}

fn give(sandbox: &Sandbox, limits: &str) {
    let args = ["patch", "fht", "acme", "--type=merge", "-p", limits];
    sandbox.kubectl(&sandbox.admin(), &args).done();
}

/// Creates a configmap of 100 kB; what is said when it is refused.
fn large(sandbox: &Sandbox, kubeconfig: &Path, name: &str) -> Result<(), String> {
    let value = format!("--from-literal=v={}", "x".repeat(100_000));
    let run = sandbox.kubectl(kubeconfig, &["create", "configmap", name, &value]);
    match run.code {
        Some(0) => Ok(()),
        _ => Err(run.stderr),
    }
}

/// The first part of every story: a control plane that gets full.
fn gets_full(sandbox: &Sandbox, datastore: &str) -> std::path::PathBuf {
    sandbox.freehold(&["create", "tenant", "acme"]).done();
    give(sandbox, GIVEN);
    sandbox.apply(&sandbox.admin(), &asks(datastore)).done();
    ready(sandbox, "dev");
    let kubeconfig = sandbox.kubeconfig("acme", "dev");
    let mut count = 0;
    let refused = loop {
        if let Err(refused) = large(sandbox, &kubeconfig, &format!("large{count}")) {
            break refused;
        }
        count += 1;
        assert!(count < 100, "4 MiB hold no 10 MB");
    };
    assert!(refused.contains("bytes"), "{refused}");
    assert!(count > 5, "{count}");
    sandbox.until("that it is full is said", || {
        let said = condition(sandbox, DEV, "StorageAvailable");
        said.starts_with("False") && said.contains("of 4194304 bytes are used")
    });
    assert!(names(sandbox, &kubeconfig).is_some(), "it is read");
    let delete = ["delete", "configmap", "large0"];
    sandbox.kubectl(&kubeconfig, &delete).done();
    kubeconfig
}

/// More from who may give more; at once, without a restart.
fn gets_more(sandbox: &Sandbox, kubeconfig: &Path) {
    give(sandbox, &GIVEN.replace("4Mi", "64Mi"));
    sandbox.until("it can be written to", || {
        large(sandbox, kubeconfig, "more").is_ok()
    });
    sandbox.until("that is said, too", || {
        condition(sandbox, DEV, "StorageAvailable").starts_with("True")
    });
}

#[test]
fn a_full_control_plane_says_so_and_its_tenant_cannot_give_itself_more() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let kubeconfig = gets_full(&sandbox, "embedded");
    gets_more(&sandbox, &kubeconfig);
    let admin = sandbox.admin();
    let metrics = sandbox.kubectl(&admin, &["get", "--raw", "/metrics"]).ok();
    assert!(
        metrics.contains("freehold_store_quota_bytes{keyspace=\"cp-")
            && metrics.contains("} 67108864"),
        "{metrics}"
    );
    let theirs = sandbox.kubectl(&kubeconfig, &["get", "--raw", "/metrics"]);
    assert!(
        !theirs.stdout.contains("freehold_store_"),
        "a tenant learns nothing of the node"
    );
    let wrong = asks("embedded").replace("8Gi", "1Mi");
    sandbox.apply(&admin, &wrong).done();
    sandbox.until("too little is refused by name", || {
        condition(&sandbox, DEV, "Serving") == "False: spec.storage.bytes: at least 4Mi are needed"
    });
}

#[test]
fn a_control_plane_in_an_etcd_is_full_by_a_limit_of_its_own() {
    needs_kubectl!();
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let mut sandbox = Sandbox::with_host();
    sandbox.apply(&sandbox.admin(), &in_etcd(&etcd)).done();
    let kubeconfig = gets_full(&sandbox, "db");
    // What is deleted makes room at once: an etcd's history is no tenant's.
    sandbox.until("there is room for as much as was deleted", || {
        large(&sandbox, &kubeconfig, "instead").is_ok()
    });
    let refused = large(&sandbox, &kubeconfig, "too-much");
    assert!(refused.is_err_and(|said| said.contains("bytes")));
    // Who counts is new, and counts what is there.
    sandbox.kill();
    sandbox.up_with(&[]);
    sandbox.until("it is there again", || {
        names(&sandbox, &kubeconfig).is_some_and(|all| all.contains("configmap/instead"))
    });
    let refused = large(&sandbox, &kubeconfig, "too-much");
    assert!(refused.is_err_and(|said| said.contains("bytes")));
    gets_more(&sandbox, &kubeconfig);
}
