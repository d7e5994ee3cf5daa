//! Empties a namespace that is being deleted, then lets it go
//! (pkg/controller/namespace/deletion).

use crate::api::{Api, Kind, PARTIAL_LIST, Page, Partial, Propagation, Result, code, found};
use crate::discovery;
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Held by every namespace from its creation on.
const FINALIZER: &str = "kubernetes";
static NAMESPACES: LazyLock<Kind> = LazyLock::new(|| Kind::core("namespaces", false));

pub(crate) struct Namespaces {
    shared: Arc<Shared>,
    queue: Queue<String>,
}

impl Namespaces {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }
}

impl Controller for Namespaces {
    fn observe(&self, event: &Event) {
        if let What::Applied(meta) = &event.what
            && meta.deletion_timestamp.is_some()
            && event.kind.is("", "namespaces")
        {
            self.queue.add(meta.name.clone());
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("namespaces", 4, |name| step(&self.shared.api, name))
            .boxed()
    }
}

async fn step(api: &Api, name: String) -> Result<Next> {
    let Some(mut namespace) = api.get(&NAMESPACES, "", &name).await? else {
        return Ok(Next::Done);
    };
    if !namespace["metadata"]["deletionTimestamp"].is_string() || !has_finalizer(&namespace) {
        return Ok(Next::Done);
    }
    if namespace["status"]["phase"] != "Terminating" {
        namespace["status"]["phase"] = "Terminating".into();
        let Some(updated) = found(api.update(&NAMESPACES, &namespace, "status").await)? else {
            return Ok(Next::Done);
        };
        namespace = updated;
    }
    let content = empty(api, &name).await;
    if set_conditions(&mut namespace, &content.conditions(), &now())
        && let Some(updated) = found(api.update(&NAMESPACES, &namespace, "status").await)?
    {
        namespace = updated;
    }
    if !content.is_gone() {
        return Ok(Next::Wait);
    }
    if let Some(finalizers) = namespace["spec"]["finalizers"].as_array_mut() {
        finalizers.retain(|f| f != FINALIZER);
    }
    found(api.update(&NAMESPACES, &namespace, "finalize").await)?;
    Ok(Next::Done)
}

fn has_finalizer(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"]
        .as_array()
        .is_some_and(|f| f.iter().any(|f| f == FINALIZER))
}

fn now() -> String {
    let now = time::OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    now.format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

/// What an attempt to empty a namespace found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    discovery_error: Option<String>,
    errors: Vec<String>,
    /// `plural.group` → how many are left
    remaining: BTreeMap<String, usize>,
    /// finalizer → objects that have it
    finalizers: BTreeMap<String, usize>,
}

/// Deletes everything once and reports what is left. Pods go first: what they use stays until
/// they are gone.
async fn empty(api: &Api, namespace: &str) -> Content {
    let mut content = Content::default();
    // Looked up anew: a kind defined a moment ago may have objects here already.
    let kinds = match discovery::kinds(&api.client).await {
        Ok(kinds) => kinds,
        Err(e) => {
            content.discovery_error = Some(e.to_string());
            return content;
        }
    };
    let deletable = |k: &&Arc<Kind>| k.namespaced && k.can_delete;
    let (pods, others): (Vec<_>, Vec<_>) = kinds
        .iter()
        .filter(deletable)
        .partition(|k| k.is("", "pods"));
    for kind in pods {
        empty_kind(api, kind, namespace, &mut content).await;
    }
    if content.is_gone() {
        for kind in others {
            empty_kind(api, kind, namespace, &mut content).await;
        }
    }
    content
}

async fn empty_kind(api: &Api, kind: &Kind, namespace: &str, content: &mut Content) {
    // Most kinds have nothing in most namespaces: look before deleting.
    match remaining(api, kind, namespace).await {
        Ok(page) if page.is_empty() => return,
        Ok(_) => {}
        Err(e) => content.error(kind, &e),
    }
    let deleted = if kind.can_delete_collection {
        api.delete_collection(kind, namespace).await
    } else {
        delete_each(api, kind, namespace).await
    };
    if let Err(e) = deleted
        && !is_unsupported(&e)
    {
        content.error(kind, &e);
    }
    match remaining(api, kind, namespace).await {
        Ok(left) => content.count(kind, &left),
        Err(e) => content.error(kind, &e),
    }
}

fn is_unsupported(error: &kube::Error) -> bool {
    matches!(code(error), 404 | 405)
}

/// The finalizers of each object that is left, of the first page.
async fn remaining(api: &Api, kind: &Kind, namespace: &str) -> Result<Vec<Vec<String>>> {
    if !kind.can_list {
        return Ok(Vec::new());
    }
    let page: Result<Page<Partial>> = api.page(kind, namespace, "", PARTIAL_LIST, "").await;
    match page {
        Ok(page) => Ok(page
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|o| o.metadata.finalizers)
            .collect()),
        Err(e) if is_unsupported(&e) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

async fn delete_each(api: &Api, kind: &Kind, namespace: &str) -> Result<()> {
    let mut next = String::new();
    loop {
        let page: Page<Partial> = api.page(kind, namespace, "", PARTIAL_LIST, &next).await?;
        for Partial { metadata } in page.items.unwrap_or_default() {
            api.delete(
                kind,
                namespace,
                &metadata.name,
                (&metadata.uid, None),
                Propagation::Background,
            )
            .await?;
        }
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(());
        }
    }
}

impl Content {
    fn error(&mut self, kind: &Kind, error: &kube::Error) {
        self.errors.push(format!("{}: {error}", kind.plural));
    }

    fn count(&mut self, kind: &Kind, left: &[Vec<String>]) {
        if left.is_empty() {
            return;
        }
        self.remaining
            .insert(format!("{}.{}", kind.plural, kind.group), left.len());
        for finalizer in left.iter().flatten() {
            *self.finalizers.entry(finalizer.clone()).or_insert(0) += 1;
        }
    }

    fn is_gone(&self) -> bool {
        self.discovery_error.is_none() && self.errors.is_empty() && self.remaining.is_empty()
    }

    /// `(type, status, reason, message)` as upstream words them.
    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let listed = |counts: &BTreeMap<String, usize>, has: &str| {
            let counts: Vec<String> = counts
                .iter()
                .map(|(what, n)| format!("{what} {has} {n} resource instances"))
                .collect();
            counts.join(", ")
        };
        let either = |kind, bad: bool, reasons: [&'static str; 2], message: String, fine: &str| {
            let message = if bad { message } else { fine.to_owned() };
            (kind, bad, reasons[usize::from(!bad)], message)
        };
        let mut errors = self.errors.clone();
        errors.sort();
        [
            either(
                "NamespaceDeletionDiscoveryFailure",
                self.discovery_error.is_some(),
                ["DiscoveryFailed", "ResourcesDiscovered"],
                self.discovery_error.clone().unwrap_or_default(),
                "All resources successfully discovered",
            ),
            either(
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                ["GroupVersionParsingFailed", "ParsedGroupVersions"],
                String::new(),
                "All legacy kube types successfully parsed",
            ),
            either(
                "NamespaceDeletionContentFailure",
                !errors.is_empty(),
                ["ContentDeletionFailed", "ContentDeleted"],
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    errors.len(),
                    errors.join(", ")
                ),
                "All content successfully deleted, may be waiting on finalization",
            ),
            either(
                "NamespaceContentRemaining",
                !self.remaining.is_empty(),
                ["SomeResourcesRemain", "ContentRemoved"],
                format!(
                    "Some resources are remaining: {}",
                    listed(&self.remaining, "has")
                ),
                "All content successfully removed",
            ),
            either(
                "NamespaceFinalizersRemaining",
                !self.finalizers.is_empty(),
                ["SomeFinalizersRemain", "ContentHasNoFinalizers"],
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    listed(&self.finalizers, "in")
                ),
                "All content-preserving finalizers finished",
            ),
        ]
    }
}

/// Puts conditions into the status; whether anything changed.
fn set_conditions(namespace: &mut Value, wanted: &[(&str, bool, &str, String)], now: &str) -> bool {
    if !namespace["status"]["conditions"].is_array() {
        namespace["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = namespace["status"]["conditions"].as_array_mut() else {
        return false;
    };
    let mut changed = false;
    for (kind, bad, reason, message) in wanted {
        let status = if *bad { "True" } else { "False" };
        let Some(existing) = conditions.iter_mut().find(|c| c["type"] == *kind) else {
            conditions.push(json!({
                "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
            }));
            changed = true;
            continue;
        };
        if existing["status"] != status {
            existing["lastTransitionTime"] = now.into();
        }
        for (field, value) in [("status", status), ("reason", reason), ("message", message)] {
            if existing[field] != value {
                existing[field] = value.into();
                changed = true;
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left() -> Content {
        let mut content = Content::default();
        content.count(&Kind::core("pods", true), &[vec![], vec!["x/y".into()]]);
        content.count(
            &Kind::builtin("apps", "v1", "deployments", true),
            &[vec!["x/y".into()]],
        );
        content
    }

    #[test]
    fn what_is_left_is_said_as_upstream_says_it() {
        let conditions = left().conditions();
        assert_eq!(
            conditions[3],
            (
                "NamespaceContentRemaining",
                true,
                "SomeResourcesRemain",
                "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances"
                    .to_owned()
            )
        );
        assert_eq!(
            conditions[4].3,
            "Some content in the namespace has finalizers remaining: x/y in 2 resource instances"
        );
        assert!(!left().is_gone() && Content::default().is_gone());
    }

    #[test]
    fn a_condition_changes_its_time_only_with_its_status() {
        let mut namespace = json!({});
        assert!(set_conditions(&mut namespace, &left().conditions(), "t1"));
        assert!(!set_conditions(&mut namespace, &left().conditions(), "t2"));
        let mut less = left();
        less.remaining.remove("deployments.apps");
        assert!(set_conditions(&mut namespace, &less.conditions(), "t3"));
        let time = |namespace: &Value| {
            let all = namespace["status"]["conditions"]
                .as_array()
                .unwrap()
                .clone();
            all.into_iter()
                .find(|c| c["type"] == "NamespaceContentRemaining")
                .unwrap()["lastTransitionTime"]
                .clone()
        };
        assert_eq!(time(&namespace), "t1");
        assert!(set_conditions(
            &mut namespace,
            &Content::default().conditions(),
            "t4"
        ));
        assert_eq!(time(&namespace), "t4");
    }
}
