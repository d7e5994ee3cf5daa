//! Pods and templates of pods: `warningsForPodSpecAndMeta` of kubernetes `pkg/api/pod/warnings.go`.

use super::list::{Seen, Warnings};
use super::{addresses, claims, labels, ports, volumes};
use crate::field::{Path, quote};
use crate::validate::read::{NOTHING, Read as _};
use crate::{Map, Value};

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR_OF: &str = "container.apparmor.security.beta.kubernetes.io/";
const USE_SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const USE_APPARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Volumes of plugins that are gone or going: field, name in messages, since when. Claims of ephemeral volumes
/// are looked at between the two parts.
const GOING: [(&str, &str, &str); 7] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("gitRepo", "gitRepo", "deprecated in v1.11"),
    (
        "scaleIO",
        "scaleIO",
        "deprecated in v1.16, non-functional in v1.22+",
    ),
    (
        "flocker",
        "flocker",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "quobyte",
        "quobyte",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "glusterfs",
        "glusterfs",
        "deprecated in v1.25, non-functional in v1.26+",
    ),
];
const GOING_LATER: [&str; 2] = ["cephfs", "rbd"];
pub(super) const LATER: &str = "deprecated in v1.28, non-functional in v1.31+";

/// All containers: the list that they are in, their place in it.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| {
            let items = spec.list(list).iter().enumerate();
            items.map(move |(i, container)| (list, i, container))
        })
}

/// A pod, or the template at `base`.
pub(super) fn pod(pod: &Value, base: Option<Path<'_>>, out: &mut Warnings) {
    let spec = pod.part("spec").unwrap_or(&NOTHING);
    let field = |name| base.as_ref().map_or(Path::root(name), |b| b.child(name));
    let (at, metadata_at) = (field("spec"), field("metadata"));
    let notes_at = metadata_at.child("annotations");
    let notes = pod.part("metadata").and_then(|m| m.map("annotations"));
    let notes = notes.filter(|notes| !notes.is_empty());
    scheduling(spec, at, out);
    if let Some(notes) = notes {
        for (key, why) in ANNOTATIONS {
            if notes.contains_key(key) {
                out.at(notes_at.key(key), why);
            }
        }
    }
    let volumes_at = at.child("volumes");
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        plugins(volume, volumes_at.index(i), out);
    }
    if out.minor >= 32 {
        volumes::overlaps(spec.list("volumes"), out);
    }
    names(spec, at, out);
    let overhead_at = at.child("overhead");
    let overhead = spec.part("overhead").unwrap_or(&NOTHING);
    for amount in ["memory", "ephemeral-storage"] {
        claims::whole(overhead, overhead_at, amount, out);
    }
    let security = spec.part("securityContext").unwrap_or(&NOTHING);
    if let Some(notes) = notes
        && !security.has("seccompProfile")
        && notes.contains_key(SECCOMP)
    {
        out.at(notes_at.key(SECCOMP), USE_SECCOMP);
    }
    let of_containers = notes.filter(|n| n.keys().any(|key| key.starts_with("container.")));
    for (list, i, container) in containers(spec) {
        if let Some(notes) = of_containers {
            let profile = security.part("appArmorProfile");
            profiles(container, notes, notes_at, base.map(|_| profile), out);
        }
        let list_at = at.child(list);
        amounts(container, list_at.index(i), out);
        variables(container, list_at.index(i), out);
    }
    ports::check(spec, at, out);
    if spec.number("terminationGracePeriodSeconds") < 0 {
        out.at(
            at.child("terminationGracePeriodSeconds"),
            "must be >= 0; negative values are invalid and will be treated as 1",
        );
    }
    neighbours(spec, at, out);
    if out.minor < 33 {
        return;
    }
    let dns_at = at.child("dnsConfig");
    let dns_at = dns_at.child("nameservers");
    let dns = spec.part("dnsConfig").unwrap_or(&NOTHING);
    for (i, server) in dns.texts("nameservers").enumerate() {
        addresses::ip(dns_at.index(i), server, out);
    }
    let aliases = spec.list("hostAliases");
    addresses::ips_of(aliases, at.child("hostAliases"), "ip", out);
}

/// Labels of nodes that have other names now.
fn scheduling(spec: &Value, at: Path<'_>, out: &mut Warnings) {
    let selector_at = at.child("nodeSelector");
    for (key, _) in spec.map("nodeSelector").into_iter().flat_map(Map::iter) {
        if let Some(why) = labels::deprecated(key, out.minor) {
            out.at(selector_at.key(key), why);
        }
    }
    let affinity_at = at.child("affinity");
    let nodes_at = affinity_at.child("nodeAffinity");
    let affinity = spec.part("affinity").and_then(|a| a.part("nodeAffinity"));
    if let Some(affinity) = affinity {
        let terms_at = nodes_at.child(REQUIRED);
        let terms_at = terms_at.child("nodeSelectorTerms");
        let required = affinity.part(REQUIRED).unwrap_or(&NOTHING);
        for (i, term) in required.list("nodeSelectorTerms").iter().enumerate() {
            labels::term(term, false, terms_at.index(i), out);
        }
        let terms_at = nodes_at.child(PREFERRED);
        for (i, term) in affinity.list(PREFERRED).iter().enumerate() {
            let (term, at) = (term.part("preference"), terms_at.index(i));
            labels::term(term.unwrap_or(&NOTHING), true, at.child("preference"), out);
        }
    }
    let constraints_at = at.child("topologySpreadConstraints");
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let (at, key) = (constraints_at.index(i), constraint.text("topologyKey"));
        if let Some(why) = labels::deprecated(key, out.minor) {
            out.at(at.child("topologyKey"), format_args!("{key} is {why}"));
        }
        if !constraint.has("labelSelector") {
            out.at(at.child("labelSelector"), NO_SELECTOR);
        }
    }
}

fn plugins(volume: &Value, at: Path<'_>, out: &mut Warnings) {
    for (field, name, why) in GOING {
        if volume.has(field) {
            let disabled = if field == "gitRepo" && out.minor >= 33 {
                ", and disabled by default in v1.33+"
            } else {
                ""
            };
            out.at(at.child(name), format_args!("{why}{disabled}"));
        }
    }
    if let Some(template) = volume
        .part("ephemeral")
        .and_then(|e| e.part("volumeClaimTemplate"))
    {
        let at = at.child("ephemeral");
        let at = at.child("volumeClaimTemplate");
        let spec = template.part("spec").unwrap_or(&NOTHING);
        claims::spec(spec, at.child("spec"), out);
    }
    for field in GOING_LATER {
        if volume.has(field) {
            out.at(at.child(field), LATER);
        }
    }
}

/// Aliases and secrets that are there twice, or without a name.
fn names(spec: &Value, at: Path<'_>, out: &mut Warnings) {
    for (list, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let list_at = at.child(list);
        let items = spec.list(list);
        let mut seen = Seen::default();
        for (i, item) in items.iter().enumerate() {
            let value = item.text(key);
            if !seen.insert(value) {
                let (at, value) = (list_at.index(i), quote(value));
                out.at(at.child(key), format_args!("duplicate {key} {value}"));
            }
        }
    }
    let secrets_at = at.child("imagePullSecrets");
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            let at = secrets_at.index(i);
            out.at(at.child("name"), "invalid empty name \"\"");
        }
    }
}

/// Annotations that fields have taken the place of; `template` is the profile of a template's pod.
fn profiles(
    container: &Value,
    notes: &Map,
    notes_at: Path<'_>,
    template: Option<Option<&Value>>,
    out: &mut Warnings,
) {
    let name = container.text("name");
    let security = container.part("securityContext").unwrap_or(&NOTHING);
    let key = format!("{SECCOMP_OF}{name}");
    if !security.has("seccompProfile") && notes.contains_key(&key) {
        out.at(notes_at.key(&key), USE_SECCOMP);
    }
    // A pod's own annotations become fields before anybody looks at it.
    let Some(profile) = template.filter(|_| out.minor >= 30) else {
        return;
    };
    // Any profile was enough before 1.34.
    let same = |p: &Value, said: &Value| {
        out.minor < 34 || is_profile(p, said.as_str().unwrap_or_default())
    };
    let key = format!("{APPARMOR_OF}{name}");
    if let Some(said) = notes.get(&key)
        && !security.has("appArmorProfile")
        && !profile.is_some_and(|p| same(p, said))
    {
        out.at(notes_at.key(&key), USE_APPARMOR);
    }
}

/// Whether a profile is the one that an annotation names.
fn is_profile(profile: &Value, annotation: &str) -> bool {
    let file = profile.string("localhostProfile");
    match annotation {
        "unconfined" => profile.text("type") == "Unconfined" && file.is_none(),
        "runtime/default" => profile.text("type") == "RuntimeDefault" && file.is_none(),
        _ => {
            let named = annotation.strip_prefix("localhost/");
            let named = named.filter(|name| !name.is_empty());
            named.is_some() && profile.text("type") == "Localhost" && file == named
        }
    }
}

fn amounts(container: &Value, at: Path<'_>, out: &mut Warnings) {
    let Some(resources) = container.part("resources") else {
        return;
    };
    let resources_at = at.child("resources");
    for amount in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            if let Some(amounts) = resources.part(kind) {
                claims::whole(amounts, resources_at.child(kind), amount, out);
            }
        }
    }
}

fn variables(container: &Value, at: Path<'_>, out: &mut Warnings) {
    let list = container.list("env");
    if list.len() < 2 {
        return;
    }
    let list_at = at.child("env");
    let mut seen = Seen::default();
    for (i, variable) in list.iter().enumerate() {
        let name = variable.text("name");
        if seen.insert(name) {
            continue;
        }
        // What is made of the one before does not hide it.
        let (value, before) = (variable.text("value"), format!("$({name})"));
        if variable.has("valueFrom") || value == before || !value.contains(&before) {
            let name = quote(name);
            let apply = if out.minor >= 30 {
                ", which may be dropped when using apply"
            } else {
                ""
            };
            out.at(
                list_at.index(i),
                format_args!("hides previous definition of {name}{apply}"),
            );
        }
    }
}

fn neighbours(spec: &Value, at: Path<'_>, out: &mut Warnings) {
    let Some(affinity) = spec.part("affinity") else {
        return;
    };
    let at = at.child("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = affinity.part(kind) else {
            continue;
        };
        let at = at.child(kind);
        let list_at = at.child(REQUIRED);
        for (i, term) in terms.list(REQUIRED).iter().enumerate() {
            if !term.has("labelSelector") {
                let at = list_at.index(i);
                out.at(at.child("labelSelector"), NO_SELECTOR);
            }
        }
        let list_at = at.child(PREFERRED);
        for (i, term) in terms.list(PREFERRED).iter().enumerate() {
            let term = term.part("podAffinityTerm").unwrap_or(&NOTHING);
            if !term.has("labelSelector") {
                let at = list_at.index(i);
                let at = at.child("podAffinityTerm");
                out.at(at.child("labelSelector"), NO_SELECTOR);
            }
        }
    }
}
