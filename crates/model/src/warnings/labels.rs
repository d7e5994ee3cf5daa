//! Labels of nodes that have other names now (kubernetes `pkg/api/node/util.go`).

use super::list::Warnings;
use crate::field::Path;
use crate::validate::read::Read as _;
use crate::{Map, Value, rules};

const DEPRECATED: [(&str, &str); 8] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        "use \"node-role.kubernetes.io/control-plane\" instead",
    ),
];

/// The last three are looked at since 1.31.
pub(super) fn deprecated(key: &str, minor: u8) -> Option<&'static str> {
    let known = if minor < 31 { 5 } else { DEPRECATED.len() };
    let found = DEPRECATED[..known].iter().find(|(label, _)| *label == key);
    found.map(|(_, why)| *why)
}

/// Expressions of a selector.
fn expressions(selector: &Value, at: Path<'_>, values: bool, out: &mut Warnings) {
    let minor = out.minor;
    let list_at = at.child("matchExpressions");
    for (i, expression) in selector.list("matchExpressions").iter().enumerate() {
        let (at, key) = (list_at.index(i), expression.text("key"));
        if let Some(why) = deprecated(key, out.minor) {
            out.at(at.child("key"), format_args!("{key} is {why}"));
        }
        let values_at = at.child("values");
        for (i, value) in expression
            .texts("values")
            .enumerate()
            .filter(|_| values && minor >= 33)
        {
            for problem in rules::label_value(value) {
                let at = values_at.index(i);
                out.at(at, format_args!("{value} is invalid, {problem}"));
            }
        }
    }
}

pub(super) fn term(term: &Value, values: bool, at: Path<'_>, out: &mut Warnings) {
    expressions(term, at, values, out);
}

pub(super) fn selector(selector: &Value, at: Path<'_>, out: &mut Warnings) {
    expressions(selector, at, false, out);
    let labels_at = at.child("matchLabels");
    for (key, _) in selector.map("matchLabels").into_iter().flat_map(Map::iter) {
        if let Some(why) = deprecated(key, out.minor) {
            out.at(labels_at.child(key), why);
        }
    }
}
