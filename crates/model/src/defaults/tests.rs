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
    let unknown: Vec<_> = super::rules()
        .into_iter()
        .filter(|(name, _)| catalogue.type_named(name).is_none())
        .collect();
    assert!(
        unknown.is_empty(),
        "{:?}",
        unknown.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
}
