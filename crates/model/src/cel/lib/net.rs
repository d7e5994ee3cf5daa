//! IP addresses and networks (apiserver `pkg/cel/library/{ip,cidr}.go`, since 1.30), read as Go's
//! `net/netip` reads them and refused in its words.

use super::args::{ALWAYS_ONE, GLOBAL, MEMBER, ONE, READ, READING, made, opaque, own, text};
use crate::cel::ctx::Ctx;
use crate::cel::functions::{Charge, Estimator, Library, row};
use crate::cel::ranges::{Estimate, Range, STRING, scaled};
use crate::cel::val::{Failure, Opaque, Outcome, Val};
use crate::field::quote;
use crate::go_net::parse_addr;
use std::any::Any;
use std::net::IpAddr;

#[rustfmt::skip] // one row a line
pub(super) static NET: Library = Library {
    since: 30,
    types: &["net.IP", "net.CIDR"],
    rows: &[
        row(GLOBAL, "ip", "string_to_ip", "string -> net.IP", ip).costing(READ, READING),
        row(MEMBER, "family", "ip_family", "net.IP -> int", family).costing(ONE, ALWAYS_ONE),
        row(GLOBAL, "ip.isCanonical", "ip_is_canonical", "string -> bool", is_canonical)
            .costing(Charge::Args(|a| scaled(a[0].size(), 2.0 * STRING)), |s, _, args| {
                Estimate::of(s.size(args.first()?).per(2.0 * STRING))
            }),
        row(MEMBER, "isUnspecified", "ip_is_unspecified", "net.IP -> bool", is_unspecified).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isLoopback", "ip_is_loopback", "net.IP -> bool", is_loopback).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isLinkLocalMulticast", "ip_is_link_local_multicast", "net.IP -> bool", is_local_multicast).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isLinkLocalUnicast", "ip_is_link_local_unicast", "net.IP -> bool", is_local_unicast).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "isGlobalUnicast", "ip_is_global_unicast", "net.IP -> bool", is_global_unicast).costing(ONE, ALWAYS_ONE),
        row(GLOBAL, "isIP", "is_ip", "string -> bool", is_ip).costing(READ, READING),
        row(GLOBAL, "string", "ip_to_string", "net.IP -> string", ip_text),
        row(GLOBAL, "cidr", "string_to_cidr", "string -> net.CIDR", cidr).costing(READ, READING),
        row(MEMBER, "containsIP", "cidr_contains_ip_string", "net.CIDR, string -> bool", contains_ip)
            .costing(Charge::Args(|a| prefix(a).saturating_add(scaled(a[1].size(), STRING))), CONTAINS_IP_TEXT),
        row(MEMBER, "containsIP", "cidr_contains_ip_ip", "net.CIDR, net.IP -> bool", contains_ip)
            .costing(Charge::Args(prefix), |_, _, _| Estimate::of(COMPARED)),
        row(MEMBER, "containsCIDR", "cidr_contains_cidr_string", "net.CIDR, string -> bool", contains_cidr)
            .costing(Charge::Args(|a| masks(a).saturating_add(scaled(a[1].size(), STRING))), CONTAINS_CIDR_TEXT),
        row(MEMBER, "containsCIDR", "cidr_contains_cidr", "net.CIDR, net.CIDR -> bool", contains_cidr)
            .costing(Charge::Args(masks), |_, _, _| Estimate::of(MASKED)),
        row(MEMBER, "ip", "cidr_ip", "net.CIDR -> net.IP", cidr_ip).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "prefixLength", "cidr_prefix_length", "net.CIDR -> int", prefix_length).costing(ONE, ALWAYS_ONE),
        row(MEMBER, "masked", "cidr_masked", "net.CIDR -> net.CIDR", masked).costing(ONE, ALWAYS_ONE),
        row(GLOBAL, "isCIDR", "is_cidr", "string -> bool", is_cidr).costing(READ, READING),
        row(GLOBAL, "string", "cidr_to_string", "net.CIDR -> string", cidr_text),
    ],
};

/// The bytes of the prefix, of both.
fn prefix(args: &[Val]) -> u64 {
    scaled(args[0].size().saturating_mul(2), STRING)
}

/// As [`prefix`], and once more for the mask.
fn masks(args: &[Val]) -> u64 {
    prefix(args) + scaled(args[0].size(), STRING) + 1
}

/// 4 to 16 bytes twice, at a tenth each.
const COMPARED: Range = Range::new(1, 4);
/// As [`COMPARED`], 4 to 16 bytes once more, and 1.
const MASKED: Range = Range::new(3, 7);
const CONTAINS_IP_TEXT: Estimator =
    |s, _, args| Estimate::of(COMPARED.plus(s.size(args.first()?).per(STRING)));
const CONTAINS_CIDR_TEXT: Estimator =
    |s, _, args| Estimate::of(MASKED.plus(s.size(args.first()?).per(STRING)));

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ip(pub(super) IpAddr);

/// An address and how many of its bits name the network; the rest need not be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr(pub(super) IpAddr, pub(super) u8);

impl Opaque for Ip {
    fn type_name(&self) -> &'static str {
        "net.IP"
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn size(&self) -> u64 {
        match self.0 {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 16,
        }
    }

    fn text(&self) -> String {
        format!("ip({})", self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Opaque for Cidr {
    fn type_name(&self) -> &'static str {
        "net.CIDR"
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.as_any().downcast_ref() == Some(self)
    }

    fn size(&self) -> u64 {
        u64::from(self.1).div_ceil(8)
    }

    fn text(&self) -> String {
        format!("cidr({}/{})", self.0, self.1)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn parse_ip(text: &str) -> Result<Ip, String> {
    let (ip, zone) = parse_addr(text).map_err(|why| {
        let shown = quote(text);
        format!("IP Address {shown} parse error during conversion from string: {why}")
    })?;
    if zone {
        return Err(format!(
            "IP address {} with zone value is not allowed",
            quote(text)
        ));
    }
    if is_mapped(ip) {
        return Err(format!(
            "IPv4-mapped IPv6 address {} is not allowed",
            quote(text)
        ));
    }
    Ok(Ip(ip))
}

/// `netip.ParsePrefix`
fn parse_prefix(text: &str) -> Result<Cidr, String> {
    let fail = |why: &str| Err(format!("netip.ParsePrefix({}): {why}", quote(text)));
    let Some((address, bits)) = text.rsplit_once('/') else {
        return fail("no '/'");
    };
    let ip = match parse_addr(address) {
        Ok((ip, false)) => ip,
        Ok((_, true)) => return fail("IPv6 zones cannot be present in a prefix"),
        Err(why) => return fail(&why),
    };
    let bad = format!("bad bits after slash: {}", quote(bits));
    // A sign is read, but only by a number of one character, which it is not.
    if bits.len() > 1 && !bits.starts_with(|c: char| ('1'..='9').contains(&c))
        || bits.is_empty()
        || !bits.bytes().all(|b| b.is_ascii_digit())
    {
        return fail(&bad);
    }
    let Ok(bits) = bits.parse::<i64>() else {
        return fail(&bad);
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    match u8::try_from(bits) {
        Ok(bits) if bits <= most => Ok(Cidr(ip, bits)),
        _ => fail("prefix length out of range"),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let cidr = parse_prefix(text).map_err(|why| {
        format!("network address parse error during conversion from string: {why}")
    })?;
    if is_mapped(cidr.0) {
        return Err(format!(
            "IPv4-mapped IPv6 address {} is not allowed",
            quote(text)
        ));
    }
    Ok(cidr)
}

impl Cidr {
    fn masked(self) -> Self {
        Self(crate::validate::net::masked(self.0, self.1), self.1)
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.0.is_ipv4() == ip.is_ipv4() && Self(ip, self.1).masked().0 == self.masked().0
    }
}

fn to_ip(text: &str) -> Outcome<Ip> {
    parse_ip(text).map_err(Failure::new)
}

fn to_cidr(text: &str) -> Outcome<Cidr> {
    parse_cidr(text).map_err(|why| {
        Failure::new(format!(
            "network address parse error during conversion from string: {why}"
        ))
    })
}

fn ip<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    to_ip(text(args, 0)?).map(opaque)
}

fn is_ip<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(parse_ip(text(args, 0)?).is_ok()))
}

fn is_canonical<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let given = text(args, 0)?;
    Ok(Val::Bool(to_ip(given)?.0.to_string() == given))
}

fn address(args: &[Val]) -> Outcome<IpAddr> {
    own::<Ip>(args, 0).map(|ip| ip.0)
}

fn ip_text<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let written = address(args)?.to_string();
    made(ctx, written)
}

fn family<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Int(if address(args)?.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(address(args)?.is_unspecified()))
}

fn is_loopback<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(address(args)?.is_loopback()))
}

fn is_local_multicast<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(match address(args)? {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }))
}

fn local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_local_unicast<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(local_unicast(address(args)?)))
}

fn is_global_unicast<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let ip = address(args)?;
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    Ok(Val::Bool(
        !broadcast
            && !ip.is_unspecified()
            && !ip.is_loopback()
            && !ip.is_multicast()
            && !local_unicast(ip),
    ))
}

fn cidr<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    to_cidr(text(args, 0)?).map(opaque)
}

fn is_cidr<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Bool(parse_cidr(text(args, 0)?).is_ok()))
}

fn network(args: &[Val]) -> Outcome<Cidr> {
    own::<Cidr>(args, 0).copied()
}

fn cidr_text<'a>(ctx: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let Cidr(ip, bits) = network(args)?;
    made(ctx, format!("{ip}/{bits}"))
}

fn contains_ip<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let other = match args.get(1).and_then(Val::as_str) {
        // Upstream asks for the type of what could not be parsed, and forgets why.
        Some(text) => parse_ip(text).map_err(|_| Failure::no_such_overload())?,
        None => *own(args, 1)?,
    };
    Ok(Val::Bool(network(args)?.contains(other.0)))
}

fn contains_cidr<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let other = match args.get(1).and_then(Val::as_str) {
        Some(text) => to_cidr(text)?,
        None => *own(args, 1)?,
    };
    let whole = network(args)?;
    Ok(Val::Bool(whole.1 <= other.1 && whole.contains(other.0)))
}

fn cidr_ip<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(opaque(Ip(network(args)?.0)))
}

fn masked<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(opaque(network(args)?.masked()))
}

fn prefix_length<'a>(_: &mut Ctx<'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    Ok(Val::Int(network(args)?.1.into()))
}
