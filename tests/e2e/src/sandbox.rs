//! A machine of its own for one test, as far as the program can see.

use crate::Run;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A test that is not done by then has failed.
const TEST_LIMIT: Duration = Duration::from_secs(180);

pub struct Sandbox {
    dir: TempDir,
    host: Option<Child>,
    deadline: Instant,
}

/// The program under test: built next to the test by the same `cargo test --workspace`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn freehold_program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test itself");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    let program = profile.join("freehold");
    assert!(
        program.is_file(),
        "{} is missing; build it first: cargo build --workspace",
        program.display()
    );
    program
}

/// kubectl from the cache that `cargo xtask upstream` fills, else from `PATH`.
#[must_use]
pub fn kubectl_program() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let upstream = cache.join("freehold/upstream/v1.36.3/kubectl");
    if upstream.is_file() {
        return Some(upstream);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("kubectl"))
        .find(|file| file.is_file())
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// # Panics
    /// When no temporary directory can be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("freehold-e2e-")
            .tempdir()
            .expect("a temporary directory");
        std::fs::create_dir(dir.path().join("home")).expect("a home");
        Self {
            dir,
            host: None,
            deadline: Instant::now() + TEST_LIMIT,
        }
    }

    /// A sandbox whose host runs.
    #[must_use]
    pub fn with_host() -> Self {
        let mut sandbox = Self::new();
        sandbox.up();
        sandbox
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The host's admin kubeconfig.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    fn left(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "the test took longer than {} s",
            TEST_LIMIT.as_secs()
        );
        left
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env("HOME", self.path("home"))
            .env("FREEHOLD_DATA_DIR", self.data_dir())
            .env("RUST_BACKTRACE", "1")
            .env_remove("KUBECONFIG")
            .env_remove("XDG_DATA_HOME")
            .env_remove("FREEHOLD_LOG");
        command
    }

    /// Runs freehold to its end.
    pub fn freehold(&self, args: &[&str]) -> Run {
        Run::of(
            self.command(&freehold_program()).args(args),
            None,
            self.left(),
        )
    }

    /// Runs freehold with `KUBECONFIG` set.
    pub fn freehold_with(&self, kubeconfig: &Path, args: &[&str]) -> Run {
        Run::of(
            self.command(&freehold_program())
                .env("KUBECONFIG", kubeconfig)
                .args(args),
            None,
            self.left(),
        )
    }

    /// Starts the host in the foreground and waits until it says that it is ready; returns what it said.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(&mut self) -> String {
        self.up_with(&["--listen", "127.0.0.1:0"])
    }

    /// As [`Sandbox::up`], with other arguments.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up_with(&mut self, args: &[&str]) -> String {
        assert!(self.host.is_none(), "one host at a time");
        let log = std::fs::File::create(self.path("host.err")).expect("a log file");
        let mut child = self
            .command(&freehold_program())
            .arg("up")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()
            .expect("freehold starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        self.host = Some(child);
        let mut said = String::new();
        loop {
            let before = said.len();
            let read = out.read_line(&mut said).expect("its output");
            assert!(
                read > 0,
                "the host did not come up: {said}{}",
                self.host_log()
            );
            if said[before..].starts_with("Stop it:") {
                break;
            }
        }
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = out.read_to_end(&mut rest);
        });
        said
    }

    /// What the host wrote to its log.
    #[must_use]
    pub fn host_log(&self) -> String {
        std::fs::read_to_string(self.path("host.err")).unwrap_or_default()
    }

    /// Ends the host as a power failure would.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill(&mut self) {
        let mut child = self.host.take().expect("a running host");
        child.kill().expect("kill -9");
        child.wait().expect("its end");
    }

    /// Ends the host as `freehold down` does.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn down(&mut self) {
        let mut child = self.host.take().expect("a running host");
        self.freehold(&["down"]).done();
        let status = child.wait().expect("its end");
        assert!(status.success(), "{status}: {}", self.host_log());
    }

    /// Runs kubectl with a kubeconfig.
    pub fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> Run {
        self.kubectl_input(kubeconfig, args, None)
    }

    /// Runs kubectl with a kubeconfig and something on its standard input.
    ///
    /// # Panics
    /// When there is no kubectl; see `needs_kubectl!`.
    pub fn kubectl_input(&self, kubeconfig: &Path, args: &[&str], input: Option<&str>) -> Run {
        let program = kubectl_program().expect("kubectl");
        let mut command = self.command(&program);
        command.arg("--kubeconfig").arg(kubeconfig).args(args);
        Run::of(&mut command, input, self.left())
    }

    /// `kubectl apply -f -`
    pub fn apply(&self, kubeconfig: &Path, manifest: &str) -> Run {
        self.kubectl_input(kubeconfig, &["apply", "-f", "-"], Some(manifest))
    }

    /// A tenant with a control plane; returns the path of a kubeconfig for it.
    ///
    /// # Panics
    /// When any of it fails.
    pub fn control_plane(&self, tenant: &str, name: &str) -> PathBuf {
        if self.freehold(&["get", "tenants", tenant]).code != Some(0) {
            self.freehold(&["create", "tenant", tenant]).done();
        }
        self.freehold(&["create", "control-plane", name, "--tenant", tenant])
            .done();
        self.kubeconfig(tenant, name)
    }

    /// A kubeconfig of a control plane.
    ///
    /// # Panics
    /// When it is not issued.
    pub fn kubeconfig(&self, tenant: &str, name: &str) -> PathBuf {
        let file = self.path(&format!("{tenant}-{name}.yaml"));
        let path = file.to_string_lossy().into_owned();
        self.freehold(&["kubeconfig", name, "--tenant", tenant, "--output", &path])
            .done();
        file
    }

    /// Polls until something holds.
    ///
    /// # Panics
    /// When it does not within 30 seconds.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30).min(self.left());
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "not within 30 s: {what}\n{}",
                self.host_log()
            );
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(mut child) = self.host.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the host ---\n{}", self.host_log());
        }
    }
}
