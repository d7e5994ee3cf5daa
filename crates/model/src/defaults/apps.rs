//! apps/v1: kubernetes `pkg/apis/apps/v1/defaults.go`.

use super::{Rule, default, default_zero, each, is_absent, object, present, text};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Deployment", deployment),
    ("DaemonSet", daemon_set),
    ("StatefulSet", stateful_set),
    ("ReplicaSet", replica_set),
];

fn deployment(d: &mut Map) {
    let Some(spec) = object(d, "spec") else {
        return;
    };
    default(spec, "replicas", 1);
    if let Some(strategy) = object(spec, "strategy") {
        rolling_update(strategy, &["25%".into(), "25%".into()]);
    }
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
}

/// The annotation is what is left of a field; conversion writes it on every object
/// (`pkg/apis/apps/v1/conversion.go`).
const GENERATION: &str = "deprecated.daemonset.template.generation";

fn daemon_set(d: &mut Map) {
    if let Some(notes) = object(d, "metadata").and_then(|m| object(m, "annotations")) {
        let generation = text(notes, GENERATION).parse::<i64>().unwrap_or(0);
        notes.insert(GENERATION, generation.to_string());
    }
    let Some(spec) = object(d, "spec") else {
        return;
    };
    if let Some(strategy) = object(spec, "updateStrategy") {
        rolling_update(strategy, &[1.into(), 0.into()]);
    }
    default(spec, "revisionHistoryLimit", 10);
}

fn rolling_update(strategy: &mut Map, [max_unavailable, max_surge]: &[Value; 2]) {
    default_zero(strategy, "type", "RollingUpdate");
    let rolling = text(strategy, "type") == "RollingUpdate";
    if !rolling && is_absent(strategy, "rollingUpdate") {
        return;
    }
    if let Some(update) = object(strategy, "rollingUpdate") {
        // The internal type holds both by value: of other strategies zeros come back.
        default(
            update,
            "maxUnavailable",
            if rolling {
                max_unavailable.clone()
            } else {
                0.into()
            },
        );
        default(
            update,
            "maxSurge",
            if rolling { max_surge.clone() } else { 0.into() },
        );
    }
}

fn stateful_set(s: &mut Map) {
    let Some(spec) = object(s, "spec") else {
        return;
    };
    default_zero(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = object(spec, "updateStrategy") {
        if text(strategy, "type").is_empty() {
            strategy.insert("type", "RollingUpdate");
            object(strategy, "rollingUpdate");
        }
        // `maxUnavailable` stays unset: its feature gate is off by default. The internal type
        // holds the partition by value, so it comes back whatever the type says.
        if let Some(update) = present(strategy, "rollingUpdate") {
            default(update, "partition", 0);
        }
    }
    if let Some(policy) = object(spec, "persistentVolumeClaimRetentionPolicy") {
        default_zero(policy, "whenDeleted", "Retain");
        default_zero(policy, "whenScaled", "Retain");
    }
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    // The conversion from the internal type does this: `pkg/apis/apps/v1/conversion.go`.
    for claim in each(spec, "volumeClaimTemplates") {
        claim.insert("apiVersion", "v1");
        claim.insert("kind", "PersistentVolumeClaim");
    }
}

fn replica_set(r: &mut Map) {
    if let Some(spec) = object(r, "spec") {
        default(spec, "replicas", 1);
    }
}
