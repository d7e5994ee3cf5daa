//! One watch per kind for all controllers, and the loop that drives everything.

use crate::api::{Api, Kind};
use crate::watch::{self, Event, What};
use crate::{
    Config, bootstrap_tokens, certificate_requests, cluster_roles, discovery, garbage, namespaces,
    root_ca, service_accounts, tokens,
};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// Kinds are looked up anew after a definition changed, several times because it takes effect
/// with a delay, and now and then in any case.
const LOOK_AGAIN: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];
const LOOK_ANYWAY: Duration = Duration::from_secs(900);
/// After a failure at the start.
const RETRY: Duration = Duration::from_secs(1);

/// What works on a control plane.
pub(crate) trait Controller: Send + Sync {
    /// Is shown every event; must not block.
    fn observe(&self, event: &Event);

    /// Works for ever.
    fn work(&self) -> BoxFuture<'_, ()>;
}

/// What controllers share.
pub(crate) struct Shared {
    pub api: Api,
    pub config: Config,
    kinds: RwLock<Arc<[Arc<Kind>]>>,
    /// kinds whose first list is not complete
    pending: RwLock<BTreeSet<Arc<Kind>>>,
    definitions_changed: Notify,
    /// so many lists and beginnings of watches at a time: with dozens of kinds, all at once would
    /// cost memory that idleness never gives back
    opening: Semaphore,
}

const OPEN_AT_ONCE: usize = 2;

impl Shared {
    /// The kinds served, as last looked up.
    pub(crate) fn kinds(&self) -> Arc<[Arc<Kind>]> {
        self.kinds.read().clone()
    }

    /// Whether every watched kind was told completely once.
    pub(crate) fn is_complete(&self) -> bool {
        self.pending.read().is_empty() && !self.kinds.read().is_empty()
    }
}

/// Events say what happened long ago in a log; they own nothing and are owned by nothing.
fn is_followed(kind: &Kind) -> bool {
    let is_event = &*kind.plural == "events" && matches!(&*kind.group, "" | "events.k8s.io");
    kind.can_list && kind.can_watch && kind.can_delete && !is_event
}

pub(crate) async fn run(client: kube::Client, config: Config) {
    let name = config.name.clone();
    let span = tracing::info_span!("controllers", control_plane = %name);
    let shared = Arc::new(Shared {
        api: Api { client },
        config,
        kinds: RwLock::new(Arc::new([])),
        pending: RwLock::default(),
        definitions_changed: Notify::new(),
        opening: Semaphore::new(OPEN_AT_ONCE),
    });
    let controllers: Arc<[Box<dyn Controller>]> = Arc::new([
        Box::new(namespaces::Namespaces::new(&shared)),
        Box::new(service_accounts::ServiceAccounts::new(&shared)),
        Box::new(root_ca::RootCa::new(&shared)),
        Box::new(tokens::Tokens::new(&shared)),
        Box::new(garbage::Collector::new(&shared)),
        Box::new(cluster_roles::ClusterRoles::new(&shared)),
        Box::new(bootstrap_tokens::BootstrapTokens::new(&shared)),
        Box::new(certificate_requests::CertificateRequests::new(&shared)),
    ]);
    let mut work: FuturesUnordered<_> = controllers.iter().map(|c| c.work()).collect();
    let following = tracing::Instrument::instrument(follow_kinds(&shared, &controllers), span);
    tokio::select! {
        () = Box::pin(following) => {}
        // Work has no end; its steps catch their own panics.
        _ = work.next() => tracing::error!(control_plane = %name, "a controller ended"),
    }
}

/// Keeps a watch open for every kind that is served.
async fn follow_kinds(shared: &Arc<Shared>, controllers: &Arc<[Box<dyn Controller>]>) {
    let mut open: BTreeMap<Arc<Kind>, AbortHandle> = BTreeMap::new();
    let mut watches = FuturesUnordered::new();
    let mut look_at = Instant::now();
    // Nothing changed yet, so there is no reason to look twice.
    let mut steps = [].iter();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(look_at) => {
                if let Some(kinds) = look(shared).await {
                    open.retain(|kind, handle| {
                        let served = kinds.contains(kind);
                        if !served {
                            handle.abort();
                            shared.pending.write().remove(kind);
                        }
                        served
                    });
                    for kind in kinds.iter().filter(|kind| is_followed(kind)) {
                        if !open.contains_key(kind) {
                            let (handle, registration) = AbortHandle::new_pair();
                            shared.pending.write().insert(kind.clone());
                            open.insert(kind.clone(), handle);
                            let follow = follow_kind(shared.clone(), controllers.clone(), kind.clone());
                            watches.push(Abortable::new(Box::pin(follow), registration));
                        }
                    }
                    *shared.kinds.write() = kinds;
                }
                look_at = Instant::now() + next_look(&mut steps, open.is_empty());
            }
            () = shared.definitions_changed.notified() => {
                steps = LOOK_AGAIN.iter();
                look_at = Instant::now() + next_look(&mut steps, false);
            }
            Some(_) = watches.next(), if !watches.is_empty() => {}
        }
    }
}

fn next_look(steps: &mut std::slice::Iter<'_, Duration>, nothing_yet: bool) -> Duration {
    let next = steps.next().copied();
    next.unwrap_or(if nothing_yet { RETRY } else { LOOK_ANYWAY })
}

async fn look(shared: &Shared) -> Option<Arc<[Arc<Kind>]>> {
    match Box::pin(discovery::kinds(&shared.api.client)).await {
        Ok(kinds) => Some(kinds.into()),
        Err(error) => {
            tracing::debug!(%error, "the served kinds could not be looked up");
            None
        }
    }
}

async fn follow_kind(
    shared: Arc<Shared>,
    controllers: Arc<[Box<dyn Controller>]>,
    kind: Arc<Kind>,
) {
    watch::follow(&shared.api, &kind, &shared.opening, |event| {
        match event.what {
            What::Listed => {
                shared.pending.write().remove(&event.kind);
            }
            _ if event
                .kind
                .is("apiextensions.k8s.io", "customresourcedefinitions")
                || event.kind.is("apiregistration.k8s.io", "apiservices") =>
            {
                shared.definitions_changed.notify_one();
            }
            _ => {}
        }
        for controller in controllers.iter() {
            controller.observe(&event);
        }
    })
    .await;
}
