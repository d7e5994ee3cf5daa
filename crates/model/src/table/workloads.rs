//! Rows of what runs pods.

use super::text::fraction;
use super::{Cells, Row, containers, human_duration, labels, seconds, selector, selector_or_none};
use crate::{Str, Value};

pub(super) fn cells(row: &Row<'_>, kind: &str) -> Cells {
    match kind {
        "Deployment" => deployment(row),
        "ReplicaSet" => replicas(row, selector_or_none(row.at(&["spec", "selector"]))),
        "StatefulSet" => {
            let mut cells = vec![("Ready", ready(row).into())];
            cells.extend(template(row, &["spec", "template", "spec", "containers"]));
            cells
        }
        "DaemonSet" => daemon_set(row),
        "Job" => job(row),
        "CronJob" => cron_job(row),
        "ControllerRevision" => {
            vec![
                ("Controller", controller(row).into()),
                ("Revision", Value::Int(row.int(&["revision"]))),
            ]
        }
        _ => Cells::new(),
    }
}

fn template(row: &Row<'_>, path: &[&str]) -> [(&'static str, Value); 2] {
    containers(row.list(path))
}

fn ready(row: &Row<'_>) -> Str {
    let mut text = Str::default();
    let ready = row.int(&["status", "readyReplicas"]);
    fraction(&mut text, ready, row.int(&["spec", "replicas"]));
    text
}

/// Replica sets and replication controllers.
pub(super) fn replicas(row: &Row<'_>, selector: String) -> Cells {
    let mut cells = vec![
        ("Desired", Value::Int(row.int(&["spec", "replicas"]))),
        ("Current", Value::Int(row.int(&["status", "replicas"]))),
        ("Ready", Value::Int(row.int(&["status", "readyReplicas"]))),
        ("Selector", selector.into()),
    ];
    cells.extend(template(row, &["spec", "template", "spec", "containers"]));
    cells
}

fn deployment(row: &Row<'_>) -> Cells {
    let mut cells = vec![
        ("Ready", ready(row).into()),
        (
            "Up-to-date",
            Value::Int(row.int(&["status", "updatedReplicas"])),
        ),
        (
            "Available",
            Value::Int(row.int(&["status", "availableReplicas"])),
        ),
        (
            "Selector",
            selector(row.at(&["spec", "selector"]))
                .unwrap_or_else(|| "<invalid>".into())
                .into(),
        ),
    ];
    cells.extend(template(row, &["spec", "template", "spec", "containers"]));
    cells
}

fn daemon_set(row: &Row<'_>) -> Cells {
    let mut cells: Cells = [
        ("Desired", "desiredNumberScheduled"),
        ("Current", "currentNumberScheduled"),
        ("Ready", "numberReady"),
        ("Up-to-date", "updatedNumberScheduled"),
        ("Available", "numberAvailable"),
    ]
    .into_iter()
    .map(|(name, field)| (name, Value::Int(row.int(&["status", field]))))
    .collect();
    let nodes = labels(row.map(&["spec", "template", "spec", "nodeSelector"]));
    cells.push(("Node Selector", nodes.into()));
    cells.push((
        "Selector",
        selector_or_none(row.at(&["spec", "selector"])).into(),
    ));
    cells.extend(template(row, &["spec", "template", "spec", "containers"]));
    cells
}

fn job(row: &Row<'_>) -> Cells {
    let succeeded = row.int(&["status", "succeeded"]);
    let completions = match row.at(&["spec", "completions"]).and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match row.int(&["spec", "parallelism"]) {
            parallel if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let start = seconds(row.text(&["status", "startTime"]));
    let end = seconds(row.text(&["status", "completionTime"])).unwrap_or(row.now);
    let status = if row.condition_is_true("Complete") {
        "Complete"
    } else if row.condition_is_true("Failed") {
        "Failed"
    } else if row.deleted() {
        "Terminating"
    } else {
        let of = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        let known = if row.minor < 34 { &of[..2] } else { &of };
        known
            .iter()
            .copied()
            .find(|c| row.condition_is_true(c))
            .unwrap_or("Running")
    };
    let mut cells = vec![
        ("Status", status.into()),
        ("Completions", completions.into()),
        (
            "Duration",
            start
                .map_or_else(String::new, |start| human_duration(end - start))
                .into(),
        ),
        (
            "Selector",
            selector_or_none(row.at(&["spec", "selector"])).into(),
        ),
    ];
    cells.extend(template(row, &["spec", "template", "spec", "containers"]));
    cells
}

fn cron_job(row: &Row<'_>) -> Cells {
    let suspend = match row.at(&["spec", "suspend"]).and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match row.at(&["status", "lastScheduleTime"]) {
        Some(_) => row.since(&["status", "lastScheduleTime"]),
        None => "<none>".into(),
    };
    let job = ["spec", "jobTemplate", "spec"];
    let mut cells = vec![
        ("Schedule", row.text(&["spec", "schedule"]).into()),
        (
            "Timezone",
            row.text_or(&["spec", "timeZone"], "<none>").into(),
        ),
        ("Suspend", suspend.into()),
        ("Active", row.count(&["status", "active"])),
        ("Last Schedule", last.into()),
        (
            "Selector",
            selector_or_none(row.at(&[job[0], job[1], job[2], "selector"])).into(),
        ),
    ];
    cells.extend(template(
        row,
        &[
            "spec",
            "jobTemplate",
            "spec",
            "template",
            "spec",
            "containers",
        ],
    ));
    cells
}

/// `deployment.apps/web` of the owner that is the controller.
fn controller(row: &Row<'_>) -> String {
    let owners = row.list(&["metadata", "ownerReferences"]);
    let Some(owner) = owners
        .iter()
        .find(|o| o.get("controller") == Some(&Value::Bool(true)))
    else {
        return "<none>".into();
    };
    let part = |key: &str| owner.str_at(&[key]).unwrap_or_default();
    match (part("apiVersion").split_once('/'), part("kind")) {
        (_, "") => part("name").into(),
        (Some((group, _)), kind) => {
            format!("{kind}.{group}/{}", part("name")).to_lowercase_prefix()
        }
        (None, kind) => format!("{}/{}", kind.to_lowercase(), part("name")),
    }
}

trait LowercasePrefix {
    /// Lower case up to the first slash.
    fn to_lowercase_prefix(self) -> String;
}

impl LowercasePrefix for String {
    fn to_lowercase_prefix(self) -> String {
        match self.split_once('/') {
            Some((kind, name)) => format!("{}/{name}", kind.to_lowercase()),
            None => self,
        }
    }
}
