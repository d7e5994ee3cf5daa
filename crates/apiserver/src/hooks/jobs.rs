//! Jobs: the labels and the selector that tie a Job's pods to it (pkg/registry/batch/job).

use freehold_model::Value;

const BY_NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const BY_UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

pub(super) fn create(job: &mut Value) {
    if job.at(&["spec", "manualSelector"]).and_then(Value::as_bool) == Some(true) {
        return;
    }
    let text = |job: &Value, field: &str| job.str_at(&["metadata", field]).unwrap_or("").to_owned();
    let (name, uid) = (text(job, "name"), text(job, "uid"));
    let of_template = ["spec", "template", "metadata", "labels"];
    let labels = |job: &Value, path: &[&str]| {
        job.at(path)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let mut all = labels(job, &of_template);
    // A Job without labels of its own shares those of its pods.
    let shared = labels(job, &["metadata", "labels"]) == all;
    for (keys, value) in [(BY_NAME, &name), (BY_UID, &uid)] {
        for key in keys {
            all.entry_or(key, || value.as_str().into());
        }
    }
    job.set(&of_template, all.clone());
    if shared {
        job.set(&["metadata", "labels"], all);
    }
    let selector = ["spec", "selector", "matchLabels", BY_UID[1]];
    if job.at(&selector).is_none() {
        job.set(&selector, uid);
    }
}
