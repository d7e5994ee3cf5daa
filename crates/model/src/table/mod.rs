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
mod pods;
mod policy;
mod sheet;
mod storage;
mod text;
mod workloads;

use crate::catalogue::{Column, Resource};
use crate::select::LabelSelector;
use crate::time::Instant;
use crate::value::Walk;
use crate::{Map, Str, Value};
use sheet::Sheet;
pub use text::human_duration;

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

/// Prints objects of one kind as they are `now` (unix seconds).
pub struct Printer<'a> {
    resource: &'a Resource,
    now: i64,
    minor: u8,
    pod: bool,
    /// whether the columns are those that [`pods`] makes cells for, in that order
    in_order: bool,
}

impl<'a> Printer<'a> {
    #[must_use]
    pub fn new(resource: &'a Resource, now: i64) -> Self {
        let names = resource.columns.iter().map(|c| c.name.as_str());
        let pod = resource.group.is_empty() && resource.kind == "Pod";
        Self {
            resource,
            now,
            minor: resource.types.minor(),
            pod,
            in_order: pod && names.eq(pods::COLUMNS),
        }
    }

    /// The cells of one object, one per column.
    #[must_use]
    pub fn cells(&self, object: &Value) -> Vec<Value> {
        let row = Row::new(object, self.now, self.minor);
        let columns = &self.resource.columns;
        if self.resource.custom.is_some() {
            return columns.iter().map(|c| custom::cell(&row, c)).collect();
        }
        if columns.is_empty() {
            return vec![row.name().into(), row.created()];
        }
        let mut sheet = Sheet::new(columns, self.in_order);
        if self.pod {
            pods::put(&row, &mut sheet);
        } else {
            for (name, cell) in self.kind(&row) {
                *sheet.cell(name) = cell;
            }
        }
        sheet.finish(|column| row.common(column))
    }

    fn kind(&self, row: &Row<'_>) -> Cells {
        let kind = self.resource.kind.as_str();
        match self.resource.group.as_str() {
            "" => core::cells(row, kind),
            "apps" | "batch" => workloads::cells(row, kind),
            "events.k8s.io" => core::cells(row, "Event"),
            "discovery.k8s.io" | "networking.k8s.io" => network::cells(row, kind),
            "storage.k8s.io" | "storagemigration.k8s.io" | "internal.apiserver.k8s.io" => {
                storage::cells(row, kind)
            }
            "rbac.authorization.k8s.io"
            | "certificates.k8s.io"
            | "admissionregistration.k8s.io"
            | "apiregistration.k8s.io" => access::cells(row, kind),
            _ => policy::cells(row, kind),
        }
    }
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
    created: Option<&'a Value>,
    deleted: Option<&'a Value>,
    name: Option<&'a Value>,
    now: i64,
    /// version of the server that prints it
    minor: u8,
}

impl<'a> Row<'a> {
    fn new(object: &'a Value, now: i64, minor: u8) -> Self {
        let mut metadata = Walk::over(object.get("metadata"));
        Self {
            object,
            created: metadata.next("creationTimestamp"),
            deleted: metadata.next("deletionTimestamp"),
            name: metadata.next("name"),
            now,
            minor,
        }
    }

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

    #[inline(always)]
    fn name(&self) -> Str {
        match self.name {
            Some(Value::String(name)) => name.clone(),
            _ => Str::default(),
        }
    }

    fn deleted(&self) -> bool {
        self.deleted.is_some_and(|at| !at.is_null())
    }

    fn created_at(&self) -> Option<&'a str> {
        self.created.and_then(Value::as_str)
    }

    /// Appends how long ago the object was created.
    fn put_age(&self, text: &mut Str) {
        put_ago(text, self.created_at().unwrap_or_default(), self.now);
    }

    fn created(&self) -> Value {
        self.created_at().unwrap_or("0001-01-01T00:00:00Z").into()
    }

    /// The cell of a column that every kind may have.
    fn common(&self, column: &str) -> Option<Value> {
        match column {
            "Name" => Some(self.name().into()),
            "Age" => Some(ago(self.created_at().unwrap_or_default(), self.now).into()),
            "Created At" => Some(self.created()),
            _ => None,
        }
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
    let mut text = Str::default();
    put_ago(&mut text, time, now);
    text
}

fn put_ago(text: &mut Str, time: &str, now: i64) {
    match seconds(time) {
        Some(then) => text::duration(text, now - then),
        None => text.push_str("<unknown>"),
    }
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

#[cfg(test)]
mod tests;
