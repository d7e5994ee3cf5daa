//! Documents and paths that belong to no resource: groups, versions, keys of the server.

use super::schema::Schemas;
use super::{Dialect, object};
use crate::catalogue::Catalogue;
use crate::{Map, Value, value};

const THREE: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// One path with a GET.
struct Root {
    /// of the v3 document: `apis/apps`
    document: String,
    path: String,
    tag: String,
    id: String,
    answer: Answer,
}

enum Answer {
    Meta(&'static str),
    Info,
    /// a text of that media type
    Text(&'static str),
}

fn all(catalogue: &Catalogue) -> Vec<Root> {
    let root = |document: &str, tag: &str, id: &str, answer| Root {
        document: document.into(),
        path: format!("/{document}/"),
        tag: tag.into(),
        id: id.into(),
        answer,
    };
    let mut all = vec![
        root(
            ".well-known/openid-configuration",
            "WellKnown",
            "getServiceAccountIssuerOpenIDConfiguration",
            Answer::Text("application/json"),
        ),
        root(
            "api",
            "core",
            "getCoreAPIVersions",
            Answer::Meta("APIVersions"),
        ),
        root(
            "apis",
            "apis",
            "getAPIVersions",
            Answer::Meta("APIGroupList"),
        ),
        root(
            "openid/v1/jwks",
            "openid",
            "getServiceAccountIssuerOpenIDKeyset",
            Answer::Text("application/jwk-set+json"),
        ),
        root("version", "version", "getCodeVersion", Answer::Info),
    ];
    for group in catalogue.groups.iter().filter(|g| !g.name.is_empty()) {
        let name = group.name.as_str();
        let short = name.strip_suffix(".k8s.io").unwrap_or(name);
        all.push(root(
            &format!("apis/{name}"),
            &super::paths::camel(short),
            &format!("get{}APIGroup", super::paths::pascal(short)),
            Answer::Meta("APIGroup"),
        ));
    }
    all
}

/// The names of their v3 documents.
pub(super) fn documents(catalogue: &Catalogue) -> Vec<String> {
    all(catalogue).into_iter().map(|r| r.document).collect()
}

/// Writes the path of one v3 document; whether there is such a document.
pub(super) fn of_document(document: &str, routes: &mut Map, schemas: &mut Schemas<'_>) -> bool {
    let found = all(schemas.catalogue)
        .into_iter()
        .find(|r| r.document == document);
    if let Some(root) = &found {
        routes.insert(root.path.clone(), get(root, schemas));
    }
    found.is_some()
}

/// Writes all of them, for the v2 document.
pub(super) fn everywhere(routes: &mut Map, schemas: &mut Schemas<'_>) {
    for root in all(schemas.catalogue) {
        routes.insert(root.path.clone(), get(&root, schemas));
    }
}

fn get(root: &Root, schemas: &mut Schemas<'_>) -> Value {
    let (schema, media): (Value, &[&str]) = match root.answer {
        Answer::Meta(kind) => (schemas.meta(kind), THREE),
        Answer::Info => (info(schemas), &THREE[..1]),
        Answer::Text(media) => (value!({"type": "string"}), &[media]),
    };
    let mut get = value!({"operationId": (root.id.as_str()), "tags": [(root.tag.as_str())]});
    let mut ok = value!({"description": "OK"});
    if schemas.dialect == Dialect::V2 {
        ok.set(&["schema"], schema);
        get.set(&["produces"], texts(media));
        get.set(&["schemes"], value!(["https"]));
        if !matches!(root.answer, Answer::Text(_)) {
            get.set(&["consumes"], texts(media));
        }
    } else {
        let content = media
            .iter()
            .map(|m| (*m, object([("schema", schema.clone())])));
        ok.set(&["content"], Value::Object(content.collect()));
    }
    get.set(&["responses", "200"], ok);
    get.set(&["responses", "401", "description"], "Unauthorized");
    object([("get", get)])
}

pub(super) fn texts(all: &[&str]) -> Value {
    Value::Array(all.iter().map(|m| (*m).into()).collect())
}

/// Upstream's version type, which is no API type.
fn info(schemas: &mut Schemas<'_>) -> Value {
    let required = [
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let mut properties = Map::new();
    for name in required {
        let mut schema = value!({"type": "string"});
        if schemas.dialect == Dialect::V3 {
            schema.set(&["default"], "");
        }
        properties.insert(name, schema);
    }
    if schemas.catalogue.minor >= 33 {
        for name in [
            "emulationMajor",
            "emulationMinor",
            "minCompatibilityMajor",
            "minCompatibilityMinor",
        ] {
            properties.insert(name, value!({"type": "string"}));
        }
    }
    let schema = value!({
        "type": "object",
        "required": (texts(&required)),
        "properties": (Value::Object(properties))
    });
    schemas.add(INFO, schema)
}

/// Discriminated unions, as `+union` and `+unionDiscriminator` mark them in upstream's types: type,
/// discriminator, fields.
const UNIONS: &[(&str, &str, &[&str])] = &[
    (
        "io.k8s.api.core.v1.AppArmorProfile",
        "type",
        &["localhostProfile"],
    ),
    (
        "io.k8s.api.core.v1.PodSchedulingGroup",
        "",
        &["podGroupName"],
    ),
    (
        "io.k8s.api.core.v1.SeccompProfile",
        "type",
        &["localhostProfile"],
    ),
    ("io.k8s.api.flowcontrol.", "type", &["queuing"]),
    ("io.k8s.api.flowcontrol.", "type", &["exempt", "limited"]),
    (
        "io.k8s.api.flowcontrol.",
        "kind",
        &["group", "serviceAccount", "user"],
    ),
];
const FLOW_CONTROL: [&str; 3] = ["LimitResponse", "PriorityLevelConfigurationSpec", "Subject"];

/// `x-kubernetes-unions` of a type; `has` says which fields this version has.
pub(super) fn unions(name: &str, has: &dyn Fn(&str) -> bool) -> Option<Value> {
    let (kind, of_flow) = (
        name.rsplit('.').next()?,
        name.starts_with("io.k8s.api.flowcontrol."),
    );
    let row = UNIONS.iter().enumerate().find(|(i, row)| {
        row.0 == name || of_flow && *i > 2 && FLOW_CONTROL.get(i - 3) == Some(&kind)
    });
    let (_, (_, discriminator, fields)) = row?;
    let mut union = Map::new();
    if !discriminator.is_empty() {
        union.insert("discriminator", *discriminator);
    }
    let fields = fields.iter().filter(|f| has(f));
    let names: Map = fields
        .map(|f| (*f, Value::from(super::paths::pascal(f))))
        .collect::<Map>();
    union.insert("fields-to-discriminateBy", names);
    Some(Value::Array(vec![union.into()]))
}
