//! Services: cluster addresses and node ports. Writers hold the control plane's allocation lock,
//! so that what is free in the cache is free.

use crate::pipeline::Call;
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::{ApiError, Value};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// What other services use.
struct Used {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<i64>,
}

fn used(call: &Call, except: &str) -> Used {
    let mut used = Used {
        addresses: BTreeSet::new(),
        ports: BTreeSet::new(),
    };
    let own = format!("{}/{except}", call.info.namespace);
    for o in call.view().list(None).0 {
        if o.path() == own {
            continue;
        }
        let service = o.parse();
        used.addresses.extend(
            service
                .str_at(&["spec", "clusterIP"])
                .and_then(|ip| ip.parse::<Ipv4Addr>().ok()),
        );
        used.ports.extend(
            ports(&service)
                .iter()
                .filter_map(|p| p.get("nodePort"))
                .filter_map(Value::as_i64),
        );
        used.ports.extend(
            service
                .at(&["spec", "healthCheckNodePort"])
                .and_then(Value::as_i64),
        );
    }
    used
}

fn ports(service: &Value) -> &[Value] {
    service
        .at(&["spec", "ports"])
        .and_then(Value::as_array)
        .unwrap_or_default()
}

fn kind(service: &Value) -> &str {
    service.str_at(&["spec", "type"]).unwrap_or("ClusterIP")
}

pub(super) fn create(object: &mut Value) {
    object.set(&["status"], freehold_model::value!({"loadBalancer": {}}));
    list_address(object);
}

/// `clusterIPs` is `clusterIP` when it is not given.
fn list_address(object: &mut Value) {
    let ip = object
        .str_at(&["spec", "clusterIP"])
        .unwrap_or("")
        .to_owned();
    let listed = object.at(&["spec", "clusterIPs"]).and_then(Value::as_array);
    if !ip.is_empty() && listed.is_none_or(<[Value]>::is_empty) {
        object.set(&["spec", "clusterIPs"], vec![ip]);
    }
}

/// What an update leaves out stays; what does not go with the new type goes.
pub(super) fn update(object: &mut Value, old: &Value) {
    if kind(object) != "ExternalName" && kind(old) != "ExternalName" {
        for field in ["clusterIP", "clusterIPs"] {
            let given = object
                .at(&["spec", field])
                .is_some_and(|v| v.as_str() != Some(""));
            if !given && let Some(kept) = old.at(&["spec", field]) {
                object.set(&["spec", field], kept.clone());
            }
        }
        // Whoever changes the one and sends the other as it was means the one.
        let moved = object.at(&["spec", "clusterIP"]) != old.at(&["spec", "clusterIP"]);
        if moved && object.at(&["spec", "clusterIPs"]) == old.at(&["spec", "clusterIPs"]) {
            object.unset(&["spec", "clusterIPs"]);
        }
        list_address(object);
    }
    if kind(object) == "ExternalName" {
        object.unset(&["spec", "clusterIP"]);
        object.unset(&["spec", "clusterIPs"]);
    }
    keep_node_ports(object, old);
    if kind(object) == "ClusterIP" && kind(old) != "ClusterIP" {
        drop_node_ports(object, old);
    }
    if kind(object) != "LoadBalancer" {
        object.set(&["status", "loadBalancer"], Value::object());
    }
}

/// Node ports that the update did not ask for go with the type (`dropTypeDependentFields`).
fn drop_node_ports(object: &mut Value, old: &Value) {
    let before: Vec<Option<i64>> = ports(old)
        .iter()
        .map(|p| p.get("nodePort").and_then(Value::as_i64))
        .collect();
    let unchanged = ports(object)
        .iter()
        .all(|p| before.contains(&p.get("nodePort").and_then(Value::as_i64)));
    let list = object.get_mut("spec").and_then(|s| s.get_mut("ports"));
    if let Some(list) = list.and_then(Value::as_array_mut).filter(|_| unchanged) {
        for p in list {
            p.unset(&["nodePort"]);
        }
    }
}

/// A port keeps its node port unless another is asked for.
fn keep_node_ports(object: &mut Value, old: &Value) {
    if !has_node_ports(object) {
        return;
    }
    let id = |p: &Value| {
        (
            p.str_at(&["name"]).unwrap_or("").to_owned(),
            p.get("port").and_then(Value::as_i64),
            p.str_at(&["protocol"]).unwrap_or("TCP").to_owned(),
        )
    };
    let before = ports(old).to_vec();
    let Some(now) = object
        .get_mut("spec")
        .and_then(|s| s.get_mut("ports"))
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    for p in now {
        if p.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0
            && let Some(kept) = before
                .iter()
                .find(|b| id(b) == id(p))
                .and_then(|b| b.get("nodePort"))
        {
            p.set(&["nodePort"], kept.clone());
        }
    }
}

fn has_node_ports(object: &Value) -> bool {
    match kind(object) {
        "NodePort" => true,
        "LoadBalancer" => object
            .at(&["spec", "allocateLoadBalancerNodePorts"])
            .and_then(Value::as_bool)
            .unwrap_or(true),
        _ => false,
    }
}

pub(super) fn allocate(
    call: &Call,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if kind(object) == "ExternalName" {
        return Ok(());
    }
    let name = object
        .str_at(&["metadata", "name"])
        .unwrap_or("")
        .to_owned();
    // A dry run allocates nothing, and so meets nobody; an update keeps what it has.
    let used = if call.dry_run()? && old.is_none() {
        Used {
            addresses: BTreeSet::new(),
            ports: BTreeSet::new(),
        }
    } else {
        used(call, &name)
    };
    address(call, object, &name, &used)?;
    if has_node_ports(object) {
        node_ports(call, object, &name, used)?;
    }
    Ok(())
}

fn unusable(name: &str, ip: &str, why: &str) -> ApiError {
    let value = format!("[{ip:?}]");
    let why = format!("failed to allocate IP {ip}: {why}");
    let e = FieldError::new(ErrorKind::Invalid, "spec.clusterIPs", value, why);
    ApiError::invalid("", "Service", name, &[e])
}

fn invalid(name: &str, path: &str, value: &str, why: impl Into<String>) -> ApiError {
    ApiError::invalid(
        "",
        "Service",
        name,
        &[FieldError::invalid_str(path, value, why)],
    )
}

/// Services have addresses of one family here.
fn one_family(object: &Value, name: &str) -> Result<(), ApiError> {
    let policy = object.str_at(&["spec", "ipFamilyPolicy"]);
    if policy == Some("RequireDualStack")
        && (object.str_at(&["spec", "clusterIP"]) != Some("None") || selects(object))
    {
        let why = "this cluster is not configured for dual-stack services";
        return Err(invalid(
            name,
            "spec.ipFamilyPolicy",
            "RequireDualStack",
            why,
        ));
    }
    Ok(())
}

fn address(call: &Call, object: &mut Value, name: &str, used: &Used) -> Result<(), ApiError> {
    one_family(object, name)?;
    let from_list = object
        .at(&["spec", "clusterIPs"])
        .and_then(Value::as_array)
        .and_then(|l| l.first());
    let given = object
        .str_at(&["spec", "clusterIP"])
        .filter(|ip| !ip.is_empty())
        .or_else(|| from_list.and_then(Value::as_str))
        .unwrap_or("")
        .to_owned();
    let Some((base, size)) = parse_cidr(&call.cp.config.service_cidr) else {
        return Err(ApiError::internal(
            "the service CIDR of this control plane is not usable",
        ));
    };
    let chosen = match given.as_str() {
        "None" => "None".to_owned(),
        "" => {
            let random = uuid::Uuid::new_v4();
            let start = u32::from_le_bytes(random.as_bytes()[..4].try_into().unwrap_or_default());
            free_address(base, size, start, &used.addresses)
                .ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))?
                .to_string()
        }
        text => {
            let ip: Ipv4Addr = text.parse().map_err(|_| {
                invalid(
                    name,
                    "spec.clusterIPs",
                    text,
                    "must be a valid IPv4 address",
                )
            })?;
            let offset = u32::from(ip).wrapping_sub(u32::from(base));
            if offset == 0 || offset >= size {
                let range = &call.cp.config.service_cidr;
                let why = format!(
                    "the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}"
                );
                return Err(unusable(name, text, &why));
            }
            if used.addresses.contains(&ip) {
                return Err(unusable(name, text, "provided IP is already allocated"));
            }
            text.to_owned()
        }
    };
    object.set(&["spec", "clusterIP"], chosen.as_str());
    object.set(&["spec", "clusterIPs"], vec![chosen.as_str()]);
    // Whoever selects no pods by a headless service may list addresses of either family.
    let (families, policy) = if chosen == "None" && !selects(object) {
        (vec!["IPv4", "IPv6"], "RequireDualStack")
    } else {
        (vec!["IPv4"], "SingleStack")
    };
    if object.at(&["spec", "ipFamilies"]).is_none() {
        object.set(&["spec", "ipFamilies"], families);
    }
    if object.at(&["spec", "ipFamilyPolicy"]).is_none() {
        object.set(&["spec", "ipFamilyPolicy"], policy);
    }
    Ok(())
}

fn selects(service: &Value) -> bool {
    let selector = service.at(&["spec", "selector"]).and_then(Value::as_object);
    selector.is_some_and(|m| !m.is_empty())
}

fn parse_cidr(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (ip, bits) = text.split_once('/')?;
    let (ip, bits): (Ipv4Addr, u32) = (ip.parse().ok()?, bits.parse().ok()?);
    (8..=29).contains(&bits).then(|| {
        let size = 1_u32 << (32 - bits);
        (Ipv4Addr::from(u32::from(ip) & !(size - 1)), size)
    })
}

/// A free address, looked for from a random place on; network, first (the API's own) and
/// broadcast address are never given.
fn free_address(
    base: Ipv4Addr,
    size: u32,
    start: u32,
    used: &BTreeSet<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let usable = size - 3;
    (0..usable)
        .map(|i| Ipv4Addr::from(u32::from(base) + 2 + start.wrapping_add(i) % usable))
        .find(|ip| !used.contains(ip))
}

fn node_ports(call: &Call, object: &mut Value, name: &str, mut used: Used) -> Result<(), ApiError> {
    let _ = call;
    let Some(list) = object
        .get_mut("spec")
        .and_then(|s| s.get_mut("ports"))
        .and_then(Value::as_array_mut)
    else {
        return Ok(());
    };
    for (i, p) in list.iter_mut().enumerate() {
        let asked = p.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        let path = format!("spec.ports[{i}].nodePort");
        if asked == 0 {
            let random = i64::from(u16::from_le_bytes(
                uuid::Uuid::new_v4().as_bytes()[..2]
                    .try_into()
                    .unwrap_or_default(),
            ));
            let span = NODE_PORTS.end() - NODE_PORTS.start() + 1;
            let free = (0..span)
                .map(|i| NODE_PORTS.start() + (random + i) % span)
                .find(|p| !used.ports.contains(p));
            let free = free.ok_or_else(|| {
                ApiError::internal("failed to allocate a nodePort: range is full")
            })?;
            p.set(&["nodePort"], free);
            used.ports.insert(free);
        } else if !NODE_PORTS.contains(&asked) {
            return Err(invalid(
                name,
                &path,
                &asked.to_string(),
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            ));
        } else if used.ports.contains(&asked) {
            return Err(invalid(
                name,
                &path,
                &asked.to_string(),
                "provided port is already allocated",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usable_address_is_found_and_no_other() {
        let (base, size) = parse_cidr("10.0.0.0/29").unwrap();
        let mut used = BTreeSet::new();
        for _ in 0..5 {
            used.insert(free_address(base, size, 4_000_000_000, &used).unwrap());
        }
        let all: Vec<String> = used.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
        );
        assert_eq!(free_address(base, size, 0, &used), None);
    }
}
