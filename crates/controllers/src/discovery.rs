//! Which kinds a control plane serves.

use crate::api::{Kind, Result};
use kube::core::discovery::Scope;
use kube::discovery::Discovery;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most kinds are the same in every control plane of the process: they are kept once.
static SHARED: Mutex<BTreeSet<Arc<Kind>>> = Mutex::new(BTreeSet::new());

fn shared(kind: Kind) -> Arc<Kind> {
    let mut shared = SHARED.lock();
    if let Some(known) = shared.get(&kind) {
        return known.clone();
    }
    let kind = Arc::new(kind);
    // What only this set still knows went with its definition or control plane.
    shared.retain(|known| Arc::strong_count(known) > 1);
    shared.insert(kind.clone());
    kind
}

/// Every kind once, in its most stable version, sorted.
pub(crate) async fn kinds(client: &kube::Client) -> Result<Vec<Arc<Kind>>> {
    // Asks once for everything; a server that is too old for that is asked group by group.
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    let mut kinds = Vec::new();
    for group in discovery.groups() {
        for (resource, can) in group.resources_by_stability() {
            kinds.push(shared(Kind {
                group: resource.group.into(),
                version: resource.version.into(),
                kind: resource.kind.into(),
                plural: resource.plural.into(),
                namespaced: can.scope == Scope::Namespaced,
                can_list: can.operations.iter().any(|o| o == "list"),
                can_watch: can.operations.iter().any(|o| o == "watch"),
                can_delete: can.operations.iter().any(|o| o == "delete"),
                can_delete_collection: can.operations.iter().any(|o| o == "deletecollection"),
            }));
        }
    }
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}
