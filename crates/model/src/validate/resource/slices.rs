//! The devices that a driver offers.

use super::{binding_conditions, bounded, label, pool_name, qualified_name, taint, unique};
use crate::field::{FieldError, Path};
use crate::quantity::Quantity;
use crate::validate::core::{csi_driver_name, is_native, node_selector};
use crate::validate::read::{NOTHING, Read, Report, quantity, same};
use crate::{Value, rules};
use regex::Regex;
use std::sync::LazyLock;

const MAX_DEVICES: usize = 128;
/// With taints, counters or lists of attributes.
const MAX_ADVANCED_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;
const MAX_COUNTERS: usize = 32;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_ATTRIBUTES: usize = 32;
const MAX_ATTRIBUTE_VALUES: usize = 48;
const MAX_VALUE: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_OPTIONS: usize = 10;
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

pub(super) fn slice(report: &mut Report, spec: &Value, old: Option<&Value>, path: Path<'_>) {
    csi_driver_name(report, spec.text("driver"), path.child("driver"));
    let pool = spec.part("pool").unwrap_or(&NOTHING);
    let pool_at = path.child("pool");
    pool_name(report, pool.text("name"), pool_at.child("name"));
    let count = pool.number("resourceSliceCount");
    report.positive(pool_at.child("resourceSliceCount"), count);
    let generation = pool.number("generation");
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        report.invalid_int(pool_at.child("generation"), generation, detail);
    }
    if let Some(old) = old {
        let was = old.part("pool").unwrap_or(&NOTHING);
        report.immutable_text(pool_at.child("name"), pool.text("name"), was.text("name"));
        report.immutable_text(
            path.child("driver"),
            spec.text("driver"),
            old.text("driver"),
        );
        report.immutable(
            path.child("nodeName"),
            spec.get("nodeName"),
            old.get("nodeName"),
        );
    }
    of_nodes(report, spec, path);
    if spec.has("sharedCounters") && spec.has("devices") {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        report.invalid_str(path, "", detail);
    }
    devices(report, spec, old, path.child("devices"));
    let (list, at) = (spec.list("sharedCounters"), path.child("sharedCounters"));
    if bounded(report, list, MAX_COUNTER_SETS, at) {
        for (i, set) in list.iter().enumerate() {
            counters(report, set, "name", at.index(i));
        }
        unique(report, list.iter().map(|set| set.text("name")), at);
    }
}

/// `nodeName`, `nodeSelector`, `allNodes` and `perDeviceNodeSelection`, of which there must be one.
fn of_nodes(report: &mut Report, spec: &Value, path: Path<'_>) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut given = Vec::new();
    if let Some(name) = spec.string("nodeName") {
        let at = path.child("nodeName");
        if name.is_empty() {
            let detail = "must be either unset or set to a non-empty string";
            report.invalid_str(at, name, detail);
        } else {
            given.push("`nodeName`");
            report.problems(at, name, rules::dns1123_subdomain(name));
        }
    }
    if let Some(selector) = spec.part("nodeSelector") {
        given.push("`nodeSelector`");
        let at = path.child("nodeSelector");
        node_selector(report, selector, at);
        if selector.list("nodeSelectorTerms").len() != 1 {
            let shown = selector.get("nodeSelectorTerms").unwrap_or(&NOTHING);
            let detail = "must have exactly one node selector term";
            report.invalid(at.child("nodeSelectorTerms"), shown, detail);
        }
    }
    for (field, shown) in [
        ("allNodes", "`allNodes`"),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`"),
    ] {
        true_or_nothing(report, spec, field, shown, &mut given, path);
    }
    match given.len() {
        0 => report.required(path, ONE),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", given.join(", "));
            report.invalid_str(path, &shown, format!("{ONE}, but multiple fields are set"));
        }
    }
}

fn true_or_nothing(
    report: &mut Report,
    of: &Value,
    field: &str,
    shown: &'static str,
    given: &mut Vec<&'static str>,
    path: Path<'_>,
) {
    if of.flag(field) {
        given.push(shown);
    } else if let Some(value) = of.part(field) {
        let detail = "must be either unset or set to true";
        report.invalid(path.child(field), value, detail);
    }
}

fn devices(report: &mut Report, spec: &Value, old: Option<&Value>, at: Path<'_>) {
    let list = spec.list("devices");
    let advanced = |device: &Value| {
        let attributes = device.map("attributes");
        let mut attributes = attributes.iter().flat_map(|m| m.iter());
        !device.list("taints").is_empty()
            || !device.list("consumesCounters").is_empty()
            || attributes.any(|(_, a)| LISTS.iter().any(|list| a.has(list)))
    };
    let max = if list.iter().any(advanced) {
        MAX_ADVANCED_DEVICES
    } else {
        MAX_DEVICES
    };
    if !bounded(report, list, max, at) {
        return;
    }
    let by_node = spec.flag("perDeviceNodeSelection");
    for (i, device) in list.iter().enumerate() {
        let was = old.and_then(|old| {
            let mut all = old.list("devices").iter();
            all.find(|d| d.text("name") == device.text("name"))
        });
        self::device(report, device, was, by_node, at.index(i));
    }
    unique(report, list.iter().map(|d| d.text("name")), at);
}

fn device(report: &mut Report, device: &Value, old: Option<&Value>, by_node: bool, path: Path<'_>) {
    label(report, device.text("name"), path.child("name"));
    attributes(report, device, path);
    let shared = device.flag("allowMultipleAllocations");
    let at = path.child("capacity");
    for (name, capacity) in device.map("capacity").iter().flat_map(|m| m.iter()) {
        qualified_name(report, name, at);
        let Some(policy) = capacity.part("requestPolicy") else {
            continue;
        };
        let key = shortened(name);
        let item = at.key(&key);
        let at = item.child("requestPolicy");
        if shared {
            request_policy(report, policy, &amount(capacity, "value"), at);
        } else {
            report.forbidden(at, "allowMultipleAllocations must be true");
        }
    }
    let field = |of: &Value| of.get("taints").cloned().unwrap_or_default();
    let (list, at) = (device.list("taints"), path.child("taints"));
    if old.is_none_or(|old| !same(&field(old), &field(device)))
        && bounded(report, list, MAX_TAINTS, at)
    {
        for (i, one) in list.iter().enumerate() {
            taint(report, one, None, at.index(i));
        }
    }
    let (list, at) = (
        device.list("consumesCounters"),
        path.child("consumesCounters"),
    );
    if bounded(report, list, MAX_CONSUMPTIONS, at) {
        for (i, consumption) in list.iter().enumerate() {
            counters(report, consumption, "counterSet", at.index(i));
        }
        unique(report, list.iter().map(|c| c.text("counterSet")), at);
    }
    if by_node {
        of_one_node(report, device, path);
    } else if ["nodeName", "nodeSelector", "allNodes"]
        .iter()
        .any(|field| device.has(field))
    {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        report.invalid(path, &Value::Null, detail);
    }
    binding_conditions(report, device, path);
    mappings(
        report,
        device,
        path.child("nodeAllocatableResourceMappings"),
    );
}

fn of_one_node(report: &mut Report, device: &Value, path: Path<'_>) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let mut given = Vec::new();
    if let Some(name) = device.string("nodeName") {
        let at = path.child("nodeName");
        if name.is_empty() {
            report.invalid_str(at, name, "must not be empty");
        } else {
            given.push("`nodeName`");
            report.problems(at, name, rules::dns1123_subdomain(name));
        }
    }
    if let Some(selector) = device.part("nodeSelector") {
        given.push("`nodeSelector`");
        node_selector(report, selector, path.child("nodeSelector"));
    }
    true_or_nothing(report, device, "allNodes", "`allNodes`", &mut given, path);
    match given.len() {
        0 => report.required(path, ONE),
        1 => {}
        _ => report.invalid_str(path, &format!("{{{}}}", given.join(", ")), ONE),
    }
}

/// A key as a path shows it: long ones without their middle.
fn shortened(key: &str) -> String {
    const MAX: usize = 63 + 1 + 32;
    if key.len() <= MAX {
        return key.to_owned();
    }
    let rest = MAX - 3;
    let front = &key.as_bytes()[..rest.div_ceil(2)];
    let back = &key.as_bytes()[key.len() - rest / 2..];
    format!(
        "{}...{}",
        String::from_utf8_lossy(front),
        String::from_utf8_lossy(back)
    )
}

fn attributes(report: &mut Report, device: &Value, path: Path<'_>) {
    let map = device.map("attributes");
    let capacities = device.map("capacity").map_or(0, crate::Map::len);
    let all = map.map_or(0, crate::Map::len) + capacities;
    if all > MAX_ATTRIBUTES {
        let detail = format!(
            "the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}"
        );
        report.invalid(path, &Value::from(all as i64), detail);
    }
    let count = |attribute: &Value| -> usize {
        let items: usize = LISTS.iter().map(|list| attribute.list(list).len()).sum();
        items.max(1)
    };
    let values: usize = map
        .iter()
        .flat_map(|m| m.iter())
        .map(|(_, a)| count(a))
        .sum();
    if values > MAX_ATTRIBUTE_VALUES {
        let detail =
            format!("the total number of attribute values must not exceed {MAX_ATTRIBUTE_VALUES}");
        report.invalid(path, &Value::from(values as i64), detail);
    }
    let at = path.child("attributes");
    for (name, attribute) in map.iter().flat_map(|m| m.iter()) {
        qualified_name(report, name, at);
        let key = shortened(name);
        self::attribute(report, attribute, at.key(&key));
    }
}

fn attribute(report: &mut Report, attribute: &Value, path: Path<'_>) {
    let text = |report: &mut Report, value: &str, at: Path<'_>| {
        if value.len() > MAX_VALUE {
            report.errors.push(FieldError::too_long(at, MAX_VALUE));
        }
    };
    if let Some(value) = attribute.string("string") {
        text(report, value, path.child("string"));
    }
    if let Some(value) = attribute.string("version") {
        version(report, value, path.child("version"));
        text(report, value, path.child("version"));
    }
    let (strings, versions) = (path.child("strings"), path.child("versions"));
    for (i, value) in attribute.texts("strings").enumerate() {
        text(report, value, strings.index(i));
    }
    for (i, value) in attribute.texts("versions").enumerate() {
        version(report, value, versions.index(i));
        text(report, value, versions.index(i));
    }
    let fields = ["bool", "int", "string", "version"].iter().chain(&LISTS);
    const ONE: &str = "exactly one value must be specified";
    match fields.filter(|field| attribute.has(field)).count() {
        0 => report.invalid_str(path, "", ONE),
        1 => {}
        _ => report.invalid(path, attribute, ONE),
    }
}

/// semver.org's grammar of version 2.0.0.
static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const NUMBER: &str = "(0|[1-9][0-9]*)";
    const BEFORE: &str = "(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)";
    const BUILD: &str = "[0-9a-zA-Z-]+";
    let text =
        format!(r"^{NUMBER}\.{NUMBER}\.{NUMBER}(-{BEFORE}(\.{BEFORE})*)?(\+{BUILD}(\.{BUILD})*)?$");
    Regex::new(&text).ok()
});

fn version(report: &mut Report, value: &str, at: Path<'_>) {
    if !VERSION.as_ref().is_some_and(|form| form.is_match(value)) {
        let detail = "must be a string compatible with semver.org spec 2.0.0";
        report.invalid_str(at, value, detail);
    }
}

/// A named set of counters, or what a device takes of one.
fn counters(report: &mut Report, of: &Value, name: &str, path: Path<'_>) {
    report.required_name(path.child(name), of.text(name), rules::dns1123_label);
    let at = path.child("counters");
    let counters = of.map("counters").map_or(0, crate::Map::len);
    if counters == 0 {
        return report.required(at, "");
    }
    if counters > MAX_COUNTERS {
        let error = FieldError::too_many(at, counters, MAX_COUNTERS);
        return report.errors.push(error);
    }
    for (name, _) in of.map("counters").iter().flat_map(|m| m.iter()) {
        label(report, name, at);
    }
}

fn amount(of: &Value, field: &str) -> Quantity {
    of.part(field).map_or_else(Quantity::zero, quantity)
}

/// How much of a capacity may be asked for.
fn request_policy(report: &mut Report, policy: &Value, most: &Quantity, path: Path<'_>) {
    let (values, range) = (policy.list("validValues"), policy.part("validRange"));
    let default = policy.part("default").map(quantity);
    match (values.is_empty(), range, default) {
        (false, Some(_), _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            report.forbidden(path, detail);
        }
        (false, None, None) => report.required(
            path.child("default"),
            "required when validValues is defined",
        ),
        (false, None, Some(default)) => {
            valid_values(report, values, &default, most, path.child("validValues"));
        }
        (true, Some(_), None) => {
            report.required(path.child("default"), "required when validRange is defined");
        }
        (true, Some(range), Some(default)) => {
            valid_range(report, range, &default, most, path.child("validRange"));
        }
        (true, None, _) => {}
    }
}

fn valid_values(
    report: &mut Report,
    values: &[Value],
    default: &Quantity,
    most: &Quantity,
    at: Path<'_>,
) {
    let amounts: Vec<Quantity> = values.iter().map(quantity).collect();
    for (i, pair) in amounts.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let detail = "values must be sorted in ascending order";
            report.invalid_str(at.index(i + 1), &pair[1].to_string(), detail);
        }
    }
    if bounded(report, values, MAX_OPTIONS, at) {
        for (i, amount) in amounts.iter().enumerate() {
            if amount > most {
                let detail = format!("option is larger than capacity value: {most}");
                report.invalid_str(at.index(i), &amount.to_string(), detail);
            }
        }
        let keys: Vec<String> = amounts.iter().map(|a| a.value().to_string()).collect();
        unique(report, keys.iter().map(String::as_str), at);
    }
    // A list that is too long is not searched.
    if values.len() > MAX_OPTIONS || !amounts.contains(default) {
        let detail = "default value is not valid according to the requestPolicy";
        report.invalid_str(at, &default.to_string(), detail);
    }
}

fn valid_range(
    report: &mut Report,
    range: &Value,
    default: &Quantity,
    most: &Quantity,
    path: Path<'_>,
) {
    let Some(least) = range.part("min").map(quantity) else {
        let detail = "required when validRange is defined";
        return report.required(path.child("min"), detail);
    };
    let mut wrong = |field: &str, value: &Quantity, detail: String| {
        report.invalid_str(path.child(field), &value.to_string(), detail);
    };
    let max = range.part("max").map(quantity);
    if least > *most {
        wrong(
            "min",
            &least,
            format!("min is larger than capacity value: {most}"),
        );
    }
    if *default < least {
        wrong("min", default, format!("default is less than min: {least}"));
    }
    if let Some(max) = &max {
        if least > *max {
            wrong("max", &least, format!("min is larger than max: {max}"));
        }
        if max > most {
            let detail = format!("max is larger than capacity value: {most}");
            wrong("max", max, detail);
        }
        if default > max {
            wrong("max", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = range.part("step").map(quantity) else {
        return;
    };
    if let Some(added) = least.checked_add(&step).filter(|added| added > most) {
        let detail = format!("one step {added} is larger than capacity value: {most}");
        wrong("step", &step, detail);
    }
    for value in [Some(default), max.as_ref()].into_iter().flatten() {
        let over = value.value().wrapping_sub(least.value());
        if over.checked_rem(step.value()).is_some_and(|rest| rest != 0) {
            let detail = format!("value is not a multiple of a given step ({step}) from ({least})");
            wrong("step", value, detail);
        }
    }
}

/// What of a node's own resources a device stands for.
fn mappings(report: &mut Report, device: &Value, path: Path<'_>) {
    let capacities = device.map("capacity");
    let mappings = device.map("nodeAllocatableResourceMappings");
    for (name, mapping) in mappings.iter().flat_map(|m| m.iter()) {
        let at = path.key(name);
        if !is_native(name) {
            report.invalid_str(at, name, "must be a node allocatable resource name");
        }
        let (factor, key) = (
            mapping.part("allocationMultiplier").map(quantity),
            mapping.string("capacityKey"),
        );
        if factor.is_none() && key.is_none() {
            let detail = "at least one of allocationMultiplier or capacityKey must be set";
            report.invalid_str(at, "", detail);
        }
        if let Some(factor) = factor.filter(|factor| factor.sign() <= 0) {
            let shown = factor.to_string();
            report.invalid_str(at.child("allocationMultiplier"), &shown, "must be positive");
        }
        let at = at.child("capacityKey");
        match key {
            Some("") => report.invalid_str(at, "", "capacityKey must not be an empty string"),
            Some(key) if !capacities.is_some_and(|all| all.contains_key(key)) => {
                report.errors.push(FieldError::not_found(at, &key.into()));
            }
            _ => {}
        }
    }
}
