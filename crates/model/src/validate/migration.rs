//! Migrations of stored objects: kubernetes `pkg/apis/storagemigration/validation/validation.go`.

use super::read::{NOTHING, Read, Report};
use super::status;
use crate::field::Path;
use crate::{Value, rules};

pub(super) fn migration(report: &mut Report, object: &Value) {
    let root = Path::root("spec");
    let path = root.child("resource");
    let given = object.at(&["spec", "resource"]).unwrap_or(&NOTHING);
    let (at, resource) = (path.child("resource"), given.text("resource"));
    let problems = rules::dns1035_label(resource);
    if resource.is_empty() {
        report.required(at, "resource is required to be set");
    } else if !problems.is_empty() {
        report.invalid_str(at, resource, problems.join(","));
    }
    let group = given.text("group");
    let problems = rules::dns1123_subdomain(group);
    if !group.is_empty() && !problems.is_empty() {
        report.invalid_str(path.child("group"), group, problems.join(","));
    }
}

pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    migration(report, new);
    report.immutable(Path::root("spec"), new.get("spec"), old.get("spec"));
}

/// Whether the status has a condition that is true.
fn is(status: &Value, kind: &str) -> bool {
    let mut conditions = status.list("conditions").iter();
    conditions
        .find(|c| c.text("type") == kind)
        .is_some_and(|c| c.text("status") == "True")
}

pub(super) fn status_update(report: &mut Report, new: &Value, old: &Value) {
    const FINAL: [&str; 2] = ["Succeeded", "Failed"];
    let (status, before) = (
        new.part("status").unwrap_or(&NOTHING),
        old.part("status").unwrap_or(&NOTHING),
    );
    let path = Path::root("status");
    let (at, version) = (
        path.child("resourceVersion"),
        status.text("resourceVersion"),
    );
    if version.starts_with('0') || version.bytes().any(|b| !b.is_ascii_digit()) {
        let detail = format!("resource version is not well formed: {version}");
        report.invalid_str(at, version, detail);
    }
    status::conditions(report, status, path);
    if !before.text("resourceVersion").is_empty() {
        report.immutable_text(at, version, before.text("resourceVersion"));
    }
    let at = path.child("conditions");
    let shown = status.get("conditions").unwrap_or(&NOTHING);
    if FINAL.iter().all(|kind| is(status, kind)) {
        let detail = "Both success and failed conditions cannot be true at the same time";
        report.invalid(at, shown, detail);
    }
    for (kind, what) in FINAL.iter().zip(["Success", "Failed"]) {
        if is(before, kind) && !is(status, kind) {
            let detail = format!("{what} condition cannot be set to false once it is true");
            report.invalid(at, shown, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn migrations_name_a_resource_and_end_once() {
        let mut report = Report::default();
        migration(
            &mut report,
            &value!({"spec": {"resource": {"group": "A", "resource": ""}}}),
        );
        assert_eq!(report.errors.len(), 2, "{:?}", report.errors);
        let of = |status: &str| {
            value!({"status": {"conditions": [{"type": "Succeeded", "status": (status),
                "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        };
        let mut report = Report::default();
        status_update(&mut report, &of("False"), &of("True"));
        let said: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].ends_with("Success condition cannot be set to false once it is true"));
    }
}
