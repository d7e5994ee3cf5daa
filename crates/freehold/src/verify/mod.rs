//! Attacks on the boundaries, made now, on this host, with real credentials. A check that cannot
//! be made is reported as not made; nothing is concluded from it.

pub(crate) mod attacks;
mod owners;
pub(crate) mod probe;

use crate::cli::{Target, Trouble, objects};
use anyhow::Result;
use attacks::Subject;
use kube::ResourceExt as _;
use kube::api::ListParams;

/// What came of one check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The boundary held; how.
    Held(String),
    /// It did not.
    Failed(String),
    /// It was not tried; why.
    NotMade(String),
}

impl Outcome {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Held(_) => "held",
            Self::Failed(_) => "FAILED",
            Self::NotMade(_) => "not made",
        }
    }

    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Held(text) | Self::Failed(text) | Self::NotMade(text) => text,
        }
    }
}

/// One check.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) between: String,
    pub(crate) what: String,
    pub(crate) outcome: Outcome,
}

/// Everything that was tried.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) checks: Vec<Check>,
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn failed(&self) -> usize {
        self.checks
            .iter()
            .filter(|c| matches!(c.outcome, Outcome::Failed(_)))
            .count()
    }

    pub(crate) fn not_made(&self) -> usize {
        self.checks
            .iter()
            .filter(|c| matches!(c.outcome, Outcome::NotMade(_)))
            .count()
    }

    fn add(&mut self, between: &str, what: &str, outcome: Outcome) {
        self.checks.push(Check {
            between: between.to_owned(),
            what: what.to_owned(),
            outcome,
        });
    }
}

/// All ordered pairs up to this many; beyond it each control plane attacks its neighbours.
const MOST_PAIRS: usize = 56;

/// Attacks everything, or what involves one tenant.
pub(crate) async fn run(
    target: &Target,
    tenant: Option<&str>,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report> {
    let mut report = Report::default();
    let (subjects, left_out) = subjects(target, tenant, progress, &mut report).await?;
    if left_out > 0 {
        report.notes.push(format!(
            "{left_out} control planes were left out of the sample."
        ));
    }
    let host = probe::Way::of_target(target).await?;
    let pairs = pairs(subjects.len());
    let all = subjects.len() * subjects.len().saturating_sub(1);
    if pairs.len() < all {
        report.notes.push(format!(
            "{} of {all} pairs were attacked: every control plane against its neighbours.",
            pairs.len()
        ));
    }
    for subject in &subjects {
        progress(&format!("{} against the host", subject.shown));
        attacks::against_host(subject, &host, &mut report).await;
    }
    for (from, to) in pairs {
        let (from, to) = (&subjects[from], &subjects[to]);
        if tenant.is_some_and(|t| from.tenant != t && to.tenant != t) {
            continue;
        }
        progress(&format!("{} against {}", from.shown, to.shown));
        attacks::between(from, to, &mut report).await;
    }
    for subject in &subjects {
        subject.clean_up().await;
    }
    progress("tenants' owners on the host");
    owners::check(target, tenant, &mut report).await?;
    if subjects.len() < 2 {
        report.notes.push("With fewer than two control planes there is no boundary between control planes to attack.".to_owned());
    }
    Ok(report)
}

/// Control planes to use, each with credentials of its own. One that is not ready is said to be so.
async fn subjects(
    target: &Target,
    tenant: Option<&str>,
    progress: &(dyn Fn(&str) + Sync),
    report: &mut Report,
) -> Result<(Vec<Subject>, usize)> {
    let list = objects::all_control_planes(&target.client)
        .list(&ListParams::default())
        .await
        .map_err(|e| Trouble::from_api("list", "control planes", e))?;
    let mut items = list.items;
    // The tenant in question first: the sample is taken from the front.
    items.sort_by_key(|o| {
        let of = o
            .namespace()
            .as_deref()
            .map(crate::cli::names::tenant_of)
            .unwrap_or_default()
            .to_owned();
        (tenant.is_some_and(|t| t != of), of, o.name_any())
    });
    let left_out = items.len().saturating_sub(MOST_PAIRS);
    let mut subjects = Vec::new();
    for object in items.into_iter().take(MOST_PAIRS) {
        let of = object
            .namespace()
            .as_deref()
            .map(crate::cli::names::tenant_of)
            .unwrap_or_default()
            .to_owned();
        let shown = format!("{of}/{}", object.name_any());
        progress(&format!("credentials of {shown}"));
        match Subject::prepare(target, &of, &object.name_any()).await {
            Ok(subject) => subjects.push(subject),
            Err(error) => report.add(
                &shown,
                "its own administrator can use it",
                Outcome::NotMade(format!("{error:#}")),
            ),
        }
    }
    Ok((subjects, left_out))
}

/// Ordered pairs of `n`.
fn pairs(n: usize) -> Vec<(usize, usize)> {
    let all = n * n.saturating_sub(1);
    let each = if all <= MOST_PAIRS {
        n.saturating_sub(1)
    } else {
        (MOST_PAIRS / n).max(1)
    };
    (0..n)
        .flat_map(|from| (1..=each).map(move |step| (from, (from + step) % n)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn few_control_planes_are_all_paired_and_many_are_sampled_without_leaving_any_out() {
        assert!(pairs(0).is_empty() && pairs(1).is_empty());
        assert_eq!(pairs(2), [(0, 1), (1, 0)]);
        for n in 2..=56 {
            let pairs = pairs(n);
            assert!(pairs.len() <= MOST_PAIRS, "{n}: {}", pairs.len());
            assert!(pairs.iter().all(|(a, b)| a != b));
            let attackers: BTreeSet<usize> = pairs.iter().map(|p| p.0).collect();
            let attacked: BTreeSet<usize> = pairs.iter().map(|p| p.1).collect();
            assert_eq!((attackers.len(), attacked.len()), (n, n));
        }
    }
}
