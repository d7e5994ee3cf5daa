//! `freehold up --detach`: ourselves again, in the background, and its word that it is ready.

use super::{Printer, Trouble, up};
use crate::host::Options;
use crate::host::data_dir;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a background host says to the process that started it, in one line.
#[derive(Deserialize, Serialize)]
pub(crate) struct Ready {
    pub(crate) pid: u32,
    pub(crate) server: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) millis: u128,
}

/// A background host is ready within this time, or something is wrong.
const READY_LIMIT: Duration = Duration::from_secs(30);
const LOG: &str = "host.log";

pub(crate) async fn run(args: &up::Args, options: &Options, out: &Printer) -> Result<()> {
    let dir = &options.data_dir;
    // The child takes the directory; asking now gives a better answer than its log would.
    if data_dir::holder(dir)?.is_some() {
        return Err(data_dir::held(dir).into());
    }
    data_dir::create(dir)?;
    let log_path = dir.join(LOG);
    let mut log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(&log_path)
        .with_context(|| format!("cannot write {}", log_path.display()))?;
    let from = log.seek(SeekFrom::End(0))?;
    let mut child = command(args, options, out, log.try_clone()?)?
        .spawn()
        .context("cannot start the background process")?;
    let Some(ready) = word(&mut child).await? else {
        // It may have said why and ended, or hang: then it is ended here.
        let _ = child.kill();
        return Err(did_not_start(&mut log, from, &log_path)?.into());
    };
    up::announce(&ready.server, &ready.kubeconfig, ready.millis, out);
    out.line(format!(
        "Process:     {} (log: {})",
        ready.pid,
        log_path.display()
    ));
    out.line(format!(
        "Stop it:     freehold down --data-dir {}",
        dir.display()
    ));
    Ok(())
}

fn command(args: &up::Args, options: &Options, out: &Printer, log: File) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find our own program")?);
    command.args(["up", "--background", "--sleep-after", &args.sleep_after]);
    command.arg("--data-dir").arg(&options.data_dir);
    if out.verbose > 0 {
        command.arg(format!("-{}", "v".repeat(usize::from(out.verbose))));
    }
    if let Some(listen) = args.listen {
        command.arg("--listen").arg(listen.to_string());
    }
    for name in &args.advertise {
        command.arg("--advertise").arg(name);
    }
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log));
    Ok(command)
}

/// The line that says it is ready; nothing when it ends or hangs instead.
async fn word(child: &mut Child) -> Result<Option<Ready>> {
    let pipe = child
        .stdout
        .take()
        .context("the background process has no pipe")?;
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(pipe).read_line(&mut line).map(|_| line)
    });
    let said = tokio::time::timeout(READY_LIMIT, line).await;
    Ok(said
        .ok()
        .and_then(|l| l.ok()?.ok())
        .and_then(|l| serde_json::from_str(&l).ok()))
}

fn did_not_start(log: &mut File, from: u64, path: &Path) -> Result<Trouble> {
    let mut why = String::new();
    log.seek(SeekFrom::Start(from))?;
    log.read_to_string(&mut why)?;
    let why = why.trim().trim_start_matches("error: ");
    let why = if why.is_empty() {
        "it said nothing"
    } else {
        why
    };
    Ok(Trouble::new(format!("the host did not start: {why}"))
        .advise(format!("The whole log is in {}.", path.display())))
}
