//! What was allocated to a claim.

use super::{
    Names, binding_conditions, bounded, configuration, label, pool_name, raw, reference, references,
};
use crate::Value;
use crate::field::{FieldError, Path};
use crate::validate::core::{csi_driver_name, node_selector};
use crate::validate::net;
use crate::validate::read::{NOTHING, Read, Report, same};
use std::collections::BTreeSet;

const MAX_CONSUMERS: usize = 256;
const MAX_RESULTS: usize = 32;
const MAX_CONDITIONS: usize = 8;
const MAX_DATA: usize = 10 * 1024;
const MAX_ADDRESSES: usize = 16;

/// A device: driver, pool, name, and the share of it.
type Id<'a> = (&'a str, &'a str, &'a str, &'a str);

fn id(of: &Value) -> Id<'_> {
    (
        of.text("driver"),
        of.text("pool"),
        of.text("device"),
        of.text("shareID"),
    )
}

pub(in crate::validate) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    let (status, before) = (
        new.part("status").unwrap_or(&NOTHING),
        old.part("status").unwrap_or(&NOTHING),
    );
    let path = Path::root("status");
    if kind == "DeviceTaintRule" {
        conditions(report, status, path);
    }
    if kind != "ResourceClaim" {
        return;
    }
    consumers(report, new, status, before, path);
    let allocation = status.part("allocation");
    let results = allocation
        .and_then(|a| a.part("devices"))
        .map(|d| d.list("results"));
    let allocated: BTreeSet<Id<'_>> = results.unwrap_or_default().iter().map(id).collect();
    let (list, at) = (status.list("devices"), path.child("devices"));
    let mut seen = BTreeSet::new();
    for (i, device) in list.iter().enumerate() {
        self::device(report, device, &allocated, at.index(i));
    }
    for (i, device) in list.iter().enumerate() {
        if !seen.insert(id(device)) {
            let shown = Value::object();
            report
                .errors
                .push(FieldError::duplicate(at.index(i), &shown));
        }
    }
    let at = path.child("allocation");
    match (allocation, before.part("allocation")) {
        (Some(_), Some(was)) => report.immutable(at, allocation, Some(was)),
        (Some(allocation), None) => {
            let spec = new.at(&["spec", "devices"]).unwrap_or(&NOTHING);
            self::allocation(report, allocation, &Names::of(spec), at);
        }
        _ => {}
    }
}

fn consumers(report: &mut Report, claim: &Value, status: &Value, before: &Value, path: Path<'_>) {
    let (list, at) = (status.list("reservedFor"), path.child("reservedFor"));
    if bounded(report, list, MAX_CONSUMERS, at) {
        for (i, consumer) in list.iter().enumerate() {
            let item = at.index(i);
            for field in ["resource", "name", "uid"] {
                if consumer.text(field).is_empty() {
                    report.required(item.child(field), "");
                }
            }
        }
        super::unique(report, list.iter().map(|c| c.text("uid")), at);
    }
    if list.is_empty() {
        return;
    }
    if !status.has("allocation") {
        report.forbidden(at, "may not be specified when `allocated` is not set");
        return;
    }
    let deleted = claim.at(&["metadata", "deletionTimestamp"]);
    let known = before.list("reservedFor");
    let is_new = |c: &&Value| !known.iter().any(|k| same(k, c));
    if deleted.is_some_and(|d| !d.is_null()) && list.iter().any(|c| is_new(&c)) {
        let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        report.forbidden(at, detail);
    }
}

fn allocation(report: &mut Report, allocation: &Value, names: &Names<'_>, path: Path<'_>) {
    let devices = allocation.part("devices").unwrap_or(&NOTHING);
    let root = path.child("devices");
    let (list, at) = (devices.list("results"), root.child("results"));
    if bounded(report, list, MAX_RESULTS, at) {
        for (i, result) in list.iter().enumerate() {
            let at = at.index(i);
            reference(report, result.text("request"), names, at.child("request"));
            identity(report, result, at);
            binding_conditions(report, result, at);
        }
    }
    let (list, at) = (devices.list("config"), root.child("config"));
    if bounded(report, list, 2 * super::MAX_CONFIGS, at) {
        for (i, config) in list.iter().enumerate() {
            let at = at.index(i);
            let sources = ["FromClaim", "FromClass"];
            report.one_of(at.child("source"), config.text("source"), &sources);
            references(report, config, names, at);
            configuration(report, config, false, at);
        }
    }
    if let Some(selector) = allocation.part("nodeSelector") {
        node_selector(report, selector, path.child("nodeSelector"));
    }
}

/// Driver, pool, name and share of a device.
fn identity(report: &mut Report, of: &Value, path: Path<'_>) {
    csi_driver_name(report, of.text("driver"), path.child("driver"));
    pool_name(report, of.text("pool"), path.child("pool"));
    label(report, of.text("device"), path.child("device"));
    if let Some(share) = of.string("shareID") {
        uid(report, share, path.child("shareID"));
    }
}

/// The forms that Go's `uuid.Validate` takes, of which one is good.
fn uid(report: &mut Report, uid: &str, at: Path<'_>) {
    let inner = match uid.len() {
        36 => uid,
        45 if uid
            .get(..9)
            .is_some_and(|p| p.eq_ignore_ascii_case("urn:uuid:")) =>
        {
            &uid[9..]
        }
        38 if uid.starts_with('{') && uid.ends_with('}') => &uid[1..37],
        32 => uid,
        n => {
            let detail = format!("error validating uid: invalid UUID length: {n}");
            return report.invalid_str(at, uid, detail);
        }
    };
    let dashes = [8, 13, 18, 23];
    let good = inner.bytes().enumerate().all(|(i, b)| {
        if inner.len() == 36 && dashes.contains(&i) {
            b == b'-'
        } else {
            b.is_ascii_hexdigit()
        }
    });
    if !good {
        let detail = "error validating uid: invalid UUID format";
        report.invalid_str(at, uid, detail);
    } else if uid.len() != 36 || uid.bytes().any(|b| b.is_ascii_uppercase()) {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        report.invalid_str(at, uid, detail);
    }
}

fn conditions(report: &mut Report, of: &Value, path: Path<'_>) {
    let list = of.list("conditions");
    if list.len() > MAX_CONDITIONS {
        let at = path.child("conditions");
        let error = FieldError::too_many(at, list.len(), MAX_CONDITIONS);
        report.errors.push(error);
    }
    crate::validate::status::conditions(report, of, path);
}

fn device(report: &mut Report, device: &Value, allocated: &BTreeSet<Id<'_>>, path: Path<'_>) {
    identity(report, device, path);
    if !allocated.contains(&id(device)) {
        let shown = Value::object();
        report.invalid(path, &shown, "must be an allocated device in the claim");
    }
    conditions(report, device, path);
    if let Some(data) = device.part("data") {
        raw(report, Some(data), Some(MAX_DATA), path.child("data"));
    }
    let Some(network) = device.part("networkData") else {
        return;
    };
    let at = path.child("networkData");
    for (field, max) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if network.text(field).len() > max {
            report
                .errors
                .push(FieldError::too_long(at.child(field), max));
        }
    }
    let (list, at) = (network.list("ips"), at.child("ips"));
    if bounded(report, list, MAX_ADDRESSES, at) {
        for (i, address) in network.texts("ips").enumerate() {
            interface_address(report, address, at.index(i));
        }
        super::unique(report, network.texts("ips"), at);
    }
}

/// An address with the length of its prefix, in its canonical form.
fn interface_address(report: &mut Report, text: &str, at: Path<'_>) {
    let parsed = net::sloppy_cidr(text).and_then(|(_, bits)| {
        let ip = net::sloppy(text.split_once('/')?.0)?.to_canonical();
        // `::ffff:192.168.0.1/120` is `192.168.0.1/24`
        Some((
            ip,
            if ip.is_ipv4() && bits > 32 {
                bits - 96
            } else {
                bits
            },
        ))
    });
    let Some((ip, bits)) = parsed else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return report.invalid_str(at, text, detail);
    };
    let canonical = format!("{ip}/{bits}");
    if canonical != text {
        let detail = format!(
            "must be in canonical form ({})",
            crate::field::quote(&canonical)
        );
        report.invalid_str(at, text, detail);
    }
}
