//! batch/v1: kubernetes `pkg/apis/batch/v1/defaults.go`.

use super::{Rule, default, default_zero, is_absent, is_empty, object};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Job", job),
    ("CronJob", cron_job),
    ("PodFailurePolicyOnPodConditionsPattern", |p| {
        default_zero(p, "status", "True")
    }),
];

fn job(j: &mut Map) {
    let labels = j
        .get("spec")
        .and_then(|s| s.at(&["template", "metadata", "labels"]))
        .cloned();
    let metadata = object(j, "metadata").filter(|m| is_empty(m, "labels"));
    if let (Some(labels), Some(metadata)) = (labels, metadata) {
        metadata.insert("labels", labels);
    }
    let Some(spec) = object(j, "spec") else {
        return;
    };
    if is_absent(spec, "completions") && is_absent(spec, "parallelism") {
        spec.insert("completions", 1);
    }
    default(spec, "parallelism", 1);
    let limit = if is_absent(spec, "backoffLimitPerIndex") {
        6
    } else {
        i32::MAX
    };
    default(spec, "backoffLimit", limit);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    let replacement = if is_absent(spec, "podFailurePolicy") {
        "TerminatingOrFailed"
    } else {
        "Failed"
    };
    default(spec, "podReplacementPolicy", replacement);
    default(spec, "manualSelector", false);
}

fn cron_job(c: &mut Map) {
    let Some(spec) = object(c, "spec") else {
        return;
    };
    default_zero(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", Value::Bool(false));
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
}
