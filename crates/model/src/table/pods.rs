//! Rows of pods, of which lists are the longest: each object is gone through once, in the order of
//! its fields.

use super::sheet::Sheet;
use super::text::{duration, fraction, number};
use super::{Row, seconds};
use crate::value::{Walk, same};
use crate::{Str, Value};
use std::borrow::Cow;

/// The columns of pods.
pub(super) const COLUMNS: [&str; 9] = [
    "Name",
    "Ready",
    "Status",
    "Restarts",
    "Age",
    "IP",
    "Node",
    "Nominated Node",
    "Readiness Gates",
];

const NONE: Str = Str::const_new("<none>");

#[inline(always)]
fn word(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

#[inline(always)]
fn integer(value: Option<&Value>) -> i64 {
    value.and_then(Value::as_i64).unwrap_or_default()
}

#[inline(always)]
fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).unwrap_or_default()
}

#[inline(always)]
fn is_true(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(true)))
}

/// A text, or `<none>`.
#[inline(always)]
fn or_none(value: Option<&Value>) -> Str {
    match value {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        _ => NONE,
    }
}

/// The fields of a pod that its row is made of.
struct Pod<'a> {
    minor: u8,
    init_containers: &'a [Value],
    conditions: &'a [Value],
    init_statuses: &'a [Value],
    statuses: &'a [Value],
}

/// What `kubectl get pods` shows of the containers' states.
struct State<'a> {
    reason: Cow<'a, str>,
    ready: i64,
    restarts: i64,
    /// when a container was last restarted
    last: Option<i64>,
}

pub(super) fn put(row: &Row<'_>, sheet: &mut Sheet<'_>) {
    let mut object = Walk::over(Some(row.object));
    let mut spec = Walk::over(object.next("spec"));
    let mut status = Walk::over(object.next("status"));
    let containers = list(spec.next("containers"));
    let init_containers = list(spec.next("initContainers"));
    let node = spec.next("nodeName");
    let gates = list(spec.next("readinessGates"));
    let pod = Pod {
        minor: row.minor,
        init_containers,
        conditions: list(status.next("conditions")),
        statuses: list(status.next("containerStatuses")),
        init_statuses: list(status.next("initContainerStatuses")),
    };
    let nominated = status.next("nominatedNodeName");
    let phase = word(status.next("phase"));
    let ips = list(status.next("podIPs"));
    let reason = word(status.next("reason"));
    let mut state = State {
        reason: if reason.is_empty() { phase } else { reason }.into(),
        ready: 0,
        restarts: 0,
        last: None,
    };
    if pod.conditions.iter().any(is_gated) {
        state.reason = "SchedulingGated".into();
    }
    let mut total = containers.len();
    if !(init_containers.is_empty() && pod.init_statuses.is_empty()) {
        total += init_containers.iter().filter(|c| is_sidecar(c)).count();
        if pod.initialize(&mut state) {
            pod.run(&mut state);
        }
    } else {
        pod.run(&mut state);
    }
    if row.deleted() {
        if reason == "NodeLost" {
            state.reason = "Unknown".into();
        } else if row.minor < 31 || !["Succeeded", "Failed"].contains(&phase) {
            state.reason = "Terminating".into();
        }
    }
    let [name, readies, status, restarted, age, ip, on, nominee, open] = COLUMNS;
    *sheet.text(name) = row.name();
    fraction(sheet.text(readies), state.ready, total as i64);
    *sheet.text(status) = Str::from(&*state.reason);
    restarts(sheet.text(restarted), &state, row.now);
    row.put_age(sheet.text(age));
    *sheet.text(ip) = or_none(Walk::over(ips.first()).next("ip"));
    *sheet.text(on) = or_none(node);
    *sheet.text(nominee) = or_none(nominated);
    pod.readiness(sheet.text(open), gates);
}

fn is_gated(condition: &Value) -> bool {
    let mut fields = Walk::over(Some(condition));
    word(fields.next("reason")) == "SchedulingGated" && word(fields.next("type")) == "PodScheduled"
}

fn is_sidecar(container: &Value) -> bool {
    container.str_at(&["restartPolicy"]) == Some("Always")
}

/// `2`, `2 (5m ago)`
fn restarts(text: &mut Str, state: &State<'_>, now: i64) {
    number(text, state.restarts);
    if let Some(last) = state.last.filter(|_| state.restarts != 0) {
        text.push_str(" (");
        duration(text, now - last);
        text.push_str(" ago)");
    }
}

/// The later of `latest` and the end of the container's last run.
#[inline(always)]
fn later(last_state: Option<&Value>, latest: Option<i64>) -> Option<i64> {
    match last_state {
        Some(last) => latest.max(last.str_at(&["terminated", "finishedAt"]).and_then(seconds)),
        None => latest,
    }
}

/// `Error`, `Signal:9` or `ExitCode:1`, and the exit code.
fn terminated(state: &Value) -> (Cow<'_, str>, i64) {
    let mut fields = Walk::over(Some(state));
    let code = integer(fields.next("exitCode"));
    let text = match (word(fields.next("reason")), integer(fields.next("signal"))) {
        ("", 0) => format!("ExitCode:{code}").into(),
        ("", signal) => format!("Signal:{signal}").into(),
        (reason, _) => reason.into(),
    };
    (text, code)
}

impl<'a> Pod<'a> {
    /// Whether the condition `kind` holds.
    fn is(&self, kind: &str) -> bool {
        for condition in self.conditions {
            let mut fields = Walk::over(Some(condition));
            let status = word(fields.next("status"));
            if word(fields.next("type")) == kind {
                return status == "True";
            }
        }
        false
    }

    /// What the init containers say; `false`: the other containers have nothing to add.
    fn initialize(&self, state: &mut State<'a>) -> bool {
        let (mut sidecar_restarts, mut sidecar_last) = (0, None);
        let mut initializing = false;
        for (i, container) in self.init_statuses.iter().enumerate() {
            let mut fields = Walk::over(Some(container));
            let last_state = fields.next("lastState");
            let name = word(fields.next("name"));
            let ready = is_true(fields.next("ready"));
            let restarts = integer(fields.next("restartCount"));
            let started = is_true(fields.next("started"));
            let mut now = Walk::over(fields.next("state"));
            state.restarts += restarts;
            state.last = later(last_state, state.last);
            let named = |c: &&Value| same(c.str_at(&["name"]).unwrap_or_default(), name);
            let sidecars = || self.init_containers.iter().filter(|c| is_sidecar(c));
            let sidecar = sidecars().any(|c| named(&c));
            if sidecar {
                sidecar_restarts += restarts;
                sidecar_last = later(last_state, sidecar_last);
            }
            let ended = now.next("terminated").filter(|v| !v.is_null());
            let ended = ended.map(terminated);
            if matches!(ended, Some((_, 0))) {
                continue;
            }
            if sidecar && started {
                state.ready += i64::from(ready);
                continue;
            }
            let waiting = word(Walk::over(now.next("waiting")).next("reason"));
            state.reason = Cow::Owned(match ended {
                Some((ended, _)) => format!("Init:{ended}"),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{i}/{}", self.init_containers.len()),
            });
            initializing = true;
            break;
        }
        if initializing && !self.is("Initialized") {
            return false;
        }
        (state.restarts, state.last) = (sidecar_restarts, sidecar_last);
        true
    }

    /// What the other containers say.
    fn run(&self, state: &mut State<'a>) {
        let (mut running, mut error) = (false, Cow::Borrowed(""));
        for container in self.statuses.iter().rev() {
            let mut fields = Walk::over(Some(container));
            state.last = later(fields.next("lastState"), state.last);
            let ready = is_true(fields.next("ready"));
            state.restarts += integer(fields.next("restartCount"));
            let mut now = Walk::over(fields.next("state"));
            let runs = now.next("running").is_some_and(|v| !v.is_null());
            let ended = now.next("terminated").filter(|v| !v.is_null());
            let waiting = word(Walk::over(now.next("waiting")).next("reason"));
            if !waiting.is_empty() {
                state.reason = waiting.into();
            } else if let Some(ended) = ended {
                let (reason, code) = terminated(ended);
                state.reason = reason;
                if code != 0 {
                    error.clone_from(&state.reason);
                }
            } else if ready && runs {
                running = true;
                state.ready += 1;
            }
        }
        if state.reason == "Completed" {
            if running && self.is("Ready") {
                state.reason = "Running".into();
            } else if !error.is_empty() && self.minor >= 35 {
                state.reason = error;
            } else if running {
                state.reason = "NotReady".into();
            }
        }
    }

    fn readiness(&self, text: &mut Str, gates: &[Value]) {
        if gates.is_empty() {
            *text = NONE;
            return;
        }
        let open = |gate: &&Value| self.is(gate.str_at(&["conditionType"]).unwrap_or_default());
        let open = gates.iter().filter(open).count();
        fraction(text, open as i64, gates.len() as i64);
    }
}
