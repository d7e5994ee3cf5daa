//! Projected volumes: kubernetes `pkg/apis/core/validation/validation.go`, `validateProjectionSources`.

use super::volumes::{downward_file, key_to_path, local_path};
use crate::field::Path;
use crate::meta::{check_label_selector, trust_bundle_problems};
use crate::validate::certificates::signer_name;
use crate::validate::few::Names;
use crate::validate::pod_certificates::{HOUR, longest_of, user_annotations};
use crate::validate::read::{NOTHING, Read, Report};
use crate::{Value, rules};

const KEY_TYPES: [&str; 6] = [
    "RSA3072",
    "RSA4096",
    "ECDSAP256",
    "ECDSAP384",
    "ECDSAP521",
    "ED25519",
];

/// The files of a volume, whichever source they come from.
struct Files<'a> {
    of_volume: Path<'a>,
    taken: Names<'a>,
}

impl<'a> Files<'a> {
    /// `shown`: what is said to be wrong when the path is another file's already.
    fn add(&mut self, report: &mut Report, path: &'a str, shown: &str) {
        if !self.taken.insert(path) {
            report.invalid_str(self.of_volume, shown, "conflicting duplicate paths");
        }
    }
}

pub(super) fn check(report: &mut Report, volume: &Value, at: Path<'_>) {
    let mut files = Files {
        of_volume: at,
        taken: Names::default(),
    };
    let list = at.child("sources");
    for (i, source) in volume.list("sources").iter().enumerate() {
        let path = list.index(i);
        let mut sources = 0;
        for kind in ["secret", "configMap"] {
            if let Some(given) = source.part(kind) {
                sources += 1;
                keys(report, given, path.child(kind), &mut files);
            }
        }
        if let Some(given) = source.part("downwardAPI") {
            sources += 1;
            for file in given.list("items") {
                downward_file(report, file, path.child("downwardAPI"));
                let target = file.text("path");
                if !target.is_empty() {
                    files.add(report, target, target);
                }
            }
        }
        if let Some(token) = source.part("serviceAccountToken") {
            sources += 1;
            self::token(report, token, path.child("serviceAccountToken"), at);
        }
        if let Some(bundle) = source.part("clusterTrustBundle") {
            sources += 1;
            let at = path.child("clusterTrustBundle");
            trust_bundle(report, bundle, at, &mut files);
        }
        if let Some(certificate) = source.part("podCertificate") {
            sources += 1;
            let at = path.child("podCertificate");
            pod_certificate(report, certificate, at, &mut files);
        }
        if sources > 1 {
            report.forbidden(path, "may not specify more than 1 volume type per source");
        }
    }
}

fn keys<'a>(report: &mut Report, source: &'a Value, at: Path<'_>, files: &mut Files<'a>) {
    let name = source.text("name");
    if name.is_empty() {
        report.required(at.child("name"), "");
    }
    for (j, item) in source.list("items").iter().enumerate() {
        key_to_path(report, item, at.child("items").index(j));
        let target = item.text("path");
        if !target.is_empty() {
            files.add(report, target, name);
        }
    }
}

fn token(report: &mut Report, token: &Value, at: Path<'_>, volume: Path<'_>) {
    let seconds = token.number("expirationSeconds");
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        report.invalid_int(at.child("expirationSeconds"), seconds, detail);
    }
    if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        report.invalid_int(at.child("expirationSeconds"), seconds, detail);
    }
    if token.text("path").is_empty() {
        report.required(volume.child("path"), "");
    } else {
        local_path(report, token.text("path"), volume.child("path"));
    }
    owner(report, token, at);
}

fn trust_bundle<'a>(report: &mut Report, bundle: &'a Value, at: Path<'_>, files: &mut Files<'a>) {
    let selector = bundle.part("labelSelector");
    let selector_at = at.child("labelSelector");
    match (bundle.string("name"), bundle.string("signerName")) {
        (Some(_), Some(_)) => {
            report.invalid(at, bundle, "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            let at = at.child("name");
            if name.is_empty() {
                report.required(at, "must be a valid object name");
            }
            let signer = name.rsplit_once(':').map(|(signer, _)| signer);
            let signer = signer.unwrap_or_default().replace(':', "/");
            for problem in trust_bundle_problems(&signer, name, false) {
                let detail = format!("not a valid clustertrustbundlename: {problem}");
                report.invalid_str(at, name, detail);
            }
            if let Some(selector) = selector {
                let detail = "labelSelector must be unset if name is specified";
                report.invalid(selector_at, selector, detail);
            }
        }
        (None, Some(signer)) => {
            let at = at.child("signerName");
            if signer.is_empty() {
                report.required(at, "must be a valid signer name");
            }
            signer_name(report, signer, true, at);
            check_label_selector(selector, &selector_at, &mut report.errors);
        }
        (None, None) => report.required(at, "either name or signerName must be specified"),
    }
    let path = bundle.text("path");
    if path.is_empty() {
        report.required(at.child("path"), "");
    }
    local_path(report, path, at.child("path"));
    // Without a path it has one all the same: the empty one.
    files.add(report, path, path);
    owner(report, bundle, at);
}

fn pod_certificate<'a>(report: &mut Report, of: &'a Value, at: Path<'_>, files: &mut Files<'a>) {
    let signer = of.text("signerName");
    signer_name(report, signer, true, at.child("signerName"));
    let notes = of.part("userAnnotations").unwrap_or(&NOTHING);
    user_annotations(report, notes, at.child("userAnnotations"));
    let key_type = of.text("keyType");
    if !KEY_TYPES.contains(&key_type) {
        report.not_supported(at.child("keyType"), key_type, &KEY_TYPES);
    }
    if let Some(seconds) = of.int("maxExpirationSeconds") {
        let at = at.child("maxExpirationSeconds");
        if seconds < HOUR {
            let detail = format!("if provided, maxExpirationSeconds must be >= {HOUR}");
            report.invalid_int(at, seconds, detail);
        }
        let longest = longest_of(signer);
        if seconds > longest {
            let detail = format!("if provided, maxExpirationSeconds must be <= {longest}");
            report.invalid_int(at, seconds, detail);
        }
    }
    let mut paths = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let path = of.text(field);
        if !path.is_empty() {
            paths += 1;
            local_path(report, path, at.child(field));
            files.add(report, path, path);
        }
    }
    if paths == 0 {
        let detail =
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        report.required(at, detail);
    }
    owner(report, of, at);
}

/// The user whose file it is (since 1.37, `validateUserField`).
fn owner(report: &mut Report, source: &Value, at: Path<'_>) {
    if let Some(user) = source.int("user")
        && !(0..=i64::from(i32::MAX)).contains(&user)
    {
        let detail = rules::inclusive_range(0, i32::MAX.into());
        report.invalid_int(at.child("user"), user, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Catalogue, NEWEST_MINOR};
    use crate::validate::create;
    use crate::value;

    /// What is wrong with a pod whose volume has these sources, as `field: message`, without the
    /// beginning of the fields.
    fn said(sources: Value) -> Vec<String> {
        let catalogue = Catalogue::builtin(NEWEST_MINOR).expect("built in");
        let pods = catalogue.lookup("", "v1", "pods").expect("served");
        let mut pod = value!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d"},
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "projected": {}}]}
        });
        let volume = pod.get_mut("spec").and_then(|s| s.get_mut("volumes"));
        let volume = volume.and_then(Value::as_array_mut).expect("a list");
        volume[0].set(&["projected", "sources"], sources);
        crate::defaults::apply(pods, &mut pod);
        let errors = create(pods, &pod).into_iter().map(|e| {
            let cause = e.cause();
            let field = cause.field.replace("spec.volumes[0].projected", "v");
            format!("{}: {}", field.replace("v.sources", "s"), cause.message)
        });
        errors.collect()
    }

    #[test]
    fn a_trust_bundle_in_a_volume_is_named_or_chosen_and_has_a_path() {
        let good = value!([
            {"clusterTrustBundle": {"name": "a", "path": "a"}},
            {"clusterTrustBundle": {"name": "example.com:x:y", "path": "b"}},
            {"clusterTrustBundle": {"signerName": "example.com/x", "labelSelector": {}, "path": "c"}}
        ]);
        assert!(said(good.clone()).is_empty(), "{:?}", said(good));
        let wrong = value!([
            {"clusterTrustBundle": {}},
            {"clusterTrustBundle": {"name": "a", "signerName": "b", "path": "../x"}},
            {"clusterTrustBundle": {"name": "", "labelSelector": {}, "path": ""}},
            {"clusterTrustBundle": {"name": "a.b:c:d", "path": "/e"}},
            {"clusterTrustBundle": {"signerName": "", "path": "f", "user": (-1)}},
            {"clusterTrustBundle": {"signerName": "a.b/c", "labelSelector": {"matchLabels": {"-": "x"}}, "path": "f"}}
        ]);
        let texts = said(wrong).join("\n");
        for part in [
            "s[0].clusterTrustBundle: Required value: either name or signerName must be specified",
            "s[0].clusterTrustBundle.path: Required value",
            "only one of name and signerName may be used",
            "s[1].clusterTrustBundle.path: Invalid value: \"../x\": must not contain '..'",
            "s[2].clusterTrustBundle.name: Required value: must be a valid object name",
            "s[2].clusterTrustBundle.name: Invalid value: \"\": not a valid clustertrustbundlename: a lowercase RFC 1123 subdomain",
            "labelSelector must be unset if name is specified",
            "v: Invalid value: \"\": conflicting duplicate paths",
            "s[3].clusterTrustBundle.path: Invalid value: \"/e\": must be a relative path",
            "s[4].clusterTrustBundle.signerName: Required value: must be a valid signer name",
            "s[4].clusterTrustBundle.user: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "s[5].clusterTrustBundle.labelSelector.matchLabels: Invalid value: \"-\"",
            "v: Invalid value: \"f\": conflicting duplicate paths",
        ] {
            assert!(texts.contains(part), "{part} is not in:\n{texts}");
        }
    }

    #[test]
    fn a_certificate_in_a_volume_says_who_signs_what_and_where_it_goes() {
        let of = |field: &str, value: Value| {
            let mut certificate =
                value!({"signerName": "a.b/c", "keyType": "ED25519", "keyPath": "k"});
            certificate.set(&[field], value);
            let mut source = value!({});
            source.set(&["podCertificate"], certificate);
            said(Value::Array(vec![source]))
        };
        let notes = value!({"a.b/c": "d"});
        for (field, value) in [
            ("userAnnotations", notes),
            ("maxExpirationSeconds", Value::Int(7_862_400)),
            ("certificateChainPath", "other".into()),
        ] {
            assert!(
                of(field, value.clone()).is_empty(),
                "{:?}",
                of(field, value)
            );
        }
        let at = |field: &str| format!("s[0].podCertificate.{field}: ");
        for (field, value, message) in [
            ("signerName", "".into(), "Required value"),
            (
                "keyType",
                "RSA1".into(),
                "Unsupported value: \"RSA1\": supported values: \"RSA3072\", \"RSA4096\", \"ECDSAP256\", \"ECDSAP384\", \"ECDSAP521\", \"ED25519\"",
            ),
            (
                "maxExpirationSeconds",
                Value::Int(3599),
                "Invalid value: 3599: if provided, maxExpirationSeconds must be >= 3600",
            ),
            (
                "maxExpirationSeconds",
                Value::Int(7_862_401),
                "Invalid value: 7862401: if provided, maxExpirationSeconds must be <= 7862400",
            ),
            (
                "userAnnotations",
                value!({"plain": "x"}),
                "Invalid value: \"plain\": must be a domain-prefixed key (such as \"acme.io/foo\")",
            ),
            (
                "keyPath",
                "..k".into(),
                "Invalid value: \"..k\": must not start with '..'",
            ),
            (
                "user",
                Value::Int(1 << 31),
                "Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
            ),
        ] {
            assert_eq!(of(field, value), [at(field) + message]);
        }
        assert_eq!(
            of("certificateChainPath", "k".into()),
            ["v: Invalid value: \"k\": conflicting duplicate paths"]
        );
        assert_eq!(
            of("keyPath", "".into()),
            [
                "s[0].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
            ]
        );
    }
}
