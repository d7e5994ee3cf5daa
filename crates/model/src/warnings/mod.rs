//! What a server warns of without refusing it: the `WarningsOnCreate` and `WarningsOnUpdate` of
//! pkg/registry/*/*/strategy.go, and versions of kinds that are deprecated.
//!
//! In upstream's order; what comes out of a Go map, whose order is random, by name. In the words of the version
//! that is served: [`Warnings::minor`] is asked where a warning is younger than 1.28.

mod addresses;
mod claims;
mod few;
mod labels;
mod list;
mod pods;
mod ports;
mod volumes;
mod workloads;

use crate::Value;
use crate::catalogue::Resource;
use list::Warnings;

/// Group, version, kind; since when it is deprecated, in which minor version it is gone, and what to use
/// (`APILifecycleDeprecated` in k8s.io/api, versions served from 1.28 on).
const DEPRECATED: &[(&str, &str, &str, u32, u32, &str)] = &[
    ("", "v1", "ComponentStatus", 19, 0, ""),
    (
        "",
        "v1",
        "Endpoints",
        33,
        0,
        "discovery.k8s.io/v1 EndpointSlice",
    ),
    (
        FLOW,
        "v1beta2",
        "FlowSchema",
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema",
    ),
    (
        FLOW,
        "v1beta2",
        "PriorityLevelConfiguration",
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1beta3 PriorityLevelConfiguration",
    ),
    (
        FLOW,
        "v1beta3",
        "FlowSchema",
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1 FlowSchema",
    ),
    (
        FLOW,
        "v1beta3",
        "PriorityLevelConfiguration",
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration",
    ),
];

const FLOW: &str = "flowcontrol.apiserver.k8s.io";

/// The warning that every request about this version of a kind gets on a server of that minor version.
#[must_use]
pub fn deprecated(resource: &Resource, minor: u32) -> Option<String> {
    if let Some(custom) = &resource.custom {
        return custom.deprecation.as_ref().map(|text| text.to_string());
    }
    let (_, _, _, since, gone, instead) = DEPRECATED.iter().find(|(g, v, k, since, ..)| {
        resource.group == *g && resource.version == *v && resource.kind == *k && minor >= *since
    })?;
    let mut text = format!(
        "{} {} is deprecated in v1.{since}+",
        resource.api_version(),
        resource.kind
    );
    if *gone > 0 {
        text.push_str(&format!(", unavailable in v1.{gone}+"));
    }
    if !instead.is_empty() {
        text.push_str(&format!("; use {instead}"));
    }
    Some(text)
}

/// Warnings about an object that is created, or changed from `old`, through the object itself or one of its
/// subresources: as many as a client can be shown.
#[must_use]
pub fn of_object(
    resource: &Resource,
    subresource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Vec<String> {
    let mut out = Warnings::of(resource.types.minor());
    let at = Place { object, old };
    let (group, kind) = (resource.group.as_str(), resource.kind.as_str());
    match subresource {
        "" if resource.custom.is_some() => few::finalizers(&at, &mut out),
        "" => match group {
            "apps" | "batch" => workloads::check(kind, &at, &mut out),
            "" if workloads::is_one(kind) => workloads::check(kind, &at, &mut out),
            _ => few::check(group, kind, &at, &mut out),
        },
        "status" => few::status(group, kind, object, &mut out),
        _ => {}
    }
    out.list
}

/// What is looked at.
struct Place<'a> {
    object: &'a Value,
    old: Option<&'a Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, DEFAULT_MINOR};
    use crate::value;

    fn said(group: &str, plural: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
        let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("built in");
        let resource = catalogue.lookup(group, "v1", plural).expect("served");
        of_object(resource, "", object, old)
    }

    #[test]
    fn a_template_warns_with_every_new_generation_and_not_before() {
        let of = |generation: i64| {
            value!({"metadata": {"name": "a", "generation": generation}, "spec": {"template": {"spec": {
                "imagePullSecrets": [{"name": "x"}, {"name": "x"}],
                "containers": [{"resources": {"limits": {"memory": "100m"}}}]
            }}}})
        };
        let wanted = [
            "spec.template.spec.imagePullSecrets[1].name: duplicate name \"x\"",
            "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
        ];
        assert_eq!(said("apps", "deployments", &of(1), None), wanted);
        assert_eq!(said("apps", "deployments", &of(2), Some(&of(1))), wanted);
        assert!(said("apps", "deployments", &of(1), Some(&of(1))).is_empty());
    }

    #[test]
    fn a_pod_that_is_changed_is_not_warned_of() {
        let pod =
            value!({"metadata": {"name": "a.b"}, "spec": {"terminationGracePeriodSeconds": (-1)}});
        assert_eq!(said("", "pods", &pod, None).len(), 2);
        assert!(said("", "pods", &pod, Some(&pod)).is_empty());
    }

    #[test]
    fn thousands_of_ports_and_paths_that_overlap_are_compared_up_to_a_bound() {
        let ports: Vec<Value> = (0..20_000).map(|_| value!({"containerPort": 80})).collect();
        let paths: Vec<Value> = (0..20_000)
            .map(|i| value!({"path": (format!("a{i}"))}))
            .collect();
        let mut pod = value!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}], "volumes": [{"name": "v", "secret": {}}]}});
        pod.set(
            &["spec", "volumes"],
            Value::Array(vec![{
                let mut volume = value!({"name": "v"});
                volume.set(&["secret", "items"], Value::Array(paths));
                volume
            }]),
        );
        let mut container = value!({"name": "c"});
        container.set(&["ports"], Value::Array(ports));
        pod.set(&["spec", "containers"], Value::Array(vec![container]));
        assert_eq!(said("", "pods", &pod, None).len(), 256);
    }

    /// Since when, of what, and a part of what is said: `WarningsOnCreate` of the releases 1.28 to 1.36, side by side.
    const LATER: [(u8, &str, &str, &str, &str); 18] = [
        (
            28,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}]}}"#,
            r#"hides previous definition of "A""#,
        ),
        (
            30,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"containers":[{"env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}]}}"#,
            "which may be dropped when using apply",
        ),
        (
            30,
            "",
            "persistentvolumes",
            r#"{"spec":{"persistentVolumeReclaimPolicy":"Recycle"}}"#,
            "The Recycle reclaim policy is deprecated",
        ),
        (
            30,
            "apps",
            "deployments",
            r#"{"metadata":{"name":"a"},"spec":{"template":{"metadata":{"annotations":{"container.apparmor.security.beta.kubernetes.io/c":"unconfined"}},"spec":{"containers":[{"name":"c"}]}}}}"#,
            r#"use the "appArmorProfile" field instead"#,
        ),
        (
            31,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"nodeSelector":{"node-role.kubernetes.io/master":""}}}"#,
            "node-role.kubernetes.io/control-plane",
        ),
        (
            32,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"volumes":[{"name":"v","secret":{"items":[{"path":"x"},{"path":"x/y"}]}}]}}"#,
            "overlapping paths",
        ),
        (
            33,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"containers":[{"ports":[{"name":"x","containerPort":1},{"name":"x","containerPort":2}]}]}}"#,
            r#"duplicate port name "x""#,
        ),
        (
            33,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"dnsConfig":{"nameservers":["01.2.3.4"]}}}"#,
            "non-standard IP address",
        ),
        (
            33,
            "",
            "pods",
            r#"{"metadata":{"name":"a"},"spec":{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"preference":{"matchExpressions":[{"key":"k","operator":"In","values":["-"]}]}}]}}}}"#,
            "- is invalid, ",
        ),
        (
            33,
            "apps",
            "statefulsets",
            r#"{"spec":{"revisionHistoryLimit":-1}}"#,
            "a negative value retains",
        ),
        (
            33,
            "",
            "endpoints",
            r#"{"subsets":[{"addresses":[{"ip":"01.2.3.4"}]}]}"#,
            "non-standard IP address",
        ),
        (
            33,
            "discovery.k8s.io",
            "endpointslices",
            r#"{"endpoints":[{"addresses":["01.2.3.4"]}]}"#,
            "non-standard IP address",
        ),
        (
            33,
            "",
            "nodes",
            r#"{"spec":{"podCIDRs":["010.0.0.0/8"]}}"#,
            "non-standard CIDR value",
        ),
        (
            33,
            "networking.k8s.io",
            "networkpolicies",
            r#"{"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.1/8"}}]}]}}"#,
            "is ambiguous in this context",
        ),
        (
            34,
            "",
            "services",
            r#"{"spec":{"type":"ClusterIP","clusterIP":"None","sessionAffinity":"ClientIP"}}"#,
            "spec.SessionAffinity is ignored",
        ),
        (
            35,
            "",
            "services",
            r#"{"spec":{"trafficDistribution":"PreferClose"}}"#,
            r#"use "PreferSameZone""#,
        ),
        (
            35,
            "",
            "resourcequotas",
            r#"{"spec":{"hard":{"cpu":"2","limits.cpu":"1"}}}"#,
            "should be less than limits.cpu (1)",
        ),
        (
            36,
            "",
            "services",
            r#"{"spec":{"externalIPs":["1.2.3.4"]}}"#,
            "spec.externalIPs is deprecated",
        ),
    ];

    #[test]
    fn what_later_versions_warn_of_earlier_ones_do_not() {
        for (since, group, plural, object, part) in LATER {
            let object = crate::json::parse(object.as_bytes()).expect("JSON").value;
            let has = |minor: u8| {
                let catalogue = Catalogue::builtin(minor).expect("built in");
                let resource = catalogue.lookup(group, "v1", plural).expect("served");
                let said = of_object(resource, "", &object, None);
                said.iter().any(|text| text.contains(part))
            };
            for minor in 28..=DEFAULT_MINOR {
                assert_eq!(has(minor), minor >= since, "{plural} in 1.{minor}: {part}");
            }
        }
    }

    /// kubernetes 1.28 and 1.29 `pkg/registry/batch/cronjob/strategy.go`.
    #[test]
    fn a_time_zone_in_a_schedule_is_warned_of_in_the_words_of_the_version() {
        let job = value!({"metadata": {"name": "a"}, "spec": {"schedule": "TZ=UTC * * * * *"}});
        let of = |minor: u8, old: Option<&Value>| {
            let catalogue = Catalogue::builtin(minor).expect("built in");
            let jobs = catalogue.lookup("batch", "v1", "cronjobs").expect("served");
            of_object(jobs, "", &job, old).concat()
        };
        assert!(of(28, None).starts_with("CRON_TZ or TZ used in spec.spec.schedule"));
        assert!(of(28, Some(&job)).starts_with("CRON_TZ or TZ used in spec.spec.schedule"));
        assert_eq!(of(29, None), "");
        assert!(of(29, Some(&job)).starts_with("cannot use TZ or CRON_TZ in"));
    }

    #[test]
    fn a_version_is_deprecated_from_some_server_on() {
        let catalogue = Catalogue::builtin(DEFAULT_MINOR).expect("built in");
        let endpoints = catalogue.lookup("", "v1", "endpoints").expect("served");
        assert_eq!(deprecated(endpoints, 32), None);
        assert_eq!(
            deprecated(endpoints, 33).expect("a warning"),
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
        );
    }

    #[test]
    fn finalizers_of_a_custom_object_that_somebody_else_may_use_are_warned_of() {
        let object = value!({"metadata": {"finalizers": ["orphan", "mine", "a.example.com", "a.example.com/x"]}});
        let mut out = Warnings::of(DEFAULT_MINOR);
        let old = value!({"metadata": {"finalizers": ["mine"]}});
        let mut at = Place {
            object: &object,
            old: None,
        };
        few::finalizers(&at, &mut out);
        let why = "to avoid accidental conflicts with other finalizer writers";
        let of_a_domain = format!(
            "metadata.finalizers: \"a.example.com\": prefer a domain-qualified finalizer name including a path (/) {why}"
        );
        let mine = format!(
            "metadata.finalizers: \"mine\": prefer a domain-qualified finalizer name {why}"
        );
        assert_eq!(out.list, [of_a_domain.clone(), mine]);
        out.list.clear();
        at.old = Some(&old);
        few::finalizers(&at, &mut out);
        assert_eq!(out.list, [of_a_domain]);
    }
}
