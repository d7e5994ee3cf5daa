//! Resources of a pod as a whole: kubernetes `pkg/apis/core/v1/defaults.go` (`defaultPodRequests`,
//! `defaultHugePagePodLimits`), component-helpers `resource/helpers.go`.

use super::{is_empty, present, text};
use crate::quantity::Quantity;
use crate::{Map, Str, Value};
use std::collections::BTreeMap;

/// Amounts by the name of the resource.
pub(crate) type Amounts = BTreeMap<Str, Quantity>;

/// Fills in what the containers say, where the pod says something already.
pub(super) fn fill(spec: &mut Map) {
    let Some(resources) = present(spec, "resources") else {
        return;
    };
    let (no_limits, no_requests) = (
        is_empty(resources, "limits"),
        is_empty(resources, "requests"),
    );
    if !(no_limits && no_requests) {
        huge_page_limits(spec);
    }
    if present(spec, "resources").is_some_and(|r| !is_empty(r, "limits")) {
        requests(spec);
    }
}

/// Huge pages cannot be overcommitted: the pod's limit is what its containers need.
fn huge_page_limits(spec: &mut Map) {
    let needed = aggregate(spec, "limits");
    let Some(resources) = present(spec, "resources") else {
        return;
    };
    let requested = resources
        .get("requests")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, amount) in needed.iter().filter(|(name, _)| is_huge_page(name)) {
        if !requested.contains_key(name) {
            add(resources, "limits", name, amount.to_string().into());
        }
    }
}

fn requests(spec: &mut Map) {
    let needed = aggregate(spec, "requests");
    let Some(resources) = present(spec, "resources") else {
        return;
    };
    for (name, amount) in needed
        .iter()
        .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"))
    {
        add(resources, "requests", name, amount.to_string().into());
    }
    let limits = resources
        .get("limits")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, limit) in limits.iter() {
        if matches!(name, "cpu" | "memory") || is_huge_page(name) {
            add(resources, "requests", name, limit.clone());
        }
    }
}

fn add(resources: &mut Map, list: &str, name: &str, amount: Value) {
    if let Some(list) = super::object(resources, list) {
        super::default(list, name, amount);
    }
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// What the containers need together: all that run at once, or the largest need while starting.
pub(crate) fn aggregate(spec: &Map, list: &str) -> Amounts {
    let containers = |key: &str| {
        spec.get(key)
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
    };
    let mut together = Amounts::new();
    for container in containers("containers") {
        sum(&mut together, &amounts(container, list));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in containers("initContainers") {
        let own = amounts(container, list);
        let is_sidecar = container
            .as_object()
            .is_some_and(|c| text(c, "restartPolicy") == "Always");
        let mut need = sidecars.clone();
        sum(&mut need, &own);
        if is_sidecar {
            sum(&mut together, &own);
            sidecars.clone_from(&need);
        }
        largest(&mut starting, need);
    }
    largest(&mut together, starting);
    together
}

fn amounts(container: &Value, list: &str) -> Amounts {
    let list = container
        .at(&["resources", list])
        .and_then(Value::as_object);
    let parse =
        |(name, value): (&str, &Value)| Some((name.into(), Quantity::parse(value.as_str()?).ok()?));
    list.into_iter()
        .flat_map(Map::iter)
        .filter_map(parse)
        .collect()
}

fn sum(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = match into.get(name) {
            Some(have) => have.checked_add(amount).unwrap_or_else(|| have.clone()),
            None => amount.clone(),
        };
        into.insert(name.clone(), total);
    }
}

fn largest(into: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        if into.get(&name).is_none_or(|have| amount > *have) {
            into.insert(name, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fill;
    use crate::{Value, value};

    #[test]
    fn a_pod_with_a_limit_requests_what_its_containers_do() {
        let mut spec = value!({
            "resources": {"limits": {"cpu": "4", "memory": "1Gi"}},
            "containers": [{"resources": {"requests": {"cpu": "500m"}, "limits": {"hugepages-2Mi": "4Mi"}}},
                {"resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}},
                {"resources": {"requests": {"cpu": "2"}}}]
        });
        fill(spec.as_object_mut().expect("an object"));
        let expected = value!({
            "limits": {"cpu": "4", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
            "requests": {"cpu": "2250m", "memory": "1Gi", "hugepages-2Mi": "4Mi"}
        });
        assert_eq!(spec.get("resources"), Some(&expected));
    }

    #[test]
    fn a_pod_that_says_nothing_gets_nothing() {
        let mut spec = value!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]});
        let before = spec.clone();
        fill(spec.as_object_mut().expect("an object"));
        assert_eq!(spec, before);
        assert!(spec.get("resources").and_then(Value::as_object).is_none());
    }
}
