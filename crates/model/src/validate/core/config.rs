//! Config maps, secrets, namespaces: kubernetes `pkg/apis/core/validation/validation.go`.

use crate::field::{FieldError, Path};
use crate::validate::read::{NOTHING, Read, Report};
use crate::{Value, bytes64, json, rules};

/// All values of a secret or config map together.
const MAX_DATA: usize = 1024 * 1024;
const REDACTED: &str = "<secret contents redacted>";
const FROZEN: &str = "field is immutable when `immutable` is set";

/// The bytes behind base64, counted only.
fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(2)
}

pub(crate) fn config_map(report: &mut Report, map: &Value) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        let path = Path::root(field);
        for (key, value) in map.map(field).iter().flat_map(|m| m.iter()) {
            report.problems(path.key(key), key, rules::config_map_key(key));
            let text = value.as_str().unwrap_or_default();
            if field == "data" {
                if map.map("binaryData").is_some_and(|m| m.contains_key(key)) {
                    report.invalid_str(
                        path.key(key),
                        key,
                        "duplicate of key present in binaryData",
                    );
                }
                size += text.len();
            } else {
                size += decoded_len(text);
            }
        }
    }
    if size > MAX_DATA {
        report.errors.push(FieldError::too_long("[]", MAX_DATA));
    }
}

pub(crate) fn config_map_update(report: &mut Report, map: &Value, old: &Value) {
    frozen(report, map, old, &["data", "binaryData"]);
    config_map(report, map);
}

fn frozen(report: &mut Report, new: &Value, old: &Value, fields: &[&'static str]) {
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        report.forbidden("immutable", FROZEN);
    }
    for field in fields {
        // A key without a value is a key.
        if new.part(field) != old.part(field) {
            report.forbidden(*field, FROZEN);
        }
    }
}

pub(crate) fn secret(report: &mut Report, secret: &Value) {
    let path = Path::root("data");
    let data = secret.part("data").unwrap_or(&NOTHING);
    let mut size = 0;
    for (key, value) in secret.map("data").iter().flat_map(|m| m.iter()) {
        report.problems(path.key(key), key, rules::config_map_key(key));
        size += value.as_str().map_or(0, decoded_len);
    }
    if size > MAX_DATA {
        report.errors.push(FieldError::too_long(path, MAX_DATA));
    }
    let exists = |key: &str| secret.map("data").is_some_and(|m| m.contains_key(key));
    match secret.text("type") {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if secret
                .str_at(&["metadata", "annotations", name])
                .unwrap_or_default()
                .is_empty()
            {
                let meta = Path::root("metadata");
                report.required(meta.child("annotations").key(name), "");
            }
        }
        "kubernetes.io/dockercfg" => docker_config(report, data, ".dockercfg", path),
        "kubernetes.io/dockerconfigjson" => docker_config(report, data, ".dockerconfigjson", path),
        "kubernetes.io/basic-auth" if !exists("username") && !exists("password") => {
            report.required(path.key("username"), "");
            report.required(path.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if data.text("ssh-privatekey").is_empty() => {
            report.required(path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !exists(key) {
                    report.required(path.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn docker_config(report: &mut Report, data: &Value, key: &'static str, path: Path<'_>) {
    let Some(value) = data.part(key) else {
        return report.required(path.key(key), "");
    };
    let bytes = bytes64::decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    match json::parse(&bytes) {
        Err(e) => report.invalid_str(path.key(key), REDACTED, e.message),
        Ok(parsed) if parsed.value.as_object().is_none() && !parsed.value.is_null() => {
            let kind = parsed.value.type_name();
            let detail = format!(
                "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            );
            report.invalid_str(path.key(key), REDACTED, detail);
        }
        Ok(_) => {}
    }
}

pub(crate) fn secret_update(report: &mut Report, secret: &Value, old: &Value) {
    report.immutable(Path::root("type"), secret.get("type"), old.get("type"));
    frozen(report, secret, old, &["data"]);
    self::secret(report, secret);
}

pub(crate) fn namespace(report: &mut Report, namespace: &Value) {
    let spec = namespace.part("spec").unwrap_or(&NOTHING);
    let root = Path::root("spec");
    let path = root.child("finalizers");
    for finalizer in spec.texts("finalizers") {
        report.problems(path, finalizer, rules::qualified_name(finalizer));
        if !finalizer.contains('/')
            && !["kubernetes", "orphan", "foregroundDeletion"].contains(&finalizer)
        {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            report.invalid_str(path, finalizer, detail);
        }
    }
}
