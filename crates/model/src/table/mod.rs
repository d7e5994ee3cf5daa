//! Table rows: upstream's columns for built-in kinds, `additionalPrinterColumns` for CRDs.
//!
//! Which columns a kind has is recorded in the catalogue (or the CRD); what stands in them is
//! computed here and matched by column name, so that a column that came or went with a version
//! needs nothing more. Cell texts follow `k8s.io/kubernetes/pkg/printers/internalversion/printers.go`,
//! always in its wide form, as the API server answers.

mod access;
mod core;
mod custom;
mod json_path;
mod network;
mod policy;
mod storage;
mod workloads;

use crate::catalogue::{Column, Resource};
use crate::select::LabelSelector;
use crate::time::Instant;
use crate::value::{prefix, same};
use crate::{Map, Str, Value};

/// The columns of a kind (Name first, Age where upstream has it).
#[must_use]
pub fn columns(resource: &Resource) -> Vec<Column> {
    if resource.columns.is_empty() {
        let column = |name: &str, ty: &str, format: &str| Column {
            name: name.into(),
            ty: ty.into(),
            format: format.into(),
            description: Str::default(),
            priority: 0,
            json_path: Str::default(),
        };
        return vec![
            column("Name", "string", "name"),
            column("Created At", "date", ""),
        ];
    }
    resource.columns.to_vec()
}

/// The cells of one object, one per column; `now` in unix seconds.
#[must_use]
pub fn cells(resource: &Resource, object: &Value, now: i64) -> Vec<Value> {
    let row = Row {
        object,
        metadata: object.get("metadata").unwrap_or(&Value::Null),
        now,
    };
    if resource.custom.is_some() {
        return resource
            .columns
            .iter()
            .map(|c| custom::cell(&row, c))
            .collect();
    }
    let mut cells = match resource.group.as_str() {
        "" => core::cells(&row, &resource.kind),
        "apps" | "batch" => workloads::cells(&row, &resource.kind),
        "events.k8s.io" => core::cells(&row, "Event"),
        "discovery.k8s.io" | "networking.k8s.io" => network::cells(&row, &resource.kind),
        "storage.k8s.io" | "storagemigration.k8s.io" | "internal.apiserver.k8s.io" => {
            storage::cells(&row, &resource.kind)
        }
        "rbac.authorization.k8s.io"
        | "certificates.k8s.io"
        | "admissionregistration.k8s.io"
        | "apiregistration.k8s.io" => access::cells(&row, &resource.kind),
        _ => policy::cells(&row, &resource.kind),
    };
    if resource.columns.is_empty() {
        return vec![row.name(), row.created()];
    }
    // Cells are made in the order of the columns, mostly: the next one is looked at first.
    let mut next = 0;
    let own_name = cells.first().is_some_and(|(name, _)| *name == "Name");
    let mut take = |name: &str| {
        match name {
            "Name" if !own_name => return row.name(),
            "Age" => return row.age(),
            _ => {}
        }
        if let Some((_, value)) = cells.get_mut(next).filter(|(shown, _)| same(shown, name)) {
            next += 1;
            return std::mem::take(value);
        }
        if let Some(at) = cells.iter().position(|(shown, _)| *shown == name) {
            next = at + 1;
            return std::mem::take(&mut cells[at].1);
        }
        match name {
            "Created At" => row.created(),
            _ => Value::Null,
        }
    };
    resource.columns.iter().map(|c| take(&c.name)).collect()
}

/// What a finished pod's row says about itself (`Table.rows[].conditions`).
#[must_use]
pub fn row_conditions(resource: &Resource, object: &Value) -> Vec<Value> {
    let message = match (resource.kind.as_str(), object.str_at(&["status", "phase"])) {
        ("Pod", Some("Succeeded")) => "The pod has completed successfully.",
        ("Pod", Some("Failed")) => "The pod failed.",
        _ => return Vec::new(),
    };
    let reason = object.str_at(&["status", "phase"]).unwrap_or_default();
    let fields = [
        ("type", "Completed"),
        ("status", "True"),
        ("reason", reason),
        ("message", message),
    ];
    vec![Value::Object(fields.into_iter().collect())]
}

/// Cells by column name.
type Cells = Vec<(&'static str, Value)>;

/// One object to be printed.
struct Row<'a> {
    object: &'a Value,
    metadata: &'a Value,
    now: i64,
}

impl<'a> Row<'a> {
    fn at(&self, path: &[&str]) -> Option<&'a Value> {
        self.object.at(path).filter(|v| !v.is_null())
    }

    fn text(&self, path: &[&str]) -> &'a str {
        self.object.str_at(path).unwrap_or_default()
    }

    /// The text at `path`, or what upstream writes when the (pointer) field is not set.
    fn text_or(&self, path: &[&str], absent: &'static str) -> &'a str {
        self.object.str_at(path).unwrap_or(absent)
    }

    fn int(&self, path: &[&str]) -> i64 {
        self.object
            .at(path)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    fn bool(&self, path: &[&str], absent: bool) -> Value {
        Value::Bool(
            self.object
                .at(path)
                .and_then(Value::as_bool)
                .unwrap_or(absent),
        )
    }

    fn list(&self, path: &[&str]) -> &'a [Value] {
        self.object
            .at(path)
            .and_then(Value::as_array)
            .unwrap_or_default()
    }

    fn count(&self, path: &[&str]) -> Value {
        let len = match self.object.at(path) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        };
        Value::Int(i64::try_from(len).unwrap_or(i64::MAX))
    }

    fn map(&self, path: &[&str]) -> Option<&'a Map> {
        self.object.at(path).and_then(Value::as_object)
    }

    fn name(&self) -> Value {
        word(self.metadata, "name").into()
    }

    fn deleted(&self) -> bool {
        let at = field(self.metadata, "deletionTimestamp");
        at.is_some_and(|at| !at.is_null())
    }

    /// How long ago the object was created.
    fn age(&self) -> Value {
        ago(word(self.metadata, "creationTimestamp"), self.now).into()
    }

    fn created(&self) -> Value {
        self.text_or(&["metadata", "creationTimestamp"], "0001-01-01T00:00:00Z")
            .into()
    }

    fn since(&self, path: &[&str]) -> Str {
        ago(self.text(path), self.now)
    }

    /// The status of the condition `kind`, if it has it.
    fn condition(&self, kind: &str) -> Option<&'a Value> {
        self.list(&["status", "conditions"])
            .iter()
            .find(|c| c.str_at(&["type"]) == Some(kind))
    }

    fn condition_is_true(&self, kind: &str) -> bool {
        self.condition(kind)
            .is_some_and(|c| c.str_at(&["status"]) == Some("True"))
    }
}

/// A field, looked for by a name that is known when this is compiled: rows are made by the thousand.
#[inline(always)]
fn field<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.as_object()?.get_known(prefix(key), key)
}

/// The text of a field, empty when absent.
#[inline(always)]
fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    let text = field(value, key).and_then(Value::as_str);
    text.unwrap_or_default()
}

/// Unix seconds of an RFC 3339 time.
fn seconds(text: &str) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    Instant::parse(text)
        .ok()
        .filter(|t| !t.is_zero())
        .map(|t| t.seconds)
}

/// `5m`, or `<unknown>` for a time that is not set.
fn ago(time: &str, now: i64) -> Str {
    seconds(time).map_or_else(|| "<unknown>".into(), |then| human(now - then))
}

/// `a,b,c` of a text field of list items.
fn joined(items: &[Value], field: &str) -> String {
    items
        .iter()
        .map(|i| i.str_at(&[field]).unwrap_or_default())
        .collect::<Vec<_>>()
        .join(",")
}

/// A list of texts, joined.
fn texts(items: &[Value], separator: &str) -> String {
    items
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(separator)
}

/// `a=1,b=2`, or `<none>`.
fn labels(map: Option<&Map>) -> String {
    let text = map.map(|m| {
        m.iter()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
    });
    text.filter(|t| !t.is_empty())
        .map_or_else(|| "<none>".into(), |t| t.join(","))
}

/// A label selector as text; `None` when it is malformed. Unlike a query, an operator keeps its
/// own form: `a in (x)`.
fn selector(value: Option<&Value>) -> Option<String> {
    // a selector that is not set selects nothing, and prints as nothing
    let Some(value) = value else {
        return Some(String::new());
    };
    LabelSelector::from_value(value).ok()?;
    let labels = value.get("matchLabels").and_then(Value::as_object);
    let mut terms: Vec<(&str, String)> = labels
        .into_iter()
        .flat_map(Map::iter)
        .map(|(k, v)| (k, format!("{k}={}", v.as_str().unwrap_or_default())))
        .collect();
    for term in value
        .get("matchExpressions")
        .and_then(Value::as_array)
        .unwrap_or_default()
    {
        let key = term.str_at(&["key"]).unwrap_or_default();
        let mut values: Vec<&str> = term
            .get("values")
            .and_then(Value::as_array)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push((
            key,
            match term.str_at(&["operator"])? {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.to_owned(),
            },
        ));
    }
    terms.sort_by_key(|(key, _)| *key);
    Some(
        terms
            .into_iter()
            .map(|(_, text)| text)
            .collect::<Vec<_>>()
            .join(","),
    )
}

/// [`selector`] with upstream's words for nothing and for malformed.
fn selector_or_none(value: Option<&Value>) -> String {
    match selector(value) {
        Some(text) if text.is_empty() => "<none>".into(),
        Some(text) => text,
        None => "<error>".into(),
    }
}

/// Names and images of containers, each joined by commas.
fn containers(items: &[Value]) -> [(&'static str, Value); 2] {
    [
        ("Containers", joined(items, "name").into()),
        ("Images", joined(items, "image").into()),
    ]
}

/// `a,b,c + 2 more...`
fn first_of(items: &[String], total: usize, max: usize, separator: &str) -> String {
    let text = items
        .iter()
        .take(max)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(separator);
    if total > max {
        format!("{text} + {} more...", total - max)
    } else {
        text
    }
}

/// `5s`, `3m20s`, `7d2h` as apimachinery `pkg/util/duration/duration.go` prints ages.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    human(seconds).into()
}

fn human(seconds: i64) -> Str {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let one = |major: i64, unit: &str| {
        let mut text = Text::default();
        text.number(major);
        text.text(unit);
        text.done()
    };
    let two = |major: i64, unit: &str, minor: i64, small: &str| {
        let mut text = Text::default();
        text.number(major);
        text.text(unit);
        if minor != 0 {
            text.number(minor);
            text.text(small);
        }
        text.done()
    };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        _ if seconds < 120 => one(seconds, "s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => one(minutes, "m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => one(hours, "h"),
        _ if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => one(days, "d"),
        _ if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => one(days / 365, "y"),
    }
}

/// Short texts with numbers: rows are made by the thousand, and formatting would be most of them.
#[derive(Default)]
struct Text {
    bytes: [u8; 32],
    len: usize,
    /// what did not fit
    long: Option<String>,
}

impl Text {
    #[inline]
    fn text(&mut self, text: &str) {
        let end = self.len + text.len();
        match self.bytes.get_mut(self.len..end) {
            Some(place) if self.long.is_none() => {
                for (to, from) in place.iter_mut().zip(text.bytes()) {
                    *to = from;
                }
                self.len = end;
            }
            _ => self.push_long(text),
        }
    }

    #[cold]
    fn push_long(&mut self, text: &str) {
        let long = self.long.take();
        let mut long = long.unwrap_or_else(|| self.shown().to_owned());
        long.push_str(text);
        self.long = Some(long);
    }

    #[inline]
    fn number(&mut self, number: i64) {
        if (0..10).contains(&number) {
            let at = number as usize;
            return self.text(&"0123456789"[at..=at]);
        }
        let mut room = [0; 20];
        let digits = crate::json::digits(number, &mut room);
        self.text(std::str::from_utf8(digits).unwrap_or_default());
    }

    fn shown(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn done(self) -> Str {
        match self.long {
            Some(long) => long.into(),
            None => self.shown().into(),
        }
    }
}

/// `1/2`
fn fraction(part: i64, whole: i64) -> Str {
    let mut text = Text::default();
    text.number(part);
    text.text("/");
    text.number(whole);
    text.done()
}

#[cfg(test)]
mod tests;
