//! Horizontal pod autoscalers: kubernetes `pkg/apis/autoscaling/v1/conversion.go`.
//!
//! v1 has a field for one metric only, the use of CPU. Everything else travels in annotations, as
//! JSON text of the old types (behaviour: of upstream's internal type, with its capital letters).

use crate::{Map, Str, Value, json, value};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const OTHERS: [&str; 2] = [
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

pub(super) fn to_v2(object: &mut Value) {
    let noted = take_annotations(object);
    let note = |name: &str| {
        noted
            .iter()
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.clone())
    };
    let mut metrics: Vec<Value> = list(note(METRICS)).into_iter().map(spec_to_v2).collect();
    if let Some(percent) = object
        .get_mut("spec")
        .and_then(|s| s.unset(&["targetCPUUtilizationPercentage"]))
    {
        metrics.push(cpu(percent));
    }
    if metrics.is_empty() {
        metrics.push(cpu(80.into()));
    }
    object.set(&["spec", "metrics"], metrics);
    if let Some(behavior) = note(BEHAVIOR).and_then(|b| decapitalised(&b)) {
        object.set(&["spec", "behavior"], behavior);
    }
    let percent = object
        .get_mut("status")
        .and_then(|s| s.unset(&["currentCPUUtilizationPercentage"]));
    if let Some(Value::Array(current)) = note(CURRENT) {
        let current: Vec<Value> = current.into_iter().map(status_to_v2).collect();
        object.set(&["status", "currentMetrics"], current);
    } else if let Some(percent) = percent {
        let metric = value!({"type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": (percent)}}});
        object.set(&["status", "currentMetrics"], vec![metric]);
    }
    if let Some(conditions @ Value::Array(_)) = note(CONDITIONS) {
        object.set(&["status", "conditions"], conditions);
    }
}

pub(super) fn to_v1(object: &mut Value) {
    take_annotations(object);
    let mut notes: Vec<(&str, Value)> = Vec::new();
    let metrics = list(object.get_mut("spec").and_then(|s| s.unset(&["metrics"])));
    let utilization = |m: &Value| {
        m.at(&["resource", "target", "averageUtilization"])
            .filter(|_| is_cpu(m))
            .cloned()
    };
    if let Some(percent) = metrics.iter().find_map(utilization) {
        object.set(&["spec", "targetCPUUtilizationPercentage"], percent);
    }
    let other: Vec<Value> = metrics
        .into_iter()
        .filter(|m| utilization(m).is_none())
        .map(spec_to_v1)
        .collect();
    notes.push((METRICS, other.into()));
    if let Some(behavior) = object.get_mut("spec").and_then(|s| s.unset(&["behavior"])) {
        notes.push((BEHAVIOR, capitalised(&behavior)));
    }
    let current = list(
        object
            .get_mut("status")
            .and_then(|s| s.unset(&["currentMetrics"])),
    );
    // As upstream: of several the last counts.
    let used = |m: &Value| {
        m.at(&["resource", "current", "averageUtilization"])
            .filter(|_| is_cpu(m))
            .cloned()
    };
    if let Some(percent) = current.iter().filter_map(used).next_back() {
        object.set(&["status", "currentCPUUtilizationPercentage"], percent);
    }
    notes.push((
        CURRENT,
        current
            .into_iter()
            .map(status_to_v1)
            .collect::<Vec<_>>()
            .into(),
    ));
    let conditions = list(
        object
            .get_mut("status")
            .and_then(|s| s.unset(&["conditions"])),
    );
    notes.push((CONDITIONS, conditions.into()));
    for (name, value) in notes {
        if value.as_array().is_none_or(|a| !a.is_empty()) {
            object.set(&["metadata", "annotations", name], text(&value));
        }
    }
}

/// Removes the annotations of the round trip and returns them, parsed where they are JSON.
fn take_annotations(object: &mut Value) -> Vec<(&'static str, Option<Value>)> {
    let names = [METRICS, CURRENT, CONDITIONS, BEHAVIOR, OTHERS[0], OTHERS[1]];
    let Some(annotations) = object
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
    else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    for name in names {
        if let Some(text) = annotations.unset(&[name]) {
            let parsed = text
                .as_str()
                .and_then(|t| json::parse(t.as_bytes()).ok())
                .map(|d| d.value);
            taken.push((name, parsed));
        }
    }
    taken
}

fn list(value: Option<Value>) -> Vec<Value> {
    if let Some(Value::Array(items)) = value {
        items
    } else {
        Vec::new()
    }
}

fn is_cpu(metric: &Value) -> bool {
    metric.str_at(&["type"]) == Some("Resource")
        && metric.str_at(&["resource", "name"]) == Some("cpu")
}

fn cpu(percent: Value) -> Value {
    value!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": (percent)}}})
}

/// An object of the fields that are there.
fn present(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let there = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.filter(|v| !v.is_null())?)));
    Value::Object(there.collect::<Map>())
}

/// The one source that a metric has, by its place.
const SOURCES: [&str; 5] = [
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
];

/// Rewrites each source of a metric.
fn map_sources(metric: Value, rewrite: impl Fn(&str, &Value) -> Value) -> Value {
    let field = |key: &'static str| {
        (
            key,
            metric
                .get(key)
                .filter(|s| !s.is_null())
                .map(|s| rewrite(key, s)),
        )
    };
    let ty = ("type", metric.get("type").cloned());
    present(SOURCES.into_iter().map(field).chain([ty]))
}

fn spec_to_v2(metric: Value) -> Value {
    map_sources(metric, |kind, source| {
        let get = |key: &str| source.get(key).filter(|v| !v.is_null()).cloned();
        let target = |ty: &str, value, average, utilization| {
            let ty = Some(Value::from(ty));
            present([
                ("type", ty),
                ("value", value),
                ("averageValue", average),
                ("averageUtilization", utilization),
            ])
        };
        let metric = |selector| present([("name", get("metricName")), ("selector", get(selector))]);
        match kind {
            "object" => {
                let (average, mut value) = (
                    get("averageValue"),
                    get("targetValue").or_else(|| Some("0".into())),
                );
                if average.is_some() && value.as_ref().and_then(Value::as_str) == Some("0") {
                    value = None;
                }
                let ty = if average.is_some() {
                    "AverageValue"
                } else {
                    "Value"
                };
                let target = target(ty, value, average, None);
                present([
                    ("describedObject", get("target")),
                    ("metric", Some(metric("selector"))),
                    ("target", Some(target)),
                ])
            }
            "pods" => {
                let average = get("targetAverageValue").or_else(|| Some("0".into()));
                present([
                    ("metric", Some(metric("selector"))),
                    ("target", Some(target("AverageValue", None, average, None))),
                ])
            }
            "external" => {
                let value = get("targetValue");
                let ty = if value.is_some() {
                    "Value"
                } else {
                    "AverageValue"
                };
                let target = target(ty, value, get("targetAverageValue"), None);
                present([
                    ("metric", Some(metric("metricSelector"))),
                    ("target", Some(target)),
                ])
            }
            _ => {
                let utilization = get("targetAverageUtilization");
                let ty = if utilization.is_some() {
                    "Utilization"
                } else {
                    "AverageValue"
                };
                let target = target(ty, None, get("targetAverageValue"), utilization);
                present([
                    ("name", get("name")),
                    ("container", get("container")),
                    ("target", Some(target)),
                ])
            }
        }
    })
}

fn spec_to_v1(metric: Value) -> Value {
    map_sources(metric, |kind, source| {
        let at = |path: &[&str]| source.at(path).filter(|v| !v.is_null()).cloned();
        let (name, selector) = (at(&["metric", "name"]), at(&["metric", "selector"]));
        let (value, average) = (at(&["target", "value"]), at(&["target", "averageValue"]));
        let zero = || Some(Value::from("0"));
        match kind {
            "object" => present([
                ("target", at(&["describedObject"])),
                ("metricName", name),
                ("targetValue", value.or_else(zero)),
                ("selector", selector),
                ("averageValue", average),
            ]),
            "pods" => present([
                ("metricName", name),
                ("targetAverageValue", average.or_else(zero)),
                ("selector", selector),
            ]),
            "external" => present([
                ("metricName", name),
                ("metricSelector", selector),
                ("targetValue", value),
                ("targetAverageValue", average),
            ]),
            _ => present([
                ("name", at(&["name"])),
                (
                    "targetAverageUtilization",
                    at(&["target", "averageUtilization"]),
                ),
                ("targetAverageValue", average),
                ("container", at(&["container"])),
            ]),
        }
    })
}

fn status_to_v2(metric: Value) -> Value {
    map_sources(metric, |kind, source| {
        let get = |key: &str| source.get(key).filter(|v| !v.is_null()).cloned();
        let value = |key: &str| get(key).or_else(|| Some("0".into()));
        let selector = if kind == "external" {
            "metricSelector"
        } else {
            "selector"
        };
        let metric = present([("name", get("metricName")), ("selector", get(selector))]);
        match kind {
            "object" => {
                let current = present([
                    ("value", value("currentValue")),
                    ("averageValue", get("averageValue")),
                ]);
                present([
                    ("describedObject", get("target")),
                    ("metric", Some(metric)),
                    ("current", Some(current)),
                ])
            }
            "pods" => {
                let current = present([("averageValue", value("currentAverageValue"))]);
                present([("metric", Some(metric)), ("current", Some(current))])
            }
            "external" => {
                let current = present([
                    ("value", value("currentValue")),
                    ("averageValue", get("currentAverageValue")),
                ]);
                present([("metric", Some(metric)), ("current", Some(current))])
            }
            _ => {
                let utilization = get("currentAverageUtilization");
                let current = present([
                    ("averageValue", value("currentAverageValue")),
                    ("averageUtilization", utilization),
                ]);
                present([
                    ("name", get("name")),
                    ("container", get("container")),
                    ("current", Some(current)),
                ])
            }
        }
    })
}

fn status_to_v1(metric: Value) -> Value {
    map_sources(metric, |kind, source| {
        let at = |path: &[&str]| source.at(path).filter(|v| !v.is_null()).cloned();
        let (name, selector) = (at(&["metric", "name"]), at(&["metric", "selector"]));
        let (value, average) = (at(&["current", "value"]), at(&["current", "averageValue"]));
        let zero = || Some(Value::from("0"));
        match kind {
            "object" => present([
                ("target", at(&["describedObject"])),
                ("metricName", name),
                ("currentValue", value.or_else(zero)),
                ("selector", selector),
                ("averageValue", average),
            ]),
            "pods" => present([
                ("metricName", name),
                ("currentAverageValue", average.or_else(zero)),
                ("selector", selector),
            ]),
            "external" => present([
                ("metricName", name),
                ("metricSelector", selector),
                ("currentValue", value.or_else(zero)),
                ("currentAverageValue", average),
            ]),
            _ => present([
                ("name", at(&["name"])),
                (
                    "currentAverageUtilization",
                    at(&["current", "averageUtilization"]),
                ),
                ("currentAverageValue", average.or_else(zero)),
                ("container", at(&["container"])),
            ]),
        }
    })
}

const BEHAVIOR_FIELDS: [&str; 9] = [
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
    "PeriodSeconds",
    "Tolerance",
];

/// Go's internal type has no JSON names and writes what is unset as null.
fn capitalised(behavior: &Value) -> Value {
    let rules = |rules: Option<&Value>| {
        let Some(rules) = rules.filter(|r| !r.is_null()) else {
            return Value::Null;
        };
        let get = |key: &str| rules.get(key).cloned().unwrap_or_default();
        let policies = rules.get("policies").and_then(Value::as_array).map(|policies| {
            let one = |p: &Value| {
                let field = |key: &str| p.get(key).cloned().unwrap_or_default();
                value!({"Type": (field("type")), "Value": (field("value")), "PeriodSeconds": (field("periodSeconds"))})
            };
            Value::Array(policies.iter().map(one).collect())
        });
        value!({
            "StabilizationWindowSeconds": (get("stabilizationWindowSeconds")),
            "SelectPolicy": (get("selectPolicy")),
            "Policies": (policies.unwrap_or_default()),
            "Tolerance": (get("tolerance"))
        })
    };
    value!({"ScaleUp": (rules(behavior.get("scaleUp"))), "ScaleDown": (rules(behavior.get("scaleDown")))})
}

/// Back again; `None` when there is nothing in it. Go matches names in any case.
fn decapitalised(value: &Value) -> Option<Value> {
    fn lower(value: &Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.iter().map(lower).collect()),
            Value::Object(map) => {
                let known = map.iter().filter_map(|(key, value)| {
                    let name = BEHAVIOR_FIELDS
                        .iter()
                        .find(|f| f.eq_ignore_ascii_case(key))?;
                    let mut name = Str::from(*name);
                    name.replace_range(..1, &name[..1].to_ascii_lowercase());
                    (!value.is_null()).then(|| (name, lower(value)))
                });
                Value::Object(known.collect())
            }
            other => other.clone(),
        }
    }
    let behavior = lower(value);
    behavior
        .as_object()
        .is_some_and(|b| !b.is_empty())
        .then_some(behavior)
}

/// JSON in the order of Go's fields, as other tools have always seen these annotations.
fn text(value: &Value) -> String {
    const ORDER: [&str; 27] = [
        "type",
        "status",
        "lastTransitionTime",
        "reason",
        "message",
        "object",
        "pods",
        "resource",
        "containerResource",
        "external",
        "kind",
        "name",
        "apiVersion",
        "target",
        "metricName",
        "metricSelector",
        "targetValue",
        "targetAverageUtilization",
        "targetAverageValue",
        "currentValue",
        "currentAverageUtilization",
        "currentAverageValue",
        "selector",
        "averageValue",
        "container",
        "matchLabels",
        "matchExpressions",
    ];
    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Array(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    write(item, out);
                }
                out.push(b']');
            }
            Value::Object(map) => {
                let rank = |key: &str| {
                    ORDER
                        .iter()
                        .chain(&BEHAVIOR_FIELDS)
                        .position(|k| *k == key)
                        .unwrap_or(usize::MAX)
                };
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| rank(key));
                out.push(b'{');
                for (i, (key, value)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    json::write_string(key, out);
                    out.push(b':');
                    write(value, out);
                }
                out.push(b'}');
            }
            scalar => json::write(scalar, out),
        }
    }
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}
