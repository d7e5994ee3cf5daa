//! Keyspaces in a PostgreSQL database that somebody else runs: a schema and a role each.
//!
//! Revisions are given out inside the transaction that writes, under a lock on the keyspace's head
//! row, so they have no gaps and become visible in order. Writes that wait are carried out
//! together. A write whose answer was lost is looked for when the server is back: it is never done
//! twice, and the caller is told that nobody knows only when that takes longer than it may wait.
//! Own writes reach watches directly, those of other processes by LISTEN/NOTIFY and by asking.
//! Range answers are complete or an error.
//!
//! Differences to the contract: a key has at most 2,500 bytes. A read by a revision costs as much
//! as the keys of its range, not of its page, if a count is wanted.
//!
//! Durability is the server's: asynchronous commit is switched on for our sessions if it is off
//! by default; `fsync = off` and asynchronous replicas are its administrator's choice.

mod admin;
mod batch;
mod connect;
mod fault;
mod guess;
mod hub;
mod import;
mod listen;
mod pool;
mod read;
mod sql;
mod store;
mod tls;
mod touched;
mod upkeep;
mod watch;
mod write;

use crate::{Error, Image, Imported, Keyspaces, Quota, Result, Store};
use async_trait::async_trait;
use connect::Connector;
use fault::Fault;
use listen::Listener;
use parking_lot::Mutex;
use pool::Pool;
use sql::Names;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{Inner, PostgresStore};
use tokio::time::Instant;

pub use crate::remote::Tls;

/// Where the database is and what part of it is ours.
#[derive(Clone, PartialEq)]
pub struct Options {
    /// `host:port` of the primary and its standbys
    pub endpoints: Vec<String>,
    pub database: String,
    /// may create roles, and schemas in the database
    pub user: String,
    pub password: Option<String>,
    /// none: without TLS
    pub tls: Option<Tls>,
    /// starts the names of our schemas and roles: lower case, digits, `_`
    pub prefix: String,
    /// how long a request may take, retries included
    pub timeout: Duration,
    /// most connections of this process, one more for notifications not counted
    pub connections: usize,
    /// stored bytes per keyspace, history included
    pub quota_bytes: u64,
    /// live keys per keyspace
    pub quota_keys: u64,
}

impl Options {
    pub fn new(
        endpoints: Vec<String>,
        database: impl Into<String>,
        user: impl Into<String>,
    ) -> Self {
        Self {
            endpoints,
            database: database.into(),
            user: user.into(),
            password: None,
            tls: None,
            prefix: "freehold".into(),
            timeout: Duration::from_secs(10),
            connections: 16,
            quota_bytes: 8 << 30,
            quota_keys: 10_000_000,
        }
    }

    fn quota(&self) -> Quota {
        Quota {
            bytes: self.quota_bytes,
            keys: self.quota_keys,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// All keyspaces with one prefix in a database.
pub struct Postgres {
    pool: Arc<Pool>,
    listener: Arc<Listener>,
    options: Arc<Options>,
    stores: Mutex<BTreeMap<String, Arc<PostgresStore>>>,
}

impl Postgres {
    /// Connects and prepares the database, so that what is wrong is said now.
    pub async fn connect(options: Options) -> Result<Arc<Self>> {
        let wrong = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let prefix = &options.prefix;
        if prefix.is_empty() || prefix.len() > 20 || prefix.contains(wrong) {
            return Err(Error::Invalid(format!(
                "prefix {prefix:?}: 1 to 20 lower-case letters, digits and _ are wanted"
            )));
        }
        let pool = Pool::new(Connector::new(&options)?, options.connections.max(2));
        let this = Arc::new(Self {
            listener: Listener::new(pool.clone()),
            pool,
            options: Arc::new(options),
            stores: Mutex::default(),
        });
        this.admin(Job::Prepare).await?;
        Ok(this)
    }

    /// Work of the user that connects; again if the connection breaks.
    async fn admin(&self, job: Job<'_>) -> Result<Vec<String>> {
        let end = Instant::now() + self.options.timeout;
        loop {
            let why = match self.try_job(&job, end).await {
                Ok(done) => return Ok(done),
                Err(Fault::Refused(error)) => return Err(error),
                Err(Fault::Broken(why)) => why,
            };
            self.pool.forget(None);
            if Instant::now() + PAUSE >= end {
                return Err(Error::Unavailable(why));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_job(&self, job: &Job<'_>, end: Instant) -> Result<Vec<String>, Fault> {
        let held = self.pool.get(None, end).await?;
        let prefix = &self.options.prefix;
        let mut answer = Vec::new();
        match job {
            Job::Prepare => admin::prepare(&held, prefix, end).await?,
            Job::Create(id, names) => admin::create(&held, prefix, id, names, end).await?,
            Job::Delete(id, names) => admin::delete(&held, prefix, id, names, end).await?,
            Job::Import(id, names, image) => {
                import::run(&held, id, names, image, self.options.timeout).await?;
            }
            Job::List => answer = admin::list(&held, prefix, end).await?,
        }
        held.back();
        Ok(answer)
    }

    fn names(&self, id: &str) -> Names {
        Names::new(&self.options.prefix, &self.options.database, id)
    }
}

/// Work of the user that connects; done twice it does the same.
enum Job<'a> {
    Prepare,
    Create(&'a str, &'a Names),
    Delete(&'a str, &'a Names),
    Import(&'a str, &'a Names, &'a Image),
    List,
}

const PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl Keyspaces for Postgres {
    async fn open(&self, id: &str) -> Result<Arc<dyn Store>> {
        if id.is_empty() || id.len() > 255 || id.contains('\0') {
            return Err(Error::Invalid(
                "a keyspace id has 1 to 255 bytes, none of them zero".into(),
            ));
        }
        let known = self.stores.lock().get(id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let names = self.names(id);
        self.admin(Job::Create(id, &names)).await?;
        let inner = Inner::new(
            self.pool.clone(),
            self.listener.clone(),
            names,
            self.options.clone(),
        )?;
        let store = Arc::new(PostgresStore(Arc::new(inner)));
        // Somebody else may have opened it meanwhile: the same id gives the same store.
        let mut stores = self.stores.lock();
        let store = stores.entry(id.to_owned()).or_insert(store).clone();
        drop(stores);
        store.0.watch_leases();
        Ok(store)
    }

    async fn sleep(&self, id: &str) -> Result<()> {
        let known = self.stores.lock().get(id).cloned();
        if let Some(store) = known {
            store.0.leases_watched.store(false, Ordering::Release);
            store.0.known.lock().forget();
            store.0.granted.notify_one();
        }
        Ok(())
    }

    fn set_quota(&self, id: &str, bytes: Option<u64>, keys: Option<u64>) -> Result<Quota> {
        let usual = self.options.quota();
        let quota = Quota {
            bytes: bytes.unwrap_or(usual.bytes),
            keys: keys.unwrap_or(usual.keys),
        };
        match self.stores.lock().get(id) {
            Some(store) => *store.0.quota.lock() = quota,
            None => return Err(Error::Invalid(format!("there is no keyspace {id}"))),
        }
        Ok(quota)
    }

    fn quota(&self, id: &str) -> Result<Quota> {
        match self.stores.lock().get(id) {
            Some(store) => Ok(*store.0.quota.lock()),
            None => Err(Error::Invalid(format!("there is no keyspace {id}"))),
        }
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let known = self.stores.lock().remove(id);
        if let Some(store) = known {
            store.0.set_deleted();
        }
        let names = self.names(id);
        self.admin(Job::Delete(id, &names)).await?;
        self.pool.forget(Some(&names.role));
        Ok(())
    }

    async fn import(&self, id: &str, image: &Image) -> Result<Imported> {
        if let Some(kv) = image.kvs.iter().find(|kv| kv.key.len() > sql::MAX_KEY) {
            let (len, most) = (kv.key.len(), sql::MAX_KEY);
            let text = format!("a key of {len} bytes, at most {most} on PostgreSQL");
            return Err(Error::TooLarge(text));
        }
        let store = self.open(id).await?;
        self.admin(Job::Import(id, &self.names(id), image)).await?;
        // The store that is open learns its revision now.
        store.head().await?;
        Ok(Imported::Exactly)
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.admin(Job::List).await
    }
}
