//! Who may do what: pure decisions over roles, rules and attributes.

pub mod rbac;

/// Who makes a request, as established from a verified credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

/// What is being asked, as kube-apiserver's authorizer attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// set for non-resource requests; then the fields above but the verb are empty
    pub path: Option<String>,
}
