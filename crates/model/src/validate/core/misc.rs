//! Nodes, endpoints, events and replication controllers: kubernetes
//! `pkg/apis/core/validation/validation.go`, `events.go`.

use super::pod;
use super::scheduling::EFFECTS;
use crate::field::{FieldError, Path};
use crate::select::LabelSelector;
use crate::validate::net;
use crate::validate::read::{NOTHING, Read, Report};
use crate::{Value, rules};

pub(super) fn binding(report: &mut Report, binding: &Value) {
    let target = binding.part("target").unwrap_or(&NOTHING);
    if !["", "Node"].contains(&target.text("kind")) {
        report.not_supported("target.kind", target.text("kind"), &["Node", "<empty>"]);
    }
    if target.text("name").is_empty() {
        report.required("target.name", "");
    }
}

pub(super) fn pod_template(report: &mut Report, object: &Value) {
    pod::template(
        report,
        object.part("template").unwrap_or(&NOTHING),
        Path::root("template"),
    );
}

pub(super) fn replication_controller(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    report.non_negative(
        path.child("minReadySeconds"),
        spec.number("minReadySeconds"),
    );
    let selector = spec.map("selector").filter(|m| !m.is_empty());
    if selector.is_none() {
        report.required(path.child("selector"), "");
    }
    match spec.int("replicas") {
        None => report.required(path.child("replicas"), ""),
        Some(replicas) => report.non_negative(path.child("replicas"), replicas),
    }
    let at = path.child("template");
    let Some(template) = spec.part("template") else {
        return report.required(at, "");
    };
    let labels = template
        .at(&["metadata", "labels"])
        .and_then(Value::as_object);
    if let Some(selector) = selector {
        let mut wanted = Value::object();
        wanted.set(&["matchLabels"], selector.clone());
        if LabelSelector::from_value(&wanted).is_ok_and(|s| !s.matches(labels)) {
            let shown = template
                .at(&["metadata", "labels"])
                .cloned()
                .unwrap_or_default();
            let meta = at.child("metadata");
            report.invalid(
                meta.child("labels"),
                &shown,
                "`selector` does not match template `labels`",
            );
        }
    }
    pod::template(report, template, at);
    let spec = template.part("spec").unwrap_or(&NOTHING);
    let spec_at = at.child("spec");
    if spec.text("restartPolicy") != "Always" {
        report.not_supported(
            spec_at.child("restartPolicy"),
            spec.text("restartPolicy"),
            &["Always"],
        );
    }
    if spec.has("activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
        report.forbidden(spec_at.child("activeDeadlineSeconds"), detail);
    }
}

pub(super) fn endpoints(report: &mut Report, object: &Value) {
    let path = Path::root("subsets");
    for (i, subset) in object.list("subsets").iter().enumerate() {
        let at = path.index(i);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            report.required(at, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            let list = at.child(field);
            for (j, address) in subset.list(field).iter().enumerate() {
                let here = list.index(j);
                let before = report.errors.len();
                net::ip(report, here.child("ip"), address.text("ip"), &[]);
                let hostname = address.text("hostname");
                if !hostname.is_empty() {
                    report.problems(
                        here.child("hostname"),
                        hostname,
                        rules::dns1123_label(hostname),
                    );
                }
                if let Some(node) = address.string("nodeName") {
                    report.problems(here.child("nodeName"), node, rules::dns1123_subdomain(node));
                }
                if report.errors.len() == before {
                    net::endpoint_ip(report, here.child("ip"), address.text("ip"));
                }
            }
        }
        let ports = at.child("ports");
        for (j, port) in subset.list("ports").iter().enumerate() {
            let here = ports.index(j);
            let name = port.text("name");
            if !name.is_empty() {
                report.problems(here.child("name"), name, rules::dns1123_label(name));
            } else if subset.list("ports").len() > 1 {
                report.required(here.child("name"), "");
            }
            let number = port.number("port");
            report.int_problems(here.child("port"), number, rules::port_number(number));
            report.one_of(
                here.child("protocol"),
                port.text("protocol"),
                &["SCTP", "TCP", "UDP"],
            );
            if let Some(protocol) = port.string("appProtocol") {
                report.problems(
                    here.child("appProtocol"),
                    protocol,
                    rules::qualified_name(protocol),
                );
            }
        }
    }
}

fn taints(report: &mut Report, node: &Value) {
    let root = Path::root("metadata");
    // Upstream's path, wrong as it is.
    let path = root.child("taints");
    let mut seen = Vec::new();
    let spec = node.part("spec").unwrap_or(&NOTHING);
    for (i, taint) in spec.list("taints").iter().enumerate() {
        let at = path.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        report.problems(at.child("key"), key, rules::qualified_name(key));
        let problems = rules::label_value(value);
        if !problems.is_empty() {
            report.invalid_str(at.child("value"), value, problems.join(";"));
        }
        report.one_of(at.child("effect"), effect, &EFFECTS);
        if seen.contains(&(key, effect)) {
            let mut error = FieldError::duplicate(at, taint);
            error.detail = "taints must be unique by key and effect pair".into();
            report.errors.push(error);
        }
        seen.push((key, effect));
    }
}

pub(super) fn node(report: &mut Report, node: &Value) {
    taints(report, node);
    let spec = node.part("spec").unwrap_or(&NOTHING);
    let root = Path::root("spec");
    let path = root.child("podCIDRs");
    let mut families = Vec::new();
    for (i, cidr) in spec.texts("podCIDRs").enumerate() {
        families.extend(net::cidr(report, path.index(i), cidr, &[]).map(|(ip, _)| ip.is_ipv6()));
    }
    if families.len() > 2 || families.len() == 2 && families[0] == families[1] {
        let shown = spec.part("podCIDRs").unwrap_or(&NOTHING);
        report.invalid(
            path,
            shown,
            "may specify no more than one CIDR for each IP family",
        );
    }
    for field in ["capacity", "allocatable"] {
        let status = Path::root("status");
        let at = status.child(field);
        for (name, amount) in node
            .at(&["status", field])
            .and_then(Value::as_object)
            .iter()
            .flat_map(|m| m.iter())
        {
            super::resources::resource_quantity(
                report,
                name,
                &crate::validate::read::quantity(amount),
                at.key(name),
            );
        }
    }
}

pub(super) fn node_update(report: &mut Report, new: &Value, old: &Value) {
    taints(report, new);
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    if !before.list("podCIDRs").is_empty() && spec.list("podCIDRs") != before.list("podCIDRs") {
        report.forbidden(
            "spec.podCIDRs",
            "node updates may not change podCIDR except from \"\" to valid",
        );
    }
    let provider = before.text("providerID");
    if !provider.is_empty() && provider != spec.text("providerID") {
        report.forbidden(
            "spec.providerID",
            "node updates may not change providerID except from \"\" to valid",
        );
    }
    let status = Path::root("status");
    let path = status.child("addresses");
    let addresses = new
        .at(&["status", "addresses"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    for (i, address) in addresses.iter().enumerate() {
        if addresses[..i].contains(address) {
            let shown = crate::value!({"Address": (address.text("address")), "Type": (address.text("type"))});
            report
                .errors
                .push(FieldError::duplicate(path.index(i), &shown));
        }
    }
}

/// Events of either group; `controller` is what this group calls the reporting controller.
pub(in crate::validate) fn event(report: &mut Report, event: &Value, controller: &'static str) {
    let involved = event
        .part("involvedObject")
        .or_else(|| event.part("regarding"))
        .unwrap_or(&NOTHING);
    let namespace = event.str_at(&["metadata", "namespace"]).unwrap_or_default();
    let of = involved.text("namespace");
    let mismatch = "does not match event.namespace";
    if event.text("eventTime").is_empty() {
        let agrees = if of.is_empty() {
            ["", "default"].contains(&namespace)
        } else {
            namespace == of
        };
        if !agrees {
            report.invalid_str("involvedObject.namespace", of, mismatch);
        }
        return;
    }
    if of.is_empty() && !["default", "kube-system"].contains(&namespace) {
        report.invalid_str("involvedObject.namespace", of, mismatch);
    }
    let name = event.text(controller);
    if name.is_empty() {
        report.required(controller, "");
    }
    report.problems(Path::root(controller), name, rules::qualified_name(name));
    for (field, most, needed) in [
        ("reportingInstance", 128, true),
        ("action", 128, true),
        ("reason", 128, true),
        ("message", 1024, false),
    ] {
        let text = if field == "message" && event.has("note") {
            event.text("note")
        } else {
            event.text(field)
        };
        if needed && text.is_empty() {
            report.required(field, "");
        }
        if text.len() > most {
            report.invalid_str(field, "", format!("can have at most {most} characters"));
        }
    }
}
