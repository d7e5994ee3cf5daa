//! Endpoints, pod templates and replication controllers: kubernetes
//! `pkg/apis/core/validation/validation.go`.

use super::pod;
use crate::field::Path;
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
        let matches = |(key, value): (&str, &Value)| labels.and_then(|l| l.get(key)) == Some(value);
        if !selector.iter().all(matches) {
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
                net::endpoint_ip(report, here.child("ip"), address.text("ip"));
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
