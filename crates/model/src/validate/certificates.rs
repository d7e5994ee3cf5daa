//! Certificate signing requests: kubernetes `pkg/apis/certificates/validation/validation.go`.
//!
//! Of certificates and requests the PEM frame is checked here; the server parses requests when it signs.

use super::read::{NOTHING, Read, Report, same};
use crate::field::{FieldError, Path, quote};
use crate::{Value, bytes64, rules};
use std::collections::BTreeSet;

/// Longest domain of a signer's name, and longest name of a signer.
const MAX_DOMAIN: usize = 253;
const MAX_SIGNER: usize = 571;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Whether the request is a sound PKCS#10 is for whoever signs it: this crate knows no X.509.
/// Conditions that only stand while they are true.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

/// What an update may change.
#[derive(Clone, Copy, Default)]
pub(super) struct Allowed {
    pub(super) approval: bool,
    pub(super) certificate: bool,
}

pub(super) fn create(report: &mut Report, object: &Value) {
    request(report, object, None);
}

/// `old`: what was wrong before may stay so.
fn request(report: &mut Report, object: &Value, old: Option<&Value>) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let pem = bytes64::decode(spec.text("request")).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    let blocks = pem_blocks(&pem);
    if blocks
        .first()
        .is_none_or(|b| b.kind != "CERTIFICATE REQUEST")
    {
        let shown = spec.part("request").unwrap_or(&NOTHING);
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        report.invalid(path.child("request"), shown, detail);
    }
    let before = |o: &Value| -> Vec<String> {
        let spec = o.part("spec").unwrap_or(&NOTHING);
        spec.texts("usages").map(str::to_owned).collect()
    };
    let old_usages = old.map(before).unwrap_or_default();
    let known = |u: &String| USAGES.contains(&u.as_str());
    let distinct: BTreeSet<&String> = old_usages.iter().collect();
    let (any, repeated) = (
        !old_usages.iter().all(known),
        distinct.len() < old_usages.len(),
    );
    let usages = path.child("usages");
    let given: Vec<&str> = spec.texts("usages").collect();
    if given.is_empty() {
        report.required(usages, "");
    }
    for (i, usage) in given.iter().enumerate() {
        if !any && !USAGES.contains(usage) {
            report.not_supported(usages.index(i), usage, &USAGES);
        }
        if !repeated && given[..i].contains(usage) {
            report.duplicate(usages.index(i), usage);
        }
    }
    let legacy =
        old.and_then(|o| o.str_at(&["spec", "signerName"])) == Some("kubernetes.io/legacy-unknown");
    signer_name(
        report,
        spec.text("signerName"),
        legacy,
        path.child("signerName"),
    );
    if let Some(seconds @ ..600) = spec.int("expirationSeconds") {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        report.invalid_int(path.child("expirationSeconds"), seconds, detail);
    }
    conditions(report, object, old);
    let certificate = |o: &Value| {
        o.str_at(&["status", "certificate"])
            .unwrap_or("")
            .to_owned()
    };
    let given = certificate(object);
    if old.is_none_or(|o| certificate(o) != given && certificate_problem(&certificate(o)).is_none())
        && let Some(problem) = certificate_problem(&given)
    {
        report.invalid_str("status.certificate", "<certificate data>", problem);
    }
}

fn conditions_of(object: &Value) -> &[Value] {
    object.part("status").unwrap_or(&NOTHING).list("conditions")
}

fn conditions(report: &mut Report, object: &Value, old: Option<&Value>) {
    const EXCLUSIVE: &str = "Approved and Denied conditions are mutually exclusive";
    let root = Path::root("status");
    let path = root.child("conditions");
    let old = old.map(conditions_of).unwrap_or_default();
    let has = |kind: &str| old.iter().any(|c| c.text("type") == kind);
    let types: BTreeSet<&str> = old.iter().map(|c| c.text("type")).collect();
    let (both, repeated, empty) = (
        has("Approved") && has("Denied"),
        types.len() < old.len(),
        has(""),
    );
    let mut seen = BTreeSet::new();
    for (i, condition) in conditions_of(object).iter().enumerate() {
        let at = path.index(i);
        let (kind, status) = (condition.text("type"), condition.text("status"));
        if kind.is_empty() && !empty {
            report.required(at.child("type"), "");
        }
        let allowed: &[&str] = if LASTING.contains(&kind) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        report.one_of(at.child("status"), status, allowed);
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "-",
        };
        if seen.contains(other) && !both {
            report.invalid_str(path, kind, EXCLUSIVE);
        }
        if !seen.insert(kind) && !repeated {
            report.duplicate(at.child("type"), kind);
        }
    }
}

/// `example.com/signer`: kubernetes `pkg/apis/core/validation/names.go` `ValidateSignerName`.
pub(super) fn signer_name(report: &mut Report, name: &str, legacy: bool, at: Path<'_>) {
    if name.is_empty() {
        return report.required(at, "");
    }
    if name == "kubernetes.io/legacy-unknown" && !legacy {
        return report.invalid_str(
            at,
            name,
            "the legacy signerName is not allowed via this API version",
        );
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, path] = parts[..] else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return report.invalid_str(at, name, detail);
    };
    if domain.len() > MAX_DOMAIN {
        report.errors.push(FieldError::too_long(at, MAX_DOMAIN));
    }
    // One label that is wrong is enough.
    let wrong =
        |label: &str, problem: String| format!("validating label {}: {problem}", quote(label));
    let labels = domain.split('.').map(|l| (l, rules::dns1123_label(l)));
    if let Some((label, problems)) = labels.into_iter().find(|(_, p)| !p.is_empty()) {
        let problems = problems.into_iter().map(|p| wrong(label, p)).collect();
        report.problems(at, domain, problems);
    }
    if !domain.contains('.') {
        report.invalid_str(
            at,
            domain,
            "should be a domain with at least two segments separated by dots",
        );
    }
    let parts = path.split('.').map(|l| (l, rules::dns1123_subdomain(l)));
    if let Some((part, problems)) = parts.into_iter().find(|(_, p)| !p.is_empty()) {
        let problems = problems.into_iter().map(|p| wrong(part, p)).collect();
        report.problems(at, path, problems);
    }
    if name.len() > MAX_SIGNER {
        report.errors.push(FieldError::too_long(at, MAX_SIGNER));
    }
}

pub(super) fn update(report: &mut Report, new: &Value, old: &Value, allowed: Allowed) {
    request(report, new, Some(old));
    let path = "status.conditions";
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let list = conditions_of(object).iter();
        list.filter(|c| c.text("type") == kind).cloned().collect()
    };
    for kind in LASTING {
        let (now, before) = (of(new, kind), of(old, kind));
        if now.len() < before.len() {
            let detail = format!("updates may not remove a condition of type \"{kind}\"");
            report.forbidden(path, detail);
            continue;
        }
        if allowed.approval || kind == "Failed" {
            continue;
        }
        if now.len() > before.len() {
            let detail = format!("updates may not add a condition of type \"{kind}\"");
            report.forbidden(path, detail);
        } else if !same(&Value::Array(now), &Value::Array(before)) {
            let detail = format!("updates may not modify a condition of type \"{kind}\"");
            report.forbidden(path, detail);
        }
    }
    let certificate = |o: &Value| {
        o.str_at(&["status", "certificate"])
            .unwrap_or("")
            .to_owned()
    };
    if certificate(new) != certificate(old) {
        if !allowed.certificate {
            report.forbidden(
                "status.certificate",
                "updates may not set certificate content",
            );
        } else if !certificate(old).is_empty() {
            let detail = "updates may not modify existing certificate content";
            report.forbidden("status.certificate", detail);
        }
    }
}

/// A block of a PEM file.
pub(super) struct Block<'a> {
    pub(super) kind: &'a str,
    pub(super) has_headers: bool,
    pub(super) data: Vec<u8>,
}

/// The blocks of a PEM file; what is none between them does not matter (Go's `encoding/pem`).
///
/// Only the last beginning before an end can be the one of a block: looking from the ends takes time in
/// proportion to the text, however many beginnings there are.
pub(super) fn pem_blocks(text: &str) -> Vec<Block<'_>> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(END) {
        rest = after;
        let block = before.rfind(BEGIN).map(|at| &before[at + BEGIN.len()..]);
        let Some((kind, body)) = block.and_then(|b| b.split_once("-----")) else {
            continue;
        };
        let Some(after) = after
            .strip_prefix(kind)
            .and_then(|a| a.strip_prefix("-----"))
        else {
            continue;
        };
        let has_headers = body.contains(": ");
        let text: String = body.split_whitespace().collect();
        let data = bytes64::decode(&text);
        if has_headers || data.is_ok() {
            rest = after;
            blocks.push(Block {
                kind,
                has_headers,
                data: data.unwrap_or_default(),
            });
        }
    }
    blocks
}

fn certificate_problem(encoded: &str) -> Option<String> {
    if encoded.is_empty() {
        return None;
    }
    let pem = bytes64::decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&pem);
    let blocks = pem_blocks(&text);
    for block in &blocks {
        if block.kind != "CERTIFICATE" {
            let kind = crate::field::quote(block.kind);
            return Some(format!(
                "only CERTIFICATE PEM blocks are allowed, found {kind}"
            ));
        }
        if block.has_headers {
            return Some("no PEM block headers are permitted".into());
        }
    }
    blocks
        .is_empty()
        .then(|| "must contain at least one CERTIFICATE PEM block".into())
}
