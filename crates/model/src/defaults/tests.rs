//! Defaulting as a whole; the single rules are compared with upstream's own in `tests/it`.

use crate::{Catalogue, Value, value};

fn defaulted(group: &str, version: &str, plural: &str, mut object: Value) -> Value {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let resource = catalogue
        .lookup(group, version, plural)
        .expect("a resource");
    super::apply(resource, &mut object);
    object
}

// kubernetes pkg/apis/core/v1/defaults.go, zz_generated.defaults.go
#[test]
fn a_pod_gets_what_the_server_would_give_it() {
    let pod = value!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "stdin": false,
         "resources": {"limits": {"cpu": "1000m", "memory": "1024Ki"}},
         "readinessProbe": {"httpGet": {"port": 80}}}
    ], "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}});
    let limits = value!({"cpu": "1", "memory": "1Mi"});
    let expected = value!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "nginx", "imagePullPolicy": "Always",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": (limits.clone()), "requests": limits},
            "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}]},
        "status": {}});
    assert_eq!(defaulted("", "v1", "pods", pod), expected);
}

#[test]
fn defaulting_twice_changes_nothing() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    for resource in &catalogue.resources {
        let mut once = value!({"metadata": {"name": "x"}});
        super::apply(resource, &mut once);
        let mut twice = once.clone();
        super::apply(resource, &mut twice);
        assert_eq!(once, twice, "{}", resource.plural);
    }
}

#[test]
fn every_rule_names_a_type_of_the_catalogue() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let unknown: Vec<_> = super::RULE_NAMES
        .keys()
        .filter(|name| catalogue.type_named(name).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (name, fills) in super::pods::GIVEN {
        let (types, id) = catalogue
            .type_named(&format!("io.k8s.api.core.v1.{name}"))
            .expect(name);
        let of_type = types.structure(id).expect(name);
        for (field, ..) in *fills {
            assert!(of_type.field(field).is_some(), "{name}.{field}");
        }
    }
}

/// The path of the first place where two values differ, with both sides.
fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&str> = a.keys().chain(b.keys()).collect();
            keys.into_iter()
                .find_map(|key| match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => difference(&format!("{path}.{key}"), x, y),
                    (x, y) => Some(format!("{path}.{key}: ours {x:?}, upstream {y:?}")),
                })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .find_map(|(x, y)| difference(&format!("{path}[]"), x, y)),
        _ if ours == theirs => None,
        _ => Some(format!("{path}: ours {ours:?}, upstream {theirs:?}")),
    }
}

/// Recordings are pairs of lines, made by `upstream/cmd/oracle record`: what a client sends and
/// what upstream's decoding, defaulting and conversion make of it.
#[test]
fn random_objects_become_what_upstream_makes_of_them() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/defaults");
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let (mut compared, mut differences) = (
        0,
        std::collections::BTreeMap::<String, (usize, String)>::new(),
    );
    for file in std::fs::read_dir(directory).expect("recordings") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let mut lines = text.lines();
        while let (Some(input), Some(theirs)) = (lines.next(), lines.next()) {
            let theirs = crate::json::parse(theirs.as_bytes()).expect("JSON").value;
            let kind = theirs.str_at(&["kind"]).expect("a kind");
            let (group, version) = theirs
                .str_at(&["apiVersion"])
                .map(|v| v.split_once('/').unwrap_or(("", v)))
                .expect("a version");
            let Some((types, root)) = catalogue.type_of(group, version, kind) else {
                continue;
            };
            let mut ours = crate::json::parse(input.as_bytes()).expect("JSON").value;
            super::apply_type(&types, root, &mut ours);
            if let (("autoscaling", "v1"), Some(old)) =
                ((group, version), catalogue.by_kind(group, version, kind))
            {
                // As in a request: to the stored version and back.
                let stored = catalogue.by_kind(group, "v2", kind).expect("v2");
                crate::convert::convert(old, stored, &mut ours).expect("a known pair");
                crate::convert::convert(stored, old, &mut ours).expect("a known pair");
            }
            compared += 1;
            if let Some(found) = difference(kind, &ours, &theirs) {
                let path = found.split(": ours").next().unwrap_or_default().to_owned();
                differences.entry(path).or_insert((0, found)).0 += 1;
            }
        }
    }
    let shown: Vec<String> = differences
        .values()
        .map(|(n, d)| format!("{n} × {}", d.chars().take(300).collect::<String>()))
        .collect();
    println!("compared {compared}");
    assert!(
        shown.is_empty() && compared > 100,
        "{} of {compared}:\n{}",
        shown.len(),
        shown.join("\n")
    );
}

#[test]
#[ignore = "a measurement: run with --release --nocapture"]
fn how_long_defaulting_a_pod_takes() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let pods = catalogue.lookup("", "v1", "pods").expect("pods");
    let container = value!({"name": "c", "image": "nginx", "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
        "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"httpGet": {"port": 80}},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let containers: Vec<Value> = (0..5).map(|_| container.clone()).collect();
    let pod = value!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": (containers),
        "volumes": [{"name": "v", "configMap": {"name": "c"}}]}});
    let rounds = 2_000;
    let copies: Vec<Value> = (0..rounds).map(|_| pod.clone()).collect();
    let start = std::time::Instant::now();
    for mut copy in copies {
        super::apply(pods, &mut copy);
        std::hint::black_box(&copy);
    }
    println!("{:?} each", start.elapsed() / rounds);
}
