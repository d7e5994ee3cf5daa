//! Who may do what: pure decisions over roles, rules and attributes.

pub mod bootstrap;
pub mod rbac;

/// Members may do anything, whatever the roles say.
pub const GROUP_MASTERS: &str = "system:masters";
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
pub const USER_ANONYMOUS: &str = "system:anonymous";
pub const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

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

/// An authorizer's answer; a denial may have no reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// What a refused request is told (apiserver responsewriters/errors.go `forbiddenMessage`); goes
/// behind `<resource> "<name>" is forbidden: `.
#[must_use]
pub fn forbidden_message(user: &User, asked: &Attributes, reason: &str) -> String {
    let Attributes {
        verb,
        group,
        resource,
        subresource,
        namespace,
        path,
        ..
    } = asked;
    let mut text = format!("User {:?} cannot {verb} ", user.name);
    if let Some(path) = path {
        text.push_str(&format!("path {path:?}"));
    } else {
        let what = if subresource.is_empty() {
            resource.clone()
        } else {
            format!("{resource}/{subresource}")
        };
        text.push_str(&format!("resource {what:?} in API group {group:?} "));
        match namespace.as_str() {
            "" => text.push_str("at the cluster scope"),
            namespace => text.push_str(&format!("in the namespace {namespace:?}")),
        }
    }
    let mut text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}
