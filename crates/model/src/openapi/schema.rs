//! Types of the catalogue as OpenAPI schemas.

use super::descriptions::Texts;
use super::{Dialect, gvk, object};
use crate::catalogue::{Catalogue, Field, List, ListKind, Shape, Struct, TypeId};
use crate::{Map, Value, value};
use std::collections::{BTreeMap, BTreeSet};

/// The schemas that a document needs, collected while its paths are written.
pub(super) struct Schemas<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) dialect: Dialect,
    wanted: Vec<TypeId>,
    seen: BTreeSet<TypeId>,
    done: BTreeMap<String, Value>,
    texts: Texts,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

impl<'a> Schemas<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, dialect: Dialect) -> Self {
        let (wanted, seen, done) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        Self {
            catalogue,
            dialect,
            wanted,
            seen,
            done,
            texts: Texts::unpack(),
        }
    }

    /// A reference to a kind; its schema and all below it become part of the document.
    pub(super) fn kind(&mut self, group: &str, version: &str, kind: &str) -> Option<Value> {
        let (_, id) = self.catalogue.type_of(group, version, kind)?;
        self.struct_reference(id)
    }

    pub(super) fn named(&mut self, name: &str) -> Value {
        match self
            .catalogue
            .type_named(name)
            .and_then(|(_, id)| self.struct_reference(id))
        {
            Some(reference) => reference,
            None => self.dialect.reference(name),
        }
    }

    pub(super) fn meta(&mut self, kind: &str) -> Value {
        self.named(&format!("{META}{kind}"))
    }

    pub(super) fn patch(&mut self) -> Value {
        self.add(PATCH, value!({"type": "object"}))
    }

    /// Adds a schema that is written elsewhere.
    pub(super) fn add(&mut self, name: &str, schema: Value) -> Value {
        self.done.insert(name.to_owned(), schema);
        self.dialect.reference(name)
    }

    fn struct_reference(&mut self, id: TypeId) -> Option<Value> {
        let s = self.catalogue.types.structure(id)?;
        if self.seen.insert(id) {
            self.wanted.push(id);
        }
        Some(self.dialect.reference(&s.name))
    }

    /// Every schema collected. `only` says which group-versions a kind of all groups
    /// (`DeleteOptions`) names as its own.
    pub(super) fn finish(mut self, only: &dyn Fn(&str, &str) -> bool) -> Value {
        let kinds = self.catalogue.kinds_by_type();
        while let Some(id) = self.wanted.pop() {
            let Some(s) = self.catalogue.types.structure(id) else {
                continue;
            };
            let mut schema = self.structure(s);
            let gvks: Vec<Value> = match kinds.get(&id).map(Vec::as_slice) {
                Some([(group, version, kind)]) if group.as_str() == "meta.k8s.io" => self
                    .everywhere(kind, only)
                    .unwrap_or_else(|| vec![gvk("", version, kind)]),
                Some(list) => list.iter().map(|(g, v, k)| gvk(g, v, k)).collect(),
                None => Vec::new(),
            };
            if !gvks.is_empty() {
                schema.insert("x-kubernetes-group-version-kind", gvks);
            }
            self.done.insert(s.name.to_string(), schema.into());
        }
        Value::Object(self.done.into_iter().collect())
    }

    fn everywhere(&self, kind: &str, only: &dyn Fn(&str, &str) -> bool) -> Option<Vec<Value>> {
        if !matches!(kind, "DeleteOptions" | "WatchEvent") {
            return None;
        }
        let mut all: Vec<(&str, &str)> = vec![("", "v1")];
        all.extend(self.catalogue.groups.iter().flat_map(|g| {
            g.versions
                .iter()
                .map(move |v| (g.name.as_str(), v.as_str()))
        }));
        all.retain(|(g, v)| only(g, v));
        all.sort_unstable();
        all.dedup();
        Some(all.into_iter().map(|(g, v)| gvk(g, v, kind)).collect())
    }

    fn structure(&mut self, s: &Struct) -> Map {
        let mut schema: Map = [("type", "object")].into_iter().collect();
        let required: Vec<Value> = s
            .fields
            .iter()
            .filter(|f| f.required)
            .map(|f| f.json.clone().into())
            .collect();
        // `IngressRule.http` is inlined without a word, the object of a WatchEvent has one.
        let silent = s.name.ends_with("networking.v1.IngressRule");
        let spoken = s.name.ends_with("meta.v1.WatchEvent");
        let properties: Map = s
            .fields
            .iter()
            .map(|f| {
                let mut schema = self.field(f);
                let text = self.texts.get(&s.name, &f.json);
                if let (Some(text), Value::Object(map)) =
                    (text.filter(|_| !silent || f.json != "http"), &mut schema)
                {
                    map.insert("description", text);
                }
                let schema = if spoken { schema } else { plain(schema) };
                (f.json.clone(), schema)
            })
            .collect();
        if let Some(text) = self.texts.get(&s.name, "") {
            schema.insert("description", text);
        }
        if !properties.is_empty() {
            schema.insert("properties", properties);
        }
        if !required.is_empty() {
            schema.insert("required", required);
        }
        if s.atomic {
            schema.insert("x-kubernetes-map-type", "atomic");
        }
        if s.name.ends_with("policy.v1.PodDisruptionBudgetSpec")
            && let Some(properties) = schema.get_mut("properties")
        {
            // The one field of the API that is marked `patchStrategy:"replace"`.
            properties.set(&["selector", "x-kubernetes-patch-strategy"], "replace");
        }
        let has = |name: &str| s.fields.iter().any(|f| f.json == name);
        if let Some(unions) = super::roots::unions(&s.name, &has) {
            schema.insert("x-kubernetes-unions", unions);
        }
        schema
    }

    fn field(&mut self, field: &Field) -> Value {
        let types = &self.catalogue.types;
        let mut schema = self.shape(field.ty, true);
        let v3 = self.dialect == Dialect::V3;
        if v3 && !field.pointer && types.structure(field.ty).is_some() {
            schema.insert("default", Value::object());
        }
        if let Some(facts) = &field.facts {
            if let Some(default) = facts.default.as_ref().filter(|_| v3) {
                schema.insert("default", default.clone());
            }
            if !facts.one_of.is_empty() {
                let values = facts.one_of.clone();
                let inner = if schema.contains_key("items") {
                    "items"
                } else {
                    "additionalProperties"
                };
                match schema.get_mut(inner).and_then(Value::as_object_mut) {
                    Some(items) => items.insert("enum", values),
                    None => schema.insert("enum", values),
                };
            }
        }
        let strategies = [
            (field.patch_merge, "merge"),
            (field.patch_retain_keys, "retainKeys"),
        ];
        let strategies: Vec<&str> = strategies
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, name)| *name)
            .collect();
        if !strategies.is_empty() {
            schema.insert("x-kubernetes-patch-strategy", strategies.join(","));
        }
        if let Some(key) = field.patch_merge_key() {
            schema.insert("x-kubernetes-patch-merge-key", key);
        }
        if field.map_atomic || field.map_granular {
            schema.insert(
                "x-kubernetes-map-type",
                if field.map_atomic {
                    "atomic"
                } else {
                    "granular"
                },
            );
        }
        if field.list_atomic {
            schema.insert("x-kubernetes-list-type", "atomic");
        }
        schema.into()
    }

    /// `field`: something may be written beside the reference, which v3 allows in `allOf` only.
    fn shape(&mut self, id: TypeId, field: bool) -> Map {
        match self.catalogue.types.get(id) {
            Shape::Struct(_) => {
                let reference = self.struct_reference(id).unwrap_or_default();
                self.beside(reference, field)
            }
            Shape::Map(item) => {
                let item = self.item(*item);
                [("type", "object".into()), ("additionalProperties", item)]
                    .into_iter()
                    .collect()
            }
            Shape::List(list) => self.list(list),
            other => match (scalar(other), leaf(other)) {
                (Some(schema), _) => schema,
                (None, name) => {
                    let mut schema = leaf_schema(other, self.dialect);
                    if let (Some(text), Value::Object(map)) =
                        (self.texts.get(name, ""), &mut schema)
                    {
                        map.insert("description", text);
                    }
                    let reference = self.add(name, schema);
                    self.beside(reference, field)
                }
            },
        }
    }

    fn beside(&self, reference: Value, field: bool) -> Map {
        match (self.dialect, reference) {
            (Dialect::V3, reference) if field => [("allOf", vec![reference])].into_iter().collect(),
            (_, Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    fn list(&mut self, list: &List) -> Map {
        let mut schema: Map = [("type", "array")].into_iter().collect();
        schema.insert("items", self.item(list.item));
        match &list.kind {
            ListKind::Atomic => {}
            ListKind::Set => _ = schema.insert("x-kubernetes-list-type", "set"),
            ListKind::Map(keys) => {
                schema.insert("x-kubernetes-list-type", "map");
                schema.insert("x-kubernetes-list-map-keys", keys.clone());
            }
        }
        schema
    }

    /// Items are held by value, so each has Go's zero as its default.
    fn item(&mut self, id: TypeId) -> Value {
        let shape = self.catalogue.types.get(id);
        let is_struct = matches!(shape, Shape::Struct(_));
        let zero = match shape {
            Shape::String => Some("".into()),
            Shape::Bool => Some(false.into()),
            Shape::Int32 | Shape::Int64 => Some(0.into()),
            Shape::Struct(_) => Some(Value::object()),
            _ => None,
        };
        let mut schema = self.shape(id, is_struct);
        if let Some(zero) = zero.filter(|_| self.dialect == Dialect::V3) {
            schema.insert("default", zero);
        }
        schema.into()
    }
}

/// A reference with nothing beside it needs no `allOf`.
fn plain(schema: Value) -> Value {
    let only = schema.as_object().filter(|m| m.len() == 1);
    match only.and_then(|m| m.get("allOf")).and_then(Value::as_array) {
        Some([reference]) => reference.clone(),
        _ => schema,
    }
}

/// Types that are written in place.
fn scalar(shape: &Shape) -> Option<Map> {
    let (ty, format) = match shape {
        Shape::String => ("string", ""),
        Shape::Bool => ("boolean", ""),
        Shape::Int32 => ("integer", "int32"),
        Shape::Int64 => ("integer", "int64"),
        Shape::Float => ("number", "double"),
        Shape::Bytes => ("string", "byte"),
        _ => return None,
    };
    let mut schema: Map = [("type", ty)].into_iter().collect();
    if !format.is_empty() {
        schema.insert("format", format);
    }
    Some(schema)
}

/// Types with a definition of their own and no fields.
fn leaf(shape: &Shape) -> &'static str {
    match shape {
        Shape::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Shape::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Shape::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Shape::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Shape::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        Shape::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Shape::Raw => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        Shape::SchemaOrBool(_) => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        Shape::SchemaOrArray(_) => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        Shape::SchemaOrStrings(_) => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        _ => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    }
}

fn leaf_schema(shape: &Shape, dialect: Dialect) -> Value {
    match (shape, dialect) {
        (Shape::Quantity, Dialect::V3) => {
            value!({"oneOf": [{"type": "string"}, {"type": "number"}]})
        }
        (Shape::IntOrString, Dialect::V3) => {
            value!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        (Shape::IntOrString, Dialect::V2) => value!({"type": "string", "format": "int-or-string"}),
        (Shape::Quantity | Shape::Duration, _) => value!({"type": "string"}),
        (Shape::Time | Shape::MicroTime, _) => value!({"type": "string", "format": "date-time"}),
        (Shape::FieldsV1 | Shape::Raw, _) => value!({"type": "object"}),
        // Any JSON: v2 and v3 both say so by saying nothing.
        _ => object::<&str>([]),
    }
}
