//! The status of a job: `ValidateJobStatusUpdate` of kubernetes `pkg/apis/batch/validation/validation.go`
//! under the options of `pkg/registry/batch/job/strategy.go`: most rules apply to what changes only.

use crate::Value;
use crate::field::{ErrorKind, FieldError, Path};
use crate::time::Instant;
use crate::validate::indexes;
use crate::validate::read::{NOTHING, Read, Report, same};
use std::collections::BTreeSet;

struct Sides<'a> {
    spec: &'a Value,
    new: &'a Value,
    old: &'a Value,
}

fn holds(status: &Value, kind: &str, wanted: &str) -> bool {
    status
        .list("conditions")
        .iter()
        .any(|c| c.text("type") == kind && c.text("status") == wanted)
}

fn is_finished(status: &Value) -> bool {
    holds(status, "Complete", "True") || holds(status, "Failed", "True")
}

impl Sides<'_> {
    fn is(&self, kind: &str) -> bool {
        holds(self.new, kind, "True")
    }

    fn was(&self, kind: &str) -> bool {
        holds(self.old, kind, "True")
    }

    fn turned(&self, kind: &str) -> bool {
        self.is(kind) != self.was(kind)
    }

    fn changed(&self, field: &str) -> bool {
        !same(
            self.new.get(field).unwrap_or(&NOTHING),
            self.old.get(field).unwrap_or(&NOTHING),
        )
    }

    fn finish_changed(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }
}

pub(super) fn update(report: &mut Report, new: &Value, old: &Value) {
    let sides = Sides {
        spec: new.part("spec").unwrap_or(&NOTHING),
        new: new.part("status").unwrap_or(&NOTHING),
        old: old.part("status").unwrap_or(&NOTHING),
    };
    let path = Path::root("status");
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        report.non_negative(path.child(field), sides.new.number(field));
    }
    uncounted(report, sides.new, path.child("uncountedTerminatedPods"));
    exclusive(report, &sides, path);
    times(report, &sides, path);
    conditions(report, &sides, path);
    finished(report, &sides, path);
    index_lists(report, &sides, path);
    counters(report, &sides, path);
}

fn uncounted(report: &mut Report, status: &Value, path: Path<'_>) {
    let given = status.part("uncountedTerminatedPods").unwrap_or(&NOTHING);
    let mut seen = BTreeSet::new();
    for field in ["succeeded", "failed"] {
        let list = path.child(field);
        for (i, uid) in given.texts(field).enumerate() {
            if uid.is_empty() {
                report.invalid_str(list.index(i), uid, "must not be empty");
            } else if !seen.insert(uid) {
                report.duplicate(list.index(i), uid);
            }
        }
    }
}

fn wrong_conditions(report: &mut Report, detail: &str, path: Path<'_>) {
    let error = FieldError::new(ErrorKind::Invalid, path.child("conditions"), "", detail);
    report.errors.push(error);
}

/// A job is complete, or it is not.
fn exclusive(report: &mut Report, s: &Sides<'_>, path: Path<'_>) {
    let mut wrong = |detail: &str| wrong_conditions(report, detail, path);
    let (complete, failed) = (s.is("Complete"), s.is("Failed"));
    let target = s.is("FailureTarget");
    if complete && failed && (s.turned("Complete") || s.turned("Failed")) {
        wrong("cannot set Complete=True and Failed=true conditions");
    }
    if complete && target && (s.turned("Complete") || s.turned("FailureTarget")) {
        wrong("cannot set Complete=True and FailureTarget=true conditions");
    }
}

fn conditions(report: &mut Report, s: &Sides<'_>, path: Path<'_>) {
    let mut wrong = |detail: &str| wrong_conditions(report, detail, path);
    let (complete, failed) = (s.is("Complete"), s.is("Failed"));
    let (target, met) = (s.is("FailureTarget"), s.is("SuccessCriteriaMet"));
    if failed && !target && (s.turned("Failed") || s.changed("failedIndexes")) {
        wrong("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !met && (s.turned("Complete") || s.turned("SuccessCriteriaMet")) {
        wrong("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if met && failed {
        wrong("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && target {
        wrong("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if s.spec.has("successPolicy") && !met && complete {
        wrong("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if s.was(kind) && !s.is(kind) {
            wrong(&format!(
                "cannot disable the terminal {kind}=True condition"
            ));
        }
    }
    if s.was("SuccessCriteriaMet") && !met {
        wrong("cannot disable the SuccessCriteriaMet=True condition");
    }
    if s.was("Complete") && !s.was("SuccessCriteriaMet") && met {
        wrong("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
    }
}

fn times(report: &mut Report, s: &Sides<'_>, path: Path<'_>) {
    let (at, done) = (path.child("completionTime"), s.new.part("completionTime"));
    let complete = s.is("Complete");
    if s.turned("Complete") || s.changed("completionTime") {
        match done {
            Some(time) if !complete => report.invalid(
                at,
                time,
                "cannot set completionTime when there is no Complete=True condition",
            ),
            None if complete => {
                report.required(at, "completionTime is required for Complete jobs");
            }
            _ => {}
        }
    }
    let seconds = |field| {
        let text = s.new.text(field);
        Instant::parse(text).ok()
    };
    if (s.changed("startTime") || s.changed("completionTime"))
        && let (Some(start), Some(end)) = (seconds("startTime"), seconds("completionTime"))
        && end < start
        && let Some(time) = done
    {
        report.invalid(at, time, "must be equal to or after `startTime`");
    }
    if let (Some(time), true) = (done, s.old.has("completionTime"))
        && s.changed("completionTime")
    {
        report.invalid(at, time, "field is immutable");
    }
    let resuming = s.was("Suspended") && holds(s.new, "Suspended", "False");
    if s.changed("startTime") && !resuming && s.old.has("startTime") && !s.spec.flag("suspend") {
        let shown = s.new.part("startTime").unwrap_or(&NOTHING);
        let detail = "field is immutable for unsuspended job once set";
        report.invalid(path.child("startTime"), shown, detail);
    }
}

fn finished(report: &mut Report, s: &Sides<'_>, path: Path<'_>) {
    if !is_finished(s.new) {
        return;
    }
    let changed = s.finish_changed();
    let active = s.new.number("active");
    if active > 0 && (changed || s.changed("active")) {
        let detail = "active>0 is invalid for finished job";
        report.invalid_int(path.child("active"), active, detail);
    }
    let none_wanted = s.spec.flag("suspend") && s.spec.int("completions") == Some(0);
    if !s.new.has("startTime") && (changed || s.changed("startTime")) && !none_wanted {
        let detail = "startTime is required for finished job";
        report.required(path.child("startTime"), detail);
    }
    if let Some(given) = s.new.part("uncountedTerminatedPods")
        && (changed || s.changed("uncountedTerminatedPods"))
        && !(given.list("failed").is_empty() && given.list("succeeded").is_empty())
    {
        let detail = "must be empty for finished job";
        report.invalid(path.child("uncountedTerminatedPods"), given, detail);
    }
    let terminating = s.new.number("terminating");
    if terminating > 0 && (changed || s.changed("terminating")) {
        let detail = "terminating>0 is invalid for finished job";
        report.invalid_int(path.child("terminating"), terminating, detail);
    }
}

fn index_lists(report: &mut Report, s: &Sides<'_>, path: Path<'_>) {
    let completed = s.new.text("completedIndexes");
    let failed = s.new.string("failedIndexes");
    let (completed_at, failed_at) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let completed_changed = completed != s.old.text("completedIndexes");
    let failed_changed = failed != s.old.string("failedIndexes");
    let all = s.spec.int("completions");
    let per_index = s.spec.has("backoffLimitPerIndex");
    if let (Some(all), true) = (all, completed_changed)
        && let Err(why) = indexes::count(completed, all)
    {
        let detail = format!("error parsing completedIndexes: {why}");
        report.invalid_str(completed_at, completed, detail);
    }
    if let (Some(all), Some(failed), true) = (all, failed, failed_changed && per_index)
        && let Err(why) = indexes::count(failed, all)
    {
        let detail = format!("error parsing failedIndexes: {why}");
        report.invalid_str(failed_at, failed, detail);
    }
    if completed_changed && !completed.is_empty() && s.spec.text("completionMode") != "Indexed" {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        report.invalid_str(completed_at, completed, detail);
    }
    let Some(failed) = failed else { return };
    if failed_changed && !per_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        report.invalid_str(failed_at, failed, detail);
    }
    if let Some(all) = all
        && (failed_changed || completed_changed)
        && let Some(index) = indexes::overlap(completed, failed, all)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        report.invalid_str(failed_at, failed, detail);
    }
}

fn counters(report: &mut Report, s: &Sides<'_>, path: Path<'_>) {
    if let Some(ready) = s.new.int("ready")
        && ready > s.new.number("active")
        && (s.changed("ready") || s.new.number("active") != s.old.number("active"))
    {
        let detail = "cannot set more ready pods than active";
        report.invalid_int(path.child("ready"), ready, detail);
    }
    let scalable = s.spec.text("completionMode") == "Indexed"
        && s.spec.int("completions") == s.spec.int("parallelism");
    for (field, may_decrease) in [("failed", false), ("succeeded", scalable)] {
        let now = s.new.number(field);
        if now < s.old.number(field) && !may_decrease {
            let detail = format!("cannot decrease the {field} counter");
            report.invalid_int(path.child(field), now, detail);
        }
    }
}
