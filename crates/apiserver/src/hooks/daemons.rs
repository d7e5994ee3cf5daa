//! DaemonSets: an annotation of old counts the templates (pkg/registry/apps/daemonset/strategy.go).

use freehold_model::Value;

const GENERATION: &str = "deprecated.daemonset.template.generation";

pub(super) fn create(object: &mut Value) {
    object.set(&["metadata", "annotations", GENERATION], "1");
}

/// Counts on when the template changes; nobody else sets it.
pub(super) fn update(object: &mut Value, old: &Value) {
    let now = old.str_at(&["metadata", "annotations", GENERATION]);
    let now: i64 = now.and_then(|n| n.parse().ok()).unwrap_or(0);
    let template = |v: &Value| v.at(&["spec", "template"]).cloned();
    let next = now + i64::from(template(object) != template(old));
    object.set(&["metadata", "annotations", GENERATION], next.to_string());
}
