//! `freehold get tenants|control-planes`: the columns come from the server, as for kubectl.

use super::names::{namespace_of, tenant_of};
use super::objects::{GROUP, Kind};
use super::{Format, Global, Printer, Target, Trouble, names};
use anyhow::{Context as _, Result};
use clap::Subcommand;
use kube::Client;
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Tenants of this host
    #[command(alias = "tenant")]
    Tenants {
        /// Only this one
        name: Option<String>,
    },
    /// Control planes, of every tenant or of one
    #[command(aliases = ["control-plane", "controlplanes", "controlplane"], visible_alias = "cp")]
    ControlPlanes {
        /// Only this one
        name: Option<String>,
        /// Only this tenant's
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
    },
}

/// What is asked for.
struct Query<'a> {
    kind: Kind,
    name: Option<&'a str>,
    namespace: Option<String>,
}

pub(crate) async fn run(args: &Args, global: &Global, out: &Printer) -> Result<()> {
    let query = match args {
        Args::Tenants { name } => Query {
            kind: Kind::Tenant,
            name: name.as_deref().map(names::tenant).transpose()?,
            namespace: None,
        },
        Args::ControlPlanes { name, tenant } => {
            let (in_name, name) = match name.as_deref().and_then(|n| n.split_once('/')) {
                Some((tenant, name)) => (Some(tenant), Some(name)),
                None => (None, name.as_deref()),
            };
            let tenant = tenant
                .as_deref()
                .or(in_name)
                .map(names::tenant)
                .transpose()?;
            Query {
                kind: Kind::ControlPlane,
                name: name.map(names::control_plane).transpose()?,
                namespace: tenant.map(namespace_of),
            }
        }
    };
    let target = Target::connect(global).await?;
    match out.format {
        Format::Table | Format::Wide => table(&target.client, &query, out).await,
        Format::Json | Format::Yaml | Format::Name => objects(&target.client, &query, out).await,
    }
}

async fn fetch(client: &Client, query: &Query<'_>, accept: &str) -> Result<Value> {
    // One control plane without a tenant is looked for among all of them.
    let name = if query.kind == Kind::ControlPlane && query.namespace.is_none() {
        None
    } else {
        query.name
    };
    let request = http::Request::get(query.kind.path(query.namespace.as_deref(), name))
        .header(http::header::ACCEPT, accept)
        .body(Vec::new())
        .context("cannot build the request")?;
    let shown = match query.name {
        Some(name) => format!("{} {name}", query.kind.noun()),
        None => format!("{}s", query.kind.noun()),
    };
    Ok(client.request::<Value>(request).await.map_err(|e| {
        let forbidden = matches!(&e, kube::Error::Api(s) if s.is_forbidden());
        let trouble = Trouble::from_api("get", &shown, e);
        if forbidden && query.kind == Kind::ControlPlane && query.namespace.is_none() {
            trouble.advise("You may not see those of every tenant; say whose: --tenant T.")
        } else {
            trouble
        }
    })?)
}

fn not_found(query: &Query<'_>) -> anyhow::Error {
    Trouble::new(format!(
        "there is no {} {}",
        query.kind.noun(),
        query.name.unwrap_or_default()
    ))
    .advise(format!(
        "`freehold get {}` shows what exists.",
        if query.kind == Kind::Tenant {
            "tenants"
        } else {
            "control-planes"
        }
    ))
    .into()
}

async fn objects(client: &Client, query: &Query<'_>, out: &Printer) -> Result<()> {
    let mut answer = fetch(client, query, "application/json").await?;
    if let (Some(name), Some(items)) = (
        query.name,
        answer.get_mut("items").and_then(Value::as_array_mut),
    ) {
        items.retain(|o| o.pointer("/metadata/name").and_then(Value::as_str) == Some(name));
        match items.len() {
            0 => return Err(not_found(query)),
            1 => answer = items.remove(0),
            _ => {}
        }
    }
    if out.format != Format::Name {
        return out.data(&answer);
    }
    let one = std::slice::from_ref(&answer);
    let items = answer
        .get("items")
        .and_then(Value::as_array)
        .map_or(one, Vec::as_slice);
    for item in items {
        let name = item
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        out.line(format!("{}.{GROUP}/{name}", query.kind.singular()));
    }
    Ok(())
}

async fn table(client: &Client, query: &Query<'_>, out: &Printer) -> Result<()> {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let answer = fetch(client, query, accept).await?;
    let wide = out.format == Format::Wide;
    let columns = answer
        .get("columnDefinitions")
        .and_then(Value::as_array)
        .context("the host answered without a table")?;
    let shown: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(_, c)| wide || c.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0)
        .map(|(index, _)| index)
        .collect();
    let with_tenant = query.kind == Kind::ControlPlane;
    let has_tenant = columns
        .iter()
        .any(|c| c.get("name").and_then(Value::as_str) == Some("Tenant"));
    let mut header: Vec<String> = shown
        .iter()
        .map(|i| {
            columns[*i]
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_uppercase()
        })
        .collect();
    if with_tenant && !has_tenant {
        header.insert(0, "TENANT".to_owned());
    }
    let mut rows = Vec::new();
    for row in answer
        .get("rows")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
    {
        let name = row.pointer("/object/metadata/name").and_then(Value::as_str);
        if query.name.is_some() && query.name != name {
            continue;
        }
        let cells = row
            .get("cells")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut line: Vec<String> = shown.iter().map(|i| cell(cells.get(*i))).collect();
        if with_tenant && !has_tenant {
            let namespace = row
                .pointer("/object/metadata/namespace")
                .and_then(Value::as_str);
            line.insert(0, tenant_of(namespace.unwrap_or_default()).to_owned());
        }
        rows.push(line);
    }
    if rows.is_empty() {
        if query.name.is_some() {
            return Err(not_found(query));
        }
        out.note(format!("no {}s", query.kind.noun()));
        return Ok(());
    }
    out.table(&header, &rows);
    Ok(())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "<none>".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
