//! Rows of autoscaling, disruption budgets, priorities, flow control, leases and devices.

use super::core::amount;
use super::{Cells, Row, first_of};
use crate::{Str, Value};

pub(super) fn cells(row: &Row<'_>, kind: &str) -> Cells {
    match kind {
        "HorizontalPodAutoscaler" => autoscaler(row),
        "Scale" => vec![
            ("Desired", Value::Int(row.int(&["spec", "replicas"]))),
            ("Available", Value::Int(row.int(&["status", "replicas"]))),
        ],
        "PodDisruptionBudget" => vec![
            (
                "Min Available",
                int_or_text(row.at(&["spec", "minAvailable"])),
            ),
            (
                "Max Unavailable",
                int_or_text(row.at(&["spec", "maxUnavailable"])),
            ),
            (
                "Allowed Disruptions",
                Value::Int(row.int(&["status", "disruptionsAllowed"])),
            ),
        ],
        "PriorityClass" => vec![
            ("Value", Value::Int(row.int(&["value"]))),
            ("Global-Default", row.bool(&["globalDefault"], false)),
            ("PreemptionPolicy", row.text(&["preemptionPolicy"]).into()),
        ],
        "RuntimeClass" => vec![("Handler", row.text(&["handler"]).into())],
        "Lease" => vec![("Holder", row.text(&["spec", "holderIdentity"]).into())],
        "LeaseCandidate" => vec![
            ("LeaseName", row.text(&["spec", "leaseName"]).into()),
            ("BinaryVersion", row.text(&["spec", "binaryVersion"]).into()),
            (
                "EmulationVersion",
                row.text(&["spec", "emulationVersion"]).into(),
            ),
        ],
        "FlowSchema" => flow_schema(row),
        "PriorityLevelConfiguration" => priority_level(row),
        "ResourceClaim" => vec![("State", claim_state(row).into())],
        "ResourceSlice" => vec![
            ("Node", row.text(&["spec", "nodeName"]).into()),
            ("Driver", row.text(&["spec", "driver"]).into()),
            ("Pool", row.text(&["spec", "pool", "name"]).into()),
        ],
        "DeviceTaintRule" => device_taint(row),
        "PodGroup" => pod_group(row),
        _ => Cells::new(),
    }
}

fn int_or_text(value: Option<&Value>) -> Value {
    match value {
        Some(Value::Int(i)) => i.to_string().into(),
        Some(Value::String(s)) => s.clone().into(),
        _ => "N/A".into(),
    }
}

fn autoscaler(row: &Row<'_>) -> Cells {
    let reference = format!(
        "{}/{}",
        row.text(&["spec", "scaleTargetRef", "kind"]),
        row.text(&["spec", "scaleTargetRef", "name"])
    );
    let min = row.at(&["spec", "minReplicas"]).and_then(Value::as_i64);
    vec![
        ("Reference", reference.into()),
        ("Targets", metrics(row).into()),
        (
            "MinPods",
            min.map_or_else(|| "<unset>".into(), |m| m.to_string())
                .into(),
        ),
        ("MaxPods", Value::Int(row.int(&["spec", "maxReplicas"]))),
        (
            "Replicas",
            Value::Int(row.int(&["status", "currentReplicas"])),
        ),
    ]
}

fn metrics(row: &Row<'_>) -> String {
    let specs = row.list(&["spec", "metrics"]);
    // autoscaling/v1 knows CPU only
    if let Some(target) = row
        .at(&["spec", "targetCPUUtilizationPercentage"])
        .and_then(Value::as_i64)
    {
        let current = row
            .at(&["status", "currentCPUUtilizationPercentage"])
            .and_then(Value::as_i64);
        let current = current.map_or_else(|| "<unknown>".into(), |c| format!("{c}%"));
        return metric_name(row, "cpu") + &format!("{current}/{target}%");
    }
    if specs.is_empty() {
        return "<none>".into();
    }
    let statuses = row.list(&["status", "currentMetrics"]);
    let list: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| metric(row, spec, statuses.get(i)))
        .collect();
    first_of(&list, list.len(), 2, ", ")
}

/// `cpu: ` as rows have it since v1.30
fn metric_name(row: &Row<'_>, name: &str) -> String {
    if row.minor < 30 {
        String::new()
    } else {
        format!("{name}: ")
    }
}

fn metric(row: &Row<'_>, spec: &Value, status: Option<&Value>) -> String {
    let source = match spec.str_at(&["type"]) {
        Some("External") => "external",
        Some("Pods") => "pods",
        Some("Object") => "object",
        Some("Resource") => "resource",
        Some("ContainerResource") => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let target = |key: &str| spec.at(&[source, "target", key]);
    let current = |key: &str| status.and_then(|s| s.at(&[source, "current", key]));
    let has_current = status.is_some_and(|s| s.get(source).is_some_and(|v| !v.is_null()));
    let unknown = || "<unknown>".to_owned();
    // pods and resources print a zero where external and object metrics say that they do not know
    let average = |strict: bool| match current("averageValue") {
        Some(value) => amount(Some(value)),
        None if !strict && has_current => amount(None),
        None => unknown(),
    };
    let named = matches!(source, "resource" | "containerResource");
    if named {
        let name = metric_name(row, spec.str_at(&[source, "name"]).unwrap_or_default());
        if let Some(value) = target("averageValue") {
            return format!("{name}{}/{}", average(false), amount(Some(value)));
        }
        let percent = |v: Option<&Value>| v.and_then(Value::as_i64).map(|p| format!("{p}%"));
        let now = percent(current("averageUtilization")).unwrap_or_else(unknown);
        let wanted = percent(target("averageUtilization")).unwrap_or_else(|| "<auto>".into());
        return format!("{name}{now}/{wanted}");
    }
    match target("averageValue") {
        Some(value) if source == "pods" => format!("{}/{}", average(false), amount(Some(value))),
        Some(value) => format!("{}/{} (avg)", average(true), amount(Some(value))),
        None => {
            let now = if has_current {
                amount(current("value"))
            } else {
                unknown()
            };
            format!("{now}/{}", amount(target("value")))
        }
    }
}

fn flow_schema(row: &Row<'_>) -> Cells {
    let dangling = row
        .condition("Dangling")
        .and_then(|c| c.str_at(&["status"]));
    vec![
        (
            "PriorityLevel",
            row.text(&["spec", "priorityLevelConfiguration", "name"])
                .into(),
        ),
        (
            "MatchingPrecedence",
            Value::Int(row.int(&["spec", "matchingPrecedence"])),
        ),
        (
            "DistinguisherMethod",
            row.text_or(&["spec", "distinguisherMethod", "type"], "<none>")
                .into(),
        ),
        ("MissingPL", dangling.unwrap_or("?").into()),
    ]
}

fn priority_level(row: &Row<'_>) -> Cells {
    let none = || Value::from("<none>");
    let limited = row.at(&["spec", "limited"]).is_some();
    let queuing = row
        .at(&["spec", "limited", "limitResponse", "queuing"])
        .is_some();
    let number = |set: bool, path: &[&str]| {
        if set {
            Value::Int(row.int(path))
        } else {
            none()
        }
    };
    let queue = |key: &str| {
        number(
            queuing,
            &["spec", "limited", "limitResponse", "queuing", key],
        )
    };
    vec![
        ("Type", row.text(&["spec", "type"]).into()),
        (
            "NominalConcurrencyShares",
            number(limited, &["spec", "limited", "nominalConcurrencyShares"]),
        ),
        (
            "AssuredConcurrencyShares",
            number(limited, &["spec", "limited", "assuredConcurrencyShares"]),
        ),
        ("Queues", queue("queues")),
        ("HandSize", queue("handSize")),
        ("QueueLengthLimit", queue("queueLengthLimit")),
    ]
}

fn claim_state(row: &Row<'_>) -> String {
    let mut states = Vec::new();
    if row.deleted() {
        states.push("deleted");
    }
    if row.at(&["status", "allocation"]).is_some() {
        states.push("allocated");
        if !row.list(&["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    } else if !row.deleted() {
        states.push("pending");
    }
    states.join(",")
}

fn device_taint(row: &Row<'_>) -> Cells {
    let added = row.at(&["spec", "taint", "timeAdded"]);
    vec![
        ("Key", row.text(&["spec", "taint", "key"]).into()),
        ("Value", row.text(&["spec", "taint", "value"]).into()),
        ("Effect", row.text(&["spec", "taint", "effect"]).into()),
        (
            "TimeAdded",
            added
                .map_or_else(Str::default, |_| row.since(&["spec", "taint", "timeAdded"]))
                .into(),
        ),
    ]
}

fn pod_group(row: &Row<'_>) -> Cells {
    let gang = row.at(&["spec", "schedulingPolicy", "gang"]).is_some();
    let mut status = match row.condition("PodGroupScheduled") {
        Some(_) if row.condition_is_true("PodGroupScheduled") => "Scheduled",
        Some(_) => "Unschedulable",
        None => "Pending",
    };
    if let Some(target) = row.condition("DisruptionTarget") {
        status = target.str_at(&["reason"]).unwrap_or_default();
    }
    let workload = row.text_or(
        &["spec", "podGroupTemplateRef", "workload", "workloadName"],
        "<none>",
    );
    vec![
        ("Policy", if gang { "Gang" } else { "Basic" }.into()),
        ("Workload", workload.into()),
        ("Status", status.into()),
    ]
}
