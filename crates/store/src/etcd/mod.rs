//! Keyspaces on an etcd that somebody else runs: one prefix each.
//!
//! `<prefix>/d/<id>/…` holds a keyspace's keys, `<prefix>/k/<id>` says that it exists,
//! `<prefix>/l/<id>/<lease>` (under that lease) whose a lease is. Revisions are the etcd's own:
//! they grow by more than one when others write too, and compaction is common to all.
//!
//! Reads are tried again when the connection breaks; a write is not: if it is not known
//! whether it was done, the error says so.

mod client;
mod store;
mod watch;

use crate::{Error, Keyspaces, Result, Store};
use async_trait::async_trait;
use bytes::Bytes;
use client::Client;
use std::sync::Arc;
use std::time::Duration;
use store::EtcdStore;

pub use crate::remote::Tls;

/// Where the etcd is and what part of it is ours.
#[derive(Clone)]
pub struct Options {
    /// `http://` or `https://` URLs of the members
    pub endpoints: Vec<String>,
    pub prefix: String,
    pub tls: Option<Tls>,
    /// how long a request may take, retries included
    pub timeout: Duration,
}

impl Options {
    pub fn new(endpoints: Vec<String>, prefix: impl Into<String>) -> Self {
        Self {
            endpoints,
            prefix: prefix.into(),
            tls: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// All keyspaces under one prefix.
pub struct Etcd {
    client: Client,
    prefix: String,
}

impl Etcd {
    /// Connects and asks for the server's status, so that what is wrong is said now.
    pub async fn connect(options: Options) -> Result<Arc<Self>> {
        let client = Client::new(&options)?;
        client.status().await?;
        Ok(Arc::new(Self {
            client,
            prefix: options.prefix,
        }))
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
        self.client.create(self.marker(id)).await?;
        let leases = format!("{}/l/{id}/", self.prefix);
        Ok(Arc::new(EtcdStore::new(
            self.client.clone(),
            self.data(id),
            leases,
        )))
    }

    async fn sleep(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let data = self.data(id);
        let leases = Bytes::from(format!("{}/l/{id}/", self.prefix));
        for (lo, hi) in [
            (data.clone(), prefix_end(&data)),
            (leases.clone(), prefix_end(&leases)),
            // Last, so that an interrupted deletion still shows in the list.
            (self.marker(id), Bytes::new()),
        ] {
            self.client.delete_range(lo, hi).await?;
        }
        Ok(())
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
