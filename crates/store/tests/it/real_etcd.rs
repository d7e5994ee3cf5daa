//! A real etcd for a test: on a free port, in a directory of its own, ended with the test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub(crate) struct RealEtcd {
    child: Child,
    pub(crate) url: String,
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
        let Some(program) = upstream("etcd") else {
            println!("skipped: run `cargo xtask upstream`");
            return None;
        };
        let dir = tempfile::tempdir().expect("dir");
        let (client, peer) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let child = Command::new(program)
            .args(["--name", "test", "--log-level", "error", "--data-dir"])
            .arg(dir.path().join("data"))
            .args([
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        Some(Self {
            child,
            url,
            _dir: dir,
        })
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
