//! A real PostgreSQL for a test: on a free port, in a directory of its own, ended with the test.

use crate::real_etcd::free_port;
use freehold_store::postgres::{Options, Tls};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PASSWORD: &str = "a-password-of-the-test";
/// The user that the driver connects as: no superuser.
const USER: &str = "keeper";
const DATABASE: &str = "freehold";

pub(crate) struct RealPostgres {
    child: Child,
    dir: tempfile::TempDir,
    bin: PathBuf,
    owner: Option<u32>,
    pub(crate) port: u16,
}

fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = versions
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop()
}

/// PostgreSQL does not run as root.
fn owner() -> Option<u32> {
    let id = |args: &[&str]| {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    match id(&["-u"]) {
        Some(0) => id(&["-u", "postgres"]).or_else(|| id(&["-u", "nobody"])),
        _ => None,
    }
}

impl RealPostgres {
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more settings; says that the test is skipped when there is none.
    pub(crate) fn start_with(settings: &[&str]) -> Option<Self> {
        let Some(bin) = installed() else {
            println!("skipped: install PostgreSQL (Debian: apt-get install postgresql)");
            return None;
        };
        let dir = tempfile::tempdir().expect("dir");
        let owner = owner();
        let word = dir.path().join("word");
        std::fs::write(&word, PASSWORD).expect("write");
        if let Some(uid) = owner {
            for path in [dir.path(), &word] {
                std::os::unix::fs::chown(path, Some(uid), None).expect("chown");
            }
        }
        let made = command(&bin, "initdb", owner)
            .args([
                "--no-sync",
                "-U",
                "postgres",
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
            ])
            .arg("--locale=C")
            .arg(format!("--pwfile={}", word.display()))
            .arg(dir.path().join("data"))
            .current_dir(dir.path())
            .output()
            .expect("initdb runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let lines = [
            format!("port = {port}"),
            "listen_addresses = '127.0.0.1'".into(),
            "unix_socket_directories = ''".into(),
            "shared_buffers = '32MB'".into(),
        ];
        let config = dir.path().join("data/postgresql.conf");
        let mut text = std::fs::read_to_string(&config).expect("read");
        for line in lines
            .iter()
            .map(String::as_str)
            .chain(settings.iter().copied())
        {
            text.push_str(&format!("{line}\n"));
        }
        std::fs::write(&config, text).expect("write");
        let child = serve(&bin, owner, dir.path());
        let mut server = Self {
            child,
            dir,
            bin,
            owner,
            port,
        };
        server.wait();
        server.sql(
            "postgres",
            &format!("CREATE ROLE {USER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'"),
        );
        server.sql(
            "postgres",
            &format!("CREATE DATABASE {DATABASE} OWNER {USER}"),
        );
        Some(server)
    }

    /// A second server that follows this one; from now on no write is acknowledged that it lacks.
    pub(crate) fn standby(&self) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        std::os::unix::fs::chown(dir.path(), self.owner, None).expect("chown");
        let made = command(&self.bin, "pg_basebackup", self.owner)
            .env("PGPASSWORD", PASSWORD)
            .args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream"])
            .args(["-c", "fast", "--no-sync", "-p", &self.port.to_string()])
            .arg("-D")
            .arg(dir.path().join("data"))
            .current_dir(dir.path())
            .output()
            .expect("pg_basebackup runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = free_port();
        let config = dir.path().join("data/postgresql.conf");
        let mut text = std::fs::read_to_string(&config).expect("read");
        text.push_str(&format!("port = {port}\n"));
        std::fs::write(&config, text).expect("write");
        let child = serve(&self.bin, self.owner, dir.path());
        let mut standby = Self {
            child,
            dir,
            bin: self.bin.clone(),
            owner: self.owner,
            port,
        };
        standby.wait();
        self.sql(
            "postgres",
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
        );
        self.sql("postgres", "SELECT pg_reload_conf()");
        let start = Instant::now();
        while self.sql("postgres", "SELECT sync_state FROM pg_stat_replication") != "sync" {
            assert!(start.elapsed() < Duration::from_secs(60), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        standby
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        assert_eq!(self.sql("postgres", "SELECT pg_promote()"), "t");
    }

    fn wait(&mut self) {
        let start = Instant::now();
        loop {
            let ready = command(&self.bin, "pg_isready", None)
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .expect("pg_isready runs");
            if ready.success() {
                return;
            }
            if self.child.try_wait().expect("wait").is_some() {
                // What was left of the one before is in its way.
                self.child = serve(&self.bin, self.owner, self.dir.path());
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A file beside the data, readable by the server.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::os::unix::fs::chown(&path, self.owner, None).expect("chown");
        path
    }

    /// Who may connect how, from the next start on.
    pub(crate) fn hba(&self, text: &str) {
        std::fs::write(self.dir.path().join("data/pg_hba.conf"), text).expect("write");
    }

    /// Runs SQL as the superuser; its answer without decoration.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        let output = command(&self.bin, "psql", None)
            .env("PGPASSWORD", PASSWORD)
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", text])
            .output()
            .expect("psql runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// As the superuser, as other programs write it.
    pub(crate) fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Gives a directory to the server's user.
    pub(crate) fn give(&self, dir: &Path) {
        std::os::unix::fs::chown(dir, self.owner, None).expect("chown");
    }

    pub(crate) fn options(&self) -> Options {
        self.options_at(self.port)
    }

    /// The same server behind another port, for proxies.
    pub(crate) fn options_at(&self, port: u16) -> Options {
        let mut options = Options::new(vec![format!("127.0.0.1:{port}")], DATABASE, USER);
        options.password = Some(PASSWORD.to_owned());
        options
    }

    pub(crate) fn with_tls(&self, tls: Tls) -> Options {
        let mut options = self.options();
        options.endpoints = vec![format!("localhost:{}", self.port)];
        options.tls = Some(tls);
        options
    }

    /// Ends all its processes at once, as a power cut does, and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.child = serve(&self.bin, self.owner, self.dir.path());
        self.wait();
    }

    pub(crate) fn kill(&mut self) {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        drop(self.child.kill());
        for child in children.unwrap_or_default().split_whitespace() {
            let pid = child.parse().ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                // Some end by themselves before it is their turn.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        drop(self.child.wait());
    }
}

fn command(bin: &Path, program: &str, owner: Option<u32>) -> Command {
    let mut command = Command::new(bin.join(program));
    if let Some(uid) = owner {
        command.uid(uid);
    }
    command.stdin(Stdio::null());
    command
}

fn serve(bin: &Path, owner: Option<u32>, dir: &Path) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("log");
    command(bin, "postgres", owner)
        .arg("-D")
        .arg(dir.join("data"))
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("postgres starts")
}

impl Drop for RealPostgres {
    fn drop(&mut self) {
        self.kill();
    }
}
