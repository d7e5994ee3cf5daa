//! resource.k8s.io/v1: kubernetes `pkg/apis/resource/v1/defaults.go`. `DeviceTaint.timeAdded` needs
//! a clock and is the caller's.

use super::{Rule, default, default_zero, text};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ExactDeviceRequest", request),
    ("DeviceSubRequest", request),
    ("Device", device),
];

fn request(r: &mut Map) {
    default_zero(r, "allocationMode", "ExactCount");
    if text(r, "allocationMode") == "ExactCount" {
        default_zero(r, "count", 1);
    }
}

fn device(d: &mut Map) {
    let mappings = d
        .get_mut("nodeAllocatableResourceMappings")
        .and_then(Value::as_object_mut);
    for (_, mapping) in mappings.into_iter().flat_map(Map::iter_mut) {
        if let Value::Object(mapping) = mapping {
            default(mapping, "allocationMultiplier", "1");
        }
    }
}
