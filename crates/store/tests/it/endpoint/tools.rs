//! etcd's own client and load generator, unmodified.

use super::Served;
use super::tenants::Shared;
use crate::real_etcd::upstream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a program to its end, without holding up the endpoint in this process.
pub(super) async fn output(mut command: Command, input: &'static str) -> Output {
    let work = tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(input.as_bytes()).expect("input");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    });
    let done = tokio::time::timeout(LIMIT, work).await;
    done.expect("in time").expect("the task")
}

pub(super) struct Ctl {
    program: std::path::PathBuf,
    args: Vec<String>,
}

impl Ctl {
    pub(super) fn plain(url: &str) -> Option<Self> {
        let Some(program) = upstream("etcdctl") else {
            println!("skipped: run `cargo xtask upstream`");
            return None;
        };
        let args = vec!["--endpoints".into(), url.into()];
        Some(Self { program, args })
    }

    async fn run(&self, words: &[&str], input: &'static str) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(words);
        let output = output(command, input).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr) + &text(&output.stdout))
        }
    }

    pub(super) async fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words, "").await;
        done.unwrap_or_else(|error| panic!("etcdctl {}: {error}", words.join(" ")))
    }

    pub(super) async fn fails(&self, words: &[&str]) -> String {
        let done = self.run(words, "").await;
        done.expect_err(&words.join(" "))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_works_on_the_endpoint() {
    let served = Served::start().await;
    let Some(ctl) = Ctl::plain(&served.url) else {
        return;
    };
    assert_eq!(ctl.ok(&["put", "a", "1"]).await, "OK\n");
    assert_eq!(ctl.ok(&["put", "a", "2", "--prev-kv"]).await, "OK\na\n1\n");
    assert_eq!(ctl.ok(&["get", "a", "--rev", "2"]).await, "a\n1\n");
    for n in 0..5 {
        ctl.ok(&["put", &format!("k{n}"), "v"]).await;
    }
    let sorted = ctl
        .ok(&[
            "get",
            "k",
            "--prefix",
            "--order=DESCEND",
            "--sort-by=CREATE",
            "--limit=2",
            "--keys-only",
        ])
        .await;
    assert_eq!(sorted.split_whitespace().collect::<Vec<_>>(), ["k4", "k3"]);
    assert!(
        ctl.ok(&["get", "", "--prefix", "--count-only", "-w", "fields"])
            .await
            .contains("\"Count\" : 6")
    );
    let txn = "value(\"a\") > \"1\"\nmod(\"k0\") < \"100\"\n\nput t yes\nget k --prefix\ndel k1\n\nput t no\n\n";
    let done = ctl.run(&["txn"], txn).await.expect("txn");
    assert!(done.starts_with("SUCCESS") && done.contains("k3"), "{done}");
    assert_eq!(ctl.ok(&["get", "t", "--print-value-only"]).await, "yes\n");
    assert_eq!(ctl.ok(&["del", "k", "--prefix"]).await, "4\n");
    let watched = ctl
        .run(
            &[
                "watch",
                "a",
                "--rev",
                "2",
                "--prev-kv",
                "--",
                "sh",
                "-c",
                "env | grep ETCD_WATCH_VALUE; kill $PPID",
            ],
            "",
        )
        .await;
    let watched = watched.unwrap_or_else(|error| error);
    assert!(watched.contains("ETCD_WATCH_VALUE=\"1\""), "{watched}");
    let lease = ctl.ok(&["lease", "grant", "500"]).await;
    let id = lease
        .split(' ')
        .nth(1)
        .expect("lease ID granted …")
        .to_owned();
    ctl.ok(&["put", "leased", "1", "--lease", &id]).await;
    let told = ctl.ok(&["lease", "timetolive", &id, "--keys"]).await;
    assert!(
        told.contains("granted with TTL(500s)") && told.contains("[leased]"),
        "{told}"
    );
    assert!(
        ctl.ok(&["lease", "keep-alive", "--once", &id])
            .await
            .contains("TTL(500)")
    );
    assert!(ctl.ok(&["lease", "list"]).await.contains(&id));
    ctl.ok(&["lease", "revoke", &id]).await;
    assert_eq!(ctl.ok(&["get", "leased"]).await, "");
    // Recipes: leases kept alive, transactions with ranges, watches.
    let locked = ctl.ok(&["lock", "door", "echo", "inside"]).await;
    assert!(locked.contains("inside"), "{locked}");
    maintenance(&ctl).await;
}

async fn maintenance(ctl: &Ctl) {
    // etcdctl says this on standard error or output, by version.
    ctl.ok(&["endpoint", "health"]).await;
    let status = ctl.ok(&["endpoint", "status", "-w", "json"]).await;
    assert!(status.contains("\"version\":\"3.6.8\""), "{status}");
    let hash = ctl.ok(&["endpoint", "hashkv", "-w", "json"]).await;
    assert!(hash.contains("\"hash\":"), "{hash}");
    assert_eq!(hash, ctl.ok(&["endpoint", "hashkv", "-w", "json"]).await);
    assert!(ctl.ok(&["member", "list"]).await.contains("freehold"));
    let cluster = ctl.ok(&["endpoint", "status", "--cluster"]).await;
    assert!(cluster.contains("3.6.8"), "{cluster}");
    ctl.ok(&["defrag"]).await;
    ctl.ok(&["alarm", "list"]).await;
    ctl.ok(&["alarm", "disarm"]).await;
    assert!(ctl.ok(&["auth", "status"]).await.contains("false"));
    let revision = ctl.ok(&["put", "last", "1", "-w", "json"]).await;
    let revision = revision
        .split("\"revision\":")
        .nth(1)
        .and_then(|rest| rest.split([',', '}']).next())
        .expect("a revision")
        .to_owned();
    ctl.ok(&["compaction", &revision]).await;
    let text = ctl.fails(&["compaction", &revision]).await;
    assert!(
        text.contains("required revision has been compacted"),
        "{text}"
    );
    for (words, why) in [
        (
            &["user", "add", "u:p"][..],
            "a client certificate names the tenant",
        ),
        (&["role", "list"], "a client certificate names the tenant"),
        (&["member", "remove", "1"], "members are not changed here"),
        (&["move-leader", "1"], "leader"),
    ] {
        let text = ctl.fails(words).await;
        assert!(text.contains(why), "{words:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_works_with_the_certificate_of_a_tenant_and_with_no_other() {
    let shared = Shared::start().await;
    let Some(mut ctl) = Ctl::plain(&shared.url) else {
        return;
    };
    let dir = tempfile::tempdir().expect("dir");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("ca.crt"), &shared.server_ca.pem).expect("write");
    for name in ["acme", "nobody"] {
        shared
            .client_ca
            .client(name, &[], None)
            .write(dir.path(), name);
    }
    ctl.args.extend(["--cacert".into(), path("ca.crt")]);
    let anonymous = ctl.fails(&["put", "a", "1", "--dial-timeout=2s", "--command-timeout=3s"]);
    let anonymous = anonymous.await;
    assert!(!anonymous.contains("OK"), "{anonymous}");
    let plain = ctl.args.clone();
    let with = |name: &str| {
        let (cert, key) = (path(&format!("{name}.crt")), path(&format!("{name}.key")));
        let own = ["--cert".into(), cert, "--key".into(), key];
        Ctl {
            program: ctl.program.clone(),
            args: plain.iter().cloned().chain(own).collect(),
        }
    };
    let refused = with("nobody").fails(&["put", "a", "1"]).await;
    assert!(
        refused.contains("no tenant is known for cn:nobody"),
        "{refused}"
    );
    let acme = with("acme");
    assert_eq!(acme.ok(&["put", "a", "1"]).await, "OK\n");
    assert_eq!(acme.ok(&["get", "a"]).await, "a\n1\n");
    assert!(
        acme.ok(&["endpoint", "status", "--cluster"])
            .await
            .contains("https://")
    );
}

async fn benchmark(program: &Path, url: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["--endpoints", url, "--clients=8", "--conns=2"]);
    let output = output(
        {
            command.args(words);
            command
        },
        "",
    )
    .await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {text}{errors}");
    assert!(!text.contains("Error distribution"), "{words:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcds_benchmark_tool_runs_on_the_endpoint() {
    let Some(program) = upstream("etcd-benchmark") else {
        println!("skipped: run `cargo xtask upstream`");
        return;
    };
    let served = Served::start().await;
    for words in [
        &[
            "put",
            "--total=300",
            "--val-size=1000",
            "--key-space-size=100",
            "--sequential-keys",
        ][..],
        &["range", "a", "z", "--total=100", "--limit=10"],
        &[
            "txn-put",
            "--total=100",
            "--txn-ops=4",
            "--key-space-size=100",
            "--val-size=100",
        ],
        &["txn-mixed", "k", "z", "--total=100", "--rw-ratio=1"],
        &["stm", "--total=50", "--keys=5"],
        &["lease-keepalive", "--total=100"],
        &[
            "watch-latency",
            "--put-total=50",
            "--put-rate=500",
            "--streams=2",
            "--watchers-per-stream=5",
        ],
        &[
            "watch",
            "--streams=2",
            "--watch-per-stream=10",
            "--watched-key-total=10",
            "--put-total=50",
        ],
    ] {
        let text = benchmark(&program, &served.url, words).await;
        assert!(text.contains("Requests/sec"), "{words:?}: {text}");
    }
    let head = served.store.head().await.expect("head");
    assert!(head.rev > 500, "{head:?}");
}
