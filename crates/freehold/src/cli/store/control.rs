//! A process that has a directory of the embedded engine does jobs on it for others of the same
//! user, who ask on the socket `control.sock` (0600) in that directory: one job a connection, a line
//! of JSON, answered by lines of JSON.

use super::job::Job;
pub(crate) use super::open::Own;
use crate::cli::{Printer, Trouble};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

const SOCKET: &str = "control.sock";
/// Bytes that a job may have.
const MAX_JOB: u64 = 64 << 10;
/// Jobs at the same time.
const MAX_JOBS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told of a job.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Progress(String),
    Done(Vec<String>),
    Failed {
        what: String,
        because: Option<String>,
        advice: Option<String>,
    },
}

/// Takes jobs until shutdown.
pub(crate) async fn serve(own: Own, shutdown: CancellationToken) {
    let path = own.dir.join(SOCKET);
    let listener = match listen(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, socket = %path.display(), "backups and moves have to wait until this process has ended");
            return;
        }
    };
    let own = Arc::new(own);
    let places = Arc::new(Semaphore::new(MAX_JOBS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a job was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (own, places, shutdown) = (own.clone(), places.clone(), shutdown.clone());
        tokio::spawn(async move {
            let served = tokio::select! {
                served = one(stream, &own, &places) => served,
                () = shutdown.cancelled() => Ok(()),
            };
            if let Err(error) = served {
                tracing::debug!(error = %format!("{error:#}"), "a job was not answered");
            }
        });
    }
    // The next process makes its own; nobody shall wait at this one.
    let _ = std::fs::remove_file(path);
}

/// The directory is ours, so what is there is left over.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn one(mut stream: UnixStream, own: &Own, places: &Semaphore) -> Result<()> {
    let ours = rustix::process::geteuid().as_raw();
    let theirs = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader).take(MAX_JOB);
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    read.context("no job in time")??;
    let Ok(_place) = places.try_acquire() else {
        let what = format!("{MAX_JOBS} other jobs are being done");
        return answer(&mut writer, &Word::failed(&Trouble::new(what).into())).await;
    };
    if theirs != ours && theirs != 0 {
        let what = Trouble::new("only the user of this process may ask for this");
        return answer(&mut writer, &Word::failed(&what.into())).await;
    }
    let job: Job = match Job::read(&line) {
        Ok(job) => job,
        Err(error) => {
            let what = Trouble::new("the process that has the directory does not know this job");
            return answer(&mut writer, &Word::failed(&what.because(error).into())).await;
        }
    };
    tracing::info!(?job, "a job");
    let (told, mut progress) = mpsc::unbounded_channel();
    // Few and short: one for each step.
    let say = |text: &str| drop(told.send(text.to_owned()));
    let mut work = Box::pin(job.run(Some(own), &say));
    let mut rest = [0; 64];
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            Some(text) = progress.recv() => answer(&mut writer, &Word::Progress(text)).await?,
            // Who goes away does not want it any more; what can be gone on with stays.
            gone = reader.read(&mut rest) => if gone? == 0 { return Ok(()) },
        }
    };
    drop(work);
    while let Ok(text) = progress.try_recv() {
        answer(&mut writer, &Word::Progress(text)).await?;
    }
    let word = match done {
        Ok(lines) => Word::Done(lines),
        Err(error) => Word::failed(&error),
    };
    answer(&mut writer, &word).await
}

async fn answer(to: &mut (impl tokio::io::AsyncWrite + Unpin), word: &Word) -> Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let written = tokio::time::timeout(PATIENCE, to.write_all(&line)).await;
    Ok(written.context("the answer was not read in time")??)
}

impl Word {
    fn failed(error: &anyhow::Error) -> Self {
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        let advice = error.downcast_ref::<Trouble>().and_then(Trouble::advice);
        Self::Failed {
            what: error.to_string(),
            because: (!causes.is_empty()).then(|| causes.join(": ")),
            advice: advice.map(str::to_owned),
        }
    }
}

/// Has a job done by whoever has one of its directories, or does it here.
pub(crate) async fn run(job: &Job, out: &Printer) -> Result<()> {
    let done = match ask_holder(job, out).await {
        Some(done) => done,
        None => job.run(None, &|text| out.progress(text)).await,
    };
    out.progress_done();
    for line in done? {
        out.line(line);
    }
    Ok(())
}

async fn ask_holder(job: &Job, out: &Printer) -> Option<Result<Vec<String>>> {
    for dir in job.dirs() {
        if let Ok(stream) = UnixStream::connect(dir.join(SOCKET)).await {
            return Some(ask(stream, job, out).await);
        }
    }
    None
}

async fn ask(mut stream: UnixStream, job: &Job, out: &Printer) -> Result<Vec<String>> {
    stream.write_all(&job.line()?).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("an answer of another kind")? {
            Word::Progress(text) => out.progress(text),
            Word::Done(lines) => return Ok(lines),
            Word::Failed {
                what,
                because,
                advice,
            } => {
                let mut trouble = Trouble::new(what);
                if let Some(because) = because {
                    trouble = trouble.because(anyhow::Error::msg(because));
                }
                if let Some(advice) = advice {
                    trouble = trouble.advise(advice);
                }
                return Err(trouble.into());
            }
        }
    }
    Err(
        Trouble::new("the process that has the directory ended before it was done")
            .advise("Start the same command again.")
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_store::embedded::{Embedded, Options};

    async fn told(dir: &Path, job: &[u8]) -> String {
        let mut stream = UnixStream::connect(dir.join(SOCKET))
            .await
            .expect("connect");
        // It may be cut off in the middle.
        let _ = stream.write_all(job).await;
        let mut lines = BufReader::new(stream).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        line.expect("in time").ok().flatten().unwrap_or_default()
    }

    #[tokio::test]
    async fn strange_jobs_are_refused_and_the_socket_is_for_its_user_only() {
        let dir = tempfile::tempdir().expect("dir");
        let engine = Embedded::open(dir.path(), Options::default()).await;
        let engine = engine.expect("open");
        let shutdown = CancellationToken::new();
        let own = Own {
            dir: dir.path().to_owned(),
            engine: engine.clone(),
            replaceable: |_| false,
        };
        std::fs::write(dir.path().join(SOCKET), "left over").expect("write");
        let serving = tokio::spawn(serve(own, shutdown.clone()));
        let path = dir.path().join(SOCKET);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while UnixStream::connect(&path).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "nobody listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mode = std::fs::metadata(&path).expect("socket").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        for job in [
            b"{\"do\":\"dance\"}\n".to_vec(),
            b"\xff\xfe\n".to_vec(),
            b"{\"do\":\"fence\"}\n".to_vec(),
            vec![b'{'; 1 << 20],
        ] {
            let said = told(dir.path(), &job).await;
            assert!(said.is_empty() || said.contains("failed"), "{said}");
        }
        let absent = format!(
            "{{\"do\":\"fence\",\"dir\":{:?},\"keyspace\":\"absent\"}}\n",
            dir.path()
        );
        let said = told(dir.path(), absent.as_bytes()).await;
        assert!(said.contains("there is no keyspace absent"), "{said}");
        shutdown.cancel();
        serving.await.expect("it ends");
        assert!(!path.exists());
        let out = Printer::new(&Default::default());
        let job = Job::Fence {
            dir: dir.path().to_owned(),
            keyspace: "absent".into(),
            reason: None,
        };
        let here = run(&job, &out).await.expect_err("done here: it is locked");
        assert!(here.to_string().contains("cannot open"), "{here}");
        engine.close();
    }
}
