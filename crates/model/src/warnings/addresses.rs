//! IP addresses and CIDRs that are taken but should be written otherwise: `GetWarningsForIP` and
//! `GetWarningsForCIDR` of apimachinery `pkg/util/validation/ip.go`.

use super::list::Warnings;
use crate::field::{Path, quote};
use crate::validate::net::{masked, sloppy, sloppy_cidr};
use std::fmt::{self, Display, Write};
use std::net::IpAddr;

/// The rest of a text that is written once more, piece by piece.
struct Rest<'a>(&'a str);

impl Write for Rest<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(piece).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Whether a value is shown as this text; none is made of it.
fn is_shown_as(value: impl Display, text: &str) -> bool {
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

fn is_mapped(ip: IpAddr) -> bool {
    ip.to_canonical() != ip
}

pub(super) fn ip(path: Path<'_>, value: &str, out: &mut Warnings) {
    let strict = value.parse::<IpAddr>();
    if out.minor < 33 {
        return early_ip(path, value, strict.ok(), out);
    }
    match strict {
        Ok(IpAddr::V4(_)) => {}
        Ok(v6) if !is_mapped(v6) => {
            if !is_shown_as(v6, value) {
                let value = quote(value);
                out.at(
                    path,
                    format_args!(
                        "IPv6 address {value} should be in RFC 5952 canonical format (\"{v6}\")"
                    ),
                );
            }
        }
        _ => {
            if let Some(ip) = sloppy(value) {
                let (value, ip) = (quote(value), ip.to_canonical());
                let verdict = verdict(out.minor);
                out.at(
                    path,
                    format_args!("non-standard IP address {value} {verdict}: use \"{ip}\""),
                );
            }
        }
    }
}

fn verdict(minor: u8) -> &'static str {
    if minor >= 36 {
        "is invalid"
    } else {
        "will be considered invalid in a future Kubernetes release"
    }
}

/// Before 1.33, when only Services were looked at (`getWarningsForIP` of kubernetes
/// `pkg/api/service/warnings.go`): what is taken and yet not parsed has leading zeros.
fn early_ip(path: Path<'_>, value: &str, strict: Option<IpAddr>, out: &mut Warnings) {
    match strict {
        Some(ip) if ip.is_ipv6() && !is_shown_as(ip, value) => {
            early_v6(path, "address", value, ip, out)
        }
        None if sloppy(value).is_some() => {
            let why = leading_zeros(value);
            out.at(path, format_args!("IP address {EARLY}{why}"));
        }
        _ => {}
    }
}

const EARLY: &str = "was accepted, but will be invalid in a future Kubernetes release: ";

fn early_v6(path: Path<'_>, what: &str, value: &str, shown: impl Display, out: &mut Warnings) {
    let value = quote(value);
    out.at(path, format_args!("IPv6 {what} {value} is not in RFC 5952 canonical format (\"{shown}\"), which may cause controller apply-loops"));
}

/// What Go's `netip.ParseAddr` says.
fn leading_zeros(address: &str) -> String {
    let address = quote(address);
    format!("ParseAddr({address}): IPv4 field has octet with leading zero")
}

/// As [`early_ip`]: `getWarningsForCIDR`, in the words of Go's `netip.ParsePrefix`.
fn early_cidr(path: Path<'_>, value: &str, (ip, length): (IpAddr, u8), out: &mut Warnings) {
    let (address, digits) = value.split_once('/').unwrap_or_default();
    let shown = quote(value);
    if address.parse::<IpAddr>().is_err() {
        let why = leading_zeros(address);
        out.at(
            path,
            format_args!("IP prefix {EARLY}netip.ParsePrefix({shown}): {why}"),
        );
    } else if digits.len() > 1 && digits.starts_with('0') {
        let digits = quote(digits);
        out.at(
            path,
            format_args!(
                "IP prefix {EARLY}netip.ParsePrefix({shown}): bad bits after slash: {digits}"
            ),
        );
    } else if ip.is_ipv6() && !is_shown_as(format_args!("{ip}/{length}"), value) {
        early_v6(path, "prefix", value, format_args!("{ip}/{length}"), out);
    }
}

/// The network of an address, as Go shows it.
fn network(ip: IpAddr, length: u8) -> String {
    match masked(ip, length) {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => format!("{v4}/{}", length.saturating_sub(96)),
            None => format!("{v6}/{length}"),
        },
        IpAddr::V4(v4) => format!("{v4}/{length}"),
    }
}

pub(super) fn cidr(path: Path<'_>, value: &str, out: &mut Warnings) {
    let Some((ip, length)) = sloppy_cidr(value) else {
        return;
    };
    if out.minor < 33 {
        return early_cidr(path, value, (ip, length), out);
    }
    let (address, digits) = value.split_once('/').unwrap_or_default();
    let is_odd = is_mapped(ip)
        || address.parse::<IpAddr>().is_err()
        || digits.len() > 1 && digits.starts_with('0');
    let is_ambiguous = masked(ip, length) != ip;
    if is_ambiguous {
        let (single, all) = (ip.to_canonical(), if ip.is_ipv4() { 32 } else { 128 });
        out.at(path, format_args!("CIDR value {} is ambiguous in this context (should be \"{}\" or \"{single}/{all}\"?)", quote(value), network(ip, length)));
    }
    if is_odd {
        let (value, network) = (quote(value), network(ip, length));
        let verdict = verdict(out.minor);
        out.at(
            path,
            format_args!("non-standard CIDR value {value} {verdict}: use \"{network}\""),
        );
    }
    if !is_ambiguous
        && !is_odd
        && ip.is_ipv6()
        && !is_shown_as(format_args!("{ip}/{length}"), value)
    {
        let value = quote(value);
        out.at(
            path,
            format_args!(
                "IPv6 CIDR value {value} should be in RFC 5952 canonical format (\"{ip}/{length}\")"
            ),
        );
    }
}

/// The addresses that items of a list have in one of their fields.
pub(super) fn ips_of(items: &[crate::Value], path: Path<'_>, field: &str, out: &mut Warnings) {
    use crate::validate::read::Read as _;
    for (i, item) in items.iter().enumerate() {
        let at = path.index(i);
        ip(at.child(field), item.text(field), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(check: fn(Path<'_>, &str, &mut Warnings), value: &str) -> Vec<String> {
        said_by(36, check, value)
    }

    fn said_by(minor: u8, check: fn(Path<'_>, &str, &mut Warnings), value: &str) -> Vec<String> {
        let mut out = Warnings::of(minor);
        check(Path::root("f"), value, &mut out);
        out.list
    }

    #[test]
    fn addresses_that_are_written_oddly_are_warned_of() {
        for (value, wanted) in [
            ("1.2.3.4", None),
            ("fd00::1", None),
            ("none at all", None),
            (
                "01.2.3.4",
                Some("f: non-standard IP address \"01.2.3.4\" is invalid: use \"1.2.3.4\""),
            ),
            (
                "::ffff:1.2.3.4",
                Some("f: non-standard IP address \"::ffff:1.2.3.4\" is invalid: use \"1.2.3.4\""),
            ),
            (
                "FD00::1",
                Some(
                    "f: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
                ),
            ),
        ] {
            assert_eq!(said(ip, value), Vec::from_iter(wanted), "{value}");
        }
    }

    /// `getWarningsForIP` and `getWarningsForCIDR` of kubernetes 1.32 `pkg/api/service/warnings.go`.
    #[test]
    fn earlier_versions_have_words_of_their_own() {
        let early = "was accepted, but will be invalid in a future Kubernetes release: ";
        let zero = "IPv4 field has octet with leading zero";
        let loops = "which may cause controller apply-loops";
        for (minor, check, value, wanted) in [
            (32, ip as fn(Path<'_>, &str, &mut Warnings), "1.2.3.4", None),
            (32, ip, "::ffff:1.2.3.4", None),
            (32, ip, "01.2.3.4", Some(format!("IP address {early}ParseAddr(\"01.2.3.4\"): {zero}"))),
            (32, ip, "FD00::1", Some(format!("IPv6 address \"FD00::1\" is not in RFC 5952 canonical format (\"fd00::1\"), {loops}"))),
            (32, cidr, "10.0.0.1/8", None),
            (32, cidr, "010.0.0.0/8", Some(format!("IP prefix {early}netip.ParsePrefix(\"010.0.0.0/8\"): ParseAddr(\"010.0.0.0\"): {zero}"))),
            (32, cidr, "10.0.0.0/08", Some(format!("IP prefix {early}netip.ParsePrefix(\"10.0.0.0/08\"): bad bits after slash: \"08\""))),
            (32, cidr, "fd00:0::/64", Some(format!("IPv6 prefix \"fd00:0::/64\" is not in RFC 5952 canonical format (\"fd00::/64\"), {loops}"))),
            (33, ip, "01.2.3.4", Some("non-standard IP address \"01.2.3.4\" will be considered invalid in a future Kubernetes release: use \"1.2.3.4\"".into())),
            (35, cidr, "10.0.0.0/08", Some("non-standard CIDR value \"10.0.0.0/08\" will be considered invalid in a future Kubernetes release: use \"10.0.0.0/8\"".into())),
        ] {
            let wanted = wanted.map(|text| format!("f: {text}"));
            assert_eq!(said_by(minor, check, value), Vec::from_iter(wanted), "{value}");
        }
    }

    #[test]
    fn networks_that_are_written_oddly_are_warned_of() {
        for (value, wanted) in [
            ("10.0.0.0/8", vec![]),
            ("fd00::/64", vec![]),
            (
                "10.0.0.1/8",
                vec![
                    "f: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
                ],
            ),
            (
                "010.0.0.1/08",
                vec![
                    "f: CIDR value \"010.0.0.1/08\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
                    "f: non-standard CIDR value \"010.0.0.1/08\" is invalid: use \"10.0.0.0/8\"",
                ],
            ),
            (
                "::ffff:10.0.0.0/104",
                vec![
                    "f: non-standard CIDR value \"::ffff:10.0.0.0/104\" is invalid: use \"10.0.0.0/8\"",
                ],
            ),
            (
                "fd00:0::/64",
                vec![
                    "f: IPv6 CIDR value \"fd00:0::/64\" should be in RFC 5952 canonical format (\"fd00::/64\")",
                ],
            ),
        ] {
            assert_eq!(said(cidr, value), wanted, "{value}");
        }
    }
}
