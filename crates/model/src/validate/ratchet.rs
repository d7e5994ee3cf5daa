//! What an update may keep although nobody could write it anew.

use super::read::{NOTHING, Read as _, same};
use crate::field::FieldError;
use crate::{Value, rules};

/// Where kinds have the nodes that they require.
const REQUIRED: [&[&str]; 5] = [
    &["spec", "affinity", "nodeAffinity", IN_POD],
    &["template", "spec", "affinity", "nodeAffinity", IN_POD],
    &[
        "spec",
        "template",
        "spec",
        "affinity",
        "nodeAffinity",
        IN_POD,
    ],
    &[
        "spec",
        "jobTemplate",
        "spec",
        "template",
        "spec",
        "affinity",
        "nodeAffinity",
        IN_POD,
    ],
    &["spec", "nodeAffinity", "required"],
];
const IN_POD: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Forgives values of labels in a node selector where the object had wrong ones before (kubernetes
/// `pkg/api/pod/util.go`, `AllowInvalidLabelValueInRequiredNodeAffinity`).
pub(super) fn label_values(errors: &mut Vec<FieldError>, old: &Value) {
    let is_value =
        |e: &FieldError| e.path.contains("nodeAffinity.required") && e.path.contains("].values[");
    if errors.iter().any(is_value) && REQUIRED.iter().any(|path| has_wrong_value(old.at(path))) {
        errors.retain(|e| !is_value(e));
    }
}

fn has_wrong_value(selector: Option<&Value>) -> bool {
    let terms = selector
        .unwrap_or(&NOTHING)
        .list("nodeSelectorTerms")
        .iter();
    let expressions = terms.flat_map(|term| term.list("matchExpressions"));
    let mut values = expressions.flat_map(|expression| expression.texts("values"));
    values.any(|value| !rules::label_value(value).is_empty())
}

/// Forgives endpoints that did not change.
pub(super) fn subsets(errors: &mut Vec<FieldError>, new: &Value, old: &Value) {
    let is_one = |e: &FieldError| e.path.starts_with("subsets");
    let of = |object: &Value| object.get("subsets").cloned().unwrap_or_default();
    if errors.iter().any(is_one) && same(&of(new), &of(old)) {
        errors.retain(|e| !is_one(e));
    }
}
