//! Both directions of every pair; expectations are upstream's conversion functions, cited below.

use super::{convert, was_stored_otherwise};
use crate::{Catalogue, Resource, Value, json, value};
use std::sync::Arc;

fn resource(minor: u8, group: &str, version: &str, plural: &str) -> Arc<Resource> {
    let catalogue = Catalogue::builtin(minor).expect("built in");
    catalogue
        .lookup(group, version, plural)
        .expect("a resource")
        .clone()
}

fn parse(text: &str) -> Value {
    json::parse(text.as_bytes()).expect("JSON").value
}

/// Recorded from upstream by `oracle convert`: pairs of lines, v2 and what v1 it becomes.
#[test]
fn autoscalers_become_what_upstream_makes_of_them() {
    let (v1, v2) = (
        resource(36, "autoscaling", "v1", "horizontalpodautoscalers"),
        resource(36, "autoscaling", "v2", "horizontalpodautoscalers"),
    );
    let recorded = include_str!("../../tests/recorded/convert/autoscaling.txt");
    let mut lines = recorded.lines();
    let mut count = 0;
    while let (Some(new), Some(old)) = (lines.next(), lines.next()) {
        let mut object = parse(new);
        convert(&v2, &v1, &mut object).expect("a known pair");
        assert_eq!(object, parse(old), "of {new}");
        convert(&v1, &v2, &mut object).expect("a known pair");
        let mut again = object.clone();
        convert(&v2, &v1, &mut again).expect("a known pair");
        assert_eq!(again, parse(old), "after a round trip of {new}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn events_of_both_groups_are_one_kind() {
    let (core, new) = (
        resource(36, "", "v1", "events"),
        resource(36, "events.k8s.io", "v1", "events"),
    );
    let mut event = value!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod"}, "message": "m", "count": 3, "reportingComponent": "c",
        "source": {"host": "h"}, "firstTimestamp": "2026-01-01T00:00:00Z"});
    crate::defaults::apply(&core, &mut event);
    let before = event.clone();
    convert(&core, &new, &mut event).expect("a known pair");
    assert_eq!(event.str_at(&["note"]), Some("m"));
    assert_eq!(event.str_at(&["regarding", "kind"]), Some("Pod"));
    assert_eq!(event.str_at(&["apiVersion"]), Some("events.k8s.io/v1"));
    assert!(event.get("message").is_none());
    convert(&new, &core, &mut event).expect("a known pair");
    assert_eq!(event, before);
}

#[test]
fn every_source_of_metrics_survives_the_old_version() {
    let (v1, v2) = (
        resource(36, "autoscaling", "v1", "horizontalpodautoscalers"),
        resource(36, "autoscaling", "v2", "horizontalpodautoscalers"),
    );
    let mut object = parse(
        r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"a"},"spec":{
        "maxReplicas":3,"minReplicas":1,"scaleTargetRef":{"kind":"Deployment","name":"d"},"metrics":[
        {"type":"Object","object":{"describedObject":{"kind":"Service","name":"s"},"metric":{"name":"m",
            "selector":{"matchLabels":{"a":"b"}}},"target":{"type":"Value","value":"10"}}},
        {"type":"Object","object":{"describedObject":{"kind":"Service","name":"s"},"metric":{"name":"m"},
            "target":{"type":"AverageValue","averageValue":"2"}}},
        {"type":"Pods","pods":{"metric":{"name":"p"},"target":{"type":"AverageValue","averageValue":"1k"}}},
        {"type":"External","external":{"metric":{"name":"e"},"target":{"type":"Value","value":"5"}}},
        {"type":"ContainerResource","containerResource":{"name":"memory","container":"c",
            "target":{"type":"Utilization","averageUtilization":50}}},
        {"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"1Gi"}}},
        {"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60}}}]}}"#,
    );
    crate::defaults::apply(&v2, &mut object);
    let before = object.clone();
    convert(&v2, &v1, &mut object).expect("a known pair");
    assert_eq!(
        object.at(&["spec", "targetCPUUtilizationPercentage"]),
        Some(&60.into())
    );
    convert(&v1, &v2, &mut object).expect("a known pair");
    assert_eq!(object.get("spec"), before.get("spec"));
}

const FLOWCONTROL: &str = "flowcontrol.apiserver.k8s.io";

fn level(version: &str, limited: Value) -> Value {
    value!({
        "apiVersion": (format!("{FLOWCONTROL}/{version}")), "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": limited}
    })
}

fn levels(minor: u8, version: &str) -> Arc<Resource> {
    resource(minor, FLOWCONTROL, version, "prioritylevelconfigurations")
}

/// kubernetes 1.28 `pkg/apis/flowcontrol/{v1beta2,v1beta3,v1}/{defaults,conversion}.go`
#[test]
fn priority_levels_have_their_shares_in_every_version() {
    for (minor, old, new) in [
        (28, "v1beta2", "v1beta3"),
        (29, "v1beta3", "v1"),
        (31, "v1beta3", "v1"),
    ] {
        let (from, to) = (levels(minor, old), levels(minor, new));
        let name = |version| match version {
            "v1beta2" => "assuredConcurrencyShares",
            _ => "nominalConcurrencyShares",
        };
        let mut object = level(old, value!({"limitResponse": {"type": "Reject"}}));
        crate::defaults::apply(&from, &mut object);
        let limited = |o: &Value| o.at(&["spec", "limited"]).cloned().expect("limited");
        let mut shares = limited(&object);
        assert_eq!(shares.unset(&[name(old)]), Some(30.into()), "1.{minor}");
        assert_eq!(
            shares,
            value!({"lendablePercent": 0, "limitResponse": {"type": "Reject"}})
        );
        let before = object.clone();
        convert(&from, &to, &mut object).expect("a known pair");
        assert_eq!(
            object.str_at(&["apiVersion"]),
            Some(to.api_version().as_str())
        );
        assert_eq!(limited(&object).get(name(new)), Some(&30.into()));
        if name(old) != name(new) {
            assert_eq!(limited(&object).get(name(old)), None);
        }
        convert(&to, &from, &mut object).expect("a known pair");
        assert_eq!(object, before, "1.{minor}");
    }
}

#[test]
fn no_shares_at_all_survive_the_version_that_cannot_say_so() {
    let (beta, v1) = (levels(30, "v1beta3"), levels(30, "v1"));
    let mut object = level(
        "v1",
        value!({"nominalConcurrencyShares": 0, "lendablePercent": 0}),
    );
    let before = object.clone();
    convert(&v1, &beta, &mut object).expect("a known pair");
    let kept = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
    assert_eq!(
        object.at(&["metadata", "annotations", kept]),
        Some(&"".into())
    );
    crate::defaults::apply(&beta, &mut object);
    convert(&beta, &v1, &mut object).expect("a known pair");
    let shares = ["spec", "limited", "nominalConcurrencyShares"];
    assert_eq!(object.at(&shares), before.at(&shares));
}

#[test]
fn flow_schemas_only_change_their_version() {
    for (minor, old, new) in [(28, "v1beta2", "v1beta3"), (29, "v1beta3", "v1")] {
        let of = |version| resource(minor, FLOWCONTROL, version, "flowschemas");
        let (from, to) = (of(old), of(new));
        let mut object = value!({
            "apiVersion": (from.api_version()), "kind": "FlowSchema", "metadata": {"name": "f"},
            "spec": {"priorityLevelConfiguration": {"name": "l"}}
        });
        crate::defaults::apply(&from, &mut object);
        assert_eq!(
            object.at(&["spec", "matchingPrecedence"]),
            Some(&1000.into())
        );
        let spec = object.get("spec").cloned();
        convert(&from, &to, &mut object).expect("a known pair");
        assert_eq!(object.get("spec"), spec.as_ref());
        convert(&to, &from, &mut object).expect("a known pair");
        assert_eq!(
            object.str_at(&["apiVersion"]),
            Some(from.api_version().as_str())
        );
        assert_eq!(object.get("spec"), spec.as_ref());
    }
}

/// `pkg/apis/flowcontrol/install/install.go` of 1.28 to 1.30
#[test]
fn flowcontrol_is_stored_and_preferred_in_the_version_of_its_minor() {
    for (minor, want) in [(28, "v1beta3"), (29, "v1beta3"), (30, "v1"), (36, "v1")] {
        let catalogue = Catalogue::builtin(minor).expect("built in");
        let group = catalogue.groups.iter().find(|g| g.name == FLOWCONTROL);
        assert_eq!(group.expect("a group").versions[0], want, "1.{minor}");
        let all = catalogue
            .resources
            .iter()
            .filter(|r| r.group == FLOWCONTROL);
        for r in all {
            assert_eq!(r.storage_version, want, "1.{minor} {}", r.plural);
        }
    }
}

/// Every built-in kind with two versions in some minor may be found stored in the other one.
#[test]
fn kinds_that_are_stored_in_two_versions_are_known() {
    let mut seen = std::collections::BTreeMap::<_, std::collections::BTreeSet<_>>::new();
    let mut known = Vec::new();
    for minor in 28..=37 {
        for r in &Catalogue::builtin(minor).expect("built in").resources {
            // Events of both groups are stored as core events since ever.
            if r.kind != "Event" {
                let versions = seen.entry((r.group.clone(), r.kind.clone())).or_default();
                versions.insert(r.version.clone());
            }
            if was_stored_otherwise(r) {
                known.push((r.group.clone(), r.kind.clone()));
            }
        }
    }
    known.sort();
    known.dedup();
    seen.retain(|_, versions| versions.len() > 1);
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), known);
}
