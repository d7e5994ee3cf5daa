//! Workloads: kubernetes `pkg/apis/apps/validation/validation.go`.

use std::collections::BTreeSet;

use super::core::{pod, storage};
use super::ratchet;
use super::read::{NOTHING, Read, Report, same};
use crate::field::Path;
use crate::meta::check_label_selector;
use crate::select::LabelSelector;
use crate::{Value, rules};

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    match kind {
        "Deployment" => deployment(report, spec),
        "ReplicaSet" => replica_set(report, spec),
        "StatefulSet" => stateful_set(report, spec, false, true),
        "DaemonSet" => daemon_set(report, spec),
        "ControllerRevision" => {
            revision(report, object);
            let data = object.part("data");
            match data {
                None => report.required("data", "data is mandatory"),
                Some(data) if data.as_object().is_none() => {
                    report.required("data", "data must be a valid JSON object");
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    match kind {
        "Deployment" => deployment(report, spec),
        "ReplicaSet" => replica_set(report, spec),
        "DaemonSet" => daemon_set(report, spec),
        "StatefulSet" => {
            changed_stateful_set(report, spec, old);
            let mut munged = spec.clone();
            for field in [
                "replicas",
                "template",
                "updateStrategy",
                "minReadySeconds",
                "ordinals",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
            ] {
                munged.set(&[field], before.get(field).cloned().unwrap_or_default());
            }
            if !same(&munged, before) {
                report.forbidden(path, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
            }
            return;
        }
        "ControllerRevision" => {
            revision(report, new);
            report.immutable(Path::root("data"), new.get("data"), old.get("data"));
            return;
        }
        _ => return,
    }
    report.immutable(
        path.child("selector"),
        spec.get("selector"),
        before.get("selector"),
    );
}

fn revision(report: &mut Report, object: &Value) {
    report.non_negative(Path::root("revision"), object.number("revision"));
}

/// The selector of a workload.
enum Selects {
    /// no selector selects nothing
    Nothing,
    /// it does not parse
    Unknown,
    These(LabelSelector),
}

impl Selects {
    /// Whether a template's labels are wrong for it.
    fn misses(&self, labels: Option<&Value>) -> bool {
        match self {
            Self::Nothing => true,
            Self::Unknown => false,
            Self::These(selector) => !selector.matches(labels.and_then(Value::as_object)),
        }
    }
}

/// The selector of a workload, checked.
fn selector(
    report: &mut Report,
    spec: &Value,
    what: &str,
    required: bool,
    path: Path<'_>,
) -> Selects {
    let at = path.child("selector");
    let Some(given) = spec.part("selector") else {
        if required {
            report.required(at, "");
        }
        return Selects::Nothing;
    };
    check_label_selector(Some(given), &at, &mut report.errors);
    let empty = given.map("matchLabels").is_none_or(crate::Map::is_empty)
        && given.list("matchExpressions").is_empty();
    if empty {
        report.invalid(at, given, format!("empty selector is invalid for {what}"));
    }
    match LabelSelector::from_value(given) {
        Ok(selector) => Selects::These(selector),
        Err(_) => {
            if what == "deployment" {
                report.invalid(at, given, "invalid label selector");
            } else if what == "statefulset" {
                report.invalid(at, given, "");
            }
            Selects::Unknown
        }
    }
}

/// A template that a workload makes pods from forever.
fn template(report: &mut Report, template: &Value, selector: &Selects, what: &str, at: Path<'_>) {
    if what == "ReplicaSet" && matches!(selector, Selects::Unknown) {
        return;
    }
    let labels = template.at(&["metadata", "labels"]);
    if selector.misses(labels) {
        let meta = at.child("metadata");
        let shown = labels.cloned().unwrap_or_default();
        report.invalid(
            meta.child("labels"),
            &shown,
            "`selector` does not match template `labels`",
        );
    }
    pod::template(report, template, at);
    runs_forever(report, template, what, at);
}

fn runs_forever(report: &mut Report, template: &Value, what: &str, at: Path<'_>) {
    let spec = template.part("spec").unwrap_or(&NOTHING);
    let spec_at = at.child("spec");
    let policy = spec.text("restartPolicy");
    if policy != "Always" {
        report.not_supported(spec_at.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {what} is not Supported");
        report.forbidden(spec_at.child("activeDeadlineSeconds"), detail);
    }
}

fn deployment(report: &mut Report, spec: &Value) {
    let path = Path::root("spec");
    report.non_negative(path.child("replicas"), spec.number("replicas"));
    let selector = selector(report, spec, "deployment", true, path);
    template(
        report,
        spec.part("template").unwrap_or(&NOTHING),
        &selector,
        "ReplicaSet",
        path.child("template"),
    );
    strategy(
        report,
        spec.part("strategy").unwrap_or(&NOTHING),
        path.child("strategy"),
    );
    let ready = spec.number("minReadySeconds");
    report.non_negative(path.child("minReadySeconds"), ready);
    report.non_negative(
        path.child("revisionHistoryLimit"),
        spec.number("revisionHistoryLimit"),
    );
    if let Some(deadline) = spec.int("progressDeadlineSeconds") {
        let at = path.child("progressDeadlineSeconds");
        report.non_negative(at, deadline);
        if deadline <= ready {
            report.invalid_int(at, deadline, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(report: &mut Report, strategy: &Value, at: Path<'_>) {
    let rolling = strategy.part("rollingUpdate");
    match strategy.text("type") {
        "Recreate" => {
            if rolling.is_some() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                report.forbidden(at.child("rollingUpdate"), detail);
            }
        }
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            let Some(rolling) = rolling else {
                return report.required(at, "this should be defaulted and never be nil");
            };
            let unavailable = rolling.get("maxUnavailable").unwrap_or(&NOTHING);
            let surge = rolling.get("maxSurge").unwrap_or(&NOTHING);
            int_or_percent(report, unavailable, at.child("maxUnavailable"));
            int_or_percent(report, surge, at.child("maxSurge"));
            if amount(unavailable) == 0 && amount(surge) == 0 {
                report.invalid(
                    at.child("maxUnavailable"),
                    unavailable,
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            at_most_all(report, unavailable, at.child("maxUnavailable"));
        }
        _ => {
            let shown = crate::value!({"Type": (strategy.text("type")), "RollingUpdate": null});
            report.errors.push(crate::field::FieldError::not_supported(
                at,
                &shown,
                &["Recreate", "RollingUpdate"],
            ));
        }
    }
}

/// A number that is not negative, or a percentage.
pub(super) fn int_or_percent(report: &mut Report, value: &Value, at: Path<'_>) {
    match value {
        Value::String(text) => {
            for problem in rules::percent(text) {
                report.invalid(at, value, problem);
            }
        }
        value => report.non_negative(at, value.as_i64().unwrap_or(0)),
    }
}

fn percent(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    rules::percent(text)
        .is_empty()
        .then(|| text.trim_end_matches('%').parse().unwrap_or(i64::MAX))
}

fn amount(value: &Value) -> i64 {
    percent(value)
        .or_else(|| value.as_i64())
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        .unwrap_or(0)
}

pub(super) fn at_most_all(report: &mut Report, value: &Value, at: Path<'_>) {
    if percent(value).is_some_and(|p| p > 100) {
        report.invalid(at, value, "must not be greater than 100%");
    }
}

fn replica_set(report: &mut Report, spec: &Value) {
    let path = Path::root("spec");
    report.non_negative(path.child("replicas"), spec.number("replicas"));
    report.non_negative(
        path.child("minReadySeconds"),
        spec.number("minReadySeconds"),
    );
    let selector = selector(report, spec, "deployment", true, path);
    template(
        report,
        spec.part("template").unwrap_or(&NOTHING),
        &selector,
        "ReplicaSet",
        path.child("template"),
    );
}

fn daemon_set(report: &mut Report, spec: &Value) {
    let path = Path::root("spec");
    let at = path.child("template");
    let given = spec.part("template").unwrap_or(&NOTHING);
    let selector = selector(report, spec, "daemonset", false, path);
    template(report, given, &selector, "DaemonSet", at);
    report.non_negative(
        path.child("minReadySeconds"),
        spec.number("minReadySeconds"),
    );
    let strategy = spec.part("updateStrategy").unwrap_or(&NOTHING);
    let at = path.child("updateStrategy");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            match strategy.part("rollingUpdate") {
                None => report.required(at, ""),
                Some(rolling) => rolling_daemon_set(report, rolling, at),
            }
        }
        other => {
            let shown = crate::value!({"Type": (other), "RollingUpdate": null});
            report.errors.push(crate::field::FieldError::not_supported(
                at,
                &shown,
                &["RollingUpdate", "OnDelete"],
            ));
        }
    }
    report.non_negative(
        path.child("revisionHistoryLimit"),
        spec.number("revisionHistoryLimit"),
    );
}

fn rolling_daemon_set(report: &mut Report, rolling: &Value, at: Path<'_>) {
    let unavailable = rolling.get("maxUnavailable").unwrap_or(&NOTHING);
    let surge = rolling.get("maxSurge").unwrap_or(&NOTHING);
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        int_or_percent(report, value, at.child(field));
    }
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        at_most_all(report, value, at.child(field));
    }
    match (amount(unavailable) != 0, amount(surge) != 0) {
        (true, true) => report.invalid(
            at.child("maxSurge"),
            surge,
            "may not be set when maxUnavailable is non-zero",
        ),
        (false, false) => {
            report.required(at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0")
        }
        _ => {}
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one check per field of the kind, in upstream's order"
)]
fn stateful_set(report: &mut Report, spec: &Value, is_update: bool, with_template: bool) {
    let path = Path::root("spec");
    match spec.text("podManagementPolicy") {
        "" => report.required(path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            report.invalid_str(
                path.child("podManagementPolicy"),
                other,
                "must be 'OrderedReady' or 'Parallel'",
            );
        }
    }
    stateful_strategy(
        report,
        spec.part("updateStrategy").unwrap_or(&NOTHING),
        path.child("updateStrategy"),
    );
    if let Some(retention) = spec.part("persistentVolumeClaimRetentionPolicy") {
        let at = path.child("persistentVolumeClaimRetentionPolicy");
        for field in ["whenDeleted", "whenScaled"] {
            if !["Retain", "Delete"].contains(&retention.text(field)) {
                report.not_supported(
                    at.child(field),
                    retention.text(field),
                    &["Retain", "Delete"],
                );
            }
        }
    }
    if !is_update {
        let list = path.child("volumeClaimTemplates");
        for (i, template) in spec.list("volumeClaimTemplates").iter().enumerate() {
            let at = list.index(i);
            storage::claim_spec(
                report,
                template.part("spec").unwrap_or(&NOTHING),
                at.child("spec"),
            );
        }
        let service = spec.text("serviceName");
        if !service.is_empty() {
            report.problems(
                path.child("serviceName"),
                service,
                rules::dns1123_label(service),
            );
        }
    }
    report.non_negative(path.child("replicas"), spec.number("replicas"));
    report.non_negative(
        path.child("minReadySeconds"),
        spec.number("minReadySeconds"),
    );
    if let Some(ordinals) = spec.part("ordinals") {
        report.non_negative(path.child("ordinals.start"), ordinals.number("start"));
    }
    let selector = selector(report, spec, "statefulset", true, path);
    let at = path.child("template");
    runs_forever(
        report,
        spec.part("template").unwrap_or(&NOTHING),
        "StatefulSet",
        at,
    );
    if matches!(selector, Selects::Unknown) {
        return;
    }
    let given = with_claims(spec);
    let labels = given.at(&["metadata", "labels"]);
    if selector.misses(labels) {
        let meta = at.child("metadata");
        let shown = labels.cloned().unwrap_or_default();
        report.invalid(
            meta.child("labels"),
            &shown,
            "`selector` does not match template `labels`",
        );
    }
    if with_template {
        pod::template(report, &given, at);
    } else {
        pod::template_metadata(report, &given, at);
    }
}

/// Where the set was wrong before, its template may be.
fn changed_stateful_set(report: &mut Report, spec: &Value, old: &Value) {
    let known = report.errors.len();
    stateful_set(report, spec, true, true);
    if report.errors.len() == known {
        return;
    }
    let mut before = Report {
        minor: report.minor,
        errors: Vec::new(),
    };
    let old_spec = old.part("spec").unwrap_or(&NOTHING);
    stateful_set(&mut before, old_spec, true, true);
    ratchet::label_values(&mut before.errors, old);
    if !before.errors.is_empty() {
        report.errors.truncate(known);
        stateful_set(report, spec, true, false);
    }
}

/// The template with a volume for every claim template, as the pods will have.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec.get("template").cloned().unwrap_or_default();
    template.unset(&["spec", "hostname"]);
    template.unset(&["spec", "subdomain"]);
    let claims: BTreeSet<&str> = (spec.list("volumeClaimTemplates").iter())
        .map(|c| c.str_at(&["metadata", "name"]).unwrap_or_default())
        .collect();
    if claims.is_empty() {
        return template;
    }
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|name| crate::value!({"name": (*name), "persistentVolumeClaim": {"claimName": (*name)}}))
        .collect();
    let own = template
        .at(&["spec", "volumes"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    volumes.extend(
        own.iter()
            .filter(|v| !claims.contains(v.text("name")))
            .cloned(),
    );
    template.set(&["spec", "volumes"], Value::Array(volumes));
    template
}

fn stateful_strategy(report: &mut Report, strategy: &Value, at: Path<'_>) {
    let rolling = strategy.part("rollingUpdate");
    match (strategy.text("type"), rolling) {
        ("", _) => report.required(at, ""),
        ("OnDelete", Some(rolling)) => {
            report.invalid(
                at.child("rollingUpdate"),
                rolling,
                "only allowed for updateStrategy 'RollingUpdate'",
            );
        }
        ("RollingUpdate", Some(rolling)) => {
            let at = at.child("rollingUpdate");
            report.non_negative(at.child("partition"), rolling.number("partition"));
            if let Some(unavailable) = rolling.part("maxUnavailable") {
                let at = at.child("maxUnavailable");
                int_or_percent(report, unavailable, at);
                if amount(unavailable) == 0 {
                    report.invalid(at, unavailable, "cannot be 0");
                }
                at_most_all(report, unavailable, at);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        (other, _) => {
            let shown = crate::value!({"Type": (other), "RollingUpdate": null});
            report.invalid(at, &shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}
