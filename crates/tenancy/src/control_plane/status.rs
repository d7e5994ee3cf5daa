//! The status of a control plane, composed from what was found; no effects.

use super::plan::Accepted;
use freehold_api::condition::{self, reasons, types};
use freehold_api::{
    Condition, ControlPlane, ControlPlaneStatus, HookRun, Phase, Power, SecretRef, names,
};

/// What was found out in one pass.
pub(crate) struct Found<'a> {
    /// refused, or accepted as this
    pub verdict: Result<&'a Accepted, Condition>,
    /// the condition `CredentialsReady`
    pub credentials: Option<Condition>,
    /// whether the kubeconfig secret is there
    pub kubeconfig: bool,
    /// what a call to it said, when one was made
    pub answered: Option<Result<(), String>>,
    /// what became of the hooks, when they were looked at
    pub hooks: Option<HookOutcome>,
}

/// What became of the hooks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HookOutcome {
    pub runs: Vec<HookRun>,
    pub condition: Condition,
}

/// The condition `Ready` for what was found and what the server says of itself.
pub(crate) fn ready(control_plane: &ControlPlane, found: &Found<'_>) -> Condition {
    let no = |reason, message: &str| Condition::no(types::READY, reason, message);
    if let Err(refusal) = &found.verdict {
        return refusal.clone();
    }
    let known = control_plane.status.as_ref();
    let conditions = known.map_or(&[][..], |s| &s.conditions);
    if let Some(credentials) = &found.credentials
        && !credentials.holds()
    {
        return no(&credentials.reason, &credentials.message);
    }
    let serving = condition::find(conditions, types::SERVING);
    match serving {
        Some(serving) if serving.holds() => {}
        Some(serving) if serving.reason == reasons::ASLEEP => {
            return no(
                reasons::ASLEEP,
                "asleep (spec.power: Asleep); `freehold wake` or spec.power: Auto wakes it",
            );
        }
        Some(serving) => return no(reasons::WAITING_FOR_SERVER, &serving.message),
        None => return no(reasons::WAITING_FOR_SERVER, "no server has taken it up yet"),
    }
    if !found.kubeconfig {
        return no(
            reasons::WAITING_FOR_SERVER,
            "its endpoint is not published yet",
        );
    }
    match &found.answered {
        Some(Err(why)) => return no(reasons::NOT_ANSWERING, why),
        Some(Ok(())) => {}
        None if condition::holds(conditions, types::READY) => {}
        None => return no(reasons::WAITING_FOR_SERVER, "it was not called yet"),
    }
    if control_plane.spec.wait_for_hooks {
        match &found.hooks {
            Some(hooks) if hooks.condition.holds() => {}
            Some(hooks) => return no(reasons::WAITING_FOR_HOOKS, &hooks.condition.message),
            None => return no(reasons::WAITING_FOR_HOOKS, "the hooks were not applied yet"),
        }
    }
    Condition::yes(
        types::READY,
        reasons::AVAILABLE,
        "it answered a call with the admin kubeconfig",
    )
}

fn phase(control_plane: &ControlPlane, ready: &Condition, accepted: bool) -> Phase {
    if control_plane.metadata.deletion_timestamp.is_some() {
        return Phase::Deleting;
    }
    if ready.holds() {
        return Phase::Ready;
    }
    if ready.reason == reasons::ASLEEP || control_plane.spec.power == Power::Asleep && accepted {
        return Phase::Asleep;
    }
    match ready.reason.as_str() {
        reasons::NOT_ANSWERING => Phase::NotReady,
        _ if accepted => Phase::Provisioning,
        _ => Phase::Pending,
    }
}

/// Writes what was found into the status; says whether that changed anything.
pub(crate) fn compose(control_plane: &mut ControlPlane, found: &Found<'_>, now: &str) -> bool {
    let before = control_plane.status.clone();
    let generation = control_plane.metadata.generation;
    let ready = ready(control_plane, found).at(generation);
    let phase = phase(control_plane, &ready, found.verdict.is_ok());
    let namespace = control_plane.metadata.namespace.clone().unwrap_or_default();
    let status = control_plane
        .status
        .get_or_insert_with(ControlPlaneStatus::default);
    status.observed_generation = generation;
    status.phase = phase;
    if let Ok(accepted) = &found.verdict {
        status.secret_ref = found.kubeconfig.then(|| SecretRef {
            namespace,
            name: names::secret::kubeconfig(accepted.name.as_str()),
            key: names::secret::KUBECONFIG.to_owned(),
        });
    }
    if let Some(credentials) = &found.credentials {
        condition::set(
            &mut status.conditions,
            credentials.clone().at(generation),
            now,
        );
    }
    if let Some(hooks) = &found.hooks {
        status.hooks.clone_from(&hooks.runs);
        condition::set(
            &mut status.conditions,
            hooks.condition.clone().at(generation),
            now,
        );
    }
    condition::set(&mut status.conditions, ready, now);
    control_plane.status != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_api::{ControlPlaneName, ControlPlaneSpec, TenantName};

    fn accepted() -> Accepted {
        Accepted {
            tenant: TenantName::new("acme").unwrap(),
            name: ControlPlaneName::new("prod").unwrap(),
            namespace: "tenant-acme".into(),
            server_name: "prod.tenant-acme.freehold.internal".into(),
            serving_names: Vec::new(),
        }
    }

    fn with(conditions: Vec<Condition>) -> ControlPlane {
        let mut cp = ControlPlane::new("prod", ControlPlaneSpec::default());
        cp.metadata.namespace = Some("tenant-acme".into());
        cp.status = Some(ControlPlaneStatus {
            conditions,
            ..ControlPlaneStatus::default()
        });
        cp
    }

    fn found(accepted: &Accepted) -> Found<'_> {
        Found {
            verdict: Ok(accepted),
            credentials: Some(Condition::yes(types::CREDENTIALS_READY, "Issued", "")),
            kubeconfig: true,
            answered: Some(Ok(())),
            hooks: None,
        }
    }

    #[test]
    fn ready_only_after_an_answer() {
        let accepted = accepted();
        let mut cp = with(vec![Condition::yes(types::SERVING, "Serving", "")]);
        let mut found = found(&accepted);
        found.answered = None;
        assert!(compose(&mut cp, &found, "t1"));
        assert_eq!(cp.status.as_ref().unwrap().phase, Phase::Provisioning);
        found.answered = Some(Err("connection refused".into()));
        assert!(compose(&mut cp, &found, "t2"));
        assert_eq!(cp.status.as_ref().unwrap().phase, Phase::NotReady);
        found.answered = Some(Ok(()));
        assert!(compose(&mut cp, &found, "t3"));
        assert_eq!(cp.status.as_ref().unwrap().phase, Phase::Ready);
        found.answered = None;
        assert!(!compose(&mut cp, &found, "t4"), "an answer is remembered");
    }

    #[test]
    fn ready_ends_with_serving() {
        let accepted = accepted();
        let mut cp = with(vec![
            Condition::yes(types::READY, "Available", ""),
            Condition::no(types::SERVING, reasons::ASLEEP, ""),
        ]);
        let found = Found {
            answered: None,
            ..found(&accepted)
        };
        assert!(compose(&mut cp, &found, "t"));
        let status = cp.status.unwrap();
        assert_eq!(status.phase, Phase::Asleep);
        assert!(!condition::holds(&status.conditions, types::READY));
        assert!(condition::find(&status.conditions, types::SERVING).is_some());
    }

    #[test]
    fn hooks_hold_ready_back_when_asked_to() {
        let accepted = accepted();
        let mut cp = with(vec![Condition::yes(types::SERVING, "Serving", "")]);
        cp.spec.wait_for_hooks = true;
        let mut found = found(&accepted);
        found.hooks = Some(HookOutcome {
            runs: Vec::new(),
            condition: Condition::no(types::HOOKS_APPLIED, reasons::HOOK_NOT_FOUND, "no hook x"),
        });
        assert_eq!(ready(&cp, &found).reason, reasons::WAITING_FOR_HOOKS);
        cp.spec.wait_for_hooks = false;
        assert!(ready(&cp, &found).holds());
    }

    #[test]
    fn a_refusal_is_pending_with_its_reason() {
        let mut cp = with(Vec::new());
        let found = Found {
            verdict: Err(Condition::no(
                types::READY,
                reasons::UNSUPPORTED_VERSION,
                "x",
            )),
            credentials: None,
            kubeconfig: false,
            answered: None,
            hooks: None,
        };
        assert!(compose(&mut cp, &found, "t"));
        let status = cp.status.unwrap();
        assert_eq!(status.phase, Phase::Pending);
        assert_eq!(status.conditions[0].reason, reasons::UNSUPPORTED_VERSION);
    }
}
