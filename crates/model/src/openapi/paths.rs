//! The operations on a resource.

use super::schema::Schemas;
use super::{Dialect, custom, gvk, object};
use crate::catalogue::{Resource, Shape, Subresource, TypeId};
use crate::{Map, Str, Value, value};

/// One HTTP method of a path.
struct Operation {
    method: &'static str,
    /// `read`, `list`, `watch` …: the start of `operationId`
    prefix: &'static str,
    action: &'static str,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    response: Value,
    codes: &'static [&'static str],
}

/// Name and type.
type Parameter = (Str, &'static str);

fn parameters(list: &[(&str, &'static str)]) -> Vec<Parameter> {
    list.iter()
        .map(|(name, ty)| ((*name).into(), *ty))
        .collect()
}

enum Body {
    Object(Value),
    Optional(Value),
    Patch(Value),
}

const S: &str = "string";
const B: &str = "boolean";
const I: &str = "integer";

const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", B),
    ("continue", S),
    ("fieldSelector", S),
    ("labelSelector", S),
    ("limit", I),
    ("resourceVersion", S),
    ("resourceVersionMatch", S),
    ("sendInitialEvents", B),
    ("timeoutSeconds", I),
    ("watch", B),
];
const WRITE: &[(&str, &str)] = &[("dryRun", S), ("fieldManager", S), ("fieldValidation", S)];
const PATCH: &[(&str, &str)] = &[
    ("dryRun", S),
    ("fieldManager", S),
    ("fieldValidation", S),
    ("force", B),
];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", S),
    ("gracePeriodSeconds", I),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", B),
    ("orphanDependents", B),
    ("propagationPolicy", S),
];
const DELETE_COLLECTION: &[(&str, &str)] = &[
    ("continue", S),
    ("dryRun", S),
    ("fieldSelector", S),
    ("gracePeriodSeconds", I),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", B),
    ("labelSelector", S),
    ("limit", I),
    ("orphanDependents", B),
    ("propagationPolicy", S),
    ("resourceVersion", S),
    ("resourceVersionMatch", S),
    ("sendInitialEvents", B),
    ("timeoutSeconds", I),
];
/// HTTP methods of connections (`exec`, `proxy`) and the verbs they need.
const CONNECT: &[(&str, &str, &str)] = &[
    ("get", "connectGet", "get"),
    ("post", "connectPost", "create"),
    ("put", "connectPut", "update"),
    ("patch", "connectPatch", "patch"),
    ("delete", "connectDelete", "delete"),
    ("head", "connectHead", "delete"),
    ("options", "connectOptions", "delete"),
];

/// Writes every path of `resource` and collects the schemas they need.
pub(super) fn add(resource: &Resource, routes: &mut Map, schemas: &mut Schemas<'_>) {
    let root = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let (object, list) = if resource.custom.is_some() {
        custom::add(resource, schemas)
    } else {
        let kind = |schemas: &mut Schemas<'_>, name| {
            schemas.kind(&resource.group, &resource.version, name)
        };
        (
            kind(schemas, &resource.kind).unwrap_or_default(),
            kind(schemas, &resource.list_kind).unwrap_or_default(),
        )
    };
    let all = format!("{root}/{}", resource.plural);
    let collection = match resource.namespaced {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
        false => all.clone(),
    };
    routes.entry_or(&format!("{root}/"), || resource_list(resource, schemas));
    let has = |verb: &str| resource.verbs.iter().any(|v| v == verb);
    let writer = Writer {
        resource,
        dialect: schemas.dialect,
        minor: schemas.catalogue.minor,
    };
    if resource.namespaced && has("list") {
        let everywhere = vec![listing(&list)];
        routes.insert(all, writer.path(everywhere, "", "ForAllNamespaces", false));
    }
    let mut on_collection = Vec::new();
    let mut on_object = Vec::new();
    for verb in [
        "list",
        "create",
        "deletecollection",
        "get",
        "update",
        "delete",
        "patch",
    ]
    .into_iter()
    .filter(|v| has(v))
    {
        let (operation, one) = operation(verb, &object, &list, resource, schemas);
        if one {
            on_object.push(operation)
        } else {
            on_collection.push(operation)
        }
    }
    if !on_collection.is_empty() {
        routes.insert(
            collection.clone(),
            writer.path(on_collection, "", "", false),
        );
    }
    if !on_object.is_empty() {
        routes.insert(
            format!("{collection}/{{name}}"),
            writer.path(on_object, "", "", true),
        );
    }
    if has("watch") && resource.custom.is_none() {
        watches(&writer, &root, routes, schemas);
    }
    below_objects(&writer, &collection, &object, routes, schemas);
}

/// The paths of subresources.
fn below_objects(
    writer: &Writer<'_>,
    collection: &str,
    object: &Value,
    routes: &mut Map,
    schemas: &mut Schemas<'_>,
) {
    let resource = writer.resource;
    for subresource in resource.subresources.iter() {
        let name = &subresource.name;
        let operations = on_subresource(resource, subresource, object, schemas);
        let path = writer.path(operations, name, "", true);
        routes.insert(format!("{collection}/{{name}}/{name}"), path);
        if name == "proxy" {
            let operations = on_subresource(resource, subresource, object, schemas);
            let path = writer.path(operations, name, "WithPath", true);
            routes.insert(format!("{collection}/{{name}}/{name}/{{path}}"), path);
        }
    }
}

/// The deprecated paths that watch.
fn watches(writer: &Writer<'_>, root: &str, routes: &mut Map, schemas: &mut Schemas<'_>) {
    let resource = writer.resource;
    let plural = &resource.plural;
    let event = schemas.meta("WatchEvent");
    let watch = |action| Operation {
        method: "get",
        prefix: "watch",
        action,
        parameters: parameters(LIST),
        body: None,
        response: event.clone(),
        codes: &["200"],
    };
    let mut below = format!("{root}/watch");
    if resource.namespaced {
        let all = vec![watch("watchlist")];
        let all = writer.path(all, "", "ListForAllNamespaces", false);
        routes.insert(format!("{below}/{plural}"), all);
        below.push_str("/namespaces/{namespace}");
    }
    let list = writer.path(vec![watch("watchlist")], "", "List", false);
    routes.insert(format!("{below}/{plural}"), list);
    if resource.verbs.iter().any(|v| v == "get") {
        let one = writer.path(vec![watch("watch")], "", "", true);
        routes.insert(format!("{below}/{plural}/{{name}}"), one);
    }
}

/// The path that lists the resources of a group-version.
fn resource_list(resource: &Resource, schemas: &mut Schemas<'_>) -> Value {
    if resource.custom.is_some() {
        // Their paths that watch are not published, the schema is.
        schemas.meta("WatchEvent");
    }
    let response = schemas.meta("APIResourceList");
    let writer = Writer {
        resource,
        dialect: schemas.dialect,
        minor: schemas.catalogue.minor,
    };
    let group = group_name(resource);
    let mut get = value!({"operationId": (format!("get{}{}APIResources", pascal(group), pascal(&resource.version))),
        "tags": [(format!("{}_{}", camel(group), resource.version))]});
    let media = [
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/yaml",
    ];
    get.set(
        &["responses", "200"],
        writer.response("200", &response, &media),
    );
    get.set(&["responses", "401", "description"], "Unauthorized");
    if schemas.dialect == Dialect::V2 {
        let media = [media[0], media[2], media[1]];
        get.set(&["consumes"], super::roots::texts(&media));
        get.set(&["produces"], super::roots::texts(&media));
        get.set(&["schemes"], value!(["https"]));
    }
    object([("get", get)])
}

/// As operation ids say it.
fn group_name(resource: &Resource) -> &str {
    match resource.group.as_str() {
        "" => "core",
        group => group.strip_suffix(".k8s.io").unwrap_or(group),
    }
}

fn listing(list: &Value) -> Operation {
    Operation {
        method: "get",
        prefix: "list",
        action: "list",
        parameters: parameters(LIST),
        body: None,
        response: list.clone(),
        codes: &["200"],
    }
}

/// The operation of a verb; whether it is on one object.
fn operation(
    verb: &str,
    object: &Value,
    list: &Value,
    resource: &Resource,
    schemas: &mut Schemas<'_>,
) -> (Operation, bool) {
    let base = |method, prefix, action| Operation {
        method,
        prefix,
        action,
        parameters: Vec::new(),
        body: None,
        response: object.clone(),
        codes: &["200"],
    };
    let mut write = |parameters: &[(&str, &'static str)], body, codes, base| Operation {
        parameters: self::parameters(parameters),
        body: Some(match body {
            Taken::Object => Body::Object(object.clone()),
            Taken::Options => Body::Optional(schemas.meta("DeleteOptions")),
            Taken::Patch => Body::Patch(schemas.patch()),
        }),
        codes,
        ..base
    };
    match verb {
        "list" => (listing(list), false),
        "create" => {
            let base = base("post", "create", "post");
            (
                write(WRITE, Taken::Object, &["200", "201", "202"], base),
                false,
            )
        }
        "deletecollection" => {
            let base = base("delete", "deleteCollection", "deletecollection");
            let operation = write(DELETE_COLLECTION, Taken::Options, &["200"], base);
            (
                Operation {
                    response: schemas.meta("Status"),
                    ..operation
                },
                false,
            )
        }
        "update" => {
            let base = base("put", "replace", "put");
            (write(WRITE, Taken::Object, &["200", "201"], base), true)
        }
        "delete" => {
            let base = base("delete", "delete", "delete");
            let operation = write(DELETE, Taken::Options, &["200", "202"], base);
            let response = if deletes_with_object(resource) {
                object.clone()
            } else {
                schemas.meta("Status")
            };
            (
                Operation {
                    response,
                    ..operation
                },
                true,
            )
        }
        "patch" => {
            let base = base("patch", "patch", "patch");
            (write(PATCH, Taken::Patch, &["200", "201"], base), true)
        }
        _ => (base("get", "read", "get"), true),
    }
}

/// What a request carries.
#[derive(Clone, Copy)]
enum Taken {
    Object,
    Options,
    Patch,
}

/// Upstream answers some deletions with the object (`ReturnDeletedObject` of its stores).
fn deletes_with_object(resource: &Resource) -> bool {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", plural) => matches!(
            plural,
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "resourcequotas"
                | "podtemplates"
        ),
        ("storage.k8s.io", plural) => plural != "csistoragecapacities",
        (group, _) => group == "resource.k8s.io",
    }
}

fn on_subresource(
    resource: &Resource,
    sub: &Subresource,
    object: &Value,
    schemas: &mut Schemas<'_>,
) -> Vec<Operation> {
    if sub.kind.ends_with("Options") {
        let served = CONNECT
            .iter()
            .filter(|(_, _, verb)| sub.verbs.iter().any(|v| v == verb));
        return served
            .map(|(method, prefix, _)| Operation {
                method,
                prefix,
                action: "connect",
                parameters: options(&sub.group, &sub.version, &sub.kind, schemas),
                body: None,
                response: value!({"type": "string"}),
                codes: &["200"],
            })
            .collect();
    }
    if sub.name == "log" {
        let log = Operation {
            response: value!({"type": "string"}),
            ..operation("get", object, object, resource, schemas).0
        };
        let parameters = options(&sub.group, &sub.version, "PodLogOptions", schemas);
        return vec![Operation { parameters, ..log }];
    }
    let own = sub.kind == resource.kind && sub.group == resource.group;
    let kind = match own {
        true => object.clone(),
        false => schemas
            .kind(&sub.group, &sub.version, &sub.kind)
            .unwrap_or_default(),
    };
    let served = ["create", "get", "update", "patch"]
        .into_iter()
        .filter(|v| sub.verbs.iter().any(|s| s == v));
    served
        .map(|verb| operation(verb, &kind, &kind, resource, schemas).0)
        .collect()
}

/// The fields of a kind that is sent as query parameters.
fn options(group: &str, version: &str, kind: &str, schemas: &Schemas<'_>) -> Vec<Parameter> {
    let Some((types, id)) = schemas.catalogue.type_of(group, version, kind) else {
        return Vec::new();
    };
    let fields = types
        .structure(id)
        .map(|s| s.fields.as_slice())
        .unwrap_or_default();
    // A time has no form as a parameter that upstream would publish.
    let own = fields.iter().filter(|f| {
        f.json != "apiVersion" && f.json != "kind" && !matches!(types.get(f.ty), Shape::Time)
    });
    let ty = |id: TypeId| {
        let item = if let Shape::List(list) = types.get(id) {
            list.item
        } else {
            id
        };
        match types.get(item) {
            Shape::Bool => B,
            Shape::Int32 | Shape::Int64 => I,
            _ => S,
        }
    };
    own.map(|f| (f.json.clone(), ty(f.ty))).collect()
}

/// Writes operations of one resource.
struct Writer<'a> {
    resource: &'a Resource,
    dialect: Dialect,
    minor: u8,
}

impl Writer<'_> {
    /// Parameters that every operation has are written once, for the path.
    fn path(&self, mut operations: Vec<Operation>, sub: &str, suffix: &str, named: bool) -> Value {
        for operation in &mut operations {
            let lists = operation
                .parameters
                .iter()
                .any(|p| p.0 == "sendInitialEvents");
            if lists && self.minor >= 36 {
                // Like upstream's with its feature off, this server takes no notice of it.
                operation.parameters.push(("shardSelector".into(), S));
            }
        }
        let mut common: Vec<Parameter> = operations
            .first()
            .map(|o| o.parameters.clone())
            .unwrap_or_default();
        common.retain(|p| operations.iter().all(|o| o.parameters.contains(p)));
        let connects = operations.iter().any(|o| o.action == "connect");
        let mut path = Map::new();
        for mut operation in operations {
            operation.parameters.retain(|p| !common.contains(p));
            let method = operation.method;
            path.insert(method, self.operation(operation, sub, suffix));
        }
        if !connects {
            common.push(("pretty".into(), S));
        }
        let mut shared: Vec<Value> = common
            .iter()
            .map(|(n, t)| self.parameter(n, t, "query"))
            .collect();
        if named {
            shared.push(self.parameter("name", S, "path"));
        }
        if self.resource.namespaced && !suffix.ends_with("ForAllNamespaces") {
            shared.push(self.parameter("namespace", S, "path"));
        }
        if suffix == "WithPath" {
            shared.push(self.parameter("path", S, "path"));
        }
        shared.sort_by(|a, b| a.str_at(&["name"]).cmp(&b.str_at(&["name"])));
        path.insert("parameters", shared);
        path.into()
    }

    fn parameter(&self, name: &str, ty: &str, place: &str) -> Value {
        let mut parameter: Map = [("name", name), ("in", place)].into_iter().collect();
        if place == "path" {
            parameter.insert("required", true);
        }
        let schema = object([("type", ty.into()), ("uniqueItems", true.into())]);
        match (self.dialect, schema) {
            (Dialect::V2, Value::Object(schema)) => {
                schema
                    .into_entries()
                    .into_iter()
                    .for_each(|(k, v)| _ = parameter.insert(k, v));
            }
            (_, schema) => _ = parameter.insert("schema", schema),
        }
        parameter.into()
    }

    fn operation(&self, op: Operation, sub: &str, suffix: &str) -> Value {
        let r = self.resource;
        let part = r.subresource(sub).filter(|_| !sub.is_empty());
        let kind = part.map_or_else(
            || gvk(&r.group, &r.version, &r.kind),
            |s| gvk(&s.group, &s.version, &s.kind),
        );
        let mut out = Map::new();
        let group = group_name(r);
        let (prefix, tail) = (op.prefix, pascal(sub));
        let (verb, collection) = prefix
            .strip_suffix("Collection")
            .map_or((prefix, ""), |v| (v, "Collection"));
        let (verb, method) = verb
            .strip_prefix("connect")
            .map_or((verb, ""), |m| ("connect", m));
        let namespaced = if r.namespaced && !suffix.ends_with("ForAllNamespaces") {
            "Namespaced"
        } else {
            ""
        };
        let id = format!(
            "{verb}{}{}{method}{collection}{namespaced}{}{tail}{suffix}",
            pascal(group),
            pascal(&r.version),
            r.kind
        );
        out.insert("operationId", id);
        out.insert(
            "tags",
            value!([(format!("{}_{}", camel(group), r.version))]),
        );
        out.insert("x-kubernetes-action", op.action);
        out.insert("x-kubernetes-group-version-kind", kind);
        let mut parameters: Vec<Value> = op
            .parameters
            .iter()
            .map(|(n, t)| self.parameter(n, t, "query"))
            .collect();
        let media = self.media(op.action, sub);
        match (op.body, self.dialect) {
            (Some(body), Dialect::V3) => _ = out.insert("requestBody", self.body(body)),
            (Some(body), Dialect::V2) => {
                let (schema, required, consumes) = self.taken(body);
                let mut parameter: Map = [("name", "body"), ("in", "body")].into_iter().collect();
                parameter.insert("schema", schema);
                if required {
                    parameter.insert("required", true);
                }
                parameters.push(parameter.into());
                out.insert("consumes", consumes);
            }
            (None, Dialect::V2) if r.custom.is_none() => {
                out.insert("consumes", value!(["*/*"]));
            }
            (None, _) => {}
        }
        if !parameters.is_empty() {
            out.insert("parameters", parameters);
        }
        let mut responses = Map::new();
        for code in op.codes {
            responses.insert(*code, self.response(code, &op.response, &media));
        }
        responses.insert("401", object([("description", "Unauthorized".into())]));
        out.insert("responses", responses);
        if self.dialect == Dialect::V2 {
            out.insert("produces", media);
            out.insert("schemes", value!(["https"]));
        }
        out.into()
    }

    fn response(&self, code: &str, schema: &Value, media: &[&str]) -> Value {
        let description = match code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        let mut out: Map = [("description", description)].into_iter().collect();
        if self.dialect == Dialect::V2 {
            out.insert("schema", schema.clone());
        } else {
            let content = media
                .iter()
                .map(|m| (*m, object([("schema", schema.clone())])));
            out.insert("content", content.collect::<Map>());
        }
        out.into()
    }

    fn body(&self, body: Body) -> Value {
        let (schema, required, media) = self.taken(body);
        let content = media
            .into_iter()
            .map(|m| (m, object([("schema", schema.clone())])));
        let mut out: Map = [("content", content.collect::<Map>())]
            .into_iter()
            .collect();
        if required {
            out.insert("required", true);
        }
        out.into()
    }

    /// Schema, whether it must be there, media types.
    fn taken(&self, body: Body) -> (Value, bool, Vec<&'static str>) {
        match body {
            Body::Object(s) if self.resource.custom.is_some() => {
                (s, true, vec!["application/json", "application/yaml"])
            }
            Body::Object(s) => (s, true, vec!["*/*"]),
            Body::Optional(s) => (s, false, vec!["*/*"]),
            Body::Patch(s) => (s, true, self.patch_types()),
        }
    }

    fn patch_types(&self) -> Vec<&'static str> {
        let mut types = vec![
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        if self.resource.custom.is_none() {
            types.push("application/strategic-merge-patch+json");
        }
        types.push("application/apply-patch+yaml");
        types
    }

    fn media(&self, action: &str, sub: &str) -> Vec<&'static str> {
        if action == "connect" {
            return vec!["*/*"];
        }
        let mut media = vec!["application/json", "application/yaml"];
        if self.resource.custom.is_none() {
            media.push("application/vnd.kubernetes.protobuf");
            if matches!(action, "list" | "watch" | "watchlist") {
                media.extend([
                    "application/json;stream=watch",
                    "application/vnd.kubernetes.protobuf;stream=watch",
                ]);
            }
        }
        if sub == "log" {
            media.insert(0, "text/plain");
        }
        media
    }
}

/// `RbacAuthorization` for `rbac.authorization`.
pub(super) fn pascal(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|w| {
            w.chars()
                .take(1)
                .map(|c| c.to_ascii_uppercase())
                .chain(w.chars().skip(1))
                .collect::<String>()
        })
        .collect()
}

pub(super) fn camel(text: &str) -> String {
    let pascal = pascal(text);
    pascal
        .chars()
        .take(1)
        .map(|c| c.to_ascii_lowercase())
        .chain(pascal.chars().skip(1))
        .collect()
}
