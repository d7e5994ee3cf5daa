//! Annotations of pods that named profiles of seccomp and AppArmor before there were fields for them
//! (kubernetes `pkg/apis/core/validation/validation.go`).

use super::volumes::descending_path;
use crate::Value;
use crate::field::Path;
use crate::validate::read::{NOTHING, Read, Report};

const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APPARMOR_OF: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCAL: &str = "localhost/";

/// Whether there is anything to look at.
fn are_there(notes: &Value) -> bool {
    let mut keys = notes.as_object().into_iter().flat_map(|notes| notes.keys());
    keys.any(|key| key == SECCOMP || key.starts_with(SECCOMP_OF) || key.starts_with(APPARMOR_OF))
}

fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| {
            let items = spec.list(list).iter().enumerate();
            items.map(move |(i, container)| (list, i, container))
        })
}

/// What such annotations may say.
pub(super) fn check(report: &mut Report, notes: &Value, spec: &Value, at: Path<'_>) {
    if !are_there(notes) {
        return;
    }
    for (key, said) in notes.as_object().into_iter().flat_map(|n| n.iter()) {
        let said = said.as_str().unwrap_or_default();
        if key == SECCOMP || key.starts_with(SECCOMP_OF) {
            seccomp(report, said, at.child(key));
        } else if let Some(name) = key.strip_prefix(APPARMOR_OF) {
            if !containers(spec).any(|(.., c)| c.text("name") == name) {
                report.invalid_str(at.key(key), name, "container not found");
            }
            let known = matches!(said, "" | "runtime/default" | "unconfined");
            if !known && !said.starts_with(LOCAL) {
                let shown = crate::field::quote(said);
                let why = format!("invalid AppArmor profile name: {shown}");
                report.invalid_str(at.key(key), said, why);
            }
        }
    }
}

fn seccomp(report: &mut Report, said: &str, at: Path<'_>) {
    match said {
        "runtime/default" | "docker/default" | "unconfined" => {}
        _ => match said.strip_prefix(LOCAL) {
            Some(file) => descending_path(report, file, at),
            None => report.invalid_str(at, said, "must be a valid seccomp profile"),
        },
    }
}

/// Where there are both, annotations and fields say the same.
pub(super) fn fit(report: &mut Report, notes: &Value, spec: &Value, at: Path<'_>) {
    if !are_there(notes) {
        return;
    }
    let of_pod = spec.part("securityContext").unwrap_or(&NOTHING);
    let security_at = at.child("securityContext");
    if let Some(said) = notes.string(SECCOMP) {
        let field_at = security_at.child("seccompProfile");
        fits(
            report,
            "seccomp",
            said,
            of_pod.part("seccompProfile"),
            field_at,
        );
    }
    let is_windows = spec
        .part("os")
        .is_some_and(|os| os.text("name") == "windows");
    for (list, i, container) in containers(spec) {
        let own = container.part("securityContext").unwrap_or(&NOTHING);
        let (name, list_at) = (container.text("name"), at.child(list));
        let container_at = list_at.index(i);
        let security_at = container_at.child("securityContext");
        if let Some(said) = notes.string(&format!("{SECCOMP_OF}{name}")) {
            let field_at = security_at.child("seccompProfile");
            fits(
                report,
                "seccomp",
                said,
                own.part("seccompProfile"),
                field_at,
            );
        }
        let field = "appArmorProfile";
        if let Some(said) = notes.string(&format!("{APPARMOR_OF}{name}"))
            && !is_windows
        {
            let profile = own.part(field).or(of_pod.part(field));
            fits(report, "apparmor", said, profile, security_at.child(field));
        }
    }
}

fn fits(report: &mut Report, what: &str, said: &str, profile: Option<&Value>, at: Path<'_>) {
    let Some(profile) = profile else { return };
    let type_fits = match profile.text("type") {
        "Unconfined" => said == "unconfined",
        "RuntimeDefault" => {
            said == "runtime/default" || what == "seccomp" && said == "docker/default"
        }
        "Localhost" => said.starts_with(LOCAL),
        _ => return,
    };
    if !type_fits {
        let why = format!("{what} type in annotation and field must match");
        report.forbidden(at.child("type"), why);
    } else if profile.text("type") == "Localhost"
        && profile.string("localhostProfile") != said.strip_prefix(LOCAL)
    {
        let why = format!("{what} profile in annotation and field must match");
        report.forbidden(at.child("localhostProfile"), why);
    }
}
