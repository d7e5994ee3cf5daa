//! What pods and containers say to Windows: kubernetes `pkg/apis/core/validation/validation.go`.

use crate::field::Path;
use crate::validate::read::{Fields, NOTHING, Read, Report};
use crate::{Value, rules};

const MAX_SPEC: usize = 64 * 1024;
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;

pub(super) fn options(report: &mut Report, options: &Value, path: Path<'_>) {
    if let Some(name) = options.string("gmsaCredentialSpecName") {
        let at = path.child("gmsaCredentialSpecName");
        report.problems(at, name, rules::dns1123_subdomain(name));
    }
    if let Some(spec) = options.string("gmsaCredentialSpec") {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            report.invalid_str(at, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > MAX_SPEC {
            report.invalid_str(at, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(name) = options.string("runAsUserName") {
        for problem in user_problems(name) {
            report.invalid_str(path.child("runAsUserName"), name, problem);
        }
    }
}

fn user_problems(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('\\').collect();
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".into()];
    }
    if name.chars().any(char::is_control) {
        return vec!["runAsUserName cannot contain control characters".into()];
    }
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".into()],
    };
    let mut problems = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= MAX_DOMAIN {
            problems.push(format!(
                "runAsUserName's Domain length must be under {MAX_DOMAIN} characters"
            ));
        }
        if !(is_net_bios(domain) || is_domain(domain)) {
            let why = "runAsUserName's Domain doesn't match the NetBios nor the DNS format";
            problems.push(why.into());
        }
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > MAX_USER {
        problems.push(format!(
            "runAsUserName's User length must not be longer than {MAX_USER} characters"
        ));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        problems.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        let why =
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        problems.push(why.into());
    }
    problems
}

/// `^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`
fn is_net_bios(name: &str) -> bool {
    let bad = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&name.chars().count()) && !name.contains(bad) && !name.starts_with('.')
}

/// `^(?:[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?\.)*…$`, each part of a domain alike.
fn is_domain(name: &str) -> bool {
    name.split('.').all(|part| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        part.starts_with(ends)
            && part.ends_with(ends)
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

/// Every container of a pod, with its place.
fn each_container(spec: &impl Read, path: Path<'_>, mut visit: impl FnMut(&Value, Path<'_>)) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let list = path.child(field);
        for (i, container) in spec.list(field).iter().enumerate() {
            let item = list.index(i);
            let context = container.part("securityContext").unwrap_or(&NOTHING);
            visit(context, item.child("securityContext"));
        }
    }
}

/// What a pod for Linux may not say.
pub(super) fn on_linux(report: &mut Report, spec: &impl Read, path: Path<'_>) {
    let mut check = |context: &Value, at: Path<'_>| {
        if context.has("windowsOptions") {
            let detail = "windows options cannot be set for a linux pod";
            report.forbidden(at.child("windowsOptions"), detail);
        }
    };
    let context = spec.part("securityContext").unwrap_or(&NOTHING);
    check(context, path.child("securityContext"));
    each_container(spec, path, check);
}

/// What a pod for Windows may not say.
pub(super) fn on_windows(report: &mut Report, spec: &impl Read, path: Path<'_>) {
    const OF_POD: [&str; 2] = ["appArmorProfile", "seLinuxOptions"];
    const OF_POD_TOO: [&str; 9] = [
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ];
    const OF_CONTAINER: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    let context = spec.part("securityContext").unwrap_or(&NOTHING);
    let at = path.child("securityContext");
    refuse(report, context, &OF_POD, at);
    let of_spec = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
    refuse(report, spec, &of_spec, path);
    refuse(report, context, &OF_POD_TOO, at);
    each_container(spec, path, |context, at| {
        refuse(report, context, &OF_CONTAINER, at);
    });
}

fn refuse(report: &mut Report, of: &impl Read, fields: &[&str], at: Path<'_>) {
    for field in fields {
        // What Go leaves out when it is zero is forbidden when it is not.
        let set = match of.part(field) {
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Bool(on)) => *on || !matches!(*field, "hostPID" | "hostIPC"),
            other => other.is_some(),
        };
        if set {
            report.forbidden(at.child(field), "cannot be set for a windows pod");
        }
    }
}

/// All containers share the host's processes, or none does.
pub(super) fn host_process(report: &mut Report, spec: &Fields<'_>, path: Path<'_>) {
    let of = |context: Option<&Value>| {
        let options = context?.part("windowsOptions")?;
        options.part("hostProcess").and_then(Value::as_bool)
    };
    let pod = of(spec.part("securityContext"));
    let (mut all, mut shared) = (0, 0);
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let list = path.child(field);
        for (i, container) in spec.list(field).iter().enumerate() {
            all += 1;
            let own = of(container.part("securityContext"));
            if let (Some(pod), Some(own)) = (pod, own)
                && pod != own
            {
                let item = list.index(i);
                let context = item.child("securityContext");
                let options = context.child("windowsOptions");
                let detail = format!(
                    "pod hostProcess value must be identical if both are specified, was {pod}"
                );
                report.invalid(options.child("hostProcess"), &Value::Bool(own), detail);
            }
            shared += usize::from(own.or(pod) == Some(true));
        }
    }
    if shared == 0 {
        return;
    }
    if shared != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        report.invalid_str(path, "", detail);
    }
    if !spec.flag("hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        report.invalid(path.child("hostNetwork"), &Value::Bool(false), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn a_pod_says_nothing_that_its_system_does_not_know() {
        let said = |spec: &Value, check: fn(&mut Report, &Value, Path<'_>)| -> Vec<String> {
            let mut report = Report::default();
            check(&mut report, spec, Path::root("spec"));
            report.errors.iter().map(ToString::to_string).collect()
        };
        let spec = value!({"hostPID": true, "hostIPC": false, "hostUsers": false,
            "securityContext": {"runAsUser": 1, "windowsOptions": {"runAsUserName": "u"}},
            "containers": [{"name": "a", "securityContext": {"privileged": false, "windowsOptions": {}}}]});
        assert_eq!(
            said(&spec, on_windows),
            [
                "spec.hostUsers: Forbidden: cannot be set for a windows pod",
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
                "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
            ]
        );
        let detail = "windowsOptions: Forbidden: windows options cannot be set for a linux pod";
        assert_eq!(
            said(&spec, on_linux),
            [
                format!("spec.securityContext.{detail}"),
                format!("spec.containers[0].securityContext.{detail}"),
            ]
        );
    }

    #[test]
    fn user_names_of_windows_are_checked() {
        for good in ["Container", "NT AUTHORITY\\SYSTEM", "a.example.com\\u"] {
            assert_eq!(user_problems(good), [""; 0], "{good}");
        }
        for bad in ["", "a\\b\\c", "a/b", "..", "a\\", "a\n"] {
            assert_ne!(user_problems(bad), [""; 0], "{bad}");
        }
    }
}
