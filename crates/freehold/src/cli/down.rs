//! `freehold down`

use super::{DataDir, Printer, Trouble};
use crate::host::data_dir::{Holder, holder};
use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    data: DataDir,
}

/// A host ends within this time: requests get a few seconds to finish.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn run(args: &Args, out: &Printer) -> Result<()> {
    let dir = args.data.path();
    let Some(Holder { pid, .. }) = holder(&dir)? else {
        out.line(format!("no host runs on {}", dir.display()));
        return Ok(());
    };
    let shown = format!("the host on {} (process {pid})", dir.display());
    let target = Pid::from_raw(pid).ok_or_else(|| {
        Trouble::new(format!(
            "{} does not say which process holds it",
            dir.join("lock").display()
        ))
    })?;
    let began = Instant::now();
    if let Err(e) = kill_process(target, Signal::TERM)
        && e != rustix::io::Errno::SRCH
    {
        return Err(Trouble::new(format!("cannot stop {shown}"))
            .because(e)
            .advise("Stop it as the user who started it, or as root.")
            .into());
    }
    while holder(&dir)?.is_some_and(|h| h.pid == pid) {
        if began.elapsed() > LIMIT {
            return Err(Trouble::new(format!("{shown} still runs after {} s", LIMIT.as_secs()))
                .advise(format!("Its log may say why. `kill -9 {pid}` ends it at once; nothing acknowledged is lost."))
                .into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    out.line(format!(
        "stopped {shown} in {} ms",
        began.elapsed().as_millis()
    ));
    Ok(())
}
