//! policy/v1: kubernetes `pkg/apis/policy/v1/conversion.go`.

use super::{Rule, text};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[("PodDisruptionBudgetSpec", strip_label)];

/// A label that only the old beta version meant something by; alone, it means "no pod".
const LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

fn strip_label(spec: &mut Map) {
    let Some(selector) = spec.get_mut("selector").and_then(Value::as_object_mut) else {
        return;
    };
    let has_labels = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .is_some_and(|m| !m.is_empty());
    let Some(Value::Array(terms)) = selector.get_mut("matchExpressions") else {
        return;
    };
    let ours = |term: &Value| term.as_object().is_some_and(|t| text(t, "key") == LABEL);
    if let ([only], false) = (terms.as_slice(), has_labels)
        && ours(only)
        && only.str_at(&["operator"]) == Some("Exists")
        && only.get("values").is_none()
    {
        return;
    }
    terms.retain(|term| !ours(term));
}
