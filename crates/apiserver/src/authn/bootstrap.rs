//! Bootstrap tokens: `<id>.<secret>` against `kube-system/bootstrap-token-<id>`
//! (plugin/pkg/auth/authenticator/token/bootstrap/bootstrap.go).

use super::{Objects, Refusal, same_secret, secret_data, unix_of};
use freehold_model::Value;
use freehold_policy::User;
use std::collections::BTreeSet;

const GROUP: &str = "system:bootstrappers";

fn lower_alphanumeric(text: &str, len: usize) -> bool {
    text.len() == len
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

pub(super) async fn verify(token: &str, objects: &dyn Objects, now: i64) -> Result<User, Refusal> {
    let parts = token
        .split_once('.')
        .filter(|(id, secret)| lower_alphanumeric(id, 6) && lower_alphanumeric(secret, 16));
    let Some((id, secret)) = parts else {
        return Err(Refusal::Unknown);
    };
    let kept = objects
        .get(
            "",
            "secrets",
            "kube-system",
            &format!("bootstrap-token-{id}"),
        )
        .await?;
    let groups = kept
        .as_ref()
        .and_then(|kept| groups_of(kept, id, secret, now));
    let Some(groups) = groups else {
        return Err(Refusal::Unknown);
    };
    Ok(User {
        name: format!("system:bootstrap:{id}"),
        groups,
        ..User::default()
    })
}

/// The groups of the token's user, `None` when this secret does not vouch for it.
fn groups_of(kept: &Value, id: &str, secret: &str, now: i64) -> Option<Vec<String>> {
    let data = |key| secret_data(kept, key);
    let text = |key| data(key).and_then(|bytes| String::from_utf8(bytes).ok());
    let good = kept.at(&["metadata", "deletionTimestamp"]).is_none()
        && kept.str_at(&["type"]) == Some("bootstrap.kubernetes.io/token")
        && data("token-secret").is_some_and(|kept| same_secret(&kept, secret.as_bytes()))
        && text("token-id").as_deref() == Some(id)
        && text("usage-bootstrap-authentication").as_deref() == Some("true");
    if !good {
        return None;
    }
    // A time that cannot be read counts as past.
    match data("expiration") {
        Some(at) if !at.is_empty() => {
            let at = unix_of(std::str::from_utf8(&at).ok()?)?;
            if at <= now {
                return None;
            }
        }
        _ => {}
    }
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    let extra = text("auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').filter(|_| !extra.is_empty()) {
        if !valid_group(group) {
            return None;
        }
        groups.insert(group.to_owned());
    }
    Some(groups.into_iter().collect())
}

/// `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`
fn valid_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    rest.len() <= 256
        && rest.bytes().all(|b| plain(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(plain)
}
