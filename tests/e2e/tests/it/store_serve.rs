//! `freehold store serve`: refusals, a clean end, and a real kube-apiserver that lives through
//! `kill -9` of it.

use crate::real_etcd::RealEtcd;
use crate::real_postgres::RealPostgres;
use crate::store_online::etcdctl;
use freehold_e2e::{Sandbox, freehold_program};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn upstream(name: &str) -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let path = cache.join("freehold/upstream/v1.36.3").join(name);
    path.is_file().then_some(path)
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts it and waits for its word.
pub(crate) fn serve(dir: &Path, port: u16) -> Running {
    serve_with(port, &["--data-dir", &dir.to_string_lossy()])
}

pub(crate) fn serve_with(port: u16, args: &[&str]) -> Running {
    let mut child = Command::new(freehold_program())
        .args(["store", "serve"])
        .args(args)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let out = child.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut said).expect("a line");
    assert!(
        said.starts_with("serving etcd v3 on http://127.0.0.1:"),
        "{said}"
    );
    Running(child)
}

#[test]
fn fsck_says_where_the_directory_of_a_host_is_damaged_and_what_to_do() {
    let mut sandbox = Sandbox::with_host();
    let data = sandbox.data_dir();
    let dir = data.to_string_lossy().into_owned();
    let fsck = ["store", "fsck", "--data-dir", &dir];
    let busy = sandbox.freehold(&fsck).fails(1);
    assert!(busy.contains("Stop the process that uses it"), "{busy}");
    sandbox.down();
    let whole = sandbox.freehold(&fsck).ok();
    assert!(whole.contains("everything is whole"), "{whole}");
    let catalog = data.join("store/catalog");
    let mut bytes = std::fs::read(&catalog).expect("catalog");
    bytes[100] ^= 1;
    std::fs::write(&catalog, bytes).expect("damage");
    let said = sandbox.freehold(&fsck);
    assert!(
        said.stdout
            .contains("damaged: the keyspace catalog, slot 0: bad checksum"),
        "{}",
        said.stdout
    );
    let advice = said.fails(1);
    assert!(advice.contains("damage found: 1"), "{advice}");
    assert!(advice.contains("Set it aside whole"), "{advice}");
    let empty = sandbox.path("empty").to_string_lossy().into_owned();
    let absent = sandbox.freehold(&["store", "fsck", "--data-dir", &empty]);
    let advice = absent.fails(1);
    assert!(advice.contains("Name the data directory"), "{advice}");
    assert!(!advice.contains("Stop the process"), "{advice}");
}

#[test]
fn bad_settings_are_refused_with_advice() {
    let sandbox = Sandbox::new();
    for (args, words) in [
        (&["--listen", "0.0.0.0:0"][..], "without TLS everybody"),
        (&["--cert", "a"], "--key"),
        (&["--tenant", "cn:a=b"], "--cert"),
        (&["--quota-bytes", "many"], "invalid value"),
        (&["--keep-history", "soon"], "is no duration"),
    ] {
        let mut all = vec!["store", "serve", "--data-dir", "d"];
        all.extend(args);
        let run = sandbox.freehold(&all);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{args:?}: {}", run.stderr);
    }
    let run = sandbox.freehold(&["store", "serve"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let run = sandbox.freehold(&["store", "serve", "--datastore", "mysql://a@b/c"]);
    assert!(
        run.stderr.contains("postgres://USER@HOST:PORT/DATABASE"),
        "{}",
        run.stderr
    );
    for place in ["etcd+http://127.0.0.1:1/x", "postgres://a@127.0.0.1:1/x"] {
        let args = ["--datastore", place, "--keep-history", "10m"];
        let run = sandbox.freehold(&[&["store", "serve"][..], &args].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(
            run.stderr.contains("only the embedded engine forgets"),
            "{}",
            run.stderr
        );
    }
    let nobody = format!("etcd+http://127.0.0.1:{}/x", free_port());
    let run = sandbox.freehold(&["store", "serve", "--datastore", &nobody]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("cannot use the etcd at"),
        "{}",
        run.stderr
    );
}

fn http(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

/// Puts until it is refused; how many there came to be.
fn put_until_full(program: &Path, port: u16) -> usize {
    for n in 0..20 {
        let said = etcdctl(program, port, &["put", &format!("k{n}"), "v"]);
        if said != "OK\n" {
            assert!(said.contains("database space exceeded"), "{said}");
            return n;
        }
    }
    20
}

#[test]
fn limits_hold_on_every_datastore() {
    let Some(program) = upstream("etcdctl") else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let sandbox = Sandbox::new();
    let mut places = vec![format!("embedded:{}", sandbox.path("store").display())];
    let etcd = RealEtcd::start();
    if let Some(etcd) = &etcd {
        let hosts = etcd.url.trim_start_matches("http://");
        places.push(format!("etcd+http://{hosts}/limits"));
    }
    let postgres = RealPostgres::start();
    if let Some(postgres) = &postgres {
        let password = postgres.file("password", "a-password-of-the-test\n");
        places.push(format!(
            "postgres://keeper@127.0.0.1:{}/freehold?password-file={}",
            postgres.port,
            password.display()
        ));
    }
    for place in &places {
        let (port, numbers) = (free_port(), free_port());
        let address = format!("127.0.0.1:{numbers}");
        let args = ["--datastore", place, "--quota-keys", "3"];
        let measured = [&args[..], &["--metrics-address", &address]].concat();
        let first = serve_with(port, &measured);
        assert_eq!(put_until_full(&program, port), 3, "{place}");
        let told = http(numbers, "/metrics");
        for line in [
            "freehold_store_keys{keyspace=\"default\"} 3",
            "freehold_store_quota_keys{keyspace=\"default\"} 3",
            "freehold_store_no_space_total{keyspace=\"default\"} 1",
            "freehold_store_commits_total{keyspace=\"default\"} 3",
            "# HELP freehold_store_keys keys that there are",
        ] {
            assert!(told.contains(line), "{place}: {line}: {told}");
        }
        let tenants = http(port, "/metrics");
        assert!(tenants.starts_with("HTTP/1.1 404"), "{tenants}");
        assert_eq!(etcdctl(&program, port, &["del", "k0"]), "1\n");
        assert_eq!(etcdctl(&program, port, &["put", "instead", "v"]), "OK\n");
        drop(first);
        // What is there is known to the next process.
        let port = free_port();
        let _second = serve_with(port, &args);
        assert_eq!(put_until_full(&program, port), 0, "{place}");
        let found = etcdctl(&program, port, &["get", "instead", "--print-value-only"]);
        assert_eq!(found, "v\n");
    }
}

#[test]
fn it_ends_cleanly_and_holds_its_directory() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("store");
    let mut first = serve(&dir, 0);
    let dir_text = dir.to_string_lossy().into_owned();
    let args = [
        "store",
        "serve",
        "--data-dir",
        &dir_text,
        "--listen",
        "127.0.0.1:0",
    ];
    let second = sandbox.freehold(&args);
    assert_eq!(second.code, Some(1), "{}", second.stdout);
    assert!(
        second.stderr.contains("is in use by process"),
        "{}",
        second.stderr
    );
    let pid = first.0.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(asked.expect("kill").success());
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = first.0.try_wait().expect("wait") {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    drop(serve(&dir, 0));
}

struct ApiServer {
    child: Running,
    kubectl: PathBuf,
    port: u16,
}

impl ApiServer {
    fn start(dir: &Path, etcd: &str) -> Option<Self> {
        let (Some(program), Some(kubectl)) = (upstream("kube-apiserver"), upstream("kubectl"))
        else {
            println!("skipped: run `cargo xtask upstream`");
            return None;
        };
        let port = free_port();
        let key = rcgen::KeyPair::generate().expect("key");
        let (private, public) = (dir.join("sa.key"), dir.join("sa.pub"));
        std::fs::write(&private, key.serialize_pem()).expect("write");
        std::fs::write(&public, key.public_key_pem()).expect("write");
        let tokens = dir.join("tokens");
        std::fs::write(&tokens, "test,admin,1,system:masters\n").expect("write");
        let log = std::fs::File::create(dir.join("apiserver.log")).expect("log");
        let child = Command::new(program)
            .args(["--etcd-servers", etcd, "--bind-address", "127.0.0.1"])
            .args(["--secure-port", &port.to_string()])
            .args([
                "--advertise-address",
                "127.0.0.1",
                "--authorization-mode",
                "RBAC",
            ])
            .args(["--endpoint-reconciler-type", "none"])
            .args(["--service-cluster-ip-range", "10.96.0.0/16"])
            .args(["--service-account-issuer", "https://test"])
            .arg("--cert-dir")
            .arg(dir.join("certs"))
            .arg("--token-auth-file")
            .arg(tokens)
            .arg("--service-account-key-file")
            .arg(public)
            .arg("--service-account-signing-key-file")
            .arg(private)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kube-apiserver starts");
        let server = Self {
            child: Running(child),
            kubectl,
            port,
        };
        Some(server)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .arg(format!("--server=https://127.0.0.1:{}", self.port))
            .args(["--token=test", "--insecure-skip-tls-verify"])
            .args(["--kubeconfig=/dev/null", "--request-timeout=20s"])
            .args(args);
        command
    }

    /// What a command prints once it succeeds.
    fn eventually(&mut self, args: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let output = self.command(args).output().expect("kubectl");
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            let ended = self.child.0.try_wait().expect("wait");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                Instant::now() < deadline && ended.is_none(),
                "{args:?}: {text} {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Creates config maps one after the other; calls `at` with the number of those that the API
    /// server has acknowledged, and returns their names.
    fn create(&self, round: usize, mut at: impl FnMut(usize)) -> BTreeSet<String> {
        let mut child = self
            .command(&["create", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl");
        let mut input = child.stdin.take().expect("stdin");
        let feed = std::thread::spawn(move || {
            for n in 0..400 {
                let object = format!(
                    "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: r{round}-{n}}}\n"
                );
                if input.write_all(object.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let mut acknowledged = BTreeSet::new();
        for line in BufReader::new(child.stdout.take().expect("stdout")).lines() {
            let line = line.expect("text");
            let Some(name) = line.strip_suffix(" created") else {
                continue;
            };
            acknowledged.insert(name.to_owned());
            at(acknowledged.len());
            if acknowledged.len() >= 120 {
                break;
            }
        }
        drop(child.kill());
        drop(child.wait());
        feed.join().expect("the feeder");
        acknowledged
    }
}

#[test]
fn a_kube_apiserver_loses_nothing_acknowledged_when_the_store_is_killed() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("store");
    let port = free_port();
    let mut store = Some(serve(&dir, port));
    let url = format!("http://127.0.0.1:{port}");
    let Some(mut server) = ApiServer::start(&sandbox.path(""), &url) else {
        return;
    };
    server.eventually(&["get", "--raw", "/readyz"]);
    server.eventually(&["get", "namespace", "default"]);
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let created = server.create(round, |count| {
            if count == 40 + 7 * round {
                drop(store.take());
                store = Some(serve(&dir, port));
            }
        });
        assert!(
            created.len() > 40 + 7 * round,
            "it went on: {}",
            created.len()
        );
        acknowledged.extend(created);
        // The watch cache and the store must agree again.
        server.eventually(&["get", "--raw", "/readyz"]);
    }
    let there = server.eventually(&["get", "configmaps", "-o", "name"]);
    let there: BTreeSet<String> = there.lines().map(str::to_owned).collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(
        lost.is_empty(),
        "{} lost, such as {:?}",
        lost.len(),
        lost.first()
    );
    assert!(acknowledged.len() > 150, "{}", acknowledged.len());
    println!("{} acknowledged, {} there", acknowledged.len(), there.len());
}

#[test]
fn a_keyspace_goes_through_a_file_and_over_to_another_directory() {
    let sandbox = Sandbox::new();
    let Some(program) = upstream("etcdctl") else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let (first, second) = (sandbox.path("first"), sandbox.path("second"));
    let ask = |port: u16, words: &[&str]| etcdctl(&program, port, words);
    let port = free_port();
    let running = serve(&first, port);
    for value in ["1", "2", "3"] {
        assert_eq!(ask(port, &["put", "a", value]), "OK\n");
    }
    let before = ask(port, &["get", "a", "-w", "fields"]);
    drop(running);
    let url = |dir: &Path| format!("embedded:{}", dir.display());
    let (from, to) = (url(&first), url(&second));
    let file = sandbox.path("image").to_string_lossy().into_owned();
    let export = ["store", "export", "--from", &from, "--keyspace"];
    let run = sandbox.freehold(&[&export[..], &["default", &file]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stdout.starts_with("1 keys at revision 4"),
        "{}",
        run.stdout
    );
    let run = sandbox.freehold(&[&export[..], &["absent", &file]].concat());
    assert!(run.stderr.contains("There are: default."), "{}", run.stderr);
    let import = ["store", "import", "--to", &to, "--keyspace", "other", &file];
    let run = sandbox.freehold(&import);
    assert!(
        run.stdout.contains("all with their revisions"),
        "{}",
        run.stderr
    );
    // A copy leaves everything where it is.
    let copy = ["store", "copy", "--from", &from, "--to", &to, "--keyspace"];
    let copied = sandbox.freehold(&[&copy[..], &["default", "--target-keyspace", "copy"]].concat());
    assert!(
        copied.stdout.contains("1 keys, all with their revisions"),
        "{}{}",
        copied.stdout,
        copied.stderr
    );
    let again = sandbox.freehold(&[&copy[..], &["default", "--target-keyspace", "copy"]].concat());
    assert_eq!(again.code, Some(1), "{}", again.stdout);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    let ends = [
        "store",
        "move",
        "--from",
        &from,
        "--to",
        &to,
        "--keyspace",
        "default",
    ];
    let run = sandbox.freehold(&ends);
    assert!(
        run.stdout.contains("compared and equal"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let run = sandbox.freehold(&[&ends[..], &["--undo"]].concat());
    assert!(run.stderr.contains("was moved to"), "{}", run.stderr);
    // The target answers as the source did; the source says where it went.
    let port = free_port();
    let running = serve(&second, port);
    let line = |text: &str, field: &str| {
        let found = text.lines().find(|line| line.starts_with(field));
        found.unwrap_or_default().to_owned()
    };
    let after = ask(port, &["get", "a", "-w", "fields"]);
    for field in [
        "\"CreateRevision\"",
        "\"ModRevision\"",
        "\"Version\"",
        "\"Value\"",
    ] {
        assert_eq!(line(&after, field), line(&before, field), "{field}");
    }
    assert_eq!(ask(port, &["put", "a", "4"]), "OK\n");
    drop(running);
    let port = free_port();
    let _running = serve(&first, port);
    let refused = ask(port, &["put", "a", "lost"]);
    assert!(
        refused.contains("was moved to default at embedded:"),
        "{refused}"
    );
    assert_eq!(ask(port, &["get", "a", "--print-value-only"]), "3\n");
}
