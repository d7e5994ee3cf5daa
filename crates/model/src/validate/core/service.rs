//! Services: kubernetes `pkg/apis/core/validation/validation.go`, `validateService`.

use super::containers::port_or_name;
use crate::field::Path;
use crate::meta::check_labels;
use crate::validate::net;
use crate::validate::read::{NOTHING, Read, Report};
use crate::{Value, rules};
use std::collections::HashSet;

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

fn is_headless(spec: &Value) -> bool {
    spec.texts("clusterIPs").eq(["None"])
}

fn kind(spec: &Value) -> &str {
    spec.text("type")
}

fn is_external(spec: &Value) -> bool {
    matches!(kind(spec), "LoadBalancer" | "NodePort")
        || (kind(spec) == "ClusterIP" && !spec.list("externalIPs").is_empty())
}

fn needs_health_check(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

pub(crate) fn service(report: &mut Report, service: &Value, old: Option<&Value>) {
    let path = Path::root("spec");
    let spec = service.part("spec").unwrap_or(&NOTHING);
    let old = old.and_then(|o| o.part("spec")).unwrap_or(&NOTHING);
    if spec.list("ports").is_empty() && !is_headless(spec) && kind(spec) != "ExternalName" {
        report.required(path.child("ports"), "");
    }
    by_type(report, spec, path);
    ports(report, spec, path.child("ports"));
    check_labels(
        spec.part("selector"),
        &path.child("selector"),
        &mut report.errors,
    );
    affinity(report, spec, path);
    cluster_ips(report, spec, old, path);
    let known: Vec<&str> = old.texts("externalIPs").collect();
    for (i, ip) in spec.texts("externalIPs").enumerate() {
        let list = path.child("externalIPs");
        let before = report.errors.len();
        net::ip(report, list.index(i), ip, &known);
        if report.errors.len() == before {
            net::endpoint_ip(report, list.index(i), ip);
        }
    }
    report.one_of(
        path.child("type"),
        kind(spec),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    unique_ports(report, spec, path.child("ports"));
    load_balancer(report, service, spec, old, path);
    traffic(report, spec, path);
}

fn by_type(report: &mut Report, spec: &Value, path: Path<'_>) {
    match kind(spec) {
        shown @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {shown} services");
            report.invalid_str(path.child("clusterIPs").index(0), "None", detail);
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if !spec.list(field).is_empty() {
                    report.forbidden(
                        path.child(field),
                        "may not be set for ExternalName services",
                    );
                }
            }
            if spec.has("ipFamilyPolicy") {
                report.forbidden(
                    path.child("ipFamilyPolicy"),
                    "may not be set for ExternalName services",
                );
            }
            let name = spec.text("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            report.required_name(path.child("externalName"), name, rules::dns1123_subdomain);
        }
        _ => {}
    }
}

fn ports(report: &mut Report, spec: &Value, path: Path<'_>) {
    let list = spec.list("ports");
    let mut names = HashSet::new();
    for (i, port) in list.iter().enumerate() {
        let at = path.index(i);
        let name = port.text("name");
        if name.is_empty() {
            if list.len() > 1 {
                report.required(at.child("name"), "");
            }
        } else {
            report.problems(at.child("name"), name, rules::dns1123_label(name));
            if !names.insert(name) {
                report.duplicate(at.child("name"), name);
            }
        }
        let number = port.number("port");
        report.int_problems(at.child("port"), number, rules::port_number(number));
        report.one_of(
            at.child("protocol"),
            port.text("protocol"),
            &["SCTP", "TCP", "UDP"],
        );
        port_or_name(report, port.part("targetPort"), at.child("targetPort"));
        if let Some(protocol) = port.string("appProtocol") {
            report.problems(
                at.child("appProtocol"),
                protocol,
                rules::qualified_name(protocol),
            );
        }
    }
}

fn unique_ports(report: &mut Report, spec: &Value, path: Path<'_>) {
    let list = spec.list("ports");
    if kind(spec) == "ClusterIP" {
        for (i, port) in list.iter().enumerate() {
            if port.number("nodePort") != 0 {
                report.forbidden(
                    path.index(i).child("nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                );
            }
        }
    }
    let mut seen = HashSet::new();
    for (i, port) in list.iter().enumerate() {
        let number = port.number("nodePort");
        if number != 0 && !seen.insert((port.text("protocol"), number)) {
            let at = path.index(i);
            report.errors.push(crate::field::FieldError::duplicate(
                at.child("nodePort"),
                &number.into(),
            ));
        }
    }
    let mut seen = HashSet::new();
    for (i, port) in list.iter().enumerate() {
        let key = (port.text("protocol"), port.number("port"));
        if !seen.insert(key) {
            // Upstream shows its internal struct, all of its fields.
            let shown = crate::value!({
                "AppProtocol": null, "Name": "", "NodePort": 0, "Port": (key.1), "Protocol": (key.0), "TargetPort": 0
            });
            report
                .errors
                .push(crate::field::FieldError::duplicate(path.index(i), &shown));
        }
    }
}

fn affinity(report: &mut Report, spec: &Value, path: Path<'_>) {
    let affinity = spec.text("sessionAffinity");
    report.one_of(
        path.child("sessionAffinity"),
        affinity,
        &["ClientIP", "None"],
    );
    let at = path.child("sessionAffinityConfig");
    let config = spec.part("sessionAffinityConfig");
    if affinity == "None" && config.is_some() {
        report.forbidden(at, "must not be set when session affinity is None");
    }
    if affinity != "ClientIP" {
        return;
    }
    let why = "when session affinity type is ClientIP";
    let Some(config) = config else {
        return report.required(at, why);
    };
    let Some(client) = config.part("clientIP") else {
        return report.required(at.child("clientIP"), why);
    };
    let client_at = at.child("clientIP");
    match client.int("timeoutSeconds") {
        None => report.required(client_at.child("timeoutSeconds"), why),
        Some(seconds) if !(1..=86_400).contains(&seconds) => {
            let detail = "must be greater than 0 and less than 86400";
            report.invalid_int(client_at.child("timeoutSeconds"), seconds, detail);
        }
        Some(_) => {}
    }
}

fn cluster_ips(report: &mut Report, spec: &Value, old: &Value, path: Path<'_>) {
    if kind(spec) == "ExternalName" {
        return;
    }
    let at = path.child("clusterIPs");
    let all = spec.part("clusterIPs").unwrap_or(&NOTHING);
    let ips: Vec<&str> = spec.texts("clusterIPs").collect();
    let primary = spec.text("clusterIP");
    match ips.first() {
        None if !primary.is_empty() => report.required(at, ""),
        Some(first) if !primary.is_empty() && *first != primary => {
            report.invalid(at, all, "first value must match `clusterIP`");
        }
        Some(_) if primary.is_empty() => {
            report.invalid(at, all, "must be empty when `clusterIP` is not specified")
        }
        _ => {}
    }
    let families: Vec<&str> = spec.texts("ipFamilies").collect();
    let families_at = path.child("ipFamilies");
    for (i, family) in families.iter().enumerate() {
        if !FAMILIES.contains(family) {
            report.not_supported(families_at.index(i), family, &FAMILIES);
        }
        if families[..i].contains(family) {
            report.duplicate(families_at.index(i), family);
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    report.one_of_pointer(
        path.child("ipFamilyPolicy"),
        spec.string("ipFamilyPolicy"),
        &policies,
    );
    let known: Vec<&str> = old.texts("clusterIPs").collect();
    let before = report.errors.len();
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && *ip == "None" {
            if ips.len() > 1 {
                report.invalid(at, all, "'None' must be the first and only value");
            }
            continue;
        }
        net::ip(report, at.index(i), ip, &known);
    }
    let bad = report.errors.len() > before;
    if ips.len() > 2 {
        report.invalid(at, all, "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    let is_v6 = |ip: &str| net::sloppy(ip).is_some_and(|ip| ip.to_canonical().is_ipv6());
    if ips.len() > 1 && !(ips.iter().any(|ip| is_v6(ip)) && ips.iter().any(|ip| !is_v6(ip))) {
        report.invalid(
            at,
            all,
            "may specify no more than one IP for each IP family",
        );
    }
    if is_headless(spec) {
        return;
    }
    for (i, (ip, family)) in ips.iter().zip(&families).enumerate() {
        if FAMILIES.contains(family) && (*family == "IPv6") != is_v6(ip) {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            report.invalid_str(at.index(i), ip, detail);
        }
    }
}

fn load_balancer(report: &mut Report, service: &Value, spec: &Value, old: &Value, path: Path<'_>) {
    let balanced = kind(spec) == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec.list("loadBalancerSourceRanges");
    let annotation = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let annotations = service.at(&["metadata", "annotations"]).unwrap_or(&NOTHING);
    if !ranges.is_empty() {
        let at = path.child("LoadBalancerSourceRanges");
        if !balanced {
            report.forbidden(at, only);
        }
        let known: Vec<&str> = old
            .texts("loadBalancerSourceRanges")
            .map(str::trim)
            .collect();
        for (i, range) in spec.texts("loadBalancerSourceRanges").enumerate() {
            net::cidr(report, at.index(i), range.trim(), &known);
        }
    } else if let Some(value) = annotations.string(annotation) {
        let meta = Path::root("metadata");
        let list = meta.child("annotations");
        let at = list.key(annotation);
        if !balanced {
            report.forbidden(at, only);
        }
        for range in value
            .split(',')
            .map(str::trim)
            .filter(|_| !value.trim().is_empty())
        {
            net::cidr(report, at, range, &[]);
        }
    }
    if spec.has("allocateLoadBalancerNodePorts") && !balanced {
        report.forbidden(path.child("allocateLoadBalancerNodePorts"), only);
    }
    if balanced && !spec.has("allocateLoadBalancerNodePorts") {
        report.required("allocateLoadBalancerNodePorts", "");
    }
    if let Some(class) = spec.string("loadBalancerClass") {
        let at = path.child("loadBalancerClass");
        if balanced {
            report.problems(at, class, rules::qualified_name(class));
        } else {
            report.forbidden(at, only);
        }
    }
}

fn traffic(report: &mut Report, spec: &Value, path: Path<'_>) {
    let external = spec.text("externalTrafficPolicy");
    if is_external(spec) {
        report.one_of(
            path.child("externalTrafficPolicy"),
            external,
            &["Cluster", "Local"],
        );
    } else if !external.is_empty() {
        let detail = "may only be set for externally-accessible services";
        report.invalid_str(path.child("externalTrafficPolicy"), external, detail);
    }
    let health = spec.number("healthCheckNodePort");
    let at = path.child("healthCheckNodePort");
    match (needs_health_check(spec), health) {
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            report.invalid_int(at, port, detail);
        }
        (true, 0) => report.required(at, ""),
        (true, port) => report.int_problems(at, port, rules::port_number(port)),
    }
    let internal = path.child("internalTrafficPolicy");
    match spec.string("internalTrafficPolicy") {
        None if matches!(kind(spec), "NodePort" | "LoadBalancer" | "ClusterIP") => {
            report.required(internal, "")
        }
        None => {}
        Some(policy) if ["Cluster", "Local"].contains(&policy) => {}
        Some(policy) => report.not_supported(internal, policy, &["Cluster", "Local"]),
    }
    if let Some(distribution) = spec.string("trafficDistribution") {
        let supported = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !supported.contains(&distribution) {
            report.not_supported(path.child("trafficDistribution"), distribution, &supported);
        }
    }
}

pub(crate) fn update(report: &mut Report, service: &Value, old: &Value) {
    let (spec, before) = (
        service.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    if kind(spec) != "ExternalName" && kind(before) != "ExternalName" {
        if !(is_headless(spec) && is_headless(before)) {
            kept(report, spec, before, "clusterIPs", path);
        }
        if !is_headless(spec) && !is_headless(before) {
            kept(report, spec, before, "ipFamilies", path);
        }
    }
    if kind(spec) == "LoadBalancer" && kind(before) == "LoadBalancer" {
        let class = |s: &Value| s.get("loadBalancerClass").cloned().unwrap_or_default();
        if class(spec) != class(before) {
            report.invalid(
                path.child("loadBalancerClass"),
                &class(spec),
                "may not change once set",
            );
        }
    }
    if needs_health_check(spec)
        && needs_health_check(before)
        && spec.number("healthCheckNodePort") != before.number("healthCheckNodePort")
    {
        report.forbidden(path.child("healthCheckNodePort"), "field is immutable");
    }
    self::service(report, service, Some(old));
}

/// Addresses and families: a second one may come and go, the first one stays.
fn kept(report: &mut Report, spec: &Value, before: &Value, field: &'static str, path: Path<'_>) {
    let list = path.child(field);
    let now: Vec<&str> = spec.texts(field).collect();
    let then: Vec<&str> = before.texts(field).collect();
    let all = spec.part(field).unwrap_or(&NOTHING);
    let what = if field == "clusterIPs" {
        "clusterIP"
    } else {
        "ipFamily"
    };
    // For families, too, upstream looks at the addresses.
    let none_left = spec.list("clusterIPs").is_empty();
    if now.len() == then.len() {
        for i in (0..now.len()).filter(|i| now[*i] != then[*i]) {
            let at = if field == "clusterIPs" { i } else { 0 };
            report.invalid(list.index(at), all, "may not change once set");
        }
        return;
    }
    if none_left && (field == "clusterIPs" || then.len() > now.len()) {
        report.invalid(
            list.index(0),
            all,
            format!("primary {what} can not be unset"),
        );
    }
    if let (Some(new), Some(old)) = (now.first(), then.first())
        && new != old
    {
        report.invalid(list.index(0), all, "may not change once set");
    }
    if then.len() > now.len() && now.len() == 1 && spec.text("ipFamilyPolicy") != "SingleStack" {
        let policy = spec.get("ipFamilyPolicy").cloned().unwrap_or_default();
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        report.invalid(path.child("ipFamilyPolicy"), &policy, detail);
    }
}
