//! Backups, moves, fences and keys of a directory that a process has.

use crate::real_postgres::RealPostgres;
use crate::store_serve::{free_port, serve, upstream};
use freehold_e2e::{Run, Sandbox, needs_kubectl};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What etcdctl says, on either of its outputs.
pub(crate) fn etcdctl(program: &Path, port: u16, words: &[&str]) -> String {
    let output = Command::new(program)
        .args(["--endpoints", &format!("127.0.0.1:{port}")])
        .args(words)
        .output()
        .expect("etcdctl");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    String::from_utf8_lossy(&output.stdout).into_owned() + &errors
}

fn store(sandbox: &Sandbox, dir: &str, words: &[&str]) -> Run {
    let (command, rest) = words.split_first().expect("a command");
    let all = [&["store", command, "--data-dir", dir], rest].concat();
    sandbox.freehold(&all)
}

fn revision(said: &str) -> u64 {
    let number = said.rsplit("revision ").next().expect("a revision");
    number.trim().parse().expect(said)
}

#[test]
fn a_served_directory_is_backed_up_fenced_and_given_another_key_while_it_is_written_to() {
    let (Some(program), Some(tool)) = (upstream("etcdctl"), upstream("etcdutl")) else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let sandbox = Sandbox::new();
    let (dir, port) = (sandbox.path("store"), free_port());
    let running = serve(&dir, port);
    let dir = dir.to_string_lossy().into_owned();
    let ask = |words: &[&str]| etcdctl(&program, port, words);
    assert_eq!(ask(&["put", "a", "before"]), "OK\n");
    let (file, key) = (sandbox.path("backup"), sandbox.path("backup.key"));
    let (file, key) = (file.to_string_lossy(), key.to_string_lossy());
    let files = ["--file", &*file, "--key-file", &*key];

    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    let saved = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let n = written.load(Ordering::Acquire).to_string();
                assert_eq!(ask(&["put", "n", &n]), "OK\n");
                written.fetch_add(1, Ordering::Release);
            }
        });
        let saved = store(&sandbox, &dir, &[&["backup"][..], &files].concat());
        let rekeyed = store(&sandbox, &dir, &["rekey"]);
        let before = written.load(Ordering::Acquire);
        sandbox.until("its writers go on", || {
            written.load(Ordering::Acquire) > before + 2
        });
        stop.store(true, Ordering::Release);
        assert!(rekeyed.ok().starts_with("1 keyspaces are sealed"));
        saved.ok()
    });
    let saved = revision(&saved);
    assert!(saved >= 2, "{saved}");

    let refused = store(&sandbox, &dir, &[&["restore"][..], &files].concat()).fails(1);
    assert!(refused.contains("while it is served"), "{refused}");
    let absent = [&["backup"][..], &files, &["--keyspace", "absent"]].concat();
    let refused = store(&sandbox, &dir, &absent).fails(1);
    assert!(refused.contains("There are: default."), "{refused}");

    let fence = ["fence", "--keyspace", "default"];
    let closed = [&fence[..], &["--reason", "until noon"]].concat();
    store(&sandbox, &dir, &closed).done();
    let refused = ask(&["put", "a", "lost"]);
    assert!(
        refused.contains("closed to writers: until noon"),
        "{refused}"
    );
    assert_eq!(ask(&["get", "a", "--print-value-only"]), "before\n");
    store(&sandbox, &dir, &[&fence[..], &["--open"]].concat()).done();
    assert_eq!(ask(&["put", "a", "after"]), "OK\n");

    // etcd's own tools save a snapshot and read what is in it: the keys `a` and `n`.
    let snapshot = sandbox.path("snapshot").to_string_lossy().into_owned();
    let said = ask(&["snapshot", "save", &snapshot]);
    assert!(said.contains("Snapshot saved"), "{said}");
    let status = Command::new(&tool)
        .args(["snapshot", "status", &snapshot])
        .output()
        .expect("etcdutl");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let keys = status.split(", ").nth(2);
    assert_eq!(keys, Some("2"), "hash, revision, keys, size: {status}");

    // A live move: the writers of the source are told where it went.
    let url = |dir: &str| format!("embedded:{dir}");
    let (from, second) = (url(&dir), sandbox.path("second"));
    let second = second.to_string_lossy().into_owned();
    let to = url(&second);
    let ends = ["--from", &from, "--to", &to, "--keyspace", "default"];
    let moved = sandbox.freehold(&[&["store", "move"][..], &ends].concat());
    assert!(
        moved.stdout.contains("compared and equal"),
        "{}",
        moved.stderr
    );
    let refused = ask(&["put", "a", "lost"]);
    assert!(refused.contains("was moved to"), "{refused}");
    let refused = store(&sandbox, &dir, &[&fence[..], &["--open"]].concat()).fails(1);
    assert!(
        refused.contains("not opened or closed by hand"),
        "{refused}"
    );
    drop(running);

    // The backup is older than what is there: the revision grows all the same.
    let before = store(
        &sandbox,
        &second,
        &[&["backup"][..], &files[..0], &["--file"]].concat(),
    );
    assert_eq!(before.code, Some(2), "{}", before.stdout);
    let now = sandbox.path("now").to_string_lossy().into_owned();
    let head = store(
        &sandbox,
        &second,
        &["backup", "--file", &now, "--key-file", &key],
    );
    let head = revision(&head.ok());
    assert!(head > saved, "{head}");
    let restored = store(&sandbox, &second, &[&["restore"][..], &files].concat()).ok();
    assert!(revision(&restored) > head, "{restored}, not {head}");
    let port = free_port();
    let _running = serve(second.as_ref(), port);
    let value = etcdctl(&program, port, &["get", "a", "--print-value-only"]);
    assert_eq!(value, "before\n");
}

#[test]
fn a_control_plane_is_backed_up_restored_and_moved_while_its_host_runs() {
    needs_kubectl!();
    let sandbox = Sandbox::with_host();
    let kubeconfig = sandbox.control_plane("acme", "dev");
    let other = sandbox.control_plane("acme", "other");
    let admin = sandbox.admin();
    let create = |kubeconfig: &Path, name: &str| {
        let args = ["create", "configmap", name];
        sandbox.kubectl(kubeconfig, &args).done();
    };
    let names = |kubeconfig: &Path| {
        let args = ["get", "configmaps", "-o", "name", "--request-timeout=5s"];
        sandbox.kubectl(kubeconfig, &args).stdout
    };
    create(&kubeconfig, "first");
    let uid = ["get", "fhcp", "dev", "-n", "tenant-acme", "-o"];
    let uid = sandbox.kubectl(&admin, &[&uid[..], &["jsonpath={.metadata.uid}"]].concat());
    let keyspace = format!("cp-{}", uid.ok());
    let data = sandbox.data_dir().to_string_lossy().into_owned();
    let (folder, key) = (sandbox.path("backups"), sandbox.path("backup.key"));
    let (folder, key) = (folder.to_string_lossy(), key.to_string_lossy());
    let all = ["backup", "--all", "--file", &*folder, "--key-file", &*key];
    let said = store(&sandbox, &data, &all).ok();
    assert_eq!(
        said.lines().count(),
        3,
        "the host and two of its own: {said}"
    );

    create(&kubeconfig, "second");
    let version = |name: &str| -> u64 {
        let args = [
            "get",
            "configmap",
            name,
            "-o",
            "jsonpath={.metadata.resourceVersion}",
        ];
        let version = sandbox.kubectl(&kubeconfig, &args).ok();
        version.parse().expect("a number")
    };
    let newest = version("second");
    let file = format!("{folder}/{keyspace}.backup");
    let restore = [
        "restore",
        "--keyspace",
        &keyspace,
        "--file",
        &file,
        "--key-file",
        &key,
    ];
    store(&sandbox, &data, &restore).done();
    sandbox.until("it is as it was", || {
        let names = names(&kubeconfig);
        names.contains("configmap/first") && !names.contains("configmap/second")
    });
    create(&kubeconfig, "third");
    let third = version("third");
    assert!(third > newest, "{third} after {newest}");
    create(&other, "untouched");
    let host = [
        "restore",
        "--keyspace",
        "host",
        "--file",
        &format!("{folder}/host.backup"),
        "--key-file",
        &key,
    ];
    let refused = store(&sandbox, &data, &host).fails(1);
    assert!(refused.contains("while it is served"), "{refused}");
    goes_to_postgres(&sandbox, &kubeconfig, &keyspace, third);
    assert!(names(&other).contains("configmap/untouched"));
}

/// Over to a PostgreSQL, live; the host takes it up when the object asks for it.
fn goes_to_postgres(sandbox: &Sandbox, kubeconfig: &Path, keyspace: &str, newest: u64) {
    let Some(postgres) = RealPostgres::start() else {
        return;
    };
    let admin = sandbox.admin();
    let datastore = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: default\nstringData:\n  username: keeper\n  password: a-password-of-the-test\n---\napiVersion: freehold.dev/v1alpha1\nkind: DataStore\nmetadata:\n  name: db\nspec:\n  tenants: {{names: [acme]}}\n  driver: PostgreSQL\n  endpoints: [\"127.0.0.1:{}\"]\n  basicAuth:\n    username: {{secretReference: {{name: db, namespace: default}}}}\n    password: {{secretReference: {{name: db, namespace: default}}}}\n",
        postgres.port
    );
    sandbox.apply(&admin, &datastore).done();
    let word = sandbox.path("word");
    std::fs::write(&word, "a-password-of-the-test\n").expect("write");
    let from = format!("embedded:{}", sandbox.data_dir().display());
    let to = format!(
        "postgres://keeper@127.0.0.1:{}/freehold?password-file={}",
        postgres.port,
        word.display()
    );
    let ends = ["--from", &from, "--to", &to, "--keyspace", keyspace];
    sandbox
        .freehold(&[&["store", "move"][..], &ends].concat())
        .done();
    let lost = sandbox.kubectl(kubeconfig, &["create", "configmap", "lost"]);
    assert!(
        lost.stderr.contains("was moved") && !lost.stderr.contains("postgres"),
        "a tenant need not know where to: {}",
        lost.stderr
    );
    let patch = r#"{"spec":{"datastore":{"name":"db"}}}"#;
    let args = [
        "patch",
        "fhcp",
        "dev",
        "-n",
        "tenant-acme",
        "--type=merge",
        "-p",
        patch,
    ];
    sandbox.kubectl(&admin, &args).done();
    sandbox.until("it writes there", || {
        let args = ["create", "configmap", "fourth", "--request-timeout=5s"];
        sandbox.kubectl(kubeconfig, &args).code == Some(0)
    });
    let args = [
        "get",
        "configmap",
        "fourth",
        "-o",
        "jsonpath={.metadata.resourceVersion}",
    ];
    let fourth: u64 = sandbox
        .kubectl(kubeconfig, &args)
        .ok()
        .parse()
        .expect("a number");
    assert!(fourth > newest, "{fourth} after {newest}");
    let found = postgres.sql("freehold", "SELECT id FROM freehold.keyspace");
    assert_eq!(found, keyspace);
    sandbox.until("nothing is left where it was", || {
        let metrics = sandbox
            .kubectl(&admin, &["get", "--raw", "/metrics"])
            .stdout;
        metrics.contains("freehold_store_revision{keyspace=\"host\"}")
            && metrics
                .lines()
                .filter(|line| line.contains(&format!("keyspace=\"{keyspace}\"")))
                .all(|line| line.contains("datastore=\"db\""))
    });
}
