//! Ingresses and network policies: kubernetes `pkg/apis/networking/validation/validation.go`.

use super::batch::domain_prefixed_path;
use super::net;
use super::read::{NOTHING, Read, Report};
use crate::field::{FieldError, Path};
use crate::meta::check_label_selector;
use crate::{Value, rules};

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    match kind {
        "NetworkPolicy" => network_policy(report, spec, &[]),
        "Ingress" => {
            ingress(report, spec, false);
            let annotation = "kubernetes.io/ingress.class";
            let class = object.str_at(&["metadata", "annotations", annotation]);
            if let (Some(given), Some(class)) = (class, spec.string("ingressClassName"))
                && given != class
            {
                let at = Path::root("annotations");
                report.invalid_str(
                    at.child(annotation),
                    given,
                    "must match `ingressClassName` when both are specified",
                );
            }
        }
        "IngressClass" => ingress_class(report, spec),
        "IPAddress" => ip_address(report, spec),
        "ServiceCIDR" => service_cidr(report, spec),
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    match kind {
        "NetworkPolicy" => {
            let known = blocks(before);
            network_policy(report, spec, &known);
        }
        "Ingress" => ingress(report, spec, wrong_below_wildcards(before)),
        "IngressClass" => {
            let (now, then) = (spec.text("controller"), before.text("controller"));
            report.immutable_text(path.child("controller"), now, then);
            ingress_class(report, spec);
        }
        "IPAddress" => {
            ip_address(report, spec);
            let at = path.child("parentRef");
            report.immutable(at, spec.get("parentRef"), before.get("parentRef"));
        }
        "ServiceCIDR" => service_cidr_update(report, spec, before),
        _ => {}
    }
}

fn service_cidr(report: &mut Report, spec: &Value) {
    let root = Path::root("spec");
    let at = root.child("cidrs");
    let cidrs: Vec<&str> = spec.texts("cidrs").collect();
    if cidrs.is_empty() {
        return report.required(at, "at least one CIDR required");
    }
    if cidrs.len() > 2 {
        let shown = spec.part("cidrs").unwrap_or(&NOTHING);
        return report.invalid(at, shown, "may only hold up to 2 values");
    }
    let parsed: Vec<_> = cidrs
        .iter()
        .enumerate()
        .filter_map(|(i, c)| net::cidr(report, at.index(i), c, &[]))
        .collect();
    if parsed.len() == 2 && parsed[0].0.is_ipv4() == parsed[1].0.is_ipv4() {
        let shown = spec.part("cidrs").unwrap_or(&NOTHING);
        report.invalid(at, shown, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64");
    }
}

/// The CIDRs that a policy has already.
fn ip_address(report: &mut Report, spec: &Value) {
    let root = Path::root("spec");
    let path = root.child("parentRef");
    let Some(parent) = spec.part("parentRef") else {
        return report.required(path, "");
    };
    let group = parent.text("group");
    if !group.is_empty() {
        report.problems(path.child("group"), group, rules::dns1123_subdomain(group));
    }
    for field in ["resource", "name"] {
        let text = parent.text(field);
        report.required_name(path.child(field), text, rules::path_segment);
    }
    let namespace = parent.text("namespace");
    report.problems(
        path.child("namespace"),
        namespace,
        rules::path_segment(namespace),
    );
}

fn service_cidr_update(report: &mut Report, spec: &Value, before: &Value) {
    let root = Path::root("spec");
    let path = root.child("cidrs");
    let (new, old): (Vec<&str>, Vec<&str>) = (
        spec.texts("cidrs").collect(),
        before.texts("cidrs").collect(),
    );
    if new.len() != old.len() && (old.len(), new.len()) != (1, 2) {
        report.immutable(path, spec.get("cidrs"), before.get("cidrs"));
        return;
    }
    for (i, (new, old)) in new.iter().zip(&old).enumerate() {
        report.immutable_text(path.index(i), new, old);
    }
    if new.len() != old.len() {
        service_cidr(report, spec);
    }
}

fn blocks(spec: &Value) -> Vec<&str> {
    let mut all = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for peer in spec.list(direction).iter().flat_map(|r| r.list(peers)) {
            if let Some(block) = peer.part("ipBlock") {
                all.push(block.text("cidr"));
                all.extend(block.texts("except"));
            }
        }
    }
    all
}

fn network_policy(report: &mut Report, spec: &Value, known: &[&str]) {
    let path = Path::root("spec");
    check_label_selector(
        spec.part("podSelector"),
        &path.child("podSelector"),
        &mut report.errors,
    );
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = path.child(direction);
        for (i, rule) in spec.list(direction).iter().enumerate() {
            let at = list.index(i);
            let ports = at.child("ports");
            for (j, port) in rule.list("ports").iter().enumerate() {
                policy_port(report, port, ports.index(j));
            }
            let peers_at = at.child(peers);
            for (j, peer) in rule.list(peers).iter().enumerate() {
                policy_peer(report, peer, known, peers_at.index(j));
            }
        }
    }
    let types = spec.list("policyTypes");
    let at = path.child("policyTypes");
    if types.len() > 2 {
        let shown = spec.part("policyTypes").unwrap_or(&NOTHING);
        return report.invalid(at, shown, "may not specify more than two policyTypes");
    }
    for (i, kind) in spec.texts("policyTypes").enumerate() {
        if !["Ingress", "Egress"].contains(&kind) {
            report.not_supported(at.index(i), kind, &["Ingress", "Egress"]);
        }
    }
}

fn policy_port(report: &mut Report, port: &Value, at: Path<'_>) {
    if let Some(protocol) = port.string("protocol")
        && !["TCP", "UDP", "SCTP"].contains(&protocol)
    {
        report.not_supported(at.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let end = port.int("endPort");
    match port.part("port") {
        Some(Value::Int(number)) => {
            report.int_problems(at.child("port"), *number, rules::port_number(*number));
            if let Some(end) = end {
                if end < *number {
                    report.invalid_int(
                        at.child("endPort"),
                        *number,
                        "must be greater than or equal to `port`",
                    );
                }
                report.int_problems(at.child("endPort"), end, rules::port_number(end));
            }
        }
        Some(name) => {
            if let Some(end) = end {
                report.invalid_int(
                    at.child("endPort"),
                    end,
                    "may not be specified when `port` is non-numeric",
                );
            }
            let name = name.as_str().unwrap_or_default();
            report.problems(at.child("port"), name, rules::port_name(name));
        }
        None => {
            if let Some(end) = end {
                report.invalid_int(
                    at.child("endPort"),
                    end,
                    "may not be specified when `port` is not specified",
                );
            }
        }
    }
}

fn policy_peer(report: &mut Report, peer: &Value, known: &[&str], at: Path<'_>) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.part(field) {
            peers += 1;
            check_label_selector(Some(selector), &at.child(field), &mut report.errors);
        }
    }
    if let Some(block) = peer.part("ipBlock") {
        peers += 1;
        ip_block(report, block, known, at.child("ipBlock"));
        if peers > 1 {
            report.forbidden(at, "may not specify both ipBlock and another peer");
        }
    }
    if peers == 0 {
        report.required(at, "must specify a peer");
    }
}

fn ip_block(report: &mut Report, block: &Value, known: &[&str], at: Path<'_>) {
    let cidr = block.text("cidr");
    if cidr.is_empty() {
        return report.required(at.child("cidr"), "");
    }
    let Some((ip, len)) = net::cidr(report, at.child("cidr"), cidr, known) else {
        return;
    };
    let list = at.child("except");
    for (i, except) in block.texts("except").enumerate() {
        let Some((inner, inner_len)) = net::cidr(report, list.index(i), except, known) else {
            continue;
        };
        let ((network, bits), (inner, _)) = (net::network(ip, len), net::network(inner, inner_len));
        let inside = network.is_ipv4() == inner.is_ipv4() && net::masked(inner, bits) == network;
        if !inside || len >= inner_len {
            report.invalid_str(list.index(i), except, "must be a strict subset of `cidr`");
        }
    }
}

fn host(report: &mut Report, host: &str, at: Path<'_>) {
    let problems = if host.contains('*') {
        rules::wildcard_dns1123_subdomain(host)
    } else {
        rules::dns1123_subdomain(host)
    };
    report.problems(at, host, problems);
}

/// Whether rules of wildcard hosts are wrong: upstream once did not look into them, so it does not when
/// those of before were wrong (`pkg/apis/networking/validation` `allowInvalidWildcardHostRule`; there
/// names of services are still judged as they once were).
fn wrong_below_wildcards(before: &Value) -> bool {
    let of_wildcards = |rule: &&Value| rule.text("host").contains('*');
    let mut all = before.list("rules").iter().filter(of_wildcards);
    all.any(|rule| {
        let http = rule.part("http").unwrap_or(&NOTHING);
        let mut judged = Report::default();
        if rule.has("http") {
            http_paths(&mut judged, http, Path::root("http"));
        }
        let old_name = |entry: &Value| {
            let service = entry.at(&["backend", "service"]);
            service.is_some_and(|s| !rules::dns1035_label(s.text("name")).is_empty())
        };
        !judged.errors.is_empty() || http.list("paths").iter().any(old_name)
    })
}

/// `lenient`: about rules of wildcard hosts.
fn ingress(report: &mut Report, spec: &Value, lenient: bool) {
    let path = Path::root("spec");
    let rules_given = spec.list("rules");
    if rules_given.is_empty() && !spec.has("defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        report.invalid(path, spec.part("rules").unwrap_or(&NOTHING), detail);
    }
    if let Some(backend) = spec.part("defaultBackend") {
        self::backend(report, backend, path.child("defaultBackend"));
    }
    let list = path.child("rules");
    for (i, rule) in rules_given.iter().enumerate() {
        let at = list.index(i);
        let name = rule.text("host");
        if !name.is_empty() {
            if net::sloppy(name).is_some() {
                report.invalid_str(
                    at.child("host"),
                    name,
                    "must be a DNS name, not an IP address",
                );
            }
            host(report, name, at.child("host"));
        }
        if let Some(http) = rule.part("http")
            && !(lenient && name.contains('*'))
        {
            http_paths(report, http, at.child("http"));
        }
    }
    let list = path.child("tls");
    for (i, tls) in spec.list("tls").iter().enumerate() {
        let at = list.index(i);
        for (j, name) in tls.texts("hosts").enumerate() {
            host(report, name, at.child("hosts").index(j));
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() {
            report.problems(
                at.child("secretName"),
                secret,
                rules::dns1123_subdomain(secret),
            );
        }
    }
    if let Some(class) = spec.string("ingressClassName") {
        report.problems(
            path.child("ingressClassName"),
            class,
            rules::dns1123_subdomain(class),
        );
    }
}

fn http_paths(report: &mut Report, http: &Value, at: Path<'_>) {
    let list = at.child("paths");
    if http.list("paths").is_empty() {
        report.required(list, "");
    }
    for (i, entry) in http.list("paths").iter().enumerate() {
        let at = list.index(i);
        let path = entry.text("path");
        let path_at = at.child("path");
        match entry.string("pathType") {
            None => {
                report.required(at.child("pathType"), "pathType must be specified");
                continue;
            }
            Some("Exact" | "Prefix") => {
                if !path.starts_with('/') {
                    report.invalid_str(path_at, path, "must be an absolute path");
                }
                for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                    if path.contains(bad) {
                        report.invalid_str(path_at, path, format!("must not contain '{bad}'"));
                    }
                }
                for bad in ["/..", "/."] {
                    if path.ends_with(bad) {
                        report.invalid_str(path_at, path, format!("cannot end with '{bad}'"));
                    }
                }
            }
            Some("ImplementationSpecific") => {
                if !path.is_empty() && !path.starts_with('/') {
                    report.invalid_str(path_at, path, "must be an absolute path");
                }
            }
            Some(other) => {
                report.not_supported(
                    at.child("pathType"),
                    other,
                    &["Exact", "ImplementationSpecific", "Prefix"],
                );
            }
        }
        backend(
            report,
            entry.part("backend").unwrap_or(&NOTHING),
            at.child("backend"),
        );
    }
}

fn backend(report: &mut Report, backend: &Value, at: Path<'_>) {
    match (backend.part("resource"), backend.part("service")) {
        (Some(_), Some(_)) => {
            report.invalid_str(at, "", "cannot set both resource and service backends")
        }
        (None, None) => report.invalid_str(at, "", "resource or service backend is required"),
        (Some(resource), None) => {
            let at = at.child("resource");
            if let Some(group) = resource.string("apiGroup") {
                report.problems(at.child("apiGroup"), group, rules::dns1123_subdomain(group));
            }
            for field in ["kind", "name"] {
                report.required_name(at.child(field), resource.text(field), rules::path_segment);
            }
        }
        (None, Some(service)) => {
            let service_at = at.child("service");
            report.required_name(
                service_at.child("name"),
                service.text("name"),
                rules::dns1123_label,
            );
            let port = service.part("port").unwrap_or(&NOTHING);
            let (name, number) = (port.text("name"), port.number("number"));
            let port_at = service_at.child("port");
            match (!name.is_empty(), number != 0) {
                (true, true) => {
                    report.invalid_str(at, "", "cannot set both port name & port number")
                }
                (true, false) => {
                    report.problems(port_at.child("name"), name, rules::port_name(name))
                }
                (false, true) => {
                    report.int_problems(
                        port_at.child("number"),
                        number,
                        rules::port_number(number),
                    );
                }
                (false, false) => report.required(at, "port name or number is required"),
            }
        }
    }
}

fn ingress_class(report: &mut Report, spec: &Value) {
    let path = Path::root("spec");
    let controller = spec.text("controller");
    if controller.len() > 250 {
        report
            .errors
            .push(FieldError::too_long(path.child("controller"), 250));
    }
    domain_prefixed_path(report, controller, path.child("controller"));
    let Some(parameters) = spec.part("parameters") else {
        return;
    };
    let at = path.child("parameters");
    if let Some(group) = parameters.string("apiGroup") {
        report.problems(at.child("apiGroup"), group, rules::dns1123_subdomain(group));
    }
    for field in ["kind", "name"] {
        report.required_name(at.child(field), parameters.text(field), rules::path_segment);
    }
    let namespace = parameters.string("namespace");
    let Some(scope) = parameters.string("scope") else {
        report.required(at.child("scope"), "");
        return;
    };
    match scope {
        "Cluster" if namespace.is_some() => {
            report.forbidden(
                at.child("namespace"),
                "`parameters.scope` is set to 'Cluster'",
            );
        }
        "Namespace" => match namespace {
            None => {
                report.required(
                    at.child("namespace"),
                    "`parameters.scope` is set to 'Namespace'",
                );
            }
            Some(namespace) => report.problems(
                at.child("namespace"),
                namespace,
                rules::dns1123_label(namespace),
            ),
        },
        scope => report.one_of_pointer(at.child("scope"), Some(scope), &["Cluster", "Namespace"]),
    }
}
