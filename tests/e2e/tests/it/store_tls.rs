//! `freehold store serve` with TLS over an etcd that has users: who may come in, and how that
//! changes while it runs.

use crate::certificates::Authority;
use crate::real_etcd::RealEtcd;
use crate::store_serve::{Running, free_port, upstream};
use freehold_e2e::{Sandbox, freehold_program};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Etcdctl {
    program: PathBuf,
    args: Vec<String>,
}

impl Etcdctl {
    /// What it says, on either of its outputs.
    fn ask(&self, words: &[&str]) -> String {
        let output = Command::new(&self.program)
            .args(["--command-timeout=5s", "--dial-timeout=3s"])
            .args(&self.args)
            .args(words)
            .output()
            .expect("etcdctl");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        String::from_utf8_lossy(&output.stdout).into_owned() + &errors
    }
}

fn write(dir: &Path, name: &str, (cert, key): (String, String)) {
    std::fs::write(dir.join(format!("{name}.crt")), cert).expect("write");
    std::fs::write(dir.join(format!("{name}.key")), key).expect("write");
}

fn start(sandbox: &Sandbox, datastore: &str, port: u16) -> Running {
    let mut child = Command::new(freehold_program())
        .current_dir(sandbox.path(""))
        .args(["store", "serve", "--datastore", datastore])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--cert", "server.crt", "--key", "server.key"])
        .args(["--client-ca", "clients.crt", "--tenants", "tenants"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let out = child.stdout.take().expect("its output");
    let running = Running(child);
    BufReader::new(out).read_line(&mut said).expect("a line");
    assert!(said.starts_with("serving etcd v3 on https://"), "{said}");
    running
}

#[test]
fn tenants_come_in_by_certificate_over_an_etcd_with_users_and_rules_change_while_it_runs() {
    let Some(program) = upstream("etcdctl") else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let Some(etcd) = RealEtcd::start() else {
        return;
    };
    let sandbox = Sandbox::new();
    let dir = sandbox.path("");
    let root = |login: bool| {
        let mut args = vec!["--endpoints".to_owned(), etcd.url.clone()];
        if login {
            args.extend(["--user".to_owned(), "root:a-word".to_owned()]);
        }
        Etcdctl {
            program: program.clone(),
            args,
        }
    };
    sandbox.until("the etcd answers", || {
        root(false).ask(&["put", "x", "y"]) == "OK\n"
    });
    for words in [
        &["user", "add", "root:a-word"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        root(false).ask(words);
    }
    std::fs::write(dir.join("word"), "a-word\n").expect("write");
    let (servers, clients) = (Authority::new(), Authority::new());
    std::fs::write(dir.join("servers.crt"), &servers.pem).expect("write");
    std::fs::write(dir.join("clients.crt"), &clients.pem).expect("write");
    write(&dir, "server", servers.issue("localhost"));
    for name in ["acme", "globex"] {
        write(&dir, name, clients.issue(name));
    }
    std::fs::write(dir.join("tenants"), "# who is who\nacme\n").expect("write");
    let port = free_port();
    let url = format!(
        "etcd+http://root@127.0.0.1:{}/t?password-file=word",
        etcd.port()
    );
    let refused = sandbox.freehold(&[
        "store",
        "serve",
        "--datastore",
        &url,
        "--cert",
        "server.crt",
        "--key",
        "server.key",
        "--client-ca",
        "clients.crt",
        "--tenants",
        "tenants",
        "--listen",
        "127.0.0.1:0",
    ]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains("--tenants, line 2"),
        "{}",
        refused.stderr
    );
    std::fs::write(dir.join("tenants"), "# who is who\ncn:acme = acme\n").expect("write");
    let running = start(&sandbox, &url, port);
    let of = |name: &str| Etcdctl {
        program: program.clone(),
        args: [
            ("--endpoints", format!("https://localhost:{port}")),
            ("--cacert", dir.join("servers.crt").display().to_string()),
            (
                "--cert",
                dir.join(format!("{name}.crt")).display().to_string(),
            ),
            (
                "--key",
                dir.join(format!("{name}.key")).display().to_string(),
            ),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect(),
    };
    assert_eq!(of("acme").ask(&["put", "a", "1"]), "OK\n");
    let refused = of("globex").ask(&["get", "a"]);
    assert!(
        refused.contains("no tenant is known for cn:globex"),
        "{refused}"
    );
    let users = root(true).ask(&["user", "list"]);
    assert!(
        users.lines().count() == 2,
        "the keyspace has a user of its own: {users}"
    );

    // Another tenant, another serving certificate, without a restart.
    let hangup = || {
        let pid = running.0.id().to_string();
        let asked = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(asked.expect("kill").success());
    };
    let renewed = Authority::new();
    std::fs::write(dir.join("servers.crt"), &renewed.pem).expect("write");
    write(&dir, "server", renewed.issue("localhost"));
    std::fs::write(dir.join("tenants"), "cn:acme=acme\ncn:globex=globex\n").expect("write");
    hangup();
    sandbox.until("the new tenant is let in, by the new certificate", || {
        of("globex").ask(&["put", "g", "1"]) == "OK\n"
    });
    assert_eq!(of("globex").ask(&["get", "a"]), "");
    assert_eq!(of("acme").ask(&["get", "a", "--print-value-only"]), "1\n");

    // Who is not a tenant any more is cut off, also in the middle of a watch.
    let watching = of("globex");
    let mut watch = Command::new(&watching.program)
        .args(&watching.args)
        .args(["watch", "g"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl");
    std::fs::write(dir.join("tenants"), "cn:acme=acme\n").expect("write");
    hangup();
    sandbox.until("it is refused", || {
        of("globex")
            .ask(&["get", "g"])
            .contains("no tenant is known")
    });
    sandbox.until("its watch ends", || {
        watch.try_wait().expect("wait").is_some()
    });
    assert_eq!(of("acme").ask(&["put", "a", "2"]), "OK\n");

    // What cannot be used changes nothing.
    std::fs::write(dir.join("server.crt"), "no certificate").expect("write");
    hangup();
    assert_eq!(of("acme").ask(&["get", "a", "--print-value-only"]), "2\n");
    let _ = watch.kill();
}
