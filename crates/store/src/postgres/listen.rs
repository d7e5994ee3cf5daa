//! One connection per process that is told of commits of other processes.

use super::fault::Fault;
use super::pool::{Pool, by};
use super::store::Inner;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::Notification;

/// How often the connection is tried when nothing is heard.
const TRY: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);
/// How long the connection is kept when nobody watches: making another one costs the server more
/// than a write, just when the next watch waits for its first events.
const LINGER: Duration = Duration::from_secs(60);

type Channels = Arc<Mutex<BTreeMap<Arc<str>, Weak<Inner>>>>;

/// The keyspaces that are watched here.
pub(super) struct Listener {
    pool: Arc<Pool>,
    channels: Channels,
    changed: Arc<Notify>,
    running: Mutex<bool>,
}

impl Listener {
    pub(super) fn new(pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self {
            pool,
            channels: Channels::default(),
            changed: Arc::default(),
            running: Mutex::default(),
        })
    }

    pub(super) fn add(self: &Arc<Self>, store: &Arc<Inner>) {
        let weak = Arc::downgrade(store);
        let channel = store.names.channel.clone();
        self.channels.lock().insert(channel, weak);
        self.changed.notify_one();
        if !std::mem::replace(&mut *self.running.lock(), true) {
            tokio::spawn(self.clone().run());
        }
    }

    pub(super) fn remove(&self, store: &Arc<Inner>) {
        self.channels.lock().remove(&store.names.channel);
        self.changed.notify_one();
    }

    /// Listens until nobody has watched for a while.
    async fn run(self: Arc<Self>) {
        loop {
            if let Err(fault) = self.listen().await {
                tracing::debug!(error = %fault.plain(), "not told of other processes' commits");
                tokio::time::sleep(PAUSE).await;
            }
            let mut running = self.running.lock();
            if self.channels.lock().is_empty() {
                *running = false;
                return;
            }
        }
    }

    async fn listen(self: &Arc<Self>) -> Result<(), Fault> {
        let channels = self.channels.clone();
        let notified = move |note: Notification| {
            let store = channels.lock().get(note.channel()).and_then(Weak::upgrade);
            if let (Some(store), Ok(rev)) = (store, note.payload().parse()) {
                store.hub.heard(rev);
            }
        };
        let connector = &self.pool.connector;
        let session = connector
            .connect(Instant::now() + LIMIT, Some(Box::new(notified)))
            .await?;
        let mut listening = BTreeSet::new();
        let mut needed = Instant::now();
        loop {
            let wanted: BTreeMap<Arc<str>, Weak<Inner>> = self.channels.lock().clone();
            if !wanted.is_empty() {
                needed = Instant::now();
            } else if needed.elapsed() > LINGER || Arc::strong_count(self) == 1 {
                // Nobody watches; in the second case nobody can.
                return Ok(());
            }
            let mut text = String::new();
            for channel in wanted.keys().filter(|name| !listening.contains(*name)) {
                text.push_str(&format!("LISTEN \"{channel}\";"));
            }
            for channel in listening.iter().filter(|name| !wanted.contains_key(*name)) {
                text.push_str(&format!("UNLISTEN \"{channel}\";"));
            }
            // Without anything to say this finds out whether the connection still lives.
            by(Instant::now() + LIMIT, session.client.batch_execute(&text)).await?;
            for (channel, store) in &wanted {
                if !listening.contains(channel)
                    && let Some(store) = store.upgrade()
                {
                    // What was committed before is asked for.
                    store.hub.need.notify_one();
                }
            }
            listening = wanted.into_keys().collect();
            // A timeout is as good as a call.
            drop(tokio::time::timeout(TRY, self.changed.notified()).await);
        }
    }
}
