//! Freehold's own API, in this process.

use crate::world::{RUNTIME, World, config, directory};
use freehold_apiserver::ControlPlane;
use freehold_store::Keyspaces as _;
use freehold_store::embedded::{Embedded, Options};
use std::sync::{Arc, OnceLock};

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        RUNTIME.block_on(async {
            let control_plane = control_plane("test").await;
            let client = kube::Client::new(control_plane.service(admin()), "default");
            tokio::spawn(freehold_controllers::run(
                client.clone(),
                config(),
                tokio_util::sync::CancellationToken::new(),
            ));
            World { client }
        })
    })
}

pub(crate) async fn control_plane(keyspace: &str) -> Arc<ControlPlane> {
    static STORE: tokio::sync::OnceCell<Arc<Embedded>> = tokio::sync::OnceCell::const_new();
    let open =
        || async { Embedded::open(directory("controllers-freehold"), Options::default()).await };
    let store = STORE.get_or_try_init(open).await.expect("a store");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca =
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().expect("a key"))
            .expect("a CA");
    ControlPlane::start(freehold_apiserver::Config {
        name: keyspace.into(),
        store: store.open(keyspace).await.expect("a keyspace"),
        catalogue: freehold_model::Catalogue::builtin(freehold_model::catalogue::DEFAULT_MINOR)
            .expect("a catalogue"),
        client_ca_pem: ca.pem(),
        service_account_key_pem: rcgen::KeyPair::generate().expect("a key").serialize_pem(),
        issuer: "https://test".into(),
        external_address: "https://127.0.0.1:6443".into(),
        service_cidr: "10.0.0.0/24".into(),
        limits: freehold_apiserver::Limits::default(),
    })
    .await
    .expect("a control plane")
}

pub(crate) fn admin() -> freehold_policy::User {
    freehold_policy::User {
        name: "system:test".into(),
        groups: vec![freehold_policy::GROUP_MASTERS.into()],
        ..freehold_policy::User::default()
    }
}
