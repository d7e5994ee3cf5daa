//! Trust bundles and certificates of pods: kubernetes `pkg/apis/certificates/validation/validation.go`.
//!
//! Not checked: the signature of a request and the proof of possession, that a certificate is new
//! (this crate has no clock), and the mail addresses in it.

use super::certificates::{Block, pem_blocks, signer_name};
use super::read::{NOTHING, Read, Report, same};
use super::status;
use super::x509::{self, Key, Kind};
use crate::field::{ErrorKind, FieldError, Path};
use crate::limits::MAX_ANNOTATIONS;
use crate::time::{Instant, duration_text};
use crate::{Value, bytes64, rules};
use std::collections::BTreeMap;

const MAX_BUNDLE: usize = 1024 * 1024;
const MAX_CHAIN: usize = 100 * 1024;
const MAX_PART: usize = 10 * 1024;
const MAX_UID: usize = 128;
const OMITTED: &str = "<value omitted>";
const MINUTES: i64 = 60;
pub(super) const HOUR: i64 = 60 * MINUTES;
const DAY: i64 = 24 * HOUR;
/// How a request ends; one of them at most.
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];

/// An invalid value that is not shown.
fn wrong(report: &mut Report, path: impl Into<String>, detail: &str) {
    let error = FieldError::new(ErrorKind::Invalid, path, "", detail);
    report.errors.push(error);
}

pub(super) fn bundle(report: &mut Report, object: &Value, old: Option<&Value>) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let before = old.map(|o| o.part("spec").unwrap_or(&NOTHING));
    let path = Path::root("spec");
    let (at, signer) = (path.child("signerName"), spec.text("signerName"));
    if !signer.is_empty() {
        signer_name(report, signer, true, at);
    }
    // What was taken once stays.
    let anchors = spec.text("trustBundle");
    if before.is_none_or(|b| b.text("trustBundle") != anchors) {
        trust_anchors(report, anchors, path.child("trustBundle"));
    }
    if let Some(before) = before {
        report.immutable_text(at, signer, before.text("signerName"));
    }
}

fn trust_anchors(report: &mut Report, text: &str, path: Path<'_>) {
    if text.len() > MAX_BUNDLE {
        return report.errors.push(FieldError::too_long(path, MAX_BUNDLE));
    }
    let mut places: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let before = report.errors.len();
    for (i, block) in pem_blocks(text).into_iter().enumerate() {
        match anchor_problem(&block) {
            Some(problem) => report.invalid_str(path, OMITTED, format!("entry {i} {problem}")),
            None => places.entry(block.data).or_default().push(i),
        }
    }
    if report.errors.len() > before {
        return;
    }
    if places.is_empty() {
        report.invalid_str(path, OMITTED, "at least one trust anchor must be provided");
    }
    for same in places.values().filter(|p| p.len() > 1) {
        let indices: Vec<String> = same.iter().map(ToString::to_string).collect();
        let detail = format!("duplicate trust anchor (indices [{}])", indices.join(" "));
        report.invalid_str(path, OMITTED, detail);
    }
}

fn anchor_problem(block: &Block<'_>) -> Option<String> {
    if block.kind != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.kind));
    }
    if block.has_headers {
        return Some("has PEM block headers".into());
    }
    match x509::certificate(&block.data) {
        None => Some("does not parse as X.509".into()),
        Some(cert) if !cert.authority => Some("does not have the CA bit set".into()),
        Some(_) => None,
    }
}

pub(super) fn request(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let signer = spec.text("signerName");
    signer_name(report, signer, true, path.child("signerName"));
    if let Some(annotations) = spec.part("unverifiedUserAnnotations") {
        let at = path.child("unverifiedUserAnnotations");
        user_annotations(report, annotations, at);
    }
    for (name, uid) in [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ] {
        let given = spec.text(name);
        report.problems(path.child(name), given, rules::dns1123_subdomain(given));
        let (at, uid) = (path.child(uid), spec.text(uid));
        if uid.is_empty() {
            report.invalid_str(at, "", "must not be empty");
        } else if uid.len() > MAX_UID {
            report.errors.push(FieldError::too_long(at, MAX_UID));
        }
    }
    let at = path.child("maxExpirationSeconds");
    let Some(seconds) = spec.int("maxExpirationSeconds") else {
        return report.required(at, "must be set");
    };
    let longest = longest_of(signer);
    if !(HOUR..=longest).contains(&seconds) {
        let detail = format!("must be in the range [{HOUR}, {longest}]");
        report.invalid_int(at, seconds, detail);
    }
    let given = ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"]
        .map(|field| bytes64::decode(spec.text(field)).unwrap_or_default());
    let [stub, public_key, proof] = &given;
    match given.each_ref().map(|part| part.is_empty()) {
        [false, true, true] => stub_request(report, stub, path),
        [true, false, false] => deprecated_key(report, spec, public_key, proof, path),
        _ => {
            let detail = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
            wrong(report, path, detail);
        }
    }
}

/// How many seconds a certificate of a signer may be valid for.
pub(super) fn longest_of(signer: &str) -> i64 {
    let host = signer.split('/').next().unwrap_or_default();
    let of_kubernetes = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
    if of_kubernetes { DAY } else { 91 * DAY }
}

pub(super) fn user_annotations(report: &mut Report, annotations: &Value, at: Path<'_>) {
    let entries = annotations.as_object().into_iter().flat_map(|m| m.iter());
    let mut size = 0;
    for (key, value) in entries {
        size += key.len() + value.as_str().map_or(0, str::len);
        let key = key.to_lowercase();
        let problems = rules::qualified_name(&key);
        if key.is_empty() {
            report.required(at, "");
        } else if problems.is_empty() && !key.contains('/') {
            let detail = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            report.invalid_str(at, &key, detail);
        } else {
            report.problems(at, &key, problems);
        }
    }
    if size > MAX_ANNOTATIONS {
        report
            .errors
            .push(FieldError::too_long(at, MAX_ANNOTATIONS));
    }
}

fn stub_request(report: &mut Report, der: &[u8], path: Path<'_>) {
    let at = path.child("stubPKCS10Request");
    if der.len() > MAX_PART {
        return report.errors.push(FieldError::too_long(at, MAX_PART));
    }
    match x509::request(der) {
        None => wrong(report, at, "must be a valid PKCS#10 CSR"),
        Some(key) => {
            let curves = "elliptic public keys must use curve P256, P384, or P521";
            key_problem(report, &key, curves, at);
        }
    }
}

fn deprecated_key(report: &mut Report, spec: &Value, der: &[u8], proof: &[u8], path: Path<'_>) {
    let at = path.child("pkixPublicKey");
    if der.len() > MAX_PART {
        return report.errors.push(FieldError::too_long(at, MAX_PART));
    }
    if proof.len() > MAX_PART {
        let at = path.child("proofOfPossession");
        return report.errors.push(FieldError::too_long(at, MAX_PART));
    }
    match x509::public_key(der) {
        None => {
            let shown = spec.part("pkixPublicKey").unwrap_or(&NOTHING);
            report.invalid(at, shown, "must be a valid PKIX-serialized public key");
        }
        Some(key) => {
            let curves = "elliptic public keys must use curve P256 or P384";
            key_problem(report, &key, curves, at);
        }
    }
}

fn key_problem(report: &mut Report, key: &Key, curves: &str, path: Path<'_>) {
    match key.kind {
        Kind::Ecdsa("P-224") => report.invalid_str(path, "curve P-224", curves),
        Kind::Rsa(3072 | 4096) | Kind::Ed25519 | Kind::Ecdsa(_) => {}
        Kind::Rsa(bits) => {
            let detail = "RSA keys must have modulus size 3072 or 4096";
            report.invalid_str(path, &format!("{bits}-bit modulus"), detail);
        }
        Kind::Unknown => wrong(
            report,
            path,
            "unknown public key type; supported types are Ed25519, ECDSA, and RSA",
        ),
    }
}

/// Nothing of a request may change; bytes that are empty are not there.
pub(super) fn request_update(report: &mut Report, new: &Value, old: &Value) {
    let settled = |object: &Value| {
        let mut spec = object.part("spec").unwrap_or(&NOTHING).clone();
        for field in ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"] {
            if spec.text(field).is_empty() {
                spec.unset(&[field]);
            }
        }
        spec
    };
    let (new, old) = (settled(new), settled(old));
    report.immutable(Path::root("spec"), Some(&new), Some(&old));
}

fn has_ended(status: &Value, how: &[&str]) -> bool {
    let is = |c: &Value| how.contains(&c.text("type")) && c.text("status") == "True";
    status.list("conditions").iter().any(is)
}

pub(super) fn status_update(report: &mut Report, new: &Value, old: &Value) {
    if !report.errors.is_empty() {
        return;
    }
    let (status, before) = (
        new.part("status").unwrap_or(&NOTHING),
        old.part("status").unwrap_or(&NOTHING),
    );
    conditions(report, status);
    if !report.errors.is_empty() {
        return;
    }
    let path = Path::root("status");
    if has_ended(before, &ENDS) {
        if !same(status, before) {
            let detail = "immutable after PodCertificateRequest is issued, denied, or failed";
            wrong(report, path, detail);
        }
    } else if has_ended(status, &ENDS[1..]) {
        let others = [
            "certificateChain",
            "notBefore",
            "beginRefreshAt",
            "notAfter",
        ];
        let set = |field: &&str| !status.text(field).is_empty();
        if others.iter().any(set) {
            let detail = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            wrong(report, path, detail);
        }
    } else if has_ended(status, &ENDS[..1]) {
        let _ = issued(report, old, new, status, path);
    } else if !same(status, before) {
        let detail =
            "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
        wrong(report, path, detail);
    }
}

fn conditions(report: &mut Report, of: &Value) {
    let mut ends = 0;
    for (i, condition) in of.list("conditions").iter().enumerate() {
        // Upstream joins these parts so.
        let path = |field: &str| format!("status.conditions.[{i}].{field}");
        let kind = condition.text("type");
        if !ENDS.contains(&kind) {
            report.not_supported(path("type"), kind, &ENDS);
            continue;
        }
        ends += 1;
        if ends > 1 {
            let detail = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            report.invalid_str(path("type"), kind, detail);
        }
        if condition.text("status") != "True" {
            report.not_supported(path("status"), condition.text("status"), &["True"]);
        }
    }
    status::conditions(report, of, Path::root("status"));
}

/// The chain of an issued certificate, and what the status says of it; `None` when something is wrong.
fn issued(
    report: &mut Report,
    old: &Value,
    new: &Value,
    status: &Value,
    path: Path<'_>,
) -> Option<()> {
    let (at, chain) = (
        path.child("certificateChain"),
        status.text("certificateChain"),
    );
    if chain.len() > MAX_CHAIN {
        report.errors.push(FieldError::too_long(at, MAX_CHAIN));
        return None;
    }
    let blocks = pem_blocks(chain);
    let mut refuse = |detail: &str| {
        report.invalid_str(at, chain, detail);
        None
    };
    let [first, others @ ..] = &blocks[..] else {
        return refuse("issued certificate chain must contain at least one certificate");
    };
    if first.kind != "CERTIFICATE" {
        return refuse("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let Some(leaf) = x509::certificate(&first.data) else {
        return refuse("leaf certificate does not parse as valid X.509");
    };
    hosts(report, &leaf.hosts, at);
    let spec = old.part("spec").unwrap_or(&NOTHING);
    let wanted = wanted_key(report, spec)?;
    if wanted.kind != Kind::Unknown && wanted != leaf.key {
        let detail = "leaf certificate was not issued to the requested public key";
        report.invalid_str(at, chain, detail);
        return None;
    }
    let longest = new
        .at(&["spec"])
        .map_or(0, |s| s.number("maxExpirationSeconds"));
    times(report, status, &leaf, longest, path)?;
    for block in others {
        let mut refuse = |detail: &str| {
            report.invalid_str(at, chain, detail);
            None
        };
        if block.kind != "CERTIFICATE" {
            // Upstream's letters.
            return refuse(
                "issued certificate chain must consist entirely of CERTFICATE PEM blocks",
            );
        }
        if x509::certificate(&block.data).is_none() {
            return refuse("intermediate certificate does not parse as valid X.509");
        }
    }
    Some(())
}

fn hosts(report: &mut Report, hosts: &[String], at: Path<'_>) {
    for host in hosts {
        if host.is_empty() {
            report.invalid_str(
                at,
                host,
                "leaf certificate should not contain empty DNSName",
            );
        }
        if host.contains("..") {
            let detail = "leaf certificate's DNSName should not contain '..'";
            report.invalid_str(at, host, detail);
        }
        if host.starts_with('.') || host.ends_with('.') {
            let detail = "leaf certificate's DNSName should not start or end with '.'";
            report.invalid_str(at, host, detail);
        }
    }
}

fn wanted_key(report: &mut Report, spec: &Value) -> Option<Key> {
    let bytes = |field| bytes64::decode(spec.text(field)).unwrap_or_default();
    let stub = bytes("stubPKCS10Request");
    let (key, at, detail) = if stub.is_empty() {
        let key = x509::public_key(&bytes("pkixPublicKey"));
        (
            key,
            "spec.pkixPublicKey",
            "must be a valid PKIX-serialized public key",
        )
    } else {
        let key = x509::request(&stub);
        (key, "spec.stubPKCS10Request", "must be a valid PKCS#10 CSR")
    };
    if key.is_none() {
        wrong(report, at, detail);
    }
    key
}

/// The times in the status are those of the certificate, and fit each other.
fn times(
    report: &mut Report,
    status: &Value,
    leaf: &x509::Certificate,
    longest: i64,
    path: Path<'_>,
) -> Option<()> {
    let consistent = "must be present and consistent with the issued certificate";
    let range = "must be present and in the range [notbefore+10min, notafter-10min]";
    let mut given = [0; 3];
    for (place, (field, detail)) in given.iter_mut().zip([
        ("notBefore", consistent),
        ("notAfter", consistent),
        ("beginRefreshAt", range),
    ]) {
        match Instant::parse(status.text(field)) {
            Ok(time) => *place = time.seconds,
            Err(_) => report.required(path.child(field), detail),
        }
    }
    if !report.errors.is_empty() {
        return None;
    }
    let [from, to, refresh] = given;
    let lifetime = leaf.not_after - leaf.not_before;
    let shown_lifetime = || duration_text(lifetime.saturating_mul(1_000_000_000)).to_string();
    let problem = if from != leaf.not_before {
        let detail = "must be set to the NotBefore time encoded in the leaf certificate";
        ("notBefore", shown(from), detail.into())
    } else if to != leaf.not_after {
        let detail = "must be set to the NotAfter time encoded in the leaf certificate";
        ("notAfter", shown(to), detail.into())
    } else if lifetime < HOUR {
        let detail = "leaf certificate lifetime must be >= 1 hour";
        ("certificateChain", shown_lifetime(), detail.into())
    } else if lifetime > longest {
        let detail =
            format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({longest})");
        ("certificateChain", shown_lifetime(), detail)
    } else if refresh < from + 10 * MINUTES {
        let detail = "must be at least 10 minutes after status.notBefore";
        ("beginRefreshAt", shown(refresh), detail.into())
    } else if refresh > to - 10 * MINUTES {
        let detail = "must be at least 10 minutes before status.notAfter";
        ("beginRefreshAt", shown(refresh), detail.into())
    } else {
        return Some(());
    };
    let (field, value, detail): (_, _, String) = problem;
    let error = FieldError::new(ErrorKind::Invalid, path.child(field), value, detail);
    report.errors.push(error);
    None
}

/// A time as Go prints it.
fn shown(seconds: i64) -> String {
    let text = Instant { seconds, nanos: 0 }.to_text();
    let text = text.trim_end_matches('Z').replacen('T', " ", 1);
    format!("{text} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;
    use std::time::{Duration, Instant as Clock};

    fn anchors(text: &str) -> Vec<String> {
        let mut report = Report::default();
        trust_anchors(&mut report, text, Path::root("spec"));
        report.errors.iter().map(ToString::to_string).collect()
    }

    fn block(kind: &str, der: &[u8]) -> String {
        let data = bytes64::encode(der);
        format!("-----BEGIN {kind}-----\n{data}\n-----END {kind}-----\n")
    }

    #[test]
    fn bundles_hold_certificates_of_authorities_only() {
        let shown = |detail: &str| [format!("spec: Invalid value: \"{OMITTED}\": {detail}")];
        assert_eq!(
            anchors("text"),
            shown("at least one trust anchor must be provided")
        );
        let key = block("PRIVATE KEY", b"x");
        assert_eq!(
            anchors(&key),
            shown("entry 0 has bad block type: PRIVATE KEY")
        );
        let junk = block("CERTIFICATE", b"x");
        assert_eq!(anchors(&junk), shown("entry 0 does not parse as X.509"));
        let other = format!("a\n-----BEGIN A-----\n{junk}b");
        assert_eq!(anchors(&other), shown("entry 0 does not parse as X.509"));
        assert_eq!(
            anchors(&"x".repeat(MAX_BUNDLE + 1)),
            ["spec: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn hostile_bundles_and_requests_take_no_time() {
        let started = Clock::now();
        for many in [
            "-----BEGIN A-----\n".repeat(50_000),
            "-----BEGIN A-----\n".repeat(50_000) + "-----END B-----\n",
            "-----BEGIN A-----\n-----END A-----\n".repeat(25_000),
            "-----END A-----\n".repeat(60_000),
            block("CERTIFICATE", &[0x30, 0x80].repeat(300_000)),
        ] {
            assert!(!anchors(&many).is_empty());
        }
        // Every sequence says that it holds all that follows it.
        let mut deep = Vec::new();
        for left in (0..4_000_u32).rev().map(|n| n * 4) {
            let [.., high, low] = left.to_be_bytes();
            deep.extend([0x30, 0x82, high, low]);
        }
        assert!(x509::certificate(&deep).is_none());
        assert!(x509::request(&deep).is_none());
        assert!(x509::public_key(&deep).is_none());
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_request_is_refused_part_by_part() {
        let request = |stub: &str| {
            value!({"spec": {"signerName": "kubernetes.io/x", "podName": "p", "podUID": "u",
                "serviceAccountName": "sa", "serviceAccountUID": "u", "nodeName": "n", "nodeUID": "",
                "maxExpirationSeconds": 90000, "stubPKCS10Request": stub,
                "unverifiedUserAnnotations": {"plain": "x"}}})
        };
        let said = |object: &Value| -> Vec<String> {
            let mut report = Report::default();
            super::request(&mut report, object);
            report.errors.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            said(&request("eA==")),
            [
                "spec.unverifiedUserAnnotations: Invalid value: \"plain\": must be a domain-prefixed key (such as \
                 \"acme.io/foo\")",
                "spec.nodeUID: Invalid value: \"\": must not be empty",
                "spec.maxExpirationSeconds: Invalid value: 90000: must be in the range [3600, 86400]",
                "spec.stubPKCS10Request: Invalid value: must be a valid PKCS#10 CSR",
            ]
        );
        let neither = said(&request(""));
        assert!(
            neither.iter().any(|e| e.contains("exactly one of")),
            "{neither:?}"
        );
    }
}
