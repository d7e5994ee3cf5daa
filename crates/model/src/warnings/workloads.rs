//! Pods and what makes pods.

use super::list::Warnings;
use super::pods::pod;
use super::{Place, claims};
use crate::field::Path;
use crate::validate::read::{NOTHING, Read as _};
use crate::{Value, rules};

/// Whether a kind of the core group is one of them.
pub(super) fn is_one(kind: &str) -> bool {
    matches!(kind, "Pod" | "PodTemplate" | "ReplicationController")
}

pub(super) fn check(kind: &str, at: &Place<'_>, out: &mut Warnings) {
    let root = Path::root("spec");
    match kind {
        "Pod" if at.old.is_none() => {
            host_name(at.object, "the Pod's hostname", out);
            pod(at.object, None, out);
        }
        "PodTemplate" => template(at, &["template"], Path::root("template"), out),
        "CronJob" => {
            let path = root.child("jobTemplate");
            let path = path.child("spec");
            job(at, &["spec", "jobTemplate", "spec"], path, out);
            let schedule = at.object.str_at(&["spec", "schedule"]).unwrap_or("");
            if out.minor < 29 && schedule.contains("TZ") {
                out.say("CRON_TZ or TZ used in spec.spec.schedule is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details");
            } else if at.old.is_some() && schedule.contains("TZ") {
                out.say("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details");
            }
        }
        "Job" => job(at, &["spec"], root, out),
        "Deployment" | "ReplicaSet" | "ReplicationController" | "DaemonSet" | "StatefulSet" => {
            if at.old.is_none() && !matches!(kind, "DaemonSet" | "StatefulSet") {
                host_name(at.object, "Pod names and hostnames", out);
            }
            // Upstream mixes the new template of a replication controller up with the one before.
            let before = at.old.filter(|_| kind == "ReplicationController");
            if is_due(kind, at)
                && let Some(now) = before.unwrap_or(at.object).at(&["spec", "template"])
            {
                pod(now, Some(root.child("template")), out);
            }
            if kind == "StatefulSet" {
                stateful_set(at, root, out);
            }
        }
        _ => {}
    }
}

fn host_name(object: &Value, use_of_it: &str, out: &mut Warnings) {
    let name = object.str_at(&["metadata", "name"]).unwrap_or("");
    let problems = rules::dns1123_label(name);
    if !problems.is_empty() {
        let problems = problems.join(" ");
        out.say(format_args!("metadata.name: this is used in {use_of_it}, which can result in surprising behavior; a DNS label is recommended: [{problems}]"));
    }
}

/// Whether the object is new, or the generation of it that its strategy looks at.
fn is_due(kind: &str, at: &Place<'_>) -> bool {
    let path: &[&str] = if kind == "DaemonSet" {
        &[
            "metadata",
            "annotations",
            "deprecated.daemonset.template.generation",
        ]
    } else {
        &["metadata", "generation"]
    };
    at.old.is_none_or(|old| old.at(path) != at.object.at(path))
}

fn template(at: &Place<'_>, path: &[&str], shown: Path<'_>, out: &mut Warnings) {
    if is_due("", at)
        && let Some(now) = at.object.at(path)
    {
        pod(now, Some(shown), out);
    }
}

/// `pkg/api/job/warnings.go`
fn job(at: &Place<'_>, path: &[&str], shown: Path<'_>, out: &mut Warnings) {
    if at.old.is_none() {
        host_name(at.object, "Pod names and hostnames", out);
    }
    let Some(spec) = at.object.at(path).filter(|_| is_due("", at)) else {
        return;
    };
    let (completions, parallelism) = (spec.number("completions"), spec.number("parallelism"));
    if spec.text("completionMode") == "Indexed" && completions > 100_000 && parallelism > 10_000 {
        out.at(shown, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail");
    }
    if let Some(now) = spec.part("template") {
        pod(now, Some(shown.child("template")), out);
    }
}

fn stateful_set(at: &Place<'_>, root: Path<'_>, out: &mut Warnings) {
    let spec = at.object.part("spec").unwrap_or(&NOTHING);
    let list_at = root.child("volumeClaimTemplates");
    for (i, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
        let claim_at = list_at.index(i);
        // The path of an update is not the one of a create upstream.
        let shown = if at.old.is_some() {
            claim_at.child("Spec")
        } else {
            claim_at
        };
        claims::spec(claim.part("spec").unwrap_or(&NOTHING), shown, out);
    }
    if spec.number("revisionHistoryLimit") < 0 && out.minor >= 33 {
        out.say("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended");
    }
}
