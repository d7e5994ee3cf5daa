//! Rows of the core group, and of events.

use super::{Cells, Row, ago, containers, first_of, labels, seconds};
use crate::{Value, quantity};

pub(super) fn cells(row: &Row<'_>, kind: &str) -> Cells {
    match kind {
        "PodTemplate" => pod_template(row),
        "ReplicationController" => {
            super::workloads::replicas(row, labels(row.map(&["spec", "selector"])))
        }
        "Service" => super::network::service(row),
        "Endpoints" => vec![("Endpoints", endpoints(row).into())],
        "Node" => node(row),
        "Event" => event(row),
        "Namespace" => vec![("Status", row.text(&["status", "phase"]).into())],
        "ServiceAccount" => vec![("Secrets", row.count(&["secrets"]))],
        "Secret" => vec![
            ("Type", row.text(&["type"]).into()),
            ("Data", row.count(&["data"])),
        ],
        "ConfigMap" => {
            let count = |key: &str| row.map(&[key]).map_or(0, crate::Map::len);
            let total = i64::try_from(count("data") + count("binaryData")).unwrap_or(i64::MAX);
            vec![("Data", Value::Int(total))]
        }
        "PersistentVolume" => super::storage::volume(row),
        "PersistentVolumeClaim" => super::storage::claim(row),
        "ComponentStatus" => component(row),
        "ResourceQuota" => quota(row),
        _ => Cells::new(),
    }
}

fn pod_template(row: &Row<'_>) -> Cells {
    let mut cells = Cells::from(containers(row.list(&["template", "spec", "containers"])));
    cells.push((
        "Pod Labels",
        labels(row.map(&["template", "metadata", "labels"])).into(),
    ));
    cells
}

fn endpoints(row: &Row<'_>) -> String {
    let subsets = row.list(&["subsets"]);
    if subsets.is_empty() {
        return "<none>".into();
    }
    const MAX: usize = 3;
    let (mut list, mut total) = (Vec::new(), 0);
    for subset in subsets {
        let part = |key: &str| {
            subset
                .at(&[key])
                .and_then(Value::as_array)
                .unwrap_or_default()
        };
        let ips = || {
            part("addresses")
                .iter()
                .map(|a| a.str_at(&["ip"]).unwrap_or_default())
        };
        if part("ports").is_empty() {
            total += ips().len();
            list.extend(
                ips()
                    .take(MAX.saturating_sub(list.len()))
                    .map(str::to_owned),
            );
        }
        for port in part("ports") {
            let port = port
                .at(&["port"])
                .and_then(Value::as_i64)
                .unwrap_or_default();
            let address = |ip: &str| {
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            };
            total += ips().len();
            list.extend(ips().take(MAX.saturating_sub(list.len())).map(address));
        }
    }
    first_of(&list, total, MAX, ",")
}

fn node(row: &Row<'_>) -> Cells {
    let mut status = match row.condition("Ready") {
        Some(c) if c.str_at(&["status"]) == Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if row.at(&["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in row
        .map(&["metadata", "labels"])
        .into_iter()
        .flat_map(crate::Map::iter)
    {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => roles.push(role),
            _ if key == "kubernetes.io/role" => {
                roles.extend(value.as_str().filter(|v| !v.is_empty()))
            }
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    let roles = if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    };
    let address = |kind: &str| {
        let all = row.list(&["status", "addresses"]);
        let found = all.iter().find(|a| a.str_at(&["type"]) == Some(kind));
        found
            .and_then(|a| a.str_at(&["address"]))
            .unwrap_or("<none>")
    };
    let info = |key: &str| row.text(&["status", "nodeInfo", key]);
    let known = |key: &str| {
        if info(key).is_empty() {
            "<unknown>"
        } else {
            info(key)
        }
    };
    let mut kernel = known("kernelVersion").to_owned();
    if !info("architecture").is_empty() && row.minor >= 36 {
        kernel = format!("{kernel} ({})", info("architecture"));
    }
    vec![
        ("Status", status.into()),
        ("Roles", roles.into()),
        ("Version", info("kubeletVersion").into()),
        ("Internal-IP", address("InternalIP").into()),
        ("External-IP", address("ExternalIP").into()),
        ("OS-Image", known("osImage").into()),
        ("Kernel-Version", kernel.into()),
        ("Container-Runtime", known("containerRuntimeVersion").into()),
    ]
}

/// Both forms of an event: the core group's, and that of `events.k8s.io`.
fn event(row: &Row<'_>) -> Cells {
    let either = |a: &[&str], b: &[&str]| row.at(a).or_else(|| row.at(b));
    let text = |a: &[&str], b: &[&str]| either(a, b).and_then(Value::as_str).unwrap_or_default();
    let age = |time: &str| ago(time, row.now);
    let unset = |time: &str| seconds(time).is_none();
    let first = text(&["firstTimestamp"], &["deprecatedFirstTimestamp"]);
    let first = if unset(first) {
        row.since(&["eventTime"])
    } else {
        age(first)
    };
    let last = text(&["lastTimestamp"], &["deprecatedLastTimestamp"]);
    let mut last = if unset(last) {
        first.clone()
    } else {
        age(last)
    };
    let mut count = either(&["count"], &["deprecatedCount"])
        .and_then(Value::as_i64)
        .unwrap_or_default();
    if row.at(&["series"]).is_some() {
        last = row.since(&["series", "lastObservedTime"]);
        count = row.int(&["series", "count"]);
    } else if count == 0 {
        count = 1;
    }
    let object = either(&["involvedObject"], &["regarding"]);
    let part = |key: &str| object.and_then(|o| o.str_at(&[key])).unwrap_or_default();
    let mut target: String = part("kind")
        .chars()
        .filter_map(|c| c.to_lowercase().next())
        .collect();
    if !part("name").is_empty() {
        target = format!("{target}/{}", part("name"));
    }
    let or = |a: &'static str, b: &'static str| {
        let found = either(&["source", a], &["deprecatedSource", a])
            .and_then(Value::as_str)
            .filter(|s| !s.is_empty());
        found.unwrap_or_else(|| row.text(&[b]))
    };
    let (component, host) = (
        or("component", "reportingComponent"),
        or("host", "reportingInstance"),
    );
    let component = if component.is_empty() {
        row.text(&["reportingController"])
    } else {
        component
    };
    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    vec![
        ("Last Seen", last.into()),
        ("Type", row.text(&["type"]).into()),
        ("Reason", row.text(&["reason"]).into()),
        ("Object", target.into()),
        ("Subobject", part("fieldPath").into()),
        ("Source", source.into()),
        ("Message", text(&["message"], &["note"]).trim().into()),
        ("First Seen", first.into()),
        ("Count", Value::Int(count)),
    ]
}

fn component(row: &Row<'_>) -> Cells {
    let healthy = row
        .list(&["conditions"])
        .iter()
        .find(|c| c.str_at(&["type"]) == Some("Healthy"));
    let part = |key: &str| healthy.and_then(|c| c.str_at(&[key])).unwrap_or_default();
    let status = match healthy {
        None => "Unknown",
        Some(_) if part("status") == "True" => "Healthy",
        Some(_) => "Unhealthy",
    };
    vec![
        ("Status", status.into()),
        ("Message", part("message").into()),
        ("Error", part("error").into()),
    ]
}

/// A quantity in its canonical form.
pub(super) fn amount(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(s)) => {
            quantity::canonical(s).map_or_else(|_| s.to_string(), |s| s.to_string())
        }
        Some(Value::Int(i)) => i.to_string(),
        Some(Value::Float(f)) => {
            quantity::canonical(&f.to_string()).map_or_else(|_| f.to_string(), |s| s.to_string())
        }
        _ => "0".into(),
    }
}

fn quota(row: &Row<'_>) -> Cells {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in row
        .map(&["status", "hard"])
        .into_iter()
        .flat_map(crate::Map::iter)
    {
        let text = format!(
            "{name}: {}/{}",
            amount(row.at(&["status", "used", name])),
            amount(Some(hard))
        );
        if name.starts_with("limits.") {
            limits.push(text)
        } else {
            requests.push(text)
        }
    }
    vec![
        ("Request", requests.join(", ").into()),
        ("Limit", limits.join(", ").into()),
    ]
}
