//! Core events and those of events.k8s.io: kubernetes `pkg/apis/events/v1/conversion.go`.

use super::rename;
use crate::Value;

const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn from_core(event: &mut Value) {
    NAMES
        .iter()
        .for_each(|(core, new)| rename(event, core, new));
}

pub(super) fn to_core(event: &mut Value) {
    NAMES
        .iter()
        .for_each(|(core, new)| rename(event, new, core));
}
