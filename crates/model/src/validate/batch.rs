//! Jobs and cron jobs: kubernetes `pkg/apis/batch/validation/validation.go`.

use super::core::pod;
use super::cron;
use super::read::{NOTHING, Read, Report};
use crate::field::{FieldError, Path};
use crate::meta::check_label_selector;
use crate::select::LabelSelector;
use crate::{Value, rules};

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    match kind {
        "Job" => job(report, object),
        "CronJob" => {
            cron_job(report, object, None);
            let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
            if name.len() > 52 {
                report.invalid_str("metadata.name", name, "must be no more than 52 characters");
            }
        }
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    match kind {
        "Job" => job_update(report, new, old),
        "CronJob" => cron_job(report, new, Some(old)),
        _ => {}
    }
}

/// The selector and labels that the server gives a job, unless the job chooses its own.
fn generated_selector(report: &mut Report, job: &Value, prefixed: bool) {
    let spec = job.part("spec").unwrap_or(&NOTHING);
    let Some(selector) = spec
        .part("selector")
        .filter(|_| !spec.flag("manualSelector"))
    else {
        return;
    };
    let of_meta = |field| job.str_at(&["metadata", field]).unwrap_or_default();
    let (uid, name) = (of_meta("uid"), of_meta("name"));
    if uid.is_empty() {
        report.required("metadata.uid", "");
    }
    let labels = spec
        .at(&["template", "metadata", "labels"])
        .unwrap_or(&NOTHING);
    let root = Path::root("spec.template.metadata");
    let path = root.child("labels");
    let mut expected = crate::Map::new();
    for (key, wanted, since) in [
        ("controller-uid", uid, true),
        ("job-name", name, true),
        ("batch.kubernetes.io/controller-uid", uid, prefixed),
        ("batch.kubernetes.io/job-name", name, prefixed),
    ] {
        if !since {
            continue;
        }
        expected.insert(key, wanted);
        match labels.string(key) {
            None => report.required(path.key(key), &format!("must be '{wanted}'")),
            Some(found) if found != wanted => {
                report.invalid(path.key(key), labels, format!("must be '{wanted}'"));
            }
            Some(_) => {}
        }
    }
    if LabelSelector::from_value(selector).is_ok_and(|s| !s.matches(Some(&expected))) {
        report.invalid("spec.selector", selector, "`selector` not auto-generated");
    }
}

fn job(report: &mut Report, job: &Value) {
    let spec = job.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    generated_selector(report, job, true);
    spec_with_selector(report, spec, path);
    let name = job.str_at(&["metadata", "name"]).unwrap_or_default();
    if spec.text("completionMode") == "Indexed"
        && let Some(completions @ 1..) = spec.int("completions")
    {
        let hostname = format!("{name}-{}", completions - 1);
        if !rules::dns1123_label(&hostname).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {hostname}");
            report.invalid_str("metadata.name", name, detail);
        }
    }
}

fn spec_with_selector(report: &mut Report, spec: &Value, path: Path<'_>) {
    job_spec(report, spec, path);
    let at = path.child("selector");
    let selector = spec.part("selector");
    match selector {
        None => report.required(at, ""),
        given => check_label_selector(given, &at, &mut report.errors),
    }
    let labels = spec.at(&["template", "metadata", "labels"]);
    // No selector selects nothing; one that does not parse was reported above.
    let matches = selector.map_or(Ok(false), |given| {
        LabelSelector::from_value(given).map(|s| s.matches(labels.and_then(Value::as_object)))
    });
    if matches == Ok(false) {
        let template = path.child("template");
        let meta = template.child("metadata");
        let shown = labels.cloned().unwrap_or_default();
        report.invalid(
            meta.child("labels"),
            &shown,
            "`selector` does not match template `labels`",
        );
    }
}

fn job_spec(report: &mut Report, spec: &Value, path: Path<'_>) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        report.non_negative(path.child(field), spec.number(field));
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        report.required(
            path.child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        );
    }
    if let Some(manager) = spec.string("managedBy") {
        domain_prefixed_path(report, manager, path.child("managedBy"));
        if manager.len() > 63 {
            report
                .errors
                .push(FieldError::too_long(path.child("managedBy"), 63));
        }
    }
    completion(report, spec, path);
    if let Some(policy) = spec.part("podFailurePolicy") {
        failure_policy(report, spec, policy, path.child("podFailurePolicy"));
    }
    if let Some(policy) = spec.part("successPolicy") {
        success_policy(report, spec, policy, path.child("successPolicy"));
    }
    if let Some(policy) = spec.string("podReplacementPolicy") {
        let supported: &[&str] = if spec.has("podFailurePolicy") {
            &["Failed"]
        } else {
            &["Failed", "TerminatingOrFailed"]
        };
        if !supported.contains(&policy) {
            report.not_supported(path.child("podReplacementPolicy"), policy, supported);
        }
    }
    let template = spec.part("template").unwrap_or(&NOTHING);
    let template_at = path.child("template");
    pod::template(report, template, template_at);
    let policy = template
        .part("spec")
        .unwrap_or(&NOTHING)
        .text("restartPolicy");
    let spec_at = template_at.child("spec");
    let at = spec_at.child("restartPolicy");
    match policy {
        "Always" | "" => report.required(at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.has("podFailurePolicy") => {
            report.invalid_str(
                at,
                policy,
                "only \"Never\" is supported when podFailurePolicy is specified",
            );
        }
        "OnFailure" | "Never" => {}
        other => report.not_supported(at, other, &["OnFailure", "Never"]),
    }
}

fn completion(report: &mut Report, spec: &Value, path: Path<'_>) {
    let mode = spec.text("completionMode");
    report.one_of_pointer(
        path.child("completionMode"),
        spec.string("completionMode"),
        &["NonIndexed", "Indexed"],
    );
    let (completions, parallelism) = (spec.int("completions"), spec.int("parallelism"));
    let failed = spec.int("maxFailedIndexes");
    let per_index = spec.int("backoffLimitPerIndex");
    if mode != "Indexed" {
        for (field, value) in [
            ("backoffLimitPerIndex", per_index),
            ("maxFailedIndexes", failed),
        ] {
            if let Some(value) = value
                && matches!(spec.string("completionMode"), None | Some("NonIndexed"))
            {
                report.invalid_int(path.child(field), value, "requires indexed completion mode");
            }
        }
        return;
    }
    if completions.is_none() {
        report.required(path.child("completions"), "when completion mode is Indexed");
    }
    if let Some(pods @ 100_001..) = parallelism {
        let detail = "must be less than or equal to 100000 when completion mode is Indexed";
        report.invalid_int(path.child("parallelism"), pods, detail);
    }
    if let Some(failed) = failed {
        let at = path.child("maxFailedIndexes");
        if completions.is_some_and(|c| failed > c) {
            report.invalid_int(at, failed, "must be less than or equal to completions");
        }
        if failed > 100_000 {
            report.invalid_int(at, failed, "must be less than or equal to 100000");
        }
    }
    if completions.is_some_and(|c| c > 100_000) && per_index.is_some() {
        let why = "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index";
        match failed {
            None => {
                report.required(
                    path.child("maxFailedIndexes"),
                    "must be specified when completions is above 100000",
                );
            }
            Some(failed) if failed > 10_000 => {
                report.invalid_int(path.child("maxFailedIndexes"), failed, why)
            }
            Some(_) => {}
        }
        if let Some(pods @ 10_001..) = parallelism {
            report.invalid_int(path.child("parallelism"), pods, why);
        }
    }
}

/// `acme.io/foo`: apimachinery `IsDomainPrefixedPath`.
pub(super) fn domain_prefixed_path(report: &mut Report, value: &str, at: Path<'_>) {
    if value.is_empty() {
        return report.required(at, "");
    }
    let Some((host, rest)) = value
        .split_once('/')
        .filter(|(h, r)| !h.is_empty() && !r.is_empty())
    else {
        return report.invalid_str(
            at,
            value,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        );
    };
    report.problems(at, host, rules::dns1123_subdomain(host));
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(fine) {
        let detail = rules::regex_error("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
        report.invalid_str(at, rest, detail);
    }
}

fn failure_policy(report: &mut Report, spec: &Value, policy: &Value, path: Path<'_>) {
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    let pod = spec.at(&["template", "spec"]).unwrap_or(&NOTHING);
    let names: Vec<&str> = pod
        .list("containers")
        .iter()
        .chain(pod.list("initContainers"))
        .map(|c| c.text("name"))
        .collect();
    let list = path.child("rules");
    let rules_given = policy.list("rules");
    if rules_given.len() > 20 {
        report
            .errors
            .push(FieldError::too_many(list, rules_given.len(), 20));
    }
    for (i, rule) in rules_given.iter().enumerate() {
        let at = list.index(i);
        match rule.text("action") {
            "" => report.required(
                at.child("action"),
                "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            ),
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                report.invalid_str(
                    at.child("action"),
                    "FailIndex",
                    "requires the backoffLimitPerIndex to be set",
                );
            }
            action => report.one_of_if_set(at.child("action"), action, &ACTIONS),
        }
        let (codes, conditions) = (rule.part("onExitCodes"), rule.list("onPodConditions"));
        if let Some(codes) = codes {
            exit_codes(report, codes, &names, at.child("onExitCodes"));
        }
        pod_conditions(report, conditions, at.child("onPodConditions"));
        let detail = match (codes.is_some(), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        report.errors.push(FieldError::new(
            crate::field::ErrorKind::Invalid,
            at,
            "",
            detail,
        ));
    }
}

fn exit_codes(report: &mut Report, codes: &Value, names: &[&str], at: Path<'_>) {
    let operator = codes.text("operator");
    match operator {
        "" => report.required(at.child("operator"), "valid values: [\"In\" \"NotIn\"]"),
        operator => report.one_of_if_set(at.child("operator"), operator, &["In", "NotIn"]),
    }
    if let Some(name) = codes.string("containerName")
        && !names.contains(&name)
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        report.invalid_str(at.child("containerName"), name, detail);
    }
    let values_at = at.child("values");
    let values: Vec<i64> = codes
        .list("values")
        .iter()
        .map(|v| v.as_i64().unwrap_or(0))
        .collect();
    let shown = codes.part("values").cloned().unwrap_or_default();
    if values.is_empty() {
        report.invalid(values_at, &shown, "at least one value is required");
    } else if values.len() > 255 {
        report
            .errors
            .push(FieldError::too_many(values_at, values.len(), 255));
    }
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            report.invalid_int(values_at.index(i), 0, "must not be 0 for the In operator");
        }
        if values[..i].contains(value) {
            report.errors.push(FieldError::duplicate(
                values_at.index(i),
                &Value::Int(*value),
            ));
        }
    }
    if !values.is_sorted() {
        report.invalid(values_at, &shown, "must be ordered");
    }
}

fn pod_conditions(report: &mut Report, conditions: &[Value], path: Path<'_>) {
    if conditions.len() > 20 {
        report
            .errors
            .push(FieldError::too_many(path, conditions.len(), 20));
    }
    for (i, pattern) in conditions.iter().enumerate() {
        let at = path.index(i);
        let kind = pattern.text("type");
        report.problems(at.child("type"), kind, rules::qualified_name(kind));
        match pattern.text("status") {
            "" => report.required(
                at.child("status"),
                "valid values: [\"False\" \"True\" \"Unknown\"]",
            ),
            status => {
                report.one_of_if_set(at.child("status"), status, &["False", "True", "Unknown"])
            }
        }
    }
}

fn success_policy(report: &mut Report, spec: &Value, policy: &Value, path: Path<'_>) {
    if spec.text("completionMode") != "Indexed" {
        return report.invalid(path, policy, "requires indexed completion mode");
    }
    let list = path.child("rules");
    let rules_given = policy.list("rules");
    if rules_given.is_empty() {
        report.required(
            list,
            "at least one rules must be specified when the successPolicy is specified",
        );
    }
    if rules_given.len() > 20 {
        report
            .errors
            .push(FieldError::too_many(list, rules_given.len(), 20));
    }
    let completions = spec.number("completions");
    for (i, rule) in rules_given.iter().enumerate() {
        let at = list.index(i);
        let (count, indexes) = (rule.int("succeededCount"), rule.string("succeededIndexes"));
        if count.is_none() && indexes.is_none() {
            report.required(
                at,
                "at least one of succeededCount or succeededIndexes must be specified",
            );
        }
        let mut listed = None;
        if let Some(indexes) = indexes {
            let at = at.child("succeededIndexes");
            if indexes.len() > 64 * 1024 {
                report.errors.push(FieldError::too_long(at, 64 * 1024));
            }
            let counted = super::indexes::count(indexes, completions);
            if let Err(why) = &counted {
                let detail = format!("error parsing succeededIndexes: {why}");
                report.invalid_str(at, indexes, detail);
            }
            listed = Some(counted.unwrap_or(0));
        }
        if let Some(count) = count {
            let at = at.child("succeededCount");
            report.non_negative(at, count);
            if count > completions {
                let detail = format!(
                    "must be less than or equal to {completions} (the number of specified completions)"
                );
                report.invalid_int(at, count, detail);
            }
            if let Some(listed) = listed.filter(|n| count > *n) {
                let detail = format!(
                    "must be less than or equal to {listed} (the number of indexes in the specified succeededIndexes field)"
                );
                report.invalid_int(at, count, detail);
            }
        }
    }
}

fn job_update(report: &mut Report, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    spec_with_selector(report, spec, path);
    let labels = before
        .at(&["template", "metadata", "labels"])
        .unwrap_or(&NOTHING);
    let prefixed = ["job-name", "controller-uid"]
        .iter()
        .all(|l| labels.has(&format!("batch.kubernetes.io/{l}")));
    generated_selector(report, new, prefixed);
    let completions = path.child("completions");
    if spec.text("completionMode") != "Indexed" {
        report.immutable(
            completions,
            spec.get("completions"),
            before.get("completions"),
        );
    } else if let Some(wanted) = spec.int("completions")
        && before.int("completions") != Some(wanted)
        && spec.int("parallelism") != Some(wanted)
    {
        report.invalid_int(
            completions,
            wanted,
            "can only be modified in tandem with spec.parallelism",
        );
    }
    report.immutable(
        path.child("selector"),
        spec.get("selector"),
        before.get("selector"),
    );
    template_update(report, spec, old, path.child("template"));
    for field in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        report.immutable(path.child(field), spec.get(field), before.get(field));
    }
}

/// What may change of the template of a job.
fn template_update(report: &mut Report, spec: &Value, old: &Value, at: Path<'_>) {
    let before = old.part("spec").unwrap_or(&NOTHING);
    let mut template = before.get("template").cloned().unwrap_or_default();
    let waits = waits(old);
    if waits {
        // Where its pods may run can still be changed while it has not started.
        let now = spec.part("template").unwrap_or(&NOTHING);
        for place in [
            &["spec", "nodeSelector"][..],
            &["spec", "tolerations"],
            &["spec", "schedulingGates"],
            &["spec", "affinity", "nodeAffinity"],
            &["metadata", "annotations"],
            &["metadata", "labels"],
        ] {
            match now.at(place) {
                Some(value) => template.set(place, value.clone()),
                None => drop(template.unset(place)),
            }
        }
    }
    if waits {
        // … and what its containers may use.
        let now = spec.at(&["template", "spec"]).unwrap_or(&NOTHING);
        let mut pod = template.get("spec").cloned().unwrap_or_default();
        for list in ["containers", "initContainers"] {
            take_resources(&mut pod, now, list);
        }
        report.immutable(at.child("spec"), Some(now), Some(&pod));
    } else {
        report.immutable(at, spec.get("template"), Some(&template));
    }
}

/// Whether a job is suspended and has no pods: its template may change in part.
fn waits(job: &Value) -> bool {
    let status = job.part("status").unwrap_or(&NOTHING);
    let suspended = |c: &Value| c.text("type") == "Suspended" && c.text("status") == "True";
    job.at(&["spec", "suspend"]) == Some(&Value::Bool(true))
        && (!status.has("startTime") || status.list("conditions").iter().any(suspended))
        && status.number("active") == 0
}

/// Gives containers the resources that their namesakes have.
fn take_resources(pod: &mut Value, from: &Value, list: &str) {
    let given = from.list(list);
    let Some(own) = pod.get_mut(list).and_then(Value::as_array_mut) else {
        return;
    };
    if own.len() != given.len() {
        return;
    }
    for (container, given) in own.iter_mut().zip(given) {
        if container.text("name") == given.text("name") {
            match given.get("resources") {
                Some(resources) => container.set(&["resources"], resources.clone()),
                None => drop(container.unset(&["resources"])),
            }
        }
    }
}

fn cron_job(report: &mut Report, object: &Value, old: Option<&Value>) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let before = old.and_then(|o| o.part("spec")).unwrap_or(&NOTHING);
    let path = Path::root("spec");
    let schedule = spec.text("schedule");
    let at = path.child("schedule");
    if schedule.is_empty() {
        report.required(at, "");
    } else {
        if let Err(why) = cron::check(schedule) {
            report.invalid_str(at, schedule, why);
        }
        let zoned = schedule.contains("TZ");
        if zoned && !before.text("schedule").contains("TZ") {
            report.invalid_str(
                at,
                schedule,
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            );
        } else if zoned && spec.has("timeZone") {
            report.invalid_str(
                at,
                schedule,
                "cannot use both timeZone field and TZ or CRON_TZ in schedule",
            );
        }
    }
    report.non_negative(
        path.child("startingDeadlineSeconds"),
        spec.number("startingDeadlineSeconds"),
    );
    if old.is_none() || spec.get("timeZone") != before.get("timeZone") {
        time_zone(report, spec, path.child("timeZone"));
    }
    report.one_of(
        path.child("concurrencyPolicy"),
        spec.text("concurrencyPolicy"),
        &["Allow", "Forbid", "Replace"],
    );
    let template = spec.at(&["jobTemplate", "spec"]).unwrap_or(&NOTHING);
    let template_at = path.child("jobTemplate");
    let at = template_at.child("spec");
    job_spec(report, template, at);
    if let Some(selector) = template.part("selector") {
        report.invalid(
            at.child("selector"),
            selector,
            "`selector` will be auto-generated",
        );
    }
    if template.flag("manualSelector") {
        let error = FieldError::not_supported(
            at.child("manualSelector"),
            &Value::Bool(true),
            &["nil", "false"],
        );
        report.errors.push(error);
    }
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        report.non_negative(path.child(field), spec.number(field));
    }
}

/// A time zone must be in the database of zones.
fn time_zone(report: &mut Report, spec: &Value, at: Path<'_>) {
    let Some(zone) = spec.string("timeZone") else {
        return;
    };
    if zone.is_empty() {
        return report.invalid_str(at, zone, "timeZone must be nil or non-empty string");
    }
    let part = |p: &str| {
        !p.is_empty()
            && p.len() <= 14
            && p != "."
            && p != ".."
            && !p.starts_with('-')
            && p.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !zone.split('/').all(part) {
        return report.invalid_str(at, zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        report.invalid_str(at, zone, detail);
    }
    if let Err(why) = cron::location(zone) {
        report.invalid_str(at, zone, why);
    }
}
