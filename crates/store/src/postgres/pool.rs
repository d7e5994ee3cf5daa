//! A bounded set of connections shared by all keyspaces. A connection acts as the role of the
//! keyspace it works for, and goes by preference to the one it worked for last.

use super::connect::{Backend, Connector, Session};
use super::fault::Fault;
use super::sql::{Kind, Names};
use crate::Error;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

/// Prepared statements that a connection remembers.
const STATEMENTS: usize = 256;
/// After this long without use a connection is closed.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Pool {
    pub(super) connector: Connector,
    idle: Mutex<Vec<Conn>>,
    permits: Arc<Semaphore>,
}

struct Conn {
    session: Session,
    /// whom it acts as; nobody: the user that connected
    role: Option<Arc<str>>,
    statements: HashMap<(u64, Kind), Statement>,
    used: Instant,
}

/// A connection in use. Dropped without [`Held::back`] it is closed: nobody knows its state.
pub(super) struct Held {
    conn: Option<Conn>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

/// Waits no longer than until `end`.
pub(super) async fn by<T, E: Into<Fault>>(
    end: Instant,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match tokio::time::timeout_at(end, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Fault::Broken("PostgreSQL: no answer in time".into())),
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, size: usize) -> Arc<Self> {
        let pool = Arc::new(Self {
            connector,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(size)),
        });
        let weak = Arc::downgrade(&pool);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE / 2).await;
                let Some(pool) = weak.upgrade() else { return };
                pool.idle.lock().retain(|conn| conn.used.elapsed() < IDLE);
            }
        });
        pool
    }

    /// A connection that acts as `role`.
    pub(super) async fn get(
        self: &Arc<Self>,
        role: Option<&Arc<str>>,
        end: Instant,
    ) -> Result<Held, Fault> {
        let permit = self.permits.clone().acquire_owned();
        let permit = tokio::time::timeout_at(end, permit).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Fault::Broken(
                "every connection to PostgreSQL is in use: allow more, or find what is slow".into(),
            ));
        };
        let found = {
            let mut idle = self.idle.lock();
            idle.retain(|conn| !conn.session.client.is_closed());
            let same = idle.iter().rposition(|conn| conn.role.as_ref() == role);
            let at = same.or((!idle.is_empty()).then_some(0));
            at.map(|at| idle.remove(at))
        };
        let mut conn = match found {
            Some(conn) => conn,
            None => Conn {
                session: self.connector.connect(end, None).await?,
                role: None,
                statements: HashMap::new(),
                used: Instant::now(),
            },
        };
        if conn.role.as_ref() != role {
            let text = match role {
                Some(role) => format!("SET ROLE {role}"),
                None => "RESET ROLE".to_owned(),
            };
            match by(end, conn.session.client.batch_execute(&text)).await {
                // The role is not there any more.
                Err(Fault::Refused(_)) => return Err(Fault::Refused(Error::Deleted)),
                other => other?,
            }
            conn.role = role.cloned();
        }
        Ok(Held {
            conn: Some(conn),
            pool: self.clone(),
            _permit: permit,
        })
    }

    /// Closes the idle connections of a role that was dropped, or of all when the server was lost.
    pub(super) fn forget(&self, role: Option<&Arc<str>>) {
        self.idle
            .lock()
            .retain(|conn| role.is_some() && conn.role.as_ref() != role);
    }
}

impl Held {
    fn conn(&self) -> &Conn {
        self.conn.as_ref().expect("held until given back")
    }

    pub(super) fn client(&self) -> &Client {
        &self.conn().session.client
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.conn().session.backend
    }

    /// The statement of a keyspace, prepared on this connection at its first use.
    pub(super) async fn prepare(
        &mut self,
        names: &Names,
        kind: Kind,
        end: Instant,
    ) -> Result<Statement, Fault> {
        let conn = self.conn.as_mut().expect("held until given back");
        if let Some(known) = conn.statements.get(&(names.id, kind)) {
            return Ok(known.clone());
        }
        if conn.statements.len() >= STATEMENTS {
            conn.statements.clear();
        }
        let text = names.text(kind);
        let made = by(end, conn.session.client.prepare(&text)).await?;
        conn.statements.insert((names.id, kind), made.clone());
        Ok(made)
    }

    /// Gives the connection back: no transaction is open on it.
    pub(super) fn back(mut self) {
        if let Some(mut conn) = self.conn.take() {
            conn.used = Instant::now();
            self.pool.idle.lock().push(conn);
        }
    }
}
