//! What is to become of a control plane, decided from what is known; no effects.

use crate::cidr::Cidr;
use crate::config::OperatorConfig;
use freehold_api::condition::{reasons, types};
use freehold_api::{
    Condition, ControlPlane, ControlPlaneName, Engine, Placement, Tenant, TenantName, names,
};

/// What is known when deciding.
pub(crate) struct Facts<'a> {
    pub control_plane: &'a ControlPlane,
    /// the tenant that the namespace's label names
    pub namespace_tenant: Option<&'a str>,
    /// that tenant's object
    pub tenant: Option<&'a Tenant>,
    /// how many control planes of the tenant are older
    pub older: usize,
    pub config: &'a OperatorConfig,
}

/// A control plane that may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub tenant: TenantName,
    pub name: ControlPlaneName,
    pub namespace: String,
    pub server_name: String,
    /// names and addresses of its serving certificate, sorted
    pub serving_names: Vec<String>,
}

/// Whether the control plane may be served; if not, the condition `Ready` that says why not.
pub(crate) fn admit(facts: &Facts<'_>) -> Result<Accepted, Condition> {
    let no = |reason, message: String| Condition::no(types::READY, reason, message);
    let cp = facts.control_plane;
    let name = ControlPlaneName::new(cp.metadata.name.clone().unwrap_or_default())
        .map_err(|error| no(reasons::INVALID_NAME, format!("metadata.name: {error}")))?;
    let namespace = cp.metadata.namespace.clone().unwrap_or_default();
    let tenant = tenant(facts, &namespace)?;
    available(facts)?;
    version(facts)?;
    let serving_names = serving_names(facts, &name, &namespace)?;
    Ok(Accepted {
        server_name: names::server_name(name.as_str(), &namespace),
        tenant,
        name,
        namespace,
        serving_names,
    })
}

fn tenant(facts: &Facts<'_>, namespace: &str) -> Result<TenantName, Condition> {
    let no = |reason, message: String| Condition::no(types::READY, reason, message);
    let Some(of_namespace) = facts.namespace_tenant else {
        return Err(no(
            reasons::TENANT_NOT_FOUND,
            format!(
                "the namespace {namespace} belongs to no tenant: it has no label {}",
                names::LABEL_TENANT
            ),
        ));
    };
    if let Some(asked) = facts.control_plane.spec.tenant.as_deref()
        && asked != of_namespace
    {
        return Err(no(
            reasons::TENANT_MISMATCH,
            format!("spec.tenant: the namespace {namespace} belongs to another tenant"),
        ));
    }
    let name = TenantName::new(of_namespace)
        .map_err(|error| no(reasons::TENANT_NOT_FOUND, error.to_string()))?;
    let Some(tenant) = facts.tenant else {
        return Err(no(
            reasons::TENANT_NOT_FOUND,
            format!("the tenant {name} does not exist"),
        ));
    };
    if tenant.metadata.deletion_timestamp.is_some() {
        return Err(no(
            reasons::DELETING,
            format!("the tenant {name} is being deleted"),
        ));
    }
    let quota = tenant.spec.control_planes.as_ref().and_then(|l| l.quota);
    if let Some(quota) = quota
        && facts.older >= quota as usize
    {
        return Err(no(
            reasons::TENANT_QUOTA_EXCEEDED,
            format!(
                "the tenant {name} may have {quota} control planes (spec.controlPlanes.quota of the tenant) and has {} older ones",
                facts.older
            ),
        ));
    }
    Ok(name)
}

/// What cannot be done yet is refused by the name of its field.
fn available(facts: &Facts<'_>) -> Result<(), Condition> {
    let no = |reason, message: &str| Err(Condition::no(types::READY, reason, message));
    let spec = &facts.control_plane.spec;
    if spec.engine == Engine::Upstream {
        return no(
            reasons::UNSUPPORTED_ENGINE,
            "spec.engine: Upstream is not available in this version; use Native",
        );
    }
    if spec.placement == Placement::Dedicated {
        return no(
            reasons::UNSUPPORTED_PLACEMENT,
            "spec.placement: Dedicated is not available in this version; use Pooled",
        );
    }
    Ok(())
}

/// The served version of the same minor as the one asked for: `v1.36.3` for `v1.36`, `1.36` or
/// `v1.36.0`. The native engine serves every minor at one patch level.
pub(crate) fn served_as<'a>(served: &'a [String], asked: &str) -> Option<&'a str> {
    let minor = |version: &str| {
        let mut parts = version.trim_start_matches('v').split('.');
        Some((
            parts.next()?.parse::<u8>().ok()?,
            parts.next()?.parse::<u8>().ok()?,
        ))
    };
    let asked = minor(asked)?;
    served
        .iter()
        .find(|version| minor(version) == Some(asked))
        .map(String::as_str)
}

fn version(facts: &Facts<'_>) -> Result<(), Condition> {
    let no = |message| Condition::no(types::READY, reasons::UNSUPPORTED_VERSION, message);
    let allowed = facts
        .tenant
        .and_then(|t| t.spec.control_planes.as_ref())
        .map_or(&[][..], |limits| &limits.versions);
    let Some(asked) = facts.control_plane.spec.version.as_deref() else {
        if allowed.is_empty() {
            return Ok(());
        }
        return Err(no(format!(
            "spec.version: name one that the tenant may use: {}",
            allowed.join(", ")
        )));
    };
    let served = &facts.config.versions;
    if served_as(served, asked).is_none() {
        return Err(no(format!(
            "spec.version: {asked} is not served here; served: {}",
            served.join(", ")
        )));
    }
    if !allowed.is_empty() && served_as(allowed, asked).is_none() {
        return Err(no(format!(
            "spec.version: the tenant may use {} (spec.controlPlanes.versions of the tenant), not {asked}",
            allowed.join(", ")
        )));
    }
    Ok(())
}

fn serving_names(
    facts: &Facts<'_>,
    name: &ControlPlaneName,
    namespace: &str,
) -> Result<Vec<String>, Condition> {
    let invalid = |message: String| Condition::no(types::READY, reasons::INVALID_SPEC, message);
    let spec = &facts.control_plane.spec;
    let network = spec.network.clone().unwrap_or_default();
    let domain = network.dns_domain.as_deref().unwrap_or("cluster.local");
    let range = |field: &str, text: &str| {
        Cidr::parse(text).ok_or_else(|| {
            invalid(format!(
                "spec.network.{field}: {text:?} is no address range"
            ))
        })
    };
    let services = match network.service_cidr.as_deref() {
        Some(text) => Some(range("serviceCidr", text)?),
        None => None,
    };
    if let Some(text) = network.pod_cidr.as_deref() {
        let pods = range("podCidr", text)?;
        if services.is_some_and(|s| s.overlaps(&pods)) {
            return Err(invalid(
                "spec.network: podCidr and serviceCidr overlap".to_owned(),
            ));
        }
    }
    let mut all = vec![
        names::server_name(name.as_str(), namespace),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{domain}"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    all.extend(services.and_then(|s| s.at(1)).map(|a| a.to_string()));
    all.extend(facts.config.serving_names.iter().cloned());
    all.extend(spec.cert_sans.iter().cloned());
    if let Some(bad) = all.iter().find(|n| !is_name_or_address(n)) {
        return Err(invalid(format!(
            "spec.certSANs: {bad:?} is neither an address nor a DNS name"
        )));
    }
    // as certificates give addresses back
    let mut all: Vec<String> = all
        .into_iter()
        .map(|n| match n.parse::<std::net::IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => n,
        })
        .collect();
    all.sort();
    all.dedup();
    Ok(all)
}

fn is_name_or_address(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok()
        || (text.len() <= 253
            && text
                .strip_prefix("*.")
                .unwrap_or(text)
                .split('.')
                .all(label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::{ControlPlaneSpec, TenantSpec};
    use serde_json::json;

    fn config() -> OperatorConfig {
        OperatorConfig {
            versions: vec!["v1.36.3".into(), "v1.35.7".into()],
            serving_names: vec!["192.0.2.1".into()],
            ..OperatorConfig::default()
        }
    }

    fn decide(
        change: impl FnOnce(&mut ControlPlaneSpec, &mut TenantSpec),
        older: usize,
    ) -> Result<Accepted, Condition> {
        let mut cp = ControlPlane::new("prod", ControlPlaneSpec::default());
        cp.metadata.namespace = Some("tenant-acme".into());
        let mut tenant = Tenant::new("acme", TenantSpec::default());
        change(&mut cp.spec, &mut tenant.spec);
        admit(&Facts {
            control_plane: &cp,
            namespace_tenant: Some("acme"),
            tenant: Some(&tenant),
            older,
            config: &config(),
        })
    }

    #[test]
    fn an_empty_spec_is_served() {
        let accepted = decide(|_, _| {}, 0).unwrap();
        assert_eq!(accepted.server_name, "prod.tenant-acme.freehold.internal");
        for name in ["192.0.2.1", "kubernetes.default.svc.cluster.local"] {
            assert!(accepted.serving_names.iter().any(|n| n == name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_done_yet_is_refused_by_field() {
        type Change = fn(&mut ControlPlaneSpec);
        let cases: [(Change, &str, &str); 6] = [
            (
                |s| s.engine = Engine::Upstream,
                reasons::UNSUPPORTED_ENGINE,
                "spec.engine",
            ),
            (
                |s| s.placement = Placement::Dedicated,
                reasons::UNSUPPORTED_PLACEMENT,
                "spec.placement",
            ),
            (
                |s| s.version = Some("v1.27.0".into()),
                reasons::UNSUPPORTED_VERSION,
                "spec.version",
            ),
            (
                |s| s.cert_sans = vec!["a b".into()],
                reasons::INVALID_SPEC,
                "spec.certSANs",
            ),
            (
                |s| s.network = serde_json::from_value(json!({"podCidr": "10.0.0.1/8"})).unwrap(),
                reasons::INVALID_SPEC,
                "spec.network.podCidr",
            ),
            (
                |s| {
                    s.network = serde_json::from_value(
                        json!({"podCidr": "10.0.0.0/8", "serviceCidr": "10.96.0.0/16"}),
                    )
                    .unwrap();
                },
                reasons::INVALID_SPEC,
                "overlap",
            ),
        ];
        for (change, reason, field) in cases {
            let condition = decide(|spec, _| change(spec), 0).unwrap_err();
            assert_eq!(condition.reason, reason);
            assert!(condition.message.contains(field), "{}", condition.message);
            assert!(!condition.holds());
        }
    }

    #[test]
    fn a_control_plane_cannot_claim_another_tenant() {
        let condition = decide(|spec, _| spec.tenant = Some("globex".into()), 0).unwrap_err();
        assert_eq!(condition.reason, reasons::TENANT_MISMATCH);
        assert!(!condition.message.contains("globex"));
    }

    #[test]
    fn the_tenants_limits_hold() {
        let limits = |_: &mut ControlPlaneSpec, tenant: &mut TenantSpec| {
            tenant.control_planes =
                serde_json::from_value(json!({"quota": 2, "versions": ["v1.35"]})).unwrap();
        };
        assert_eq!(
            decide(limits, 2).unwrap_err().reason,
            reasons::TENANT_QUOTA_EXCEEDED
        );
        assert_eq!(
            decide(limits, 1).unwrap_err().reason,
            reasons::UNSUPPORTED_VERSION
        );
        let asked = decide(
            |spec, tenant| {
                limits(spec, tenant);
                spec.version = Some("1.35".into());
            },
            1,
        );
        assert!(asked.is_ok());
    }

    #[test]
    fn a_version_is_served_by_its_minor() {
        let served = ["v1.36.3".to_owned(), "v1.3.0".to_owned()];
        for asked in ["v1.36", "1.36", "v1.36.3", "1.36.0"] {
            assert_eq!(served_as(&served, asked), Some("v1.36.3"), "{asked}");
        }
        assert_eq!(served_as(&served, "v1.3"), Some("v1.3.0"));
        for asked in ["v1.28.0", "v1.", "1", ""] {
            assert_eq!(served_as(&served, asked), None, "{asked}");
        }
    }
}
