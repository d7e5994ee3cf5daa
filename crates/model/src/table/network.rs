//! Rows of services, ingresses and their kin.

use super::{Cells, Row, first_of, labels, selector_or_none, texts};
use crate::Value;

pub(super) fn cells(row: &Row<'_>, kind: &str) -> Cells {
    match kind {
        "EndpointSlice" => endpoint_slice(row),
        "Ingress" => ingress(row),
        "IngressClass" => ingress_class(row),
        "NetworkPolicy" => {
            vec![(
                "Pod-Selector",
                selector_or_none(row.at(&["spec", "podSelector"])).into(),
            )]
        }
        "ServiceCIDR" => vec![("CIDRs", texts(row.list(&["spec", "cidrs"]), ",").into())],
        "IPAddress" => vec![("ParentRef", parent(row).into())],
        _ => Cells::new(),
    }
}

fn part<'a>(value: &'a Value, key: &str) -> &'a str {
    value.str_at(&[key]).unwrap_or_default()
}

/// Addresses of a load balancer, each once, ascending.
fn balancer(row: &Row<'_>) -> String {
    let mut all: Vec<&str> = row
        .list(&["status", "loadBalancer", "ingress"])
        .iter()
        .map(|i| {
            if part(i, "ip").is_empty() {
                part(i, "hostname")
            } else {
                part(i, "ip")
            }
        })
        .filter(|a| !a.is_empty())
        .collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

pub(super) fn service(row: &Row<'_>) -> Cells {
    let external = texts(row.list(&["spec", "externalIPs"]), ",");
    let kind = row.text(&["spec", "type"]);
    let external = match kind {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => external,
        "LoadBalancer" => match (balancer(row), external) {
            (balancer, external) if balancer.is_empty() && external.is_empty() => {
                "<pending>".into()
            }
            (balancer, external) if external.is_empty() => balancer,
            (balancer, external) if balancer.is_empty() => external,
            (balancer, external) => format!("{balancer},{external}"),
        },
        "ExternalName" => row.text(&["spec", "externalName"]).into(),
        _ => "<unknown>".into(),
    };
    let port = |p: &Value| {
        let number = |key: &str| p.at(&[key]).and_then(Value::as_i64).unwrap_or_default();
        match number("nodePort") {
            node if node > 0 => format!("{}:{node}/{}", number("port"), part(p, "protocol")),
            _ => format!("{}/{}", number("port"), part(p, "protocol")),
        }
    };
    let ports: Vec<String> = row.list(&["spec", "ports"]).iter().map(port).collect();
    let ports = if ports.is_empty() {
        "<none>".to_owned()
    } else {
        ports.join(",")
    };
    let cluster = row
        .list(&["spec", "clusterIPs"])
        .first()
        .and_then(Value::as_str)
        .unwrap_or("<none>");
    vec![
        ("Type", kind.into()),
        ("Cluster-IP", cluster.into()),
        ("External-IP", external.into()),
        ("Port(s)", ports.into()),
        ("Selector", labels(row.map(&["spec", "selector"])).into()),
    ]
}

fn unset_if_empty(text: String) -> Value {
    if text.is_empty() {
        "<unset>".into()
    } else {
        text.into()
    }
}

fn endpoint_slice(row: &Row<'_>) -> Cells {
    let port = |p: &Value| match p.at(&["port"]).and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None => p.str_at(&["name"]).unwrap_or("*").to_owned(),
    };
    let ports: Vec<String> = row.list(&["ports"]).iter().map(port).collect();
    let addresses: Vec<String> = row
        .list(&["endpoints"])
        .iter()
        .flat_map(|e| {
            e.at(&["addresses"])
                .and_then(Value::as_array)
                .unwrap_or_default()
        })
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    vec![
        ("AddressType", row.text(&["addressType"]).into()),
        (
            "Ports",
            unset_if_empty(first_of(&ports, ports.len(), 3, ",")),
        ),
        (
            "Endpoints",
            unset_if_empty(first_of(&addresses, addresses.len(), 3, ",")),
        ),
    ]
}

fn ingress(row: &Row<'_>) -> Cells {
    let rules = row.list(&["spec", "rules"]);
    // upstream counts hosts until three are listed, and rules after that
    let (mut hosts, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= hosts.len() == 3;
        if !more && !part(rule, "host").is_empty() {
            hosts.push(part(rule, "host").to_owned());
        }
    }
    let text = hosts.join(",");
    let hosts = match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (_, true) => format!("{text} + {} more...", rules.len() - 3),
        _ => text,
    };
    let tls = !row.list(&["spec", "tls"]).is_empty();
    vec![
        (
            "Class",
            row.text_or(&["spec", "ingressClassName"], "<none>").into(),
        ),
        ("Hosts", hosts.into()),
        ("Address", balancer(row).into()),
        ("Ports", if tls { "80, 443" } else { "80" }.into()),
    ]
}

/// The name, marked when the annotation says that the class is the default one.
pub(super) fn default_marked(row: &Row<'_>, annotations: &[&str]) -> Value {
    let set = |a: &str| row.text(&["metadata", "annotations", a]) == "true";
    let name = row.text(&["metadata", "name"]);
    if annotations.iter().any(|a| set(a)) {
        format!("{name} (default)").into()
    } else {
        name.into()
    }
}

fn ingress_class(row: &Row<'_>) -> Cells {
    let parameters = row.at(&["spec", "parameters"]).map_or_else(
        || "<none>".to_owned(),
        |p| match p.str_at(&["apiGroup"]) {
            Some(group) => format!("{}.{group}/{}", part(p, "kind"), part(p, "name")),
            None => format!("{}/{}", part(p, "kind"), part(p, "name")),
        },
    );
    let default: &[&str] = match row.minor {
        ..36 => &[],
        _ => &["ingressclass.kubernetes.io/is-default-class"],
    };
    vec![
        ("Name", default_marked(row, default)),
        ("Controller", row.text(&["spec", "controller"]).into()),
        ("Parameters", parameters.into()),
    ]
}

fn parent(row: &Row<'_>) -> String {
    let Some(parent) = row.at(&["spec", "parentRef"]) else {
        return "<none>".into();
    };
    let mut text = part(parent, "resource").to_lowercase();
    if !part(parent, "group").is_empty() {
        text = format!("{text}.{}", part(parent, "group").to_lowercase());
    }
    if !part(parent, "namespace").is_empty() {
        text = format!("{text}/{}", part(parent, "namespace"));
    }
    format!("{text}/{}", part(parent, "name"))
}
