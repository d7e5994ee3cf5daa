//! flowcontrol.apiserver.k8s.io: kubernetes `pkg/apis/flowcontrol/v1beta3/conversion.go`, `v1beta2`.

use super::rename;
use crate::Value;

pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// v1beta3 cannot tell zero shares from none: this says that they are zero.
const KEEP_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub(super) fn priority_level(from: &str, to: &str, object: &mut Value) {
    let shares = |version| {
        if version == "v1beta2" {
            "assuredConcurrencyShares"
        } else {
            "nominalConcurrencyShares"
        }
    };
    let mut zero = false;
    if let Some(limited) = object.get_mut("spec").and_then(|s| s.get_mut("limited")) {
        rename(limited, shares(from), shares(to));
        zero = limited.get(shares(to)).and_then(Value::as_i64).unwrap_or(0) == 0;
    }
    if from == "v1beta3" {
        if let Some(annotations) = object
            .get_mut("metadata")
            .and_then(|m| m.get_mut("annotations"))
        {
            annotations.unset(&[KEEP_ZERO]);
        }
        // The field was held by value, so zero was left out; in v1 it is a pointer.
        if let Some(limited) = object
            .get_mut("spec")
            .and_then(|s| s.get_mut("limited"))
            .filter(|_| zero)
        {
            limited.set(&[shares(to)], 0);
        }
    }
    if to == "v1beta3" && zero {
        object.set(&["metadata", "annotations", KEEP_ZERO], "");
    }
}
