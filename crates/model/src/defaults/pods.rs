//! Pods and everything with a pod template: kubernetes `pkg/apis/core/v1/defaults.go`.

use super::plan::{Fill, Given::*};
use super::{Rule, default, default_zero, each, image, object, pod_resources, present, text};
use crate::{Map, Value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Pod", pod),
    ("PodSpec", pod_spec),
    ("PodTemplateSpec", drop_old_annotations),
    ("PodStatus", |s| {
        one_and_many(s, "podIP", "podIPs", Some("ip"))
    }),
    ("Container", container),
    ("EphemeralContainer", container),
    ("Volume", volume),
];

/// What comes into fields whatever else there is.
pub(super) const GIVEN: &[(&str, &[Fill])] = &[
    (
        "PodSpec",
        &[
            ("dnsPolicy", Text("ClusterFirst"), true),
            ("restartPolicy", Text("Always"), true),
            ("securityContext", Object, false),
            ("terminationGracePeriodSeconds", Int(30), false),
            ("schedulerName", Text("default-scheduler"), true),
        ],
    ),
    ("Container", MESSAGE),
    ("EphemeralContainer", MESSAGE),
    (
        "Probe",
        &[
            ("timeoutSeconds", Int(1), true),
            ("periodSeconds", Int(10), true),
            ("successThreshold", Int(1), true),
            ("failureThreshold", Int(3), true),
        ],
    ),
    (
        "HTTPGetAction",
        &[("path", Text("/"), true), ("scheme", Text("HTTP"), true)],
    ),
    ("SecretVolumeSource", MODE),
    ("ConfigMapVolumeSource", MODE),
    ("DownwardAPIVolumeSource", MODE),
    ("ProjectedVolumeSource", MODE),
    (
        "ServiceAccountTokenProjection",
        &[("expirationSeconds", Int(3600), false)],
    ),
    ("HostPathVolumeSource", &[("type", Text(""), false)]),
    ("ObjectFieldSelector", &[("apiVersion", Text("v1"), true)]),
];

const MESSAGE: &[Fill] = &[
    ("terminationMessagePath", Text("/dev/termination-log"), true),
    ("terminationMessagePolicy", Text("File"), true),
];

/// 0644, in decimal as JSON has it.
const MODE: &[Fill] = &[("defaultMode", Int(0o644), false)];

fn pod(p: &mut Map) {
    let Some(spec) = object(p, "spec") else {
        return;
    };
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
        }
    }
    pod_resources::fill(spec);
    default(spec, "enableServiceLinks", true);
    // Of pods only, not of templates: kubernetes `pkg/apis/core/v1/conversion.go`.
    if let Some(..0) = spec
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
    {
        spec.insert("terminationGracePeriodSeconds", 1);
    }
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["containers", "initContainers"] {
            each(spec, list).for_each(host_ports);
        }
    }
}

/// Init containers were annotations once (`pkg/apis/core/v1/conversion.go`).
fn drop_old_annotations(holder: &mut Map) {
    let annotations = holder
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"));
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else {
        return;
    };
    annotations.retain(|key, _| {
        let stage = key
            .strip_prefix("pod.")
            .and_then(|k| k.split_once(".kubernetes.io/"));
        !matches!(
            stage,
            Some((
                "alpha" | "beta",
                "init-containers" | "init-container-statuses"
            ))
        )
    });
}

/// The field for one value and the list that came later: the first wins where they differ
/// (`pkg/apis/core/v1/conversion.go`).
pub(super) fn one_and_many(map: &mut Map, one: &str, many: &str, inner: Option<&str>) {
    let in_list = |v: &Value| {
        inner
            .map_or(Some(v), |key| v.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let first = map
        .get(many)
        .and_then(Value::as_array)
        .and_then(|a| a.first())
        .map(in_list);
    let single = text(map, one).to_owned();
    if single.is_empty() {
        if let Some(first) = first {
            map.insert(one, first);
        }
    } else if first.is_none_or(|f| f != single) {
        let item = match inner {
            Some(key) => Value::Object([(key, single)].into_iter().collect()),
            None => single.into(),
        };
        map.insert(many, vec![item]);
    }
}

fn requests_from_limits(container: &mut Map) {
    let Some(resources) = container
        .get_mut("resources")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
        return;
    };
    let Some(requests) = object(resources, "requests") else {
        return;
    };
    for (name, limit) in limits.iter() {
        if !requests.contains_key(name) {
            requests.insert(name, limit.clone());
        }
    }
}

fn host_ports(container: &mut Map) {
    for port in each(container, "ports") {
        if let Some(number) = port.get("containerPort").cloned() {
            default_zero(port, "hostPort", number);
        }
    }
}

fn pod_spec(spec: &mut Map) {
    // `serviceAccount` is the old name of `serviceAccountName`; both are written
    // (`pkg/apis/core/v1/conversion.go`).
    let name = [
        text(spec, "serviceAccountName"),
        text(spec, "serviceAccount"),
    ]
    .into_iter()
    .find(|n| !n.is_empty());
    if let Some(name) = name.map(Value::from) {
        spec.insert("serviceAccount", name.clone());
        spec.insert("serviceAccountName", name);
    }
}

fn container(c: &mut Map) {
    let policy = image::pull_policy(text(c, "image"));
    default_zero(c, "imagePullPolicy", policy);
}

fn volume(v: &mut Map) {
    if v.iter()
        .all(|(key, value)| key == "name" || value.is_null())
    {
        v.insert("emptyDir", Value::object());
    }
    if let Some(source) = present(v, "image") {
        let policy = image::pull_policy(text(source, "reference"));
        default_zero(source, "pullPolicy", policy);
    }
}
