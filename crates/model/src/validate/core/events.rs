//! Events of both groups: kubernetes `pkg/apis/core/validation/events.go`.

use crate::field::Path;
use crate::validate::read::{NOTHING, Read, Report};
use crate::{Value, rules};

/// Events of either group; `controller` is what this group calls the reporting controller.
pub(in crate::validate) fn event(report: &mut Report, event: &Value, controller: &'static str) {
    let involved = event
        .part("involvedObject")
        .or_else(|| event.part("regarding"))
        .unwrap_or(&NOTHING);
    let namespace = event.str_at(&["metadata", "namespace"]).unwrap_or_default();
    let of = involved.text("namespace");
    let mismatch = "does not match event.namespace";
    if event.text("eventTime").is_empty() {
        let agrees = if of.is_empty() {
            ["", "default"].contains(&namespace)
        } else {
            namespace == of
        };
        if !agrees {
            report.invalid_str("involvedObject.namespace", of, mismatch);
        }
        return check_namespace(report, namespace);
    }
    if of.is_empty() && !["default", "kube-system"].contains(&namespace) {
        report.invalid_str("involvedObject.namespace", of, mismatch);
    }
    let name = event.text(controller);
    if name.is_empty() {
        report.required(controller, "");
    }
    report.problems(Path::root(controller), name, rules::qualified_name(name));
    for (field, most, needed) in [
        ("reportingInstance", 128, true),
        ("action", 128, true),
        ("reason", 128, true),
        ("message", 1024, false),
    ] {
        let text = if field == "message" && event.has("note") {
            event.text("note")
        } else {
            event.text(field)
        };
        if needed && text.is_empty() {
            report.required(field, "");
        }
        if text.len() > most {
            report.invalid_str(field, "", format!("can have at most {most} characters"));
        }
    }
    check_namespace(report, namespace);
}

fn check_namespace(report: &mut Report, namespace: &str) {
    let problems = rules::dns1123_subdomain(namespace);
    report.problems(Path::root("namespace"), namespace, problems);
}

/// What only the newer group demands.
pub(in crate::validate) fn new_event(report: &mut Report, given: &Value) {
    event(report, given, "reportingController");
    series(report, given);
    if given.text("eventTime").is_empty() {
        report.required("eventTime", "");
    }
    let kind = given.text("type");
    if !["Normal", "Warning"].contains(&kind) {
        report.invalid_str("type", "", format!("has invalid value: {kind}"));
    }
    let source = given.part("deprecatedSource").unwrap_or(&NOTHING);
    for (field, set) in [
        ("firstTimestamp", given.has("deprecatedFirstTimestamp")),
        ("lastTimestamp", given.has("deprecatedLastTimestamp")),
        ("count", given.number("deprecatedCount") != 0),
        (
            "source",
            !(source.text("component").is_empty() && source.text("host").is_empty()),
        ),
    ] {
        if set {
            report.invalid_str(field, "", "needs to be unset");
        }
    }
}

fn series(report: &mut Report, event: &Value) {
    let Some(series) = event.part("series") else {
        return;
    };
    if series.number("count") < 2 {
        report.invalid_str("series.count", "", "should be at least 2");
    }
    if series.text("lastObservedTime").is_empty() {
        report.required("series.lastObservedTime", "");
    }
}

/// Fields of the newer group under the names that upstream's messages have for them.
const FIXED: [(&str, &str); 12] = [
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

pub(in crate::validate) fn new_event_update(report: &mut Report, new: &Value, old: &Value) {
    event(report, new, "reportingController");
    if new.get("series") != old.get("series") {
        series(report, new);
    }
    for (field, shown) in FIXED {
        let empty = Value::from("");
        let text = |event: &Value| event.get(field).is_some_and(|v| v.as_str().is_some());
        let strings =
            (text(new) || text(old)) && !field.ends_with("Timestamp") && field != "eventTime";
        let or_empty = |event: &Value| {
            let given = event.part(field).cloned();
            given.unwrap_or_else(|| if strings { empty.clone() } else { Value::Null })
        };
        report.immutable(
            Path::root(shown),
            Some(&or_empty(new)),
            Some(&or_empty(old)),
        );
    }
    let (now, before) = (new.number("deprecatedCount"), old.number("deprecatedCount"));
    if now != before {
        report.invalid_int("count", now, crate::meta::IMMUTABLE);
    }
}
