//! Dynamic resource allocation: kubernetes `pkg/apis/resource/validation/validation.go`.

mod slices;
mod status;

use super::core::csi_driver_name;
use super::core::storage::template_meta;
use super::read::{NOTHING, Read, Report, same};
use crate::cel::device::{self, Refusal};
use crate::field::{ErrorKind, FieldError, Path};
use crate::{Value, rules};
use std::collections::{BTreeMap, BTreeSet};

pub(super) use status::update as status_update;

const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_CONFIGS: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_PARAMETERS: usize = 10 * 1024;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    let spec = object.part("spec").unwrap_or(&NOTHING);
    let path = Path::root("spec");
    match kind {
        "ResourceClaim" => claim_spec(report, spec, path),
        "ResourceClaimTemplate" => {
            let metadata = spec.part("metadata").unwrap_or(&NOTHING);
            template_meta(report, metadata, path.child("metadata"));
            let inner = spec.part("spec").unwrap_or(&NOTHING);
            claim_spec(report, inner, path.child("spec"));
        }
        "DeviceClass" => class(report, spec, None, path),
        "ResourceSlice" => slices::slice(report, spec, None, path),
        "DeviceTaintRule" => taint_rule(report, spec, None, path),
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    let (spec, before) = (
        new.part("spec").unwrap_or(&NOTHING),
        old.part("spec").unwrap_or(&NOTHING),
    );
    let path = Path::root("spec");
    match kind {
        "ResourceClaim" => report.immutable(path, new.get("spec"), old.get("spec")),
        "ResourceClaimTemplate" => {
            create(report, kind, new);
            report.immutable(path, new.get("spec"), old.get("spec"));
        }
        "DeviceClass" => class(report, spec, Some(before), path),
        "ResourceSlice" => slices::slice(report, spec, Some(before), path),
        "DeviceTaintRule" => taint_rule(report, spec, Some(before), path),
        _ => {}
    }
}

/// A list of bounded length; `false` when it is too long to be looked at.
fn bounded(report: &mut Report, list: &[Value], max: usize, at: Path<'_>) -> bool {
    if list.len() > max {
        report
            .errors
            .push(FieldError::too_many(at, list.len(), max));
    }
    list.len() <= max
}

/// Items whose key occurs before.
fn unique<'a>(report: &mut Report, keys: impl Iterator<Item = &'a str>, at: Path<'_>) {
    let mut seen = BTreeSet::new();
    for (i, key) in keys.enumerate() {
        if !seen.insert(key) {
            report.duplicate(at.index(i), key);
        }
    }
}

/// The names of the requests of a claim with those of their alternatives.
struct Names<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Names<'a> {
    fn of(devices: &'a Value) -> Self {
        let one = |request: &'a Value| {
            let alternatives = request.list("firstAvailable").iter();
            let alternatives = alternatives.map(|a| a.text("name")).collect();
            (request.text("name"), alternatives)
        };
        Self(devices.list("requests").iter().map(one).collect())
    }

    fn have(&self, name: &str) -> bool {
        match name.split_once('/') {
            None => self.0.contains_key(name),
            Some((_, rest)) if rest.contains('/') => false,
            Some((request, alternative)) => self
                .0
                .get(request)
                .is_some_and(|all| all.contains(alternative)),
        }
    }
}

fn claim_spec(report: &mut Report, spec: &Value, path: Path<'_>) {
    let devices = spec.part("devices").unwrap_or(&NOTHING);
    let path = path.child("devices");
    let names = Names::of(devices);
    let (list, at) = (devices.list("requests"), path.child("requests"));
    if bounded(report, list, MAX_REQUESTS, at) {
        for (i, request) in list.iter().enumerate() {
            self::request(report, request, at.index(i));
        }
        unique(report, list.iter().map(|r| r.text("name")), at);
    }
    let (list, at) = (devices.list("constraints"), path.child("constraints"));
    if bounded(report, list, MAX_CONSTRAINTS, at) {
        for (i, constraint) in list.iter().enumerate() {
            self::constraint(report, constraint, &names, at.index(i));
        }
    }
    let (list, at) = (devices.list("config"), path.child("config"));
    if bounded(report, list, MAX_CONFIGS, at) {
        for (i, config) in list.iter().enumerate() {
            let at = at.index(i);
            references(report, config, &names, at);
            configuration(report, config, false, at);
        }
    }
}

fn label(report: &mut Report, name: &str, at: Path<'_>) {
    report.problems(at, name, rules::dns1123_label(name));
}

fn request(report: &mut Report, request: &Value, path: Path<'_>) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    label(report, request.text("name"), path.child("name"));
    let alternatives = request.list("firstAvailable");
    match (request.part("exactly"), alternatives.is_empty()) {
        (None, true) => report.required(path, ONE),
        (Some(_), false) => {
            report.invalid(
                path,
                &Value::Null,
                format!("{ONE}, but multiple fields are set"),
            );
        }
        (Some(exactly), true) => wanted(report, exactly, path.child("exactly")),
        (None, false) => {
            let at = path.child("firstAvailable");
            if bounded(report, alternatives, MAX_ALTERNATIVES, at) {
                for (i, alternative) in alternatives.iter().enumerate() {
                    let at = at.index(i);
                    label(report, alternative.text("name"), at.child("name"));
                    wanted(report, alternative, at);
                }
                unique(report, alternatives.iter().map(|r| r.text("name")), at);
            }
        }
    }
}

/// What a request and an alternative have in common.
fn wanted(report: &mut Report, request: &Value, path: Path<'_>) {
    let class = request.text("deviceClassName");
    report.required_name(
        path.child("deviceClassName"),
        class,
        rules::dns1123_subdomain,
    );
    selectors(report, request, path);
    let (mode, count) = (request.text("allocationMode"), request.number("count"));
    let at = path.child("count");
    match mode {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            report.invalid_int(at, count, detail);
        }
        "All" => {}
        "ExactCount" => report.positive(at, count),
        other => report.not_supported(path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let at = path.child("tolerations");
    for (i, toleration) in request.list("tolerations").iter().enumerate() {
        self::toleration(report, toleration, at.index(i));
    }
}

fn selectors(report: &mut Report, of: &Value, path: Path<'_>) {
    let (list, at) = (of.list("selectors"), path.child("selectors"));
    if !bounded(report, list, MAX_SELECTORS, at) {
        return;
    }
    for (i, selector) in list.iter().enumerate() {
        let item = at.index(i);
        let at = item.child("cel");
        match selector.part("cel") {
            None => report.required(at, ""),
            Some(cel) if cel.text("expression").len() > MAX_EXPRESSION => {
                let error = FieldError::too_long(at.child("expression"), MAX_EXPRESSION);
                report.errors.push(error);
            }
            Some(cel) => expression(report, cel.text("expression"), at.child("expression")),
        }
    }
}

fn expression(report: &mut Report, source: &str, at: Path<'_>) {
    match device::check(report.minor, source) {
        Ok(()) => {}
        Err(Refusal::Invalid(detail)) => report.invalid_str(at, source, detail),
        Err(Refusal::Internal(detail)) => {
            let error = FieldError::new(ErrorKind::InternalError, at, "", detail);
            report.errors.push(error);
        }
        Err(Refusal::TooExpensive) => report.forbidden(at, "too complex, exceeds cost limit"),
    }
}

fn constraint(report: &mut Report, constraint: &Value, names: &Names<'_>, path: Path<'_>) {
    references(report, constraint, names, path);
    for field in ["matchAttribute", "distinctAttribute"] {
        let Some(attribute) = constraint.string(field) else {
            continue;
        };
        let at = path.child(field);
        qualified_name(report, attribute, at);
        if !attribute.contains('/') {
            let detail = "a fully qualified name must be a domain and a name separated by a slash";
            report.invalid_str(at, attribute, detail);
        }
        return;
    }
    report.required(
        path,
        "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
    );
}

/// The `requests` that something is for.
fn references(report: &mut Report, of: &Value, names: &Names<'_>, path: Path<'_>) {
    let (list, at) = (of.list("requests"), path.child("requests"));
    if bounded(report, list, MAX_REQUESTS, at) {
        for (i, name) in of.texts("requests").enumerate() {
            reference(report, name, names, at.index(i));
        }
        unique(report, of.texts("requests"), at);
    }
}

fn reference(report: &mut Report, name: &str, names: &Names<'_>, at: Path<'_>) {
    const UNKNOWN: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    if name.matches('/').count() > 1 {
        return report.invalid_str(at, name, UNKNOWN);
    }
    for part in name.split('/') {
        label(report, part, at);
    }
    if !names.have(name) {
        report.invalid_str(at, name, UNKNOWN);
    }
}

/// `stored`: parameters that were there before may be of any length.
fn configuration(report: &mut Report, config: &Value, stored: bool, path: Path<'_>) {
    let at = path.child("opaque");
    let Some(opaque) = config.part("opaque") else {
        return report.required(at, "");
    };
    csi_driver_name(report, opaque.text("driver"), at.child("driver"));
    let max = (!stored).then_some(MAX_PARAMETERS);
    raw(
        report,
        opaque.get("parameters"),
        max,
        at.child("parameters"),
    );
}

/// A JSON object of any shape.
fn raw(report: &mut Report, value: Option<&Value>, max: Option<usize>, at: Path<'_>) {
    let value = value.unwrap_or(&NOTHING);
    let length = || crate::json::to_vec(value).len();
    match value {
        Value::Null => report.required(at, ""),
        _ if max.is_some_and(|max| length() > max) => {
            let max = max.unwrap_or_default();
            report.errors.push(FieldError::too_long(at, max));
        }
        Value::Object(_) => {}
        _ => report.invalid_str(at, "<value omitted>", "must be a valid JSON object"),
    }
}

fn class(report: &mut Report, spec: &Value, old: Option<&Value>, path: Path<'_>) {
    selectors(report, spec, path);
    let field = |of: &Value| of.get("config").cloned().unwrap_or_default();
    let stored = old.is_some_and(|old| same(&field(old), &field(spec)));
    let (list, at) = (spec.list("config"), path.child("config"));
    if bounded(report, list, MAX_CONFIGS, at) {
        for (i, config) in list.iter().enumerate() {
            configuration(report, config, stored, at.index(i));
        }
    }
    if let Some(name) = spec.string("extendedResourceName")
        && !super::core::is_extended(name)
    {
        let at = path.child("extendedResourceName");
        report.invalid_str(at, name, "must be a valid extended resource name");
    }
}

/// `domain/name` or a name: of attributes and capacities.
fn qualified_name(report: &mut Report, name: &str, at: Path<'_>) {
    const MAX_ID: usize = 32;
    let identifier = |report: &mut Report, id: &str| {
        if id.len() > MAX_ID {
            report.errors.push(FieldError::too_long(at, MAX_ID));
        }
        report.problems(at, id, rules::c_identifier(id));
    };
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(report, id),
        [domain, id] => {
            if domain.is_empty() {
                report.invalid_str(at, "", "the domain must not be empty");
            } else {
                csi_driver_name(report, domain, at);
            }
            if id.is_empty() {
                report.invalid_str(at, "", "the name must not be empty");
            } else {
                identifier(report, id);
            }
        }
        // more slashes pass upstream, too
        _ => {}
    }
}

fn label_name(report: &mut Report, name: &str, at: Path<'_>) {
    report.problems(at, name, rules::qualified_name(name));
}

fn label_value(report: &mut Report, value: &str, at: Path<'_>) {
    report.problems(at, value, rules::label_value(value));
}

fn toleration(report: &mut Report, toleration: &Value, path: Path<'_>) {
    let (key, value) = (toleration.text("key"), toleration.text("value"));
    if !key.is_empty() {
        label_name(report, key, path.child("key"));
    }
    let at = path.child("value");
    match toleration.text("operator") {
        "Exists" if !value.is_empty() => {
            report.invalid_str(at, value, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => label_value(report, value, at),
        other => report.one_of(path.child("operator"), other, &["Equal", "Exists"]),
    }
    report.one_of_if_set(path.child("effect"), toleration.text("effect"), &EFFECTS);
}

fn taint(report: &mut Report, taint: &Value, old: Option<&Value>, path: Path<'_>) {
    label_name(report, taint.text("key"), path.child("key"));
    let value = taint.text("value");
    if !value.is_empty() {
        label_value(report, value, path.child("value"));
    }
    let effect = taint.text("effect");
    if old.is_none_or(|old| old.text("effect") != effect) {
        report.one_of(path.child("effect"), effect, &EFFECTS);
    }
}

fn taint_rule(report: &mut Report, spec: &Value, old: Option<&Value>, path: Path<'_>) {
    if let Some(selector) = spec.part("deviceSelector") {
        let at = path.child("deviceSelector");
        if let Some(driver) = selector.string("driver") {
            csi_driver_name(report, driver, at.child("driver"));
        }
        if let Some(pool) = selector.string("pool") {
            pool_name(report, pool, at.child("pool"));
        }
        if let Some(device) = selector.string("device") {
            label(report, device, at.child("device"));
        }
    }
    let before = old.map(|old| old.part("taint").unwrap_or(&NOTHING));
    let given = spec.part("taint").unwrap_or(&NOTHING);
    taint(report, given, before, path.child("taint"));
}

fn pool_name(report: &mut Report, name: &str, at: Path<'_>) {
    const MAX: usize = 253;
    if name.is_empty() {
        return report.required(at, "");
    }
    if name.len() > MAX {
        report.errors.push(FieldError::too_long(at, MAX));
    }
    for part in name.split('/') {
        report.problems(at, part, rules::dns1123_subdomain(part));
    }
}

/// Conditions that say when a device is there, or cannot be had.
fn binding_conditions(report: &mut Report, of: &Value, path: Path<'_>) {
    const MAX: usize = 4;
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    for field in FIELDS {
        let at = path.child(field);
        if bounded(report, of.list(field), MAX, at) {
            for (i, name) in of.texts(field).enumerate() {
                label_name(report, name, at.index(i));
            }
        }
    }
    let [positive, negative] = FIELDS.map(|field| path.child(field));
    let known: BTreeSet<&str> = of.texts(FIELDS[0]).collect();
    unique(report, of.texts(FIELDS[0]), positive);
    unique(report, of.texts(FIELDS[1]), negative);
    for (i, name) in of.texts(FIELDS[1]).enumerate() {
        if known.contains(name) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            report.invalid_str(negative.index(i), name, detail);
        }
    }
    match FIELDS.map(|field| of.list(field).is_empty()) {
        [true, false] => {
            let detail = "bindingConditions are required to use bindingFailureConditions";
            report.invalid(positive, &Value::Null, detail);
        }
        [false, true] => {
            let detail = "bindingFailureConditions are required to use bindingConditions";
            report.invalid(negative, &Value::Null, detail);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
