//! What the operator is told by whoever starts it.

use std::time::Duration;

/// Settings of the operator.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// Kubernetes versions that control planes are served as, newest first, for example `v1.36.3`.
    pub versions: Vec<String>,
    /// Names and addresses put into every serving certificate beside the control plane's own:
    /// what clients may call the host by.
    pub serving_names: Vec<String>,
    /// How long the client certificate in a `<cp>-kubeconfig` secret is valid; it is renewed
    /// after two thirds of that.
    pub admin_certificate: Duration,
    /// Whether the foreign objects (Kamaji, KubeFlex, Capsule) are understood.
    pub dialects: bool,
    /// What the host enforces of the objects made for tenants.
    pub host: HostFeatures,
}

impl Default for OperatorConfig {
    fn default() -> Self {
        Self {
            versions: Vec::new(),
            serving_names: Vec::new(),
            admin_certificate: Duration::from_hours(24 * 30),
            dialects: true,
            host: HostFeatures::default(),
        }
    }
}

/// What a host enforces. What it does not is said in conditions, never assumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFeatures {
    /// ResourceQuota objects are enforced at admission.
    pub resource_quota: bool,
    /// LimitRange objects are enforced at admission.
    pub limit_range: bool,
    /// NetworkPolicy objects are enforced.
    pub network_policy: bool,
}
