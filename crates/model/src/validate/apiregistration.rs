//! API services: kube-aggregator `pkg/apis/apiregistration/validation/validation.go`.

use super::read::{NOTHING, Read, Report};
use crate::field::Path;
use crate::{Value, bytes64, rules};

pub(super) fn api_service(report: &mut Report, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let (group, version) = (spec.text("group"), spec.text("version"));
    if !group.is_empty() {
        report.problems(path.child("group"), group, rules::dns1123_subdomain(group));
    } else if version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        report.required(path.child("group"), detail);
    }
    report.problems(
        path.child("version"),
        version,
        rules::dns1035_label(version),
    );
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let n = spec.number(field);
        if n <= 0 || n > most {
            let detail = format!("must be positive and less than {most}");
            report.invalid_int(path.child(field), n, detail);
        }
    }
    let bundle = spec.text("caBundle");
    let insecure = spec.flag("insecureSkipTLSVerify");
    let at = path.child("insecureSkipTLSVerify");
    let Some(service) = spec.part("service") else {
        if !bundle.is_empty() {
            let bytes = bytes64::decode(bundle).map_or(0, |b| b.len());
            let detail = "local APIServices may not have a caBundle";
            report.invalid_str(path.child("caBundle"), &format!("{bytes} bytes"), detail);
        }
        if insecure {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            report.invalid(at, &Value::Bool(true), detail);
        }
        return;
    };
    let of_service = path.child("service");
    for field in ["namespace", "name"] {
        if service.text(field).is_empty() {
            report.required(of_service.child(field), "");
        }
    }
    let port = service.number("port");
    for problem in rules::port_number(port) {
        let detail = format!("port is not valid: {problem}");
        report.invalid_int(of_service.child("port"), port, detail);
    }
    if insecure && !bundle.is_empty() {
        let detail = "may not be true if caBundle is present";
        report.invalid(at, &Value::Bool(true), detail);
    }
}
