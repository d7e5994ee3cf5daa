//! kubernetes `pkg/apis/resource/validation/validation_*_test.go`

use crate::{Catalogue, Value, validate, value};

fn wrong(plural: &str, object: &Value) -> Vec<String> {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let resource = catalogue
        .lookup("resource.k8s.io", "v1", plural)
        .expect("a resource");
    let errors = validate::create(resource, object);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn claims_ask_for_devices_of_classes() {
    let claim = |devices: Value| value!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"devices": (devices)}});
    let exactly = value!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    for (devices, want) in [
        (
            value!({"requests": [{"name": "a", "exactly": (exactly.clone())}],
                "constraints": [{"requests": ["a"], "matchAttribute": "d.io/numa"}]}),
            vec![],
        ),
        (
            value!({"requests": [{"name": "a"}, {"name": "a", "exactly": {"allocationMode": "All", "count": 1}}]}),
            vec![
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
                r#"spec.devices.requests[1]: Duplicate value: "a""#,
            ],
        ),
        (
            value!({"config": [{"requests": ["x"], "opaque": {"driver": "d.io", "parameters": []}}]}),
            vec![
                r#"spec.devices.config[0].requests[0]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"#,
                r#"spec.devices.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object"#,
            ],
        ),
    ] {
        assert_eq!(wrong("resourceclaims", &claim(devices)), want);
    }
}

#[test]
fn slices_are_of_some_nodes_and_their_devices_have_names() {
    let slice = value!({"metadata": {"name": "s"}, "spec": {"driver": "d.io",
        "pool": {"name": "p", "resourceSliceCount": 1}, "nodeName": "n", "allNodes": true,
        "devices": [{"name": "a", "attributes": {"v": {"version": "1"}},
            "capacity": {"m": {"value": "1Gi", "requestPolicy": {}}}}]}});
    assert_eq!(
        wrong("resourceslices", &slice),
        [
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            r#"spec.devices[0].attributes[v].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0"#,
            "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
        ]
    );
}

#[test]
fn the_spec_of_a_claim_stays() {
    let catalogue = Catalogue::builtin(36).expect("36 is built in");
    let resource = catalogue
        .lookup("resource.k8s.io", "v1", "resourceclaims")
        .expect("a resource");
    let claim = |count: i64| {
        value!({"metadata": {"name": "c", "namespace": "ns"}, "spec": {"devices": {"requests":
            [{"name": "a", "exactly": {"deviceClassName": "g", "allocationMode": "ExactCount", "count": (count)}}]}}})
    };
    let errors = validate::update(resource, &claim(2), &claim(1));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].to_string().ends_with("field is immutable"));
}
