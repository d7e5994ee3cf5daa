//! Rows of pods and of what runs them.

use super::{
    Cells, Row, Text, ago, containers, field, fraction, human_duration, labels, seconds, selector,
    selector_or_none, word,
};
use crate::{Str, Value};
use std::borrow::Cow;

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
    fraction(
        row.int(&["status", "readyReplicas"]),
        row.int(&["spec", "replicas"]),
    )
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
        of.into_iter()
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

#[inline(always)]
fn number(value: &Value, key: &str) -> i64 {
    field(value, key)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

#[inline(always)]
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let items = field(value, key).and_then(Value::as_array);
    items.unwrap_or_default()
}

#[inline(always)]
fn is_true(value: &Value, key: &str) -> bool {
    field(value, key) == Some(&Value::Bool(true))
}

/// A field that is there.
#[inline(always)]
fn part<'a>(value: &'a Value, key: &str) -> &'a Value {
    field(value, key).unwrap_or(&Value::Null)
}

/// `Error`, `Signal:9` or `ExitCode:1`.
fn terminated(state: &Value) -> Cow<'_, str> {
    match (word(state, "reason"), number(state, "signal")) {
        ("", 0) => format!("ExitCode:{}", number(state, "exitCode")).into(),
        ("", signal) => format!("Signal:{signal}").into(),
        (reason, _) => reason.into(),
    }
}

/// What `kubectl get pods` shows of the containers' states.
struct PodState<'a> {
    reason: Cow<'a, str>,
    ready: i64,
    restarts: i64,
    /// RFC 3339: texts of one form compare as times
    last_restart: &'a str,
}

fn finished_at<'a>(container: &'a Value, latest: &'a str) -> &'a str {
    let Some(last) = field(container, "lastState") else {
        return latest;
    };
    let ended = part(last, "terminated");
    let at = word(ended, "finishedAt");
    if !at.is_empty() && seconds(at) > seconds(latest) {
        at
    } else {
        latest
    }
}

pub(super) fn pod(row: &Row<'_>) -> Cells {
    let (spec, status) = (part(row.object, "spec"), part(row.object, "status"));
    let phase = word(status, "phase");
    let mut state = PodState {
        reason: phase.into(),
        ready: 0,
        restarts: 0,
        last_restart: "",
    };
    let reason = word(status, "reason");
    if !reason.is_empty() {
        state.reason = reason.into();
    }
    let gated =
        |c: &Value| word(c, "type") == "PodScheduled" && word(c, "reason") == "SchedulingGated";
    if list(status, "conditions").iter().any(gated) {
        state.reason = "SchedulingGated".into();
    }
    let sidecars: Vec<&Value> = list(spec, "initContainers")
        .iter()
        .filter(|c| word(c, "restartPolicy") == "Always")
        .collect();
    let total = (list(spec, "containers").len() + sidecars.len()) as i64;
    init_containers(row, status, &sidecars, &mut state);
    if row.deleted() {
        if reason == "NodeLost" {
            state.reason = "Unknown".into();
        } else if !["Succeeded", "Failed"].contains(&phase) {
            state.reason = "Terminating".into();
        }
    }
    let mut restarts = Text::default();
    restarts.number(state.restarts);
    if state.restarts != 0 && seconds(state.last_restart).is_some() {
        restarts.text(" (");
        restarts.text(&ago(state.last_restart, row.now));
        restarts.text(" ago)");
    }
    let or_none = |found: &str| -> Value {
        if found.is_empty() {
            "<none>".into()
        } else {
            found.into()
        }
    };
    let ips = list(status, "podIPs");
    vec![
        ("Ready", fraction(state.ready, total).into()),
        ("Status", state.reason.as_ref().into()),
        ("Restarts", restarts.done().into()),
        ("IP", or_none(ips.first().map_or("", |ip| word(ip, "ip")))),
        ("Node", or_none(word(spec, "nodeName"))),
        ("Nominated Node", or_none(word(status, "nominatedNodeName"))),
        ("Readiness Gates", readiness_gates(row, spec).into()),
    ]
}

fn init_containers<'a>(
    row: &Row<'a>,
    status: &'a Value,
    sidecars: &[&Value],
    state: &mut PodState<'a>,
) {
    let (mut sidecar_restarts, mut sidecar_last) = (0, "");
    let mut initializing = false;
    for (i, container) in list(status, "initContainerStatuses").iter().enumerate() {
        state.restarts += number(container, "restartCount");
        state.last_restart = finished_at(container, state.last_restart);
        let name = word(container, "name");
        let sidecar = sidecars.iter().any(|s| word(s, "name") == name);
        if sidecar {
            sidecar_restarts += number(container, "restartCount");
            sidecar_last = finished_at(container, sidecar_last);
        }
        let now = part(container, "state");
        let ended = field(now, "terminated");
        if ended.is_some_and(|e| number(e, "exitCode") == 0) {
            continue;
        }
        if sidecar && is_true(container, "started") {
            state.ready += i64::from(is_true(container, "ready"));
            continue;
        }
        let waiting = word(part(now, "waiting"), "reason");
        state.reason = Cow::Owned(match ended {
            Some(ended) => format!("Init:{}", terminated(ended)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                format!("Init:{waiting}")
            }
            None => format!("Init:{i}/{}", row.list(&["spec", "initContainers"]).len()),
        });
        initializing = true;
        break;
    }
    if !initializing || row.condition_is_true("Initialized") {
        state.restarts = sidecar_restarts;
        state.last_restart = sidecar_last;
        main_containers(row, status, state);
    }
}

fn main_containers<'a>(row: &Row<'a>, status: &'a Value, state: &mut PodState<'a>) {
    let (mut running, mut error) = (false, Cow::Borrowed(""));
    for container in list(status, "containerStatuses").iter().rev() {
        state.restarts += number(container, "restartCount");
        state.last_restart = finished_at(container, state.last_restart);
        let now = part(container, "state");
        let waiting = word(part(now, "waiting"), "reason");
        if !waiting.is_empty() {
            state.reason = waiting.into();
        } else if let Some(ended) = field(now, "terminated").filter(|v| !v.is_null()) {
            state.reason = terminated(ended);
            if number(ended, "exitCode") != 0 {
                error.clone_from(&state.reason);
            }
        } else if is_true(container, "ready") && !part(now, "running").is_null() {
            running = true;
            state.ready += 1;
        }
    }
    if state.reason == "Completed" {
        if running && row.condition_is_true("Ready") {
            state.reason = "Running".into();
        } else if !error.is_empty() {
            state.reason = error;
        } else if running {
            state.reason = "NotReady".into();
        }
    }
}

fn readiness_gates(row: &Row<'_>, spec: &Value) -> Str {
    let gates = list(spec, "readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates
        .iter()
        .filter(|g| row.condition_is_true(word(g, "conditionType")))
        .count();
    fraction(open as i64, gates.len() as i64)
}
