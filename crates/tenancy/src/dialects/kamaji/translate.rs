//! TenantControlPlane → ControlPlane, and back its status; no effects.

use crate::control_plane::plan::served_as;
use crate::dialects::in_their_words;
use crate::dialects::paths::{Rule, Rules, without_effect};
use crate::tenant::fields_condition;
use freehold_api::condition::{self, reasons, types};
use freehold_api::dialects::kamaji::{
    Certificates, Installed, Kubeconfigs, KubernetesResources, LABEL_NAME, MadeSecret, Replicas,
    State, Storage, TenantControlPlane, TenantControlPlaneStatus,
};
use freehold_api::{
    Condition, ControlPlane, ControlPlaneSpec, DataStoreChoice, Network, Phase, Power,
};
use kube::ResourceExt;

/// A foreign object in our words.
pub(super) struct Translation {
    pub spec: ControlPlaneSpec,
    /// what is set and does nothing, as `path (why)`
    pub without_effect: Vec<String>,
}

const PODS: Rule = Rule::None("it runs in a shared process, not in pods of its own");
const RULES: &Rules = &[
    ("writePermissions", Rule::None("writes are not limited yet")),
    ("dataStore", Rule::Effect),
    (
        "dataStoreSchema",
        Rule::None("the platform names what it keeps"),
    ),
    (
        "dataStoreUsername",
        Rule::None("the platform names what it keeps"),
    ),
    (
        "dataStoreOverrides",
        Rule::None("all resources are kept in one datastore"),
    ),
    ("controlPlane.deployment", PODS),
    ("controlPlane.deployment.replicas", Rule::Effect),
    (
        "controlPlane.service",
        Rule::None("no Service is made; it answers at status.controlPlaneEndpoint"),
    ),
    (
        "controlPlane.ingress",
        Rule::None("no Ingress is made; it answers at status.controlPlaneEndpoint"),
    ),
    (
        "controlPlane.gateway",
        Rule::None("no route is made; it answers at status.controlPlaneEndpoint"),
    ),
    ("kubernetes.version", Rule::Effect),
    ("kubernetes.kubelet", Rule::None("nodes cannot join yet")),
    (
        "kubernetes.admissionControllers",
        Rule::None("the set of admission plugins is fixed"),
    ),
    (
        "networkProfile.address",
        Rule::None("put into the serving certificate; it answers at status.controlPlaneEndpoint"),
    ),
    (
        "networkProfile.advertiseAddress",
        Rule::None("put into the serving certificate; nodes cannot join yet"),
    ),
    (
        "networkProfile.port",
        Rule::None("it answers at status.controlPlaneEndpoint, told apart by server name"),
    ),
    (
        "networkProfile.allowAddressAsExternalIP",
        Rule::None("no Service is made"),
    ),
    ("networkProfile.certSANs", Rule::Effect),
    ("networkProfile.clusterDomain", Rule::Effect),
    ("networkProfile.serviceCidr", Rule::Effect),
    ("networkProfile.serviceCidrs.0", Rule::Effect),
    (
        "networkProfile.serviceCidrs.1",
        Rule::None("one address family only"),
    ),
    ("networkProfile.podCidr", Rule::Effect),
    ("networkProfile.podCidrs.0", Rule::Effect),
    (
        "networkProfile.podCidrs.1",
        Rule::None("one address family only"),
    ),
    (
        "networkProfile.dnsServiceIPs",
        Rule::None("CoreDNS is not installed yet"),
    ),
    (
        "networkProfile.loadBalancerClass",
        Rule::None("no Service is made"),
    ),
    (
        "networkProfile.loadBalancerSourceRanges",
        Rule::None("no Service is made"),
    ),
    ("addons.coreDNS", Rule::None("it is not installed yet")),
    ("addons.kubeProxy", Rule::None("it is not installed yet")),
    ("addons.konnectivity", Rule::None("nodes cannot join yet")),
];

/// Our field paths in Kamaji's words, for messages.
pub(super) const FIELDS: &[(&str, &str)] = &[
    ("spec.version", "spec.kubernetes.version"),
    ("spec.datastore.name", "spec.dataStore"),
    ("spec.certSANs", "spec.networkProfile.certSANs"),
    (
        "spec.network.serviceCidr",
        "spec.networkProfile.serviceCidr",
    ),
    ("spec.network.podCidr", "spec.networkProfile.podCidr"),
    ("spec.network", "spec.networkProfile"),
];

/// Translates; `served` are the versions that are served.
pub(super) fn translate(tcp: &TenantControlPlane, served: &[String]) -> Translation {
    let spec = &tcp.spec;
    let profile = spec.network_profile.clone().unwrap_or_default();
    let value = serde_json::to_value(spec).unwrap_or_default();
    let mut fields = without_effect(&value, RULES);
    let asked = spec.kubernetes.version.as_str();
    match served_as(served, asked) {
        Some(version) if version.trim_start_matches('v') != asked.trim_start_matches('v') => {
            fields.push(format!("spec.kubernetes.version (served as {version})"));
        }
        _ => {}
    }
    let replicas = replicas(tcp);
    if replicas > 1 {
        fields.push(
            "spec.controlPlane.deployment.replicas (more than 1 is the same as 1)".to_owned(),
        );
    }
    let mut cert_sans = profile.cert_sans.clone();
    cert_sans.extend(
        [profile.address, profile.advertise_address]
            .into_iter()
            .flatten(),
    );
    cert_sans.retain(|name| !name.is_empty());
    let first = |many: &[String], one: Option<String>| {
        many.first().cloned().or(one).filter(|c| !c.is_empty())
    };
    let network = Network {
        service_cidr: first(&profile.service_cidrs, profile.service_cidr),
        pod_cidr: first(&profile.pod_cidrs, profile.pod_cidr),
        dns_domain: profile.cluster_domain.filter(|d| !d.is_empty()),
    };
    Translation {
        spec: ControlPlaneSpec {
            version: Some(asked.to_owned()),
            datastore: spec
                .data_store
                .clone()
                .filter(|name| !name.is_empty() && name != "default")
                .map(|name| DataStoreChoice { name }),
            power: if replicas == 0 {
                Power::Asleep
            } else {
                Power::Auto
            },
            network: (network != Network::default()).then_some(network),
            cert_sans,
            ..ControlPlaneSpec::default()
        },
        without_effect: fields,
    }
}

fn replicas(tcp: &TenantControlPlane) -> i32 {
    let deployment = tcp
        .spec
        .control_plane
        .as_ref()
        .and_then(|c| c.deployment.as_ref());
    deployment.and_then(|d| d.replicas).unwrap_or(1)
}

/// Names of the secrets of a TenantControlPlane.
pub(super) fn secret_name(tcp: &TenantControlPlane, suffix: &str) -> String {
    format!("{}-{suffix}", tcp.name_any())
}

/// What a pass found out.
pub(super) struct Found<'a> {
    /// our control plane, or why there is none
    pub ours: Result<&'a ControlPlane, Condition>,
    pub without_effect: &'a [String],
    /// whether the secrets are there in Kamaji's shape
    pub secrets: bool,
}

/// Writes what was found into the status; says whether that changed anything.
pub(super) fn mirror(tcp: &mut TenantControlPlane, found: &Found<'_>, now: &str) -> bool {
    let before = tcp.status.clone();
    let generation = tcp.metadata.generation;
    let mut status = before.clone().unwrap_or_default();
    status.observed_generation = generation;
    let conditions: Vec<Condition> = match &found.ours {
        Err(why) => crate::dialects::held_up(why).into(),
        Ok(ours) => vec![
            crate::dialects::synced(&crate::host::describe(*ours)),
            ready(ours, found.secrets),
            fields_condition(found.without_effect),
        ],
    };
    for condition in conditions {
        condition::set(&mut status.conditions, condition.at(generation), now);
    }
    match &found.ours {
        Ok(ours) => describe(tcp, &mut status, ours, found.secrets),
        Err(why) => {
            let waiting = why.reason == reasons::WAITING_FOR_NAMESPACE;
            let state = if waiting {
                State::Provisioning
            } else {
                State::NotReady
            };
            let resources = status.kubernetes_resources.get_or_insert_default();
            resources.version.get_or_insert_default().status = state;
        }
    }
    tcp.status = Some(status);
    tcp.status != before
}

fn ready(ours: &ControlPlane, secrets: bool) -> Condition {
    let conditions = ours.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let Some(ready) = condition::find(conditions, types::READY) else {
        return Condition::no(
            types::READY,
            reasons::WAITING_FOR_SERVER,
            "it is being made",
        );
    };
    if ready.holds() && !secrets {
        let message = "its kubeconfig is being written";
        return Condition::no(types::READY, reasons::WAITING_FOR_CREDENTIALS, message);
    }
    let mut ready = ready.clone();
    ready.message = in_their_words(&ready.message, FIELDS);
    ready.last_transition_time = None;
    ready
}

fn describe(
    tcp: &TenantControlPlane,
    status: &mut TenantControlPlaneStatus,
    ours: &ControlPlane,
    secrets: bool,
) {
    let ours_status = ours.status.clone().unwrap_or_default();
    let is_ready = condition::holds(&status.conditions, types::READY);
    let state = match ours_status.phase {
        _ if is_ready => State::Ready,
        Phase::Asleep => State::Sleeping,
        Phase::NotReady | Phase::Pending | Phase::Deleting => State::NotReady,
        Phase::Provisioning | Phase::Ready => State::Provisioning,
    };
    // a control plane that was just made has no status to judge it by
    let state = if ours.status.is_none() {
        State::Provisioning
    } else {
        state
    };
    status.kubernetes_resources = Some(KubernetesResources {
        version: Some(Installed {
            version: ours_status.version,
            status: state,
        }),
        deployment: Some(Replicas {
            replicas: if state == State::Sleeping {
                0
            } else {
                replicas(tcp)
            },
            selector: format!("{LABEL_NAME}={}", tcp.name_any()),
        }),
    });
    status.control_plane_endpoint = ours_status.endpoint.map(|endpoint| {
        let server = endpoint.server;
        server
            .strip_prefix("https://")
            .unwrap_or(&server)
            .to_owned()
    });
    let store = tcp.spec.data_store.clone().filter(|name| !name.is_empty());
    status.storage = Some(Storage {
        driver: "embedded".to_owned(),
        data_store_name: store.unwrap_or_else(|| "default".to_owned()),
    });
    if secrets {
        let made = |suffix: &str| {
            Some(MadeSecret {
                secret_name: secret_name(tcp, suffix),
            })
        };
        status.certificates = Some(Certificates {
            ca: made("ca"),
            api_server: made("api-server-certificate"),
            sa: made("sa-certificate"),
        });
        status.kubeconfig = Some(Kubeconfigs {
            admin: made("admin-kubeconfig"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::{ControlPlaneStatus, Endpoint};
    use serde_json::json;

    fn tcp(spec: serde_json::Value) -> TenantControlPlane {
        serde_json::from_value(json!({
            "metadata": {"name": "customer2", "namespace": "kamaji-system", "uid": "u"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn ours(phase: Phase, ready: Condition) -> ControlPlane {
        let mut cp = ControlPlane::new("customer2", ControlPlaneSpec::default());
        cp.status = Some(ControlPlaneStatus {
            phase,
            version: Some("v1.28.15".into()),
            endpoint: Some(Endpoint {
                server: "https://192.0.2.1:6443".into(),
                ..Endpoint::default()
            }),
            conditions: vec![ready],
            ..ControlPlaneStatus::default()
        });
        cp
    }

    #[test]
    fn no_replicas_is_asleep() {
        let tcp = tcp(json!({
            "kubernetes": {"version": "v1.28.0"},
            "controlPlane": {"deployment": {"replicas": 0}},
        }));
        let translation = translate(&tcp, &["v1.28.0".to_owned()]);
        assert_eq!(translation.spec.power, Power::Asleep);
        assert!(translation.without_effect.is_empty());
    }

    #[test]
    fn the_newer_fields_for_ranges_win() {
        let tcp = tcp(json!({
            "kubernetes": {"version": "v1.28.0"},
            "networkProfile": {"serviceCidr": "10.1.0.0/16", "serviceCidrs": ["10.2.0.0/16", "fd00::/108"]},
            "dataStore": "default",
        }));
        let translation = translate(&tcp, &["v1.28.0".to_owned()]);
        let network = translation.spec.network.unwrap();
        assert_eq!(network.service_cidr.as_deref(), Some("10.2.0.0/16"));
        assert_eq!(translation.spec.datastore, None);
        assert_eq!(
            translation.without_effect,
            ["spec.networkProfile.serviceCidrs[1] (one address family only)"]
        );
    }

    #[test]
    fn the_status_is_told_in_kamajis_words() {
        let mut tcp = tcp(json!({"kubernetes": {"version": "v1.28.0"}}));
        let cp = ours(
            Phase::Ready,
            Condition::yes(types::READY, "Available", "ok"),
        );
        let fields = ["spec.x (y)".to_owned()];
        let mut found = Found {
            ours: Ok(&cp),
            without_effect: &fields,
            secrets: false,
        };
        assert!(mirror(&mut tcp, &found, "t"));
        let status = |tcp: &TenantControlPlane| serde_json::to_value(&tcp.status).unwrap();
        assert_eq!(
            status(&tcp)["kubernetesResources"]["version"]["status"],
            "Provisioning"
        );
        found.secrets = true;
        assert!(mirror(&mut tcp, &found, "t"));
        assert!(!mirror(&mut tcp, &found, "later"));
        let status = status(&tcp);
        assert_eq!(status["kubernetesResources"]["version"]["status"], "Ready");
        assert_eq!(
            status["kubernetesResources"]["version"]["version"],
            "v1.28.15"
        );
        assert_eq!(status["kubernetesResources"]["deployment"]["replicas"], 1);
        assert_eq!(status["controlPlaneEndpoint"], "192.0.2.1:6443");
        assert_eq!(
            status["kubeconfig"]["admin"]["secretName"],
            "customer2-admin-kubeconfig"
        );
        assert_eq!(status["storage"]["dataStoreName"], "default");
        let fields = condition::find(
            &tcp.status.as_ref().unwrap().conditions,
            types::FIELDS_WITHOUT_EFFECT,
        );
        assert!(fields.unwrap().holds());
    }

    #[test]
    fn a_refusal_names_kamajis_field() {
        let mut tcp = tcp(json!({"kubernetes": {"version": "v1.20.0"}}));
        let cp = ours(
            Phase::Pending,
            Condition::no(
                types::READY,
                reasons::UNSUPPORTED_VERSION,
                "spec.version: v1.20.0 is not served here",
            ),
        );
        let found = Found {
            ours: Ok(&cp),
            without_effect: &[],
            secrets: false,
        };
        mirror(&mut tcp, &found, "t");
        let status = tcp.status.unwrap();
        let ready = condition::find(&status.conditions, types::READY).unwrap();
        assert!(
            ready.message.starts_with("spec.kubernetes.version:"),
            "{}",
            ready.message
        );
        let version = status.kubernetes_resources.unwrap().version.unwrap();
        assert_eq!(version.status, State::NotReady);
    }

    #[test]
    fn sleeping_has_no_replicas() {
        let mut tcp = tcp(json!({"kubernetes": {"version": "v1.28.0"}}));
        let cp = ours(
            Phase::Asleep,
            Condition::no(types::READY, reasons::ASLEEP, "asleep"),
        );
        mirror(
            &mut tcp,
            &Found {
                ours: Ok(&cp),
                without_effect: &[],
                secrets: true,
            },
            "t",
        );
        let resources = tcp.status.unwrap().kubernetes_resources.unwrap();
        assert_eq!(resources.version.unwrap().status, State::Sleeping);
        assert_eq!(resources.deployment.unwrap().replicas, 0);
    }
}
