//! One connection: how it is made, and what its session is told.

use super::Options;
use super::fault::{self, Fault};
use super::tls::MakeTls;
use crate::{Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Notification};

/// Settings of every session. Queries here are by key, so a plan that reads a whole table is
/// always the wrong one, and one plan fits all parameters; a transaction that was left alone must give its locks back.
const SESSION: &str = "-c statement_timeout=60s -c lock_timeout=10s \
    -c idle_in_transaction_session_timeout=15s -c tcp_user_timeout=15s \
    -c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
    -c plan_cache_mode=force_generic_plan -c jit=off -c max_parallel_workers_per_gather=0 -c client_min_messages=warning";

/// Who serves a connection: a process id and since when, which together are unique.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) pid: i32,
    pub(super) since: String,
}

#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeTls,
    /// as it is said in errors
    at: String,
}

/// A session and the task that moves its bytes.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) backend: Backend,
    pub(super) mover: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Also when the server does not answer any more.
        self.mover.abort();
    }
}

type Notified = Box<dyn FnMut(Notification) + Send>;

impl Connector {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let mut config = Config::new();
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("no PostgreSQL endpoint is given".into()));
        }
        for endpoint in &options.endpoints {
            let (host, port) = host_and_port(endpoint)?;
            config.host(host).port(port);
        }
        config
            .dbname(&options.database)
            .user(&options.user)
            .application_name("freehold")
            .connect_timeout(Duration::from_secs(3))
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .options(SESSION)
            // After a failover the old primary may still answer, read-only.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if options.tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            });
        if let Some(password) = &options.password {
            config.password(password);
        }
        Ok(Self {
            config,
            tls: MakeTls::new(options.tls.as_ref())?,
            at: options.endpoints.join(", "),
        })
    }

    /// Connects before `end`; `notified` is called with what arrives unasked.
    pub(super) async fn connect(
        &self,
        end: Instant,
        notified: Option<Notified>,
    ) -> Result<Session, Fault> {
        let silent = || {
            Fault::Broken(format!(
                "PostgreSQL at {} does not answer in time: check the address and its load",
                self.at
            ))
        };
        let user = self.config.get_user().unwrap_or_default();
        let db = self.config.get_dbname().unwrap_or_default();
        let connecting = self.config.connect(self.tls.clone());
        let (client, connection) = tokio::time::timeout_at(end, connecting)
            .await
            .map_err(|_| silent())?
            .map_err(|e| fault::connecting(&e, &self.at, user, db))?;
        let mover = tokio::spawn(Mover {
            connection,
            notified,
        })
        .abort_handle();
        let mut session = Session {
            client,
            backend: Backend {
                pid: 0,
                since: String::new(),
            },
            mover,
        };
        let row = tokio::time::timeout_at(end, session.client.query_one(GREETING, &[]))
            .await
            .map_err(|_| silent())??;
        session.backend = Backend {
            pid: row.get(0),
            since: row.get(1),
        };
        if row.get::<_, String>(2) != "on" {
            tracing::warn!(
                server = self.at,
                "fsync is off in this PostgreSQL: acknowledged writes do not survive its machine"
            );
        }
        Ok(session)
    }
}

/// Asynchronous commit would acknowledge what is not on disk.
const GREETING: &str = "SELECT a.pid, a.backend_start::text, current_setting('fsync'), \
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
    WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false) \
    FROM pg_stat_get_activity(pg_backend_pid()) a";

fn host_and_port(endpoint: &str) -> Result<(String, u16)> {
    let wrong = || {
        Error::Invalid(format!(
            "PostgreSQL endpoint {endpoint:?}: host:port is wanted, for example db.example.org:5432"
        ))
    };
    let bare = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let (host, port) = match bare.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| wrong())?),
        _ => (bare, 5432),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// Moves a connection's bytes until it ends.
struct Mover<S, T> {
    connection: Connection<S, T>,
    notified: Option<Notified>,
}

impl<S, T> Future for Mover<S, T>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match std::task::ready!(this.connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(note))) => {
                    if let Some(notified) = &mut this.notified {
                        notified(note);
                    }
                }
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    tracing::debug!(message = notice.message(), "PostgreSQL");
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("db:5433", "db", 5433),
            ("db", "db", 5432),
            ("postgres://db.example.org:5432", "db.example.org", 5432),
            ("[::1]:5433", "::1", 5433),
        ] {
            assert_eq!(host_and_port(text), Ok((host.to_owned(), port)), "{text}");
        }
        for bad in ["", "db:port", "user@db:5432", "postgres://db:5432/name"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
