//! Both directions of every pair.

use super::convert;
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
