//! What users may type for names, owners, durations and versions, checked before anything is sent.

use super::Trouble;
use anyhow::Result;
use freehold_api::names::TENANT_NAMESPACE_PREFIX;
use freehold_api::{ControlPlaneName, TenantName};
use freehold_model::catalogue::{NEWEST_MINOR, OLDEST_MINOR};
use std::time::Duration;

/// The namespace of a tenant's objects on the host.
pub(crate) fn namespace_of(tenant: &str) -> String {
    format!("{TENANT_NAMESPACE_PREFIX}{tenant}")
}

/// The tenant a namespace belongs to, for display.
pub(crate) fn tenant_of(namespace: &str) -> &str {
    namespace
        .strip_prefix(TENANT_NAMESPACE_PREFIX)
        .unwrap_or(namespace)
}

pub(crate) fn tenant(name: &str) -> Result<&str> {
    TenantName::new(name).map_err(|e| Trouble::usage(e.to_string()))?;
    Ok(name)
}

pub(crate) fn control_plane(name: &str) -> Result<&str> {
    ControlPlaneName::new(name).map_err(|e| Trouble::usage(e.to_string()))?;
    Ok(name)
}

/// `user:ann`, `group:dev` → Capsule's owner shape.
pub(crate) fn owner(text: &str) -> Result<serde_json::Value> {
    let wrong = || {
        Trouble::usage(format!("`{text}` is no owner"))
            .advise("Write user:NAME or group:NAME, for example --owner user:ann@example.org.")
    };
    let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
    let kind = match kind {
        "user" => "User",
        "group" => "Group",
        _ => return Err(wrong().into()),
    };
    if name.is_empty() || name.len() > 253 || name.chars().any(char::is_control) {
        return Err(wrong().into());
    }
    if name.starts_with("system:") {
        return Err(Trouble::usage(format!(
            "`{name}` belongs to the system and cannot own a tenant"
        ))
        .advise("Name a person or a group of your own.")
        .into());
    }
    Ok(serde_json::json!({"kind": kind, "name": name}))
}

/// `1.36`, `v1.36`, `v1.36.3` → as given, with a `v`; outside the catalogue: refused.
pub(crate) fn version(text: &str) -> Result<String> {
    let bare = text.strip_prefix('v').unwrap_or(text);
    let mut parts = bare.split('.');
    let numbers: Option<Vec<u8>> = parts.by_ref().map(|p| p.parse().ok()).collect();
    let offered = format!("This build offers v1.{OLDEST_MINOR} to v1.{NEWEST_MINOR}.");
    match numbers.as_deref() {
        Some([1, minor] | [1, minor, _]) if (OLDEST_MINOR..=NEWEST_MINOR).contains(minor) => {
            Ok(format!("v{bare}"))
        }
        Some([_, _] | [_, _, _]) => {
            Err(Trouble::usage(format!("Kubernetes {text} is not offered"))
                .advise(offered)
                .into())
        }
        _ => Err(Trouble::usage(format!("`{text}` is no Kubernetes version"))
            .advise(format!("Write it as v1.36. {offered}"))
            .into()),
    }
}

/// `30m`, `1h`, `1h30m`, `90s` between ten minutes and a day.
pub(crate) fn expiry(text: &str) -> Result<Duration> {
    let length = duration(text).ok_or_else(|| {
        Trouble::usage(format!("`{text}` is no duration")).advise("Write it as 30m, 1h or 1h30m.")
    })?;
    let (least, most) = (Duration::from_mins(10), Duration::from_hours(24));
    if length < least || length > most {
        return Err(
            Trouble::usage(format!("a kubeconfig cannot be valid for {text}"))
                .advise(
                    "Credentials are short-lived: between 10m and 24h. Ask again when one expires.",
                )
                .into(),
        );
    }
    Ok(length)
}

/// Go's duration syntax, whole units of h, m and s only.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut total = 0u64;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    (number.is_empty() && total > 0).then(|| Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_part_of_a_host_name_are_refused() {
        for good in ["acme", "a", "team-1", &"a".repeat(56)] {
            assert!(tenant(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Acme",
            "-a",
            "a-",
            "a.b",
            "a/b",
            "../x",
            "ä",
            "a b",
            &"a".repeat(57),
        ] {
            assert!(tenant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_have_a_kind_and_a_name_that_is_not_the_systems() {
        assert_eq!(
            owner("user:ann").unwrap(),
            serde_json::json!({"kind": "User", "name": "ann"})
        );
        assert_eq!(
            owner("group:a:b").unwrap(),
            serde_json::json!({"kind": "Group", "name": "a:b"})
        );
        for bad in [
            "ann",
            "user:",
            "robot:r",
            "group:system:masters",
            "user:a\nb",
            "",
        ] {
            assert!(owner(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_outside_the_catalogue_are_refused() {
        assert_eq!(version("1.36").unwrap(), "v1.36");
        assert_eq!(version("v1.36.3").unwrap(), "v1.36.3");
        for bad in [
            "",
            "v",
            "1",
            "1.27",
            "2.36",
            "1.99",
            "1.36.3.4",
            "1.x",
            "latest",
            "v1.36-rc.1",
        ] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expiries_are_between_ten_minutes_and_a_day() {
        assert_eq!(expiry("1h30m").unwrap(), Duration::from_secs(5400));
        for bad in [
            "",
            "1",
            "h",
            "9m",
            "25h",
            "1d",
            "-1h",
            "1h5",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
    }
}
