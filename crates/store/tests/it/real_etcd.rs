//! A real etcd for a test: on a free port, in a directory of its own, ended with the test.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct RealEtcd {
    child: Child,
    pub(crate) url: String,
    /// what it was started with
    program: PathBuf,
    args: Vec<String>,
    _dir: tempfile::TempDir,
}

/// A released program of upstream Kubernetes, if it was built or fetched on this machine.
pub(crate) fn upstream(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cache"))
        })?;
    let path = cache.join("freehold/upstream/v1.36.3").join(name);
    path.is_file().then_some(path)
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl RealEtcd {
    /// Starts one; says that the test is skipped when there is no etcd.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("http", &[])
    }

    /// Starts one that clients speak to by `scheme`, with more arguments.
    pub(crate) fn start_with(scheme: &str, more: &[&str]) -> Option<Self> {
        let Some(program) = upstream("etcd") else {
            println!("skipped: run `cargo xtask upstream`");
            return None;
        };
        // Somebody else may take a port before this etcd does: then it ends, and has others.
        let etcd = (0..5).find_map(|_| Self::attempt(&program, scheme, more, None));
        assert!(etcd.is_some(), "etcd never listens");
        etcd
    }

    /// Starts one on what `etcdutl` restores from a snapshot file.
    pub(crate) fn restored(snapshot: &Path) -> Option<Self> {
        let (Some(program), Some(util)) = (upstream("etcd"), upstream("etcdutl")) else {
            println!("skipped: run `cargo xtask upstream`");
            return None;
        };
        let from = Some((util.as_path(), snapshot));
        let etcd = (0..5).find_map(|_| Self::attempt(&program, "http", &[], from));
        assert!(etcd.is_some(), "etcd never listens");
        etcd
    }

    /// Starts three that are one etcd.
    pub(crate) fn cluster() -> Option<Vec<Self>> {
        let (Some(program), Some(_)) = (upstream("etcd"), upstream("etcdctl")) else {
            println!("skipped: run `cargo xtask upstream`");
            return None;
        };
        let members = (0..5).find_map(|_| Self::three(&program));
        assert!(members.is_some(), "three etcds never listen");
        members
    }

    fn three(program: &Path) -> Option<Vec<Self>> {
        let name = |n: usize| format!("member{n}");
        let peers = [(); 3].map(|()| format!("http://127.0.0.1:{}", free_port()));
        let all = peers.iter().enumerate();
        let all: Vec<_> = all.map(|(n, peer)| format!("{}={peer}", name(n))).collect();
        let mut members: Vec<Self> = Vec::new();
        for (n, peer) in peers.iter().enumerate() {
            let dir = tempfile::tempdir().expect("dir");
            let url = format!("http://127.0.0.1:{}", free_port());
            let args = [
                ["--name", &name(n)],
                ["--log-level", "error"],
                ["--data-dir", &dir.path().join("data").to_string_lossy()],
                ["--listen-client-urls", &url],
                ["--advertise-client-urls", &url],
                ["--listen-peer-urls", peer],
                ["--initial-advertise-peer-urls", peer],
                ["--initial-cluster", &all.join(",")],
            ]
            .concat()
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect::<Vec<_>>();
            members.push(Self {
                child: run(program, &args),
                url,
                program: program.to_owned(),
                args,
                _dir: dir,
            });
        }
        let good = members.iter_mut().all(Self::listens);
        good.then_some(members)
    }

    /// Whether it is the leader of its cluster, as it says itself.
    pub(crate) fn leads(&self) -> bool {
        let ctl = upstream("etcdctl").expect("asked before");
        let output = Command::new(ctl)
            .args(["--endpoints", &self.url, "--command-timeout", "2s"])
            .args(["endpoint", "status", "-w", "fields"])
            .output()
            .expect("etcdctl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let field = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(" : "));
            lines.find_map(|(found, value)| (found == name).then_some(value))
        };
        let leader = field("\"Leader\"");
        output.status.success() && leader.is_some() && leader == field("\"MemberID\"")
    }

    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again if it was killed.
    pub(crate) fn start_again(&mut self) {
        if self.child.try_wait().expect("a child").is_some() {
            self.child = run(&self.program, &self.args);
        }
    }

    fn attempt(
        program: &Path,
        scheme: &str,
        more: &[&str],
        snapshot: Option<(&Path, &Path)>,
    ) -> Option<Self> {
        let dir = tempfile::tempdir().expect("dir");
        let (client, peer) = (free_port(), free_port());
        let url = format!("{scheme}://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let data = dir.path().join("data").to_string_lossy().into_owned();
        let cluster = format!("test={peer}");
        if let Some((util, file)) = snapshot {
            let done = Command::new(util)
                .args(["snapshot", "restore", "--name", "test", "--data-dir", &data])
                .args(["--initial-cluster", &cluster])
                .args(["--initial-advertise-peer-urls", &peer])
                .arg(file)
                .output()
                .expect("etcdutl starts");
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "etcdutl snapshot restore: {said}");
        }
        let mut args: Vec<String> = [
            ["--name", "test"],
            ["--log-level", "error"],
            ["--data-dir", &data],
            ["--listen-client-urls", &url],
            ["--advertise-client-urls", &url],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &cluster],
        ]
        .concat()
        .iter()
        .map(|arg| (*arg).to_owned())
        .collect();
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let mut etcd = Self {
            child: run(program, &args),
            url,
            program: program.to_owned(),
            args,
            _dir: dir,
        };
        etcd.listens().then_some(etcd)
    }

    /// Waits until it takes connections; false when it ended instead.
    fn listens(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port())).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self
            .url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.expect("the URL ends in a port")
    }

    /// Ends it as a power cut does and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.child = run(&self.program, &self.args);
    }
}

fn run(program: &Path, args: &[String]) -> Child {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd starts")
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
