//! Acting as somebody else, when the `impersonate` verb allows it
//! (apiserver pkg/endpoints/filters/impersonation).

use crate::authz::Authz;
use freehold_model::ApiError;
use freehold_policy::{
    Attributes, GROUP_AUTHENTICATED, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED, USER_ANONYMOUS,
    User,
};
use http::HeaderMap;

const AS_USER: &str = "impersonate-user";
const AS_UID: &str = "impersonate-uid";
const AS_GROUP: &str = "impersonate-group";
const AS_EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// Each is an authorization of its own.
const MOST_VALUES: usize = 128;

/// The user a request acts as, `None` without impersonation headers; those are removed.
///
/// # Errors
/// 400 for groups without a user or unreadable headers, 403 when `user` may not.
pub(crate) fn impersonate(
    headers: &mut HeaderMap,
    user: &User,
    authz: &Authz,
) -> Result<Option<User>, ApiError> {
    let Some(wanted) = wanted(headers)? else {
        return Ok(None);
    };
    let mut actual = wanted.clone();
    let require = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        authz.require(
            user,
            &Attributes {
                verb: "impersonate".into(),
                group: group.into(),
                version: "v1".into(),
                resource: resource.into(),
                subresource: subresource.into(),
                namespace: namespace.into(),
                name: name.into(),
                path: None,
            },
        )
    };
    if let Some((namespace, name)) = service_account(&wanted.name) {
        require("", "serviceaccounts", "", namespace, name)?;
        if wanted.groups.is_empty() {
            actual.groups = vec![
                GROUP_SERVICE_ACCOUNTS.into(),
                format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}"),
            ];
        }
    } else {
        require("", "users", "", "", &wanted.name)?;
    }
    if !wanted.uid.is_empty() {
        require(AUTHENTICATION, "uids", "", "", &wanted.uid)?;
    }
    for group in &wanted.groups {
        require("", "groups", "", "", group)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            require(AUTHENTICATION, "userextras", key, "", value)?;
        }
    }
    let has = |group: &str| actual.groups.iter().any(|g| g == group);
    if actual.name == USER_ANONYMOUS {
        if !has(GROUP_UNAUTHENTICATED) {
            actual.groups.push(GROUP_UNAUTHENTICATED.into());
        }
    } else if !has(GROUP_UNAUTHENTICATED) && !has(GROUP_AUTHENTICATED) {
        actual.groups.push(GROUP_AUTHENTICATED.into());
    }
    Ok(Some(actual))
}

/// What the headers ask for, as they say it.
fn wanted(headers: &mut HeaderMap) -> Result<Option<User>, ApiError> {
    let mut wanted = User::default();
    let mut names = Vec::new();
    let mut values = 0;
    for (name, value) in headers.iter() {
        let header = name.as_str();
        if !header.starts_with("impersonate-") {
            continue;
        }
        let value = value
            .to_str()
            .map_err(|_| ApiError::bad_request(format!("header {header:?} is not text")))?;
        values += 1;
        match header {
            AS_USER if wanted.name.is_empty() => wanted.name = value.into(),
            AS_UID if wanted.uid.is_empty() => wanted.uid = value.into(),
            AS_GROUP => wanted.groups.push(value.into()),
            _ => {
                let Some(key) = header.strip_prefix(AS_EXTRA) else {
                    continue;
                };
                let key = unescape(key);
                match wanted.extra.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, values)) => values.push(value.into()),
                    None => wanted.extra.push((key, vec![value.into()])),
                }
            }
        }
        names.push(name.clone());
    }
    if values > MOST_VALUES {
        return Err(ApiError::bad_request(format!(
            "more than {MOST_VALUES} impersonation headers"
        )));
    }
    if wanted.name.is_empty() && values > 0 {
        return Err(ApiError::bad_request(
            "requested impersonation of a uid, groups or extra values without impersonating a user name",
        ));
    }
    for name in names {
        headers.remove(name);
    }
    wanted.extra.sort();
    Ok((values > 0).then_some(wanted))
}

/// Extra keys come percent-encoded; what cannot be decoded stays as it is.
fn unescape(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let hex = key
                .get(i + 1..i + 3)
                .and_then(|h| u8::from_str_radix(h, 16).ok());
            let Some(byte) = hex else {
                return key.to_owned();
            };
            out.push(byte);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

/// Namespace and name of `system:serviceaccount:<namespace>:<name>`.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    (plain(namespace) && plain(name) && !namespace.contains('.')).then_some((namespace, name))
}
