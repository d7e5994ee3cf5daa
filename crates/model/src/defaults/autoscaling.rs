//! autoscaling: kubernetes `pkg/apis/autoscaling/v1/defaults.go` and `v2/defaults.go`.

use super::{Rule, default, is_absent, is_empty, object};
use crate::{Map, value};

pub(super) const RULES_V1: &[(&str, Rule)] = &[("HorizontalPodAutoscaler", autoscaler_v1)];
pub(super) const RULES_V2: &[(&str, Rule)] = &[("HorizontalPodAutoscalerSpec", spec)];

/// Metrics other than the one that v1 has a field for travel in an annotation.
fn autoscaler_v1(a: &mut Map) {
    let other = a
        .get("metadata")
        .and_then(|m| m.at(&["annotations", "autoscaling.alpha.kubernetes.io/metrics"]));
    let has_other = other.is_some();
    let Some(spec) = object(a, "spec") else {
        return;
    };
    default(spec, "minReplicas", 1);
    if !has_other {
        // `pkg/apis/autoscaling/v1/conversion.go`
        default(spec, "targetCPUUtilizationPercentage", 80);
    }
}

fn spec(spec: &mut Map) {
    default(spec, "minReplicas", 1);
    if is_empty(spec, "metrics") {
        let cpu = value!({"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        spec.insert("metrics", vec![cpu]);
    }
    if is_absent(spec, "behavior") {
        return;
    }
    let Some(behavior) = object(spec, "behavior") else {
        return;
    };
    if let Some(up) = object(behavior, "scaleUp") {
        default(up, "stabilizationWindowSeconds", 0);
        default(
            up,
            "policies",
            value!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}
            ]),
        );
        default(up, "selectPolicy", "Max");
    }
    if let Some(down) = object(behavior, "scaleDown") {
        default(
            down,
            "policies",
            value!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
        default(down, "selectPolicy", "Max");
    }
}
