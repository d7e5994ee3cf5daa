//! Every fixed name: labels, annotations, finalizers, secrets, signers. One place, so that the
//! binary, the operator and the tests cannot disagree.

/// API group of our objects.
pub const GROUP: &str = "freehold.dev";
/// API version of our objects.
pub const VERSION: &str = "v1alpha1";
/// Prefix of a tenant's namespace on the host.
pub const TENANT_NAMESPACE_PREFIX: &str = "tenant-";

/// Label: the tenant a namespace or object belongs to. On a namespace only an administrator of
/// the host can set it.
pub const LABEL_TENANT: &str = "freehold.dev/tenant";
/// Label: the control plane an object belongs to.
pub const LABEL_CONTROL_PLANE: &str = "freehold.dev/control-plane";
/// Label: uid of the control plane that made an object; what carries another is never touched.
pub const LABEL_CONTROL_PLANE_UID: &str = "freehold.dev/control-plane-uid";
/// Label `app.kubernetes.io/managed-by`.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`] on what the operator makes.
pub const MANAGED_BY: &str = "freehold";
/// Label: the tenant was made for foreign objects and goes with the last of them.
pub const LABEL_IMPLICIT: &str = "freehold.dev/implicit";
/// Annotation: for which namespace or object an implicit tenant was made.
pub const ANNOTATION_IMPLICIT_FOR: &str = "freehold.dev/implicit-for";
/// Annotation: the foreign object one of ours was translated from
/// (`<group>/<kind>/<namespace>/<name>`).
pub const ANNOTATION_ORIGIN: &str = "freehold.dev/origin";
/// Label: uid of that foreign object.
pub const LABEL_ORIGIN_UID: &str = "freehold.dev/origin-uid";
/// Label: the tenant whose control planes' hooks and secrets a namespace holds; unlike
/// [`LABEL_TENANT`] it gives the tenant's owners no access.
pub const LABEL_SYSTEM_OF: &str = "freehold.dev/system-of";
/// Annotation: the namespace hooks go to; honoured when that namespace has [`LABEL_SYSTEM_OF`].
pub const ANNOTATION_HOOKS_NAMESPACE: &str = "freehold.dev/hooks-namespace";
/// Annotation: the namespace was there before its tenant and stays when the tenant goes.
pub const ANNOTATION_ADOPTED: &str = "freehold.dev/adopted";
/// Annotation of a CertificateSigningRequest: namespace of the control plane.
pub const ANNOTATION_CSR_NAMESPACE: &str = "freehold.dev/namespace";
/// Annotation of a CertificateSigningRequest: name of the control plane.
pub const ANNOTATION_CSR_CONTROL_PLANE: &str = "freehold.dev/control-plane";

/// Finalizer of the tenant controller.
pub const FINALIZER_TENANT: &str = "freehold.dev/tenant";
/// Finalizer of the control-plane controller.
pub const FINALIZER_CONTROL_PLANE: &str = "freehold.dev/control-plane";
/// Finalizer of the pool: held until the keyspace is shown to be gone.
pub const FINALIZER_POOL: &str = "freehold.dev/pool";
/// Finalizer of the dialects.
pub const FINALIZER_DIALECT: &str = "freehold.dev/dialect";

/// Signer of client certificates for a control plane.
pub const SIGNER_CONTROL_PLANE_ADMIN: &str = "freehold.dev/control-plane-admin";
/// ClusterRole bound to a tenant's owners in the tenant's namespace.
pub const CLUSTER_ROLE_OWNER: &str = "freehold-tenant-owner";
/// ClusterRole that lets a tenant's owners ask for certificates.
pub const CLUSTER_ROLE_CSR: &str = "freehold-certificate-requester";
/// Suffix under which control planes are known to TLS.
pub const SERVER_NAME_SUFFIX: &str = "freehold.internal";

/// Name under which TLS (SNI) knows a control plane.
#[must_use]
pub fn server_name(control_plane: &str, namespace: &str) -> String {
    format!("{control_plane}.{namespace}.{SERVER_NAME_SUFFIX}")
}

/// Names of the secrets of a control plane, and the keys in them.
pub mod secret {
    /// Certificate authority, in PEM.
    pub const CA_CERT: &str = "ca.crt";
    /// Key of the certificate authority, in PEM.
    pub const CA_KEY: &str = "ca.key";
    /// Serving certificate, in PEM.
    pub const TLS_CERT: &str = "tls.crt";
    /// Key of the serving certificate, in PEM.
    pub const TLS_KEY: &str = "tls.key";
    /// Private key of service-account tokens, PKCS#8 PEM.
    pub const SA_KEY: &str = "sa.key";
    /// Public key of service-account tokens, PEM.
    pub const SA_PUB: &str = "sa.pub";
    /// The admin kubeconfig.
    pub const KUBECONFIG: &str = "kubeconfig";

    /// `<cp>-ca`: ca.crt, ca.key, tls.crt, tls.key.
    #[must_use]
    pub fn ca(control_plane: &str) -> String {
        format!("{control_plane}-ca")
    }

    /// `<cp>-service-account`: sa.key, sa.pub.
    #[must_use]
    pub fn service_account(control_plane: &str) -> String {
        format!("{control_plane}-service-account")
    }

    /// `<cp>-kubeconfig`: kubeconfig.
    #[must_use]
    pub fn kubeconfig(control_plane: &str) -> String {
        format!("{control_plane}-kubeconfig")
    }
}
