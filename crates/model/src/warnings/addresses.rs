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
                out.at(
                    path,
                    format_args!("non-standard IP address {value} is invalid: use \"{ip}\""),
                );
            }
        }
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
        out.at(
            path,
            format_args!("non-standard CIDR value {value} is invalid: use \"{network}\""),
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
        let mut out = Warnings::default();
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
