//! The API server as a library: one [`ControlPlane`] value serves one cluster's API.
//!
//! A request's way: [`listen`] (TLS, SNI decides the control plane) → `pipeline` (limits, identity,
//! authorization) → `verbs` (one generic path per verb; kinds differ by their
//! [`freehold_model::Resource`] and, where upstream has special behaviour, by a small hook in
//! `hooks`) → the store; gets, lists and watches are served by [`cache`].

mod authn;
mod authz;
mod body;
mod bootstrap;
mod budget;
pub mod cache;
mod clock;
mod codec;
mod compaction;
mod control_plane;
mod conversion;
mod discovery;
mod hooks;
pub mod listen;
mod metrics;
mod openapi;
mod pipeline;
mod prepare;
mod registry;
mod request;
mod respond;
mod reviews;
mod stored;
mod verbs;
mod write;

pub use authn::TokenIssuer;
pub use body::{Body, BoxError};
pub use control_plane::{Activity, ControlPlane, Service, StartError, Visit};

use freehold_model::Catalogue;
use freehold_policy::User;
use freehold_store::Store;
use std::sync::Arc;
use std::time::Duration;

/// Everything one control plane is made of.
#[derive(Clone)]
pub struct Config {
    /// for logs and metrics: `host` or `<namespace>/<name>`
    pub name: String,
    pub store: Arc<dyn Store>,
    pub catalogue: Arc<Catalogue>,
    /// PEM certificates that sign client certificates of this control plane
    pub client_ca_pem: String,
    /// PEM (PKCS#8, ECDSA P-256 or RSA) key pair of service-account tokens
    pub service_account_key_pem: String,
    /// `iss` of service-account tokens
    pub issuer: String,
    /// base URL published in discovery (`https://address:port`)
    pub external_address: String,
    /// addresses of Services, e.g. `10.96.0.0/16`
    pub service_cidr: String,
    pub limits: Limits,
}

/// What one control plane may use of the process that serves it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// requests that change something, at the same time
    pub mutating_in_flight: usize,
    /// other requests (watches do not count)
    pub reading_in_flight: usize,
    pub watches: usize,
    /// objects under this control plane; creates beyond it answer 403
    pub objects: usize,
    /// events that a watch may resume from, over all resources
    pub window_events: usize,
    pub window_bytes: usize,
    /// webhooks may be at private addresses and on this machine; otherwise only on the internet
    pub webhooks_anywhere: bool,
    /// how long a webhook may take to answer
    pub webhook_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mutating_in_flight: 200,
            reading_in_flight: 400,
            watches: 2_000,
            objects: 1_000_000,
            window_events: 16_384,
            window_bytes: 16 * 1024 * 1024,
            webhooks_anywhere: false,
            // as upstream gives its webhooks
            webhook_time: Duration::from_secs(30),
        }
    }
}

/// The identity a request carries: set by an in-process client. Nothing that comes over the
/// network can set a request extension.
#[derive(Clone, Debug)]
pub struct Identity(pub User);

/// The client certificate chain of a connection, leaf first (DER): the client holds its key, `authn`
/// decides whether to believe it; a request extension
/// set by the listener only.
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<Vec<rustls_pki_types::CertificateDer<'static>>>);

/// Where a connection comes from; a request extension set by the listener only.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub std::net::SocketAddr);
