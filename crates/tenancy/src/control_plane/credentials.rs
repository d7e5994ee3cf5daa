//! The secrets of a control plane: which have to be made anew, and making them.

use super::plan::Accepted;
use crate::kubeconfig::Kubeconfig;
use crate::pki::{self, Authority, TokenKeys};
use crate::{Error, Result};
use freehold_api::{ControlPlane, Endpoint, names};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// How long serving certificates are valid.
const SERVING_VALID: Duration = Duration::from_hours(24 * 365);
/// User name of the admin kubeconfig, as kubeadm names it.
const ADMIN: &str = "kubernetes-admin";
/// The group that may do everything in the control plane.
pub(crate) const MASTERS: &str = "system:masters";

/// The secrets as they are.
#[derive(Default)]
pub(crate) struct Existing {
    pub ca: Option<Secret>,
    pub service_account: Option<Secret>,
    pub kubeconfig: Option<Secret>,
}

/// What has to be done about one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Keep,
    /// make it from scratch
    Make,
    /// keep the authority, make a new serving certificate
    RenewServing,
    /// nothing can be made yet: the endpoint is not known
    Later,
}

/// What has to be done about the secrets, and when to look again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Actions {
    pub ca: Action,
    pub service_account: Action,
    pub kubeconfig: Action,
}

/// What is wanted of the secrets.
pub(crate) struct Wanted<'a> {
    pub control_plane: &'a ControlPlane,
    pub accepted: &'a Accepted,
    pub endpoint: Option<&'a Endpoint>,
    pub admin_valid: Duration,
    pub now: OffsetDateTime,
}

/// A text in a secret.
pub(crate) fn text<'a>(secret: Option<&'a Secret>, key: &str) -> Option<&'a str> {
    let value = secret?.data.as_ref()?.get(key)?;
    std::str::from_utf8(&value.0).ok()
}

/// A secret of that name that is not the control plane's must not be trusted or overwritten.
pub(crate) fn foreign<'a>(existing: &'a Existing, owner: &ControlPlane) -> Option<&'a Secret> {
    let uid = owner.metadata.uid.as_deref();
    [
        &existing.ca,
        &existing.service_account,
        &existing.kubeconfig,
    ]
    .into_iter()
    .flatten()
    .find(|secret| {
        !secret
            .owner_references()
            .iter()
            .any(|reference| Some(reference.uid.as_str()) == uid)
    })
}

/// Decides.
pub(crate) fn plan(existing: &Existing, wanted: &Wanted<'_>) -> Actions {
    let ca = ca_action(existing.ca.as_ref(), wanted);
    Actions {
        service_account: match (
            text(existing.service_account.as_ref(), names::secret::SA_KEY),
            text(existing.service_account.as_ref(), names::secret::SA_PUB),
        ) {
            (Some(_), Some(_)) => Action::Keep,
            _ => Action::Make,
        },
        kubeconfig: match wanted.endpoint {
            None => Action::Later,
            Some(_) if ca == Action::Make => Action::Make,
            Some(endpoint) => kubeconfig_action(existing, endpoint, wanted),
        },
        ca,
    }
}

fn ca_action(secret: Option<&Secret>, wanted: &Wanted<'_>) -> Action {
    let get = |key| text(secret, key);
    let (Some(cert), Some(key)) = (get(names::secret::CA_CERT), get(names::secret::CA_KEY)) else {
        return Action::Make;
    };
    if Authority::from_pem(cert, key).is_err() {
        return Action::Make;
    }
    let fresh = match (get(names::secret::TLS_CERT), get(names::secret::TLS_KEY)) {
        (Some(serving), Some(_)) => {
            pki::renew_at(serving).is_ok_and(|renew| renew > wanted.now)
                && pki::names_of(serving).is_ok_and(|n| n == wanted.accepted.serving_names)
        }
        _ => false,
    };
    if fresh {
        Action::Keep
    } else {
        Action::RenewServing
    }
}

fn kubeconfig_action(existing: &Existing, endpoint: &Endpoint, wanted: &Wanted<'_>) -> Action {
    let ca = text(existing.ca.as_ref(), names::secret::CA_CERT);
    let admin = text(existing.kubeconfig.as_ref(), names::secret::KUBECONFIG).and_then(Admin::read);
    let good = admin.is_some_and(|admin| {
        Some(admin.ca.as_str()) == ca
            && admin.server == endpoint.server
            && admin.server_name.as_deref() == Some(endpoint.server_name.as_str())
            && pki::renew_at(&admin.cert).is_ok_and(|renew| renew > wanted.now)
            && pki::validity(&admin.cert)
                .is_ok_and(|(from, until)| same_length(until - from, wanted.admin_valid))
    });
    if good { Action::Keep } else { Action::Make }
}

/// Certificates are back-dated a little; ten minutes do not matter.
fn same_length(is: time::Duration, wanted: Duration) -> bool {
    let wanted = time::Duration::try_from(wanted).unwrap_or(time::Duration::MAX);
    (is - wanted).abs() < time::Duration::minutes(10)
}

/// When the secrets have to be looked at again: the first renewal that is due.
pub(crate) fn due(existing: &Existing) -> Option<OffsetDateTime> {
    let serving = text(existing.ca.as_ref(), names::secret::TLS_CERT);
    let admin = text(existing.kubeconfig.as_ref(), names::secret::KUBECONFIG).and_then(Admin::read);
    serving
        .into_iter()
        .chain(admin.as_ref().map(|a| a.cert.as_str()))
        .filter_map(|cert| pki::renew_at(cert).ok())
        .min()
}

/// An admin kubeconfig, read back.
pub(crate) struct Admin {
    pub server: String,
    pub server_name: Option<String>,
    /// PEM
    pub ca: String,
    /// PEM
    pub cert: String,
}

impl Admin {
    pub(crate) fn read(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let decode = |text: &str| {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .ok()?;
            String::from_utf8(bytes).ok()
        };
        let config = kube::config::Kubeconfig::from_yaml(text).ok()?;
        let cluster = config.clusters.into_iter().next()?.cluster?;
        let user = config.auth_infos.into_iter().next()?.auth_info?;
        Some(Self {
            server: cluster.server?,
            server_name: cluster.tls_server_name,
            ca: decode(&cluster.certificate_authority_data?)?,
            cert: decode(&user.client_certificate_data?)?,
        })
    }
}

/// Makes what the plan says; the secrets to write, in the order to write them.
pub(crate) fn make(
    actions: &Actions,
    existing: &Existing,
    wanted: &Wanted<'_>,
) -> Result<Vec<Secret>> {
    let mut made = Vec::new();
    let cp = wanted.accepted.name.as_str();
    let kept = existing.ca.as_ref();
    let authority = match actions.ca {
        Action::Make => Authority::generate(&format!("{}/{cp}", wanted.accepted.namespace))?,
        _ if actions.ca == Action::Keep && actions.kubeconfig != Action::Make => {
            return service_account(actions, wanted);
        }
        _ => Authority::from_pem(
            text(kept, names::secret::CA_CERT).unwrap_or_default(),
            text(kept, names::secret::CA_KEY).unwrap_or_default(),
        )?,
    };
    if actions.ca != Action::Keep {
        let serving = authority.serving(
            &wanted.accepted.server_name,
            &wanted.accepted.serving_names,
            SERVING_VALID,
        )?;
        made.push(secret(
            wanted.control_plane,
            &names::secret::ca(cp),
            [
                (names::secret::CA_CERT, authority.cert().to_owned()),
                (names::secret::CA_KEY, authority.key()),
                (names::secret::TLS_CERT, serving.cert),
                (names::secret::TLS_KEY, serving.key),
            ],
        ));
    }
    made.extend(service_account(actions, wanted)?);
    if let (Action::Make, Some(endpoint)) = (actions.kubeconfig, wanted.endpoint) {
        let client = authority.client(ADMIN, &[MASTERS], wanted.admin_valid)?;
        let text = Kubeconfig {
            name: cp,
            server: &endpoint.server,
            server_name: Some(&endpoint.server_name),
            ca: authority.cert(),
            client_cert: &client.cert,
            client_key: &client.key,
        }
        .render()?;
        made.push(secret(
            wanted.control_plane,
            &names::secret::kubeconfig(cp),
            [(names::secret::KUBECONFIG, text)],
        ));
    }
    Ok(made)
}

fn service_account(actions: &Actions, wanted: &Wanted<'_>) -> Result<Vec<Secret>> {
    if actions.service_account != Action::Make {
        return Ok(Vec::new());
    }
    let keys = TokenKeys::generate()?;
    Ok(vec![secret(
        wanted.control_plane,
        &names::secret::service_account(wanted.accepted.name.as_str()),
        [
            (names::secret::SA_KEY, keys.private),
            (names::secret::SA_PUB, keys.public),
        ],
    )])
}

fn secret<const N: usize>(owner: &ControlPlane, name: &str, data: [(&str, String); N]) -> Secret {
    let mut labels = BTreeMap::from([
        (
            names::LABEL_MANAGED_BY.to_owned(),
            names::MANAGED_BY.to_owned(),
        ),
        (names::LABEL_CONTROL_PLANE.to_owned(), owner.name_any()),
    ]);
    if let Some(tenant) = &owner.spec.tenant {
        labels.insert(names::LABEL_TENANT.to_owned(), tenant.clone());
    }
    let origin = owner.annotations().get(names::ANNOTATION_ORIGIN);
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: owner.namespace(),
            labels: Some(labels),
            annotations: origin
                .map(|o| BTreeMap::from([(names::ANNOTATION_ORIGIN.to_owned(), o.clone())])),
            owner_references: owner.controller_owner_ref(&()).map(|r| vec![r]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(
            data.into_iter()
                .map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
                .collect(),
        ),
        ..Secret::default()
    }
}

/// The secrets after writing: what was made takes the place of what was there.
pub(crate) fn after(existing: Existing, made: Vec<Secret>, cp: &str) -> Result<Existing> {
    let mut now = existing;
    for secret in made {
        let name = secret.name_any();
        if name == names::secret::ca(cp) {
            now.ca = Some(secret);
        } else if name == names::secret::service_account(cp) {
            now.service_account = Some(secret);
        } else if name == names::secret::kubeconfig(cp) {
            now.kubeconfig = Some(secret);
        } else {
            return Err(Error::Invalid(format!("the secret {name} was not planned")));
        }
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::{ControlPlaneName, ControlPlaneSpec, TenantName};

    fn control_plane() -> ControlPlane {
        let mut cp = ControlPlane::new("prod", ControlPlaneSpec::default());
        cp.metadata.namespace = Some("tenant-acme".into());
        cp.metadata.uid = Some("uid-1".into());
        cp
    }

    fn accepted() -> Accepted {
        Accepted {
            tenant: TenantName::new("acme").unwrap(),
            name: ControlPlaneName::new("prod").unwrap(),
            namespace: "tenant-acme".into(),
            server_name: "prod.tenant-acme.freehold.internal".into(),
            serving_names: vec![
                "127.0.0.1".into(),
                "prod.tenant-acme.freehold.internal".into(),
            ],
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            server: "https://127.0.0.1:6443".into(),
            server_name: "prod.tenant-acme.freehold.internal".into(),
            certificate_authority_data: None,
        }
    }

    struct Case {
        cp: ControlPlane,
        accepted: Accepted,
        endpoint: Option<Endpoint>,
        valid: Duration,
        now: OffsetDateTime,
    }

    impl Case {
        fn new() -> Self {
            Self {
                cp: control_plane(),
                accepted: accepted(),
                endpoint: Some(endpoint()),
                valid: Duration::from_hours(24),
                now: OffsetDateTime::now_utc(),
            }
        }

        fn wanted(&self) -> Wanted<'_> {
            Wanted {
                control_plane: &self.cp,
                accepted: &self.accepted,
                endpoint: self.endpoint.as_ref(),
                admin_valid: self.valid,
                now: self.now,
            }
        }

        fn run(&self, existing: Existing) -> (Actions, Existing) {
            let actions = plan(&existing, &self.wanted());
            let made = make(&actions, &existing, &self.wanted()).unwrap();
            (actions, after(existing, made, "prod").unwrap())
        }
    }

    #[test]
    fn nothing_is_made_twice() {
        let mut case = Case::new();
        case.endpoint = None;
        let (first, existing) = case.run(Existing::default());
        assert_eq!(
            first,
            Actions {
                ca: Action::Make,
                service_account: Action::Make,
                kubeconfig: Action::Later
            }
        );
        assert!(existing.kubeconfig.is_none());
        case.endpoint = Some(endpoint());
        let (second, existing) = case.run(existing);
        assert_eq!(second.ca, Action::Keep);
        assert_eq!(second.service_account, Action::Keep);
        assert_eq!(second.kubeconfig, Action::Make);
        let (third, existing) = case.run(existing);
        assert_eq!(third.kubeconfig, Action::Keep);
        assert!(due(&existing).unwrap() > case.now + time::Duration::hours(15));
        assert!(foreign(&existing, &case.cp).is_none());
    }

    #[test]
    fn certificates_are_renewed_in_time_and_the_authority_stays() {
        let mut case = Case::new();
        let (_, existing) = case.run(Existing::default());
        let ca = text(existing.ca.as_ref(), "ca.crt").unwrap().to_owned();
        case.now += time::Duration::hours(17);
        let actions = plan(&existing, &case.wanted());
        assert_eq!(
            (actions.ca, actions.kubeconfig),
            (Action::Keep, Action::Make)
        );
        case.now += time::Duration::days(300);
        let (actions, existing) = case.run(existing);
        assert_eq!(actions.ca, Action::RenewServing);
        assert_eq!(text(existing.ca.as_ref(), "ca.crt").unwrap(), ca);
    }

    #[test]
    fn a_changed_endpoint_name_or_lifetime_is_followed() {
        let mut case = Case::new();
        let (_, existing) = case.run(Existing::default());
        case.valid = Duration::from_hours(2);
        assert_eq!(plan(&existing, &case.wanted()).kubeconfig, Action::Make);
        case.valid = Duration::from_hours(24);
        case.endpoint = Some(Endpoint {
            server: "https://192.0.2.1:6443".into(),
            ..endpoint()
        });
        assert_eq!(plan(&existing, &case.wanted()).kubeconfig, Action::Make);
        case.accepted.serving_names.push("x.example".into());
        assert_eq!(plan(&existing, &case.wanted()).ca, Action::RenewServing);
    }

    #[test]
    fn a_corrupted_authority_is_made_anew_with_everything_it_signed() {
        let case = Case::new();
        let (_, mut existing) = case.run(Existing::default());
        let data = existing.ca.as_mut().unwrap().data.as_mut().unwrap();
        data.insert("ca.key".into(), ByteString(b"junk".to_vec()));
        let actions = plan(&existing, &case.wanted());
        assert_eq!(
            (actions.ca, actions.kubeconfig),
            (Action::Make, Action::Make)
        );
        assert_eq!(actions.service_account, Action::Keep);
    }

    #[test]
    fn a_secret_of_somebody_else_is_noticed() {
        let case = Case::new();
        let (_, mut existing) = case.run(Existing::default());
        existing.ca.as_mut().unwrap().metadata.owner_references = None;
        let found = foreign(&existing, &case.cp).unwrap();
        assert_eq!(found.name_any(), "prod-ca");
    }
}
