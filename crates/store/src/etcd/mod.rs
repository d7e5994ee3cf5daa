//! Keyspaces on an etcd that somebody else runs: one prefix each.
//!
//! `<prefix>/d/<id>/…` holds a keyspace's keys, `<prefix>/k/<id>` says that it exists,
//! `<prefix>/l/<id>/<lease>` (under that lease) whose a lease is. Revisions are the etcd's own:
//! they grow by more than one when others write too.
//!
//! Where the etcd has authentication, each keyspace has a user and a role of its own, made by the
//! user of the options (or its client certificate), that can see nothing else.
//!
//! Compaction is each keyspace's own: `<prefix>/c/<id>` says up to where, and nothing older can be
//! read through it. The etcd itself, which has one history for all, is compacted to what is older
//! than [`Options::history`], so that no keyspace takes another's history.
//!
//! A keyspace that is given a quota is counted (`quota`): an etcd knows only its own size.
//!
//! Reads are tried again when the connection breaks; a write is not: if it is not known
//! whether it was done, the error says so.

mod auth;
mod client;
mod compaction;
mod quota;
mod store;
mod watch;

use crate::{Error, Keyspaces, Quota, Result, Store};
use async_trait::async_trait;
use bytes::Bytes;
use client::Client;
use compaction::{Age, History};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::EtcdStore;

pub use crate::remote::Tls;

/// Where the etcd is and what part of it is ours.
#[derive(Clone, PartialEq)]
pub struct Options {
    /// `http://` or `https://` URLs of the members
    pub endpoints: Vec<String>,
    pub prefix: String,
    pub tls: Option<Tls>,
    /// user and password, where the etcd has authentication
    pub login: Option<(String, String)>,
    /// how long a request may take, retries included
    pub timeout: Duration,
    /// history that every keyspace has whatever the others compact
    pub history: Duration,
    /// bytes and keys that each keyspace may have, unless it is given others: none, then nothing
    /// is counted
    pub quota_bytes: Option<u64>,
    pub quota_keys: Option<u64>,
}

impl Options {
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>) -> Self {
        Self {
            endpoints,
            prefix: prefix.into(),
            tls: None,
            login: None,
            timeout: Duration::from_secs(10),
            history: Duration::from_secs(300),
            quota_bytes: None,
            quota_keys: None,
        }
    }
}

/// All keyspaces under one prefix.
pub struct Etcd {
    /// the user that may make others
    client: Client,
    prefix: String,
    /// what keyspaces' passwords are made from
    secret: Option<Vec<u8>>,
    age: Arc<Age>,
    quota_bytes: Option<u64>,
    quota_keys: Option<u64>,
    stores: Mutex<BTreeMap<String, Arc<EtcdStore>>>,
}

impl Etcd {
    /// Connects and asks for the server's status, so that what is wrong is said now.
    pub async fn connect(options: Options) -> Result<Arc<Self>> {
        let client = Client::new(&options)?;
        client.log_in().await?;
        client.status().await?;
        let identity = options.tls.and_then(|tls| tls.identity);
        let password = options.login.map(|(_, password)| password.into_bytes());
        Ok(Arc::new(Self {
            client,
            prefix: options.prefix,
            secret: password.or(identity.map(|(_, key)| key)),
            age: Arc::new(Age::new(options.history)),
            quota_bytes: options.quota_bytes,
            quota_keys: options.quota_keys,
            stores: Mutex::default(),
        }))
    }

    /// What a keyspace may have; the other value: whether there is anything to count for.
    fn quota(&self, bytes: Option<u64>, keys: Option<u64>) -> (Quota, bool) {
        let usual = Quota::default();
        let (bytes, keys) = (bytes.or(self.quota_bytes), keys.or(self.quota_keys));
        let quota = Quota {
            bytes: bytes.unwrap_or(usual.bytes),
            keys: keys.unwrap_or(usual.keys),
        };
        (quota, bytes.is_some() || keys.is_some())
    }

    fn leases(&self, id: &str) -> Bytes {
        format!("{}/l/{id}/", self.prefix).into()
    }

    fn compacted(&self, id: &str) -> Bytes {
        format!("{}/c/{id}", self.prefix).into()
    }

    fn marker(&self, id: &str) -> Bytes {
        format!("{}/k/{id}", self.prefix).into()
    }

    fn data(&self, id: &str) -> Bytes {
        format!("{}/d/{id}/", self.prefix).into()
    }
}

/// The end of the keys that start with `prefix` (which ends in `/` here).
fn prefix_end(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

#[async_trait]
impl Keyspaces for Etcd {
    async fn open(&self, id: &str) -> Result<Arc<dyn Store>> {
        if id.is_empty() || id.len() > 255 || id.contains('/') {
            return Err(Error::Invalid(
                "a keyspace id has 1 to 255 bytes and no slash".into(),
            ));
        }
        let known = self.stores.lock().get(id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        self.client.create(self.marker(id)).await?;
        let (data, leases) = (self.data(id), self.leases(id));
        let ranges = [
            (data.clone(), prefix_end(&data)),
            (leases.clone(), prefix_end(&leases)),
        ];
        let secret = self.secret.as_deref();
        let own = auth::client_for(&self.client, secret, &self.prefix, id, ranges).await?;
        let history = History::new(self.client.clone(), self.compacted(id), self.age.clone());
        let store = Arc::new(EtcdStore::new(own, data, leases, history));
        let (quota, counts) = self.quota(None, None);
        store.set_quota(counts.then_some(quota));
        // Somebody else may have opened it meanwhile: the same id gives the same store.
        let mut stores = self.stores.lock();
        Ok(stores.entry(id.to_owned()).or_insert(store).clone())
    }

    async fn sleep(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn set_quota(&self, id: &str, bytes: Option<u64>, keys: Option<u64>) -> Result<Quota> {
        let (quota, counts) = self.quota(bytes, keys);
        let known = self.stores.lock().get(id).cloned();
        let Some(store) = known else {
            return Err(Error::Invalid(format!("there is no keyspace {id}")));
        };
        // Without one nothing is counted: what there is then bounds all alike.
        store.set_quota(counts.then_some(quota));
        Ok(quota)
    }

    fn quota(&self, id: &str) -> Result<Quota> {
        match self.stores.lock().get(id) {
            Some(store) => Ok(store.quota().unwrap_or_default()),
            None => Err(Error::Invalid(format!("there is no keyspace {id}"))),
        }
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.stores.lock().remove(id);
        let (data, leases) = (self.data(id), self.leases(id));
        for (lo, hi) in [
            (data.clone(), prefix_end(&data)),
            (leases.clone(), prefix_end(&leases)),
            (self.compacted(id), Bytes::new()),
            // Last, so that an interrupted deletion still shows in the list.
            (self.marker(id), Bytes::new()),
        ] {
            self.client.delete_range(lo, hi).await?;
        }
        auth::remove(&self.client, self.secret.as_deref(), &self.prefix, id).await
    }

    async fn list(&self) -> Result<Vec<String>> {
        let prefix = Bytes::from(format!("{}/k/", self.prefix));
        let keys = self
            .client
            .keys(prefix.clone(), prefix_end(&prefix))
            .await?;
        let name = |key: Bytes| String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
        Ok(keys.into_iter().map(name).collect())
    }
}
