//! Fills cluster roles that gather the rules of others
//! (pkg/controller/clusterroleaggregation).

use crate::api::{Kind, Result, code};
use crate::hub::{Controller, Shared};
use crate::queue::{Next, Queue};
use crate::watch::{Event, What};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Roles come in bunches: one look serves them all.
const GATHER: Duration = Duration::from_millis(50);
static ROLES: LazyLock<Kind> = LazyLock::new(|| Kind::builtin(GROUP, "v1", "clusterroles", false));

pub(crate) struct ClusterRoles {
    shared: Arc<Shared>,
    queue: Queue<()>,
}

/// The roles whose gathered rules are out of date, with the new ones.
fn plan(roles: &[Value]) -> Vec<Value> {
    let mut sorted: Vec<&Value> = roles.iter().collect();
    sorted.sort_by_key(|role| role["metadata"]["name"].as_str());
    let mut changed = Vec::new();
    for role in &sorted {
        let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else {
            continue;
        };
        let mut rules: Vec<&Value> = Vec::new();
        for selector in selectors {
            for source in sorted
                .iter()
                .filter(|s| s["metadata"]["name"] != role["metadata"]["name"])
            {
                if !matches(selector, &source["metadata"]["labels"]) {
                    continue;
                }
                for rule in source["rules"].as_array().into_iter().flatten() {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            }
        }
        let now = role["rules"].as_array().map_or(&[][..], Vec::as_slice);
        if !now.iter().eq(rules.iter().copied()) {
            let mut role = (*role).clone();
            role["rules"] = rules.into_iter().cloned().collect();
            changed.push(role);
        }
    }
    changed
}

/// Whether a label selector selects these labels; an unknown operator selects nothing.
fn matches(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(k, v)| labels.get(k) == Some(v));
    let holds = |expression: &Value| {
        let label = expression["key"].as_str().and_then(|key| labels.get(key));
        let values = expression["values"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        match expression["operator"].as_str() {
            Some("In") => label.is_some_and(|l| values.contains(l)),
            Some("NotIn") => label.is_none_or(|l| !values.contains(l)),
            Some("Exists") => label.is_some(),
            Some("DoesNotExist") => label.is_none(),
            _ => false,
        }
    };
    equal
        && selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
            .all(holds)
}

impl ClusterRoles {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            queue: Queue::default(),
        }
    }

    async fn step(&self) -> Result<Next> {
        let api = &self.shared.api;
        let roles = api.list(&ROLES, "", "").await?;
        for role in plan(&roles) {
            match api.update(&ROLES, &role, "").await {
                // Changed or gone meanwhile: its event comes.
                Err(e) if matches!(code(&e), 404 | 409) => {}
                other => drop(other?),
            }
        }
        Ok(Next::Done)
    }
}

impl Controller for ClusterRoles {
    fn observe(&self, event: &Event) {
        if event.kind.is(GROUP, "clusterroles")
            && matches!(event.what, What::Applied(_) | What::Deleted(_))
        {
            self.queue.add_after((), GATHER);
        }
    }

    fn work(&self) -> BoxFuture<'_, ()> {
        self.queue
            .drive("cluster roles", 1, |()| self.step())
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(name: &str, labels: Value, rules: Value, selectors: Value) -> Value {
        let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        if !selectors.is_null() {
            role["aggregationRule"]["clusterRoleSelectors"] = selectors;
        }
        role
    }

    #[test]
    fn rules_are_gathered_by_name_order_and_once() {
        let (a, b) = (json!({"verbs": ["a"]}), json!({"verbs": ["b"]}));
        let roles = [
            role("z", json!({"to": "all"}), json!([b, a]), json!(null)),
            role(
                "all",
                json!({"to": "all"}),
                json!(null),
                json!([{"matchLabels": {"to": "all"}}]),
            ),
            role("m", json!({"to": "all"}), json!([a]), json!(null)),
            role(
                "other",
                json!({"to": "none"}),
                json!([{"verbs": ["c"]}]),
                json!(null),
            ),
        ];
        let changed = plan(&roles);
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0]["rules"], json!([a, b]));
        let settled = [
            roles[0].clone(),
            changed[0].clone(),
            roles[2].clone(),
            roles[3].clone(),
        ];
        assert!(plan(&settled).is_empty());
    }

    #[test]
    fn a_role_that_gathers_nothing_is_emptied_and_then_left() {
        let mut gathers = role(
            "all",
            json!({}),
            json!([{"verbs": ["a"]}]),
            json!([{"matchLabels": {"to": "all"}}]),
        );
        assert_eq!(plan(&[gathers.clone()])[0]["rules"], json!([]));
        gathers["rules"] = json!(null);
        assert!(plan(&[gathers]).is_empty());
    }

    #[test]
    fn expressions_select_as_everywhere() {
        let labels = json!({"a": "1"});
        let selects = |key: &str, operator: &str, values: Value| {
            matches(
                &json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
                &labels,
            )
        };
        assert!(selects("a", "In", json!(["1", "2"])) && !selects("b", "In", json!(["1"])));
        assert!(selects("b", "NotIn", json!(["1"])) && !selects("a", "NotIn", json!(["1"])));
        assert!(selects("a", "Exists", json!([])) && selects("b", "DoesNotExist", json!([])));
        assert!(!selects("a", "Like", json!(["1"])));
    }
}
