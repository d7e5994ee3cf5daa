//! Conditions: what is true of an object now, since when, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation of an object's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is observed, for example `Ready`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word for programs.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// One sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The generation of the object that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: Option<String>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl Condition {
    /// A condition observed now; [`set`] gives it its time.
    #[must_use]
    pub fn new(
        type_: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_: type_.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: None,
            last_transition_time: None,
        }
    }

    /// It holds.
    #[must_use]
    pub fn yes(type_: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(type_, ConditionStatus::True, reason, message)
    }

    /// It does not hold.
    #[must_use]
    pub fn no(type_: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(type_, ConditionStatus::False, reason, message)
    }

    /// It is not known.
    #[must_use]
    pub fn unknown(type_: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(type_, ConditionStatus::Unknown, reason, message)
    }

    /// The generation it is about.
    #[must_use]
    pub fn at(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }

    /// Whether the status is `True`.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// Puts a condition into the list; says whether the list changed. The time of the last
/// transition moves only with the status. `now` is RFC 3339.
pub fn set(list: &mut Vec<Condition>, mut condition: Condition, now: &str) -> bool {
    let Some(known) = list.iter_mut().find(|c| c.type_ == condition.type_) else {
        condition.last_transition_time = Some(now.to_owned());
        list.push(condition);
        return true;
    };
    condition.last_transition_time = if known.status == condition.status {
        known.last_transition_time.clone()
    } else {
        Some(now.to_owned())
    };
    let changed = *known != condition;
    *known = condition;
    changed
}

/// The condition of that type.
#[must_use]
pub fn find<'a>(list: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    list.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of that type is there and `True`.
#[must_use]
pub fn holds(list: &[Condition], type_: &str) -> bool {
    find(list, type_).is_some_and(Condition::holds)
}

/// Types of conditions.
pub mod types {
    /// The object does what it is for.
    pub const READY: &str = "Ready";
    /// The secrets of a control plane exist and are valid.
    pub const CREDENTIALS_READY: &str = "CredentialsReady";
    /// A pool or process serves the control plane (written by it).
    pub const SERVING: &str = "Serving";
    /// A control plane can store more (written by who serves it, once it could not).
    pub const STORAGE_AVAILABLE: &str = "StorageAvailable";
    /// The hooks of a control plane are applied.
    pub const HOOKS_APPLIED: &str = "HooksApplied";
    /// A foreign object was translated into ours.
    pub const SYNCED: &str = "Synced";
    /// Some fields of a foreign object have no effect yet; the message names them.
    pub const FIELDS_WITHOUT_EFFECT: &str = "FieldsWithoutEffect";
    /// Deletion is under way.
    pub const TERMINATING: &str = "Terminating";
    /// The namespaces of a tenant are within its quota.
    pub const WITHIN_QUOTA: &str = "WithinQuota";
}

/// Reasons of conditions.
pub mod reasons {
    pub const AVAILABLE: &str = "Available";
    pub const ISSUED: &str = "Issued";
    pub const WAITING_FOR_CREDENTIALS: &str = "WaitingForCredentials";
    pub const WAITING_FOR_SERVER: &str = "WaitingForServer";
    pub const NOT_ANSWERING: &str = "NotAnswering";
    pub const ASLEEP: &str = "Asleep";
    pub const UNSUPPORTED_PLACEMENT: &str = "UnsupportedPlacement";
    pub const UNSUPPORTED_ENGINE: &str = "UnsupportedEngine";
    pub const DATASTORE_NOT_FOUND: &str = "DataStoreNotFound";
    pub const DATASTORE_UNAVAILABLE: &str = "DataStoreUnavailable";
    pub const DATASTORE_CHANGED: &str = "DataStoreChanged";
    pub const DATASTORE_NOT_ALLOWED: &str = "DataStoreNotAllowed";
    pub const NO_SPACE: &str = "NoSpace";
    pub const IN_USE: &str = "InUse";
    pub const UNSUPPORTED_VERSION: &str = "UnsupportedVersion";
    pub const INVALID_NAME: &str = "InvalidName";
    pub const INVALID_SPEC: &str = "InvalidSpec";
    pub const TENANT_NOT_FOUND: &str = "TenantNotFound";
    pub const TENANT_MISMATCH: &str = "TenantMismatch";
    pub const TENANT_QUOTA_EXCEEDED: &str = "TenantQuotaExceeded";
    pub const NAME_CONFLICT: &str = "NameConflict";
    pub const WAITING_FOR_POOL: &str = "WaitingForPool";
    pub const WAITING_FOR_CONTROL_PLANES: &str = "WaitingForControlPlanes";
    pub const WAITING_FOR_NAMESPACE: &str = "WaitingForNamespace";
    pub const HOOK_NOT_FOUND: &str = "HookNotFound";
    pub const HOOK_FAILED: &str = "HookFailed";
    pub const WAITING_FOR_HOOKS: &str = "WaitingForHooks";
    pub const DELETING: &str = "Deleting";
    pub const RECONCILE_SUCCESS: &str = "ReconcileSuccess";
    pub const RECONCILE_ERROR: &str = "ReconcileError";
    pub const NOT_YET_SUPPORTED: &str = "NotYetSupported";
    pub const ALL_FIELDS_EFFECTIVE: &str = "AllFieldsHaveEffect";
    pub const UNSUPPORTED_TYPE: &str = "UnsupportedType";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut list = Vec::new();
        assert!(set(&mut list, Condition::no("Ready", "A", "a"), "t1"));
        assert!(set(&mut list, Condition::no("Ready", "B", "b"), "t2"));
        assert_eq!(list[0].last_transition_time.as_deref(), Some("t1"));
        assert!(!set(&mut list, Condition::no("Ready", "B", "b"), "t3"));
        assert!(set(&mut list, Condition::yes("Ready", "B", "b"), "t4"));
        assert_eq!(list[0].last_transition_time.as_deref(), Some("t4"));
        assert!(holds(&list, "Ready"));
        assert_eq!(list.len(), 1);
    }
}
