//! The API server as a library: one [`ControlPlane`] value serves one cluster's API.

use freehold_model::Catalogue;
use freehold_policy::User;
use freehold_store::Store;
use std::sync::Arc;

/// Everything one control plane is made of.
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
}

/// The identity a request carries: set by the listener, or by an in-process client.
#[derive(Clone, Debug)]
pub struct Identity(pub User);
