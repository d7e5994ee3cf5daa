//! What the generated catalogue says, spot-checked against upstream's types.

use crate::catalogue::{Catalogue, Field, ListKind, Shape, TypeId, Types};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

fn root(kind: (&str, &str, &str)) -> (Arc<Types>, TypeId) {
    let c = Catalogue::builtin(36).expect("36 is built in");
    c.type_of(kind.0, kind.1, kind.2).expect("known kind")
}

fn field(kind: (&str, &str, &str), path: &[&str]) -> (Arc<Types>, Field) {
    let (types, mut here) = root(kind);
    let mut found = None;
    for name in path {
        while let Shape::List(l) = types.get(here) {
            here = l.item;
        }
        let f = types
            .structure(here)
            .and_then(|s| s.field(name))
            .expect("known field")
            .clone();
        here = f.ty;
        found = Some(f);
    }
    (types, found.expect("a path"))
}

const POD: (&str, &str, &str) = ("", "v1", "Pod");

// k8s.io/api core/v1/types.go
#[test]
fn container_ports_merge_by_one_key_and_apply_by_two() {
    let (types, ports) = field(POD, &["spec", "containers", "ports"]);
    assert_eq!(
        (ports.tag, ports.patch_merge, ports.patch_merge_key()),
        (6, true, Some("containerPort"))
    );
    let Shape::List(list) = types.get(ports.ty) else {
        panic!("a list")
    };
    assert_eq!(
        list.kind,
        ListKind::Map(vec!["containerPort".into(), "protocol".into()])
    );
    let protocol = types
        .structure(list.item)
        .and_then(|s| s.field("protocol"))
        .expect("protocol");
    let facts = protocol.facts.as_ref().expect("enum and default");
    assert_eq!(facts.default.as_ref().and_then(|d| d.as_str()), Some("TCP"));
    assert_eq!(facts.one_of, ["SCTP", "TCP", "UDP"]);
}

#[test]
fn volume_sources_sit_in_a_message_of_their_own() {
    let (_, source) = field(POD, &["spec", "volumes", "emptyDir"]);
    assert_eq!(
        (source.outer, source.tag, source.pointer),
        ([2, 0], 2, true)
    );
    let vap = (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicy",
    );
    let (_, rule) = field(
        vap,
        &["spec", "matchConstraints", "resourceRules", "apiGroups"],
    );
    assert_eq!((rule.outer, rule.tag), ([2, 2], 1));
}

#[test]
fn every_resource_has_a_type_and_listable_ones_have_a_list_and_columns() {
    let c = Catalogue::builtin(36).expect("36 is built in");
    assert!(c.resources.len() > 60, "{}", c.resources.len());
    for r in &c.resources {
        let name = |id| r.types.structure(id).map(|s| s.name.to_string());
        assert!(
            name(r.root).is_some_and(|n| n.ends_with(&format!(".{}", r.kind))),
            "{}",
            r.plural
        );
        assert!(
            !r.verbs.is_empty() && !r.singular.is_empty(),
            "{}",
            r.plural
        );
        if r.verbs.iter().any(|v| v == "list") {
            assert!(
                c.type_of(&r.group, &r.version, &r.list_kind).is_some(),
                "{}",
                r.list_kind
            );
            assert!(!r.columns.is_empty(), "{}", r.plural);
        }
        for s in r.subresources.iter() {
            assert!(
                c.type_of(&s.group, &s.version, &s.kind).is_some(),
                "{}/{}",
                r.plural,
                s.name
            );
        }
    }
    let deployments = c.lookup("apps", "v1", "deployments").expect("deployments");
    assert_eq!(*deployments.short_names, ["deploy"]);
    assert!(deployments.has_status() && deployments.subresource("scale").is_some());
    for kind in [
        "DeleteOptions",
        "Status",
        "WatchEvent",
        "List",
        "Table",
        "PartialObjectMetadataList",
        "PatchOptions",
    ] {
        assert!(c.type_of("apps", "v1", kind).is_some(), "{kind}");
    }
}

#[test]
fn fields_are_sorted_and_every_type_is_reachable_by_id() {
    for minor in super::OLDEST_MINOR..=super::NEWEST_MINOR {
        let c = Catalogue::builtin(minor).expect("built in");
        for id in 0..c.types.len() {
            let Some(s) = c.types.structure(TypeId(id as u32)) else {
                continue;
            };
            assert!(
                s.fields.windows(2).all(|w| w[0].json < w[1].json),
                "{} in 1.{minor}",
                s.name
            );
            assert!(
                s.fields.iter().all(|f| (f.ty.0 as usize) < c.types.len()),
                "{}",
                s.name
            );
        }
    }
    assert!(Catalogue::builtin(27).is_none() && Catalogue::builtin(38).is_none());
}

#[test]
fn the_text_is_read_quickly() {
    let start = Instant::now();
    let parsed = crate::catalogue::text::parse(include_str!("../../../catalogue/types.txt"));
    let took = start.elapsed();
    println!("catalogue: {} types in {took:?}", parsed.nodes.len());
    // Generous: the machine may be busy. The goal is 20 ms in a dev build.
    assert!(took.as_millis() < 500, "{took:?}");
}

/// What an arena holds, each node that several minor versions share counted once.
#[test]
fn all_minor_versions_together_are_small() {
    let catalogues: Vec<_> = (super::OLDEST_MINOR..=super::NEWEST_MINOR)
        .filter_map(Catalogue::builtin)
        .collect();
    let mut seen = HashSet::new();
    let (mut facts, mut lists) = (HashSet::new(), HashSet::new());
    let (mut bytes, mut nodes) = (0, 0);
    let mut once = |at: *const u8, bytes: usize| if lists.insert(at) { bytes + 16 } else { 0 };
    let heap = |s: &crate::Str| {
        if s.is_heap_allocated() {
            s.capacity()
        } else {
            0
        }
    };
    for c in &catalogues {
        bytes += c.types.nodes.len() * size_of::<Arc<Shape>>();
        for r in &c.resources {
            bytes += size_of_val(&**r);
            bytes += once(
                r.subresources.as_ptr().cast(),
                size_of_val(&*r.subresources),
            );
            bytes += once(r.columns.as_ptr().cast(), size_of_val(&*r.columns));
            for list in [&r.verbs, &r.short_names, &r.categories] {
                bytes += once(list.as_ptr().cast(), size_of_val(&**list));
            }
        }
        for node in c.types.nodes.iter().filter(|n| seen.insert(Arc::as_ptr(n))) {
            nodes += 1;
            bytes += size_of::<Shape>() + 16;
            let Shape::Struct(s) = &**node else { continue };
            bytes += heap(&s.name) + s.fields.capacity() * size_of::<Field>();
            for f in &s.fields {
                bytes += heap(&f.json);
                if let Some(facts) = f.facts.as_ref().filter(|f| facts.insert(Arc::as_ptr(f))) {
                    bytes += size_of_val(&**facts) + facts.one_of.len() * size_of::<crate::Str>();
                }
            }
        }
    }
    let one = catalogues.iter().find(|c| c.minor == 36).expect("36");
    println!(
        "catalogue: {} versions, {nodes} nodes, {bytes} bytes; resources of 1.36: {}",
        catalogues.len(),
        one.resources.len()
    );
    assert!(bytes < 5 << 18, "{bytes}");
}

/// From the API changelogs: what came and went between the versions.
#[test]
fn each_minor_version_serves_what_it_had() {
    let served = |minor: u8, group: &str, version: &str, plural: &str| {
        Catalogue::builtin(minor)
            .expect("built in")
            .lookup(group, version, plural)
            .is_some()
    };
    let since = [
        (
            30,
            "admissionregistration.k8s.io",
            "validatingadmissionpolicies",
        ),
        (
            36,
            "admissionregistration.k8s.io",
            "mutatingadmissionpolicies",
        ),
        (29, "flowcontrol.apiserver.k8s.io", "flowschemas"),
        (33, "networking.k8s.io", "ipaddresses"),
        (33, "networking.k8s.io", "servicecidrs"),
        (34, "resource.k8s.io", "resourceclaims"),
        (34, "storage.k8s.io", "volumeattributesclasses"),
        (37, "certificates.k8s.io", "clustertrustbundles"),
        (37, "resource.k8s.io", "devicetaintrules"),
        (37, "storagemigration.k8s.io", "storageversionmigrations"),
        (28, "apps", "deployments"),
        (28, "", "pods"),
    ];
    for minor in super::OLDEST_MINOR..=super::NEWEST_MINOR {
        for (first, group, plural) in since {
            assert_eq!(
                served(minor, group, "v1", plural),
                minor >= first,
                "{plural} in 1.{minor}"
            );
        }
        for (last, version) in [(28, "v1beta2"), (31, "v1beta3")] {
            let found = served(
                minor,
                "flowcontrol.apiserver.k8s.io",
                version,
                "flowschemas",
            );
            assert_eq!(found, minor <= last, "{version} in 1.{minor}");
        }
        let catalogue = Catalogue::builtin(minor).expect("built in");
        let pods = catalogue.lookup("", "v1", "pods").expect("pods");
        assert_eq!(pods.subresource("resize").is_some(), minor >= 33);
        assert_eq!(
            catalogue.groups.iter().any(|g| g.name == "resource.k8s.io"),
            minor >= 34
        );
        for r in &catalogue.resources {
            let stored = catalogue.lookup(&r.storage_group, &r.storage_version, &r.plural);
            assert!(
                stored.is_some(),
                "{} {} in 1.{minor} is stored as nothing",
                r.group,
                r.plural
            );
        }
    }
}

#[test]
fn fields_come_and_go_with_their_versions() {
    let has = |minor: u8, kind: &str, name: &str| {
        let catalogue = Catalogue::builtin(minor).expect("built in");
        let (types, id) = catalogue
            .type_named(&format!("io.k8s.api.core.v1.{kind}"))
            .expect("a type");
        types.structure(id).is_some_and(|s| s.field(name).is_some())
    };
    // Dates of the fields in k8s.io/api core/v1/types.go.
    for (kind, field, first) in [
        ("Container", "restartPolicyRules", 34),
        ("PodSpec", "resources", 32),
        ("LifecycleHandler", "sleep", 29),
        ("ServiceSpec", "trafficDistribution", 30),
        ("VolumeMount", "recursiveReadOnly", 30),
        ("Container", "image", 28),
    ] {
        for minor in super::OLDEST_MINOR..=super::NEWEST_MINOR {
            assert_eq!(
                has(minor, kind, field),
                minor >= first,
                "{kind}.{field} in 1.{minor}"
            );
        }
    }
}
