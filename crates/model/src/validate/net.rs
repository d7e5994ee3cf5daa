//! IP addresses and CIDRs, as strict as apimachinery `pkg/util/validation/ip.go` is since v1.36.

use super::read::Report;
use crate::field::Path;
use std::net::{IpAddr, Ipv4Addr};

/// Go's `ParseIPSloppy`: as Rust's parser, but decimal parts may have leading zeros.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 16 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or_else(|e| {
                if part.bytes().all(|b| b == b'0') {
                    Ok(0)
                } else {
                    Err(e)
                }
            })
            .ok()?;
    }
    parts
        .next()
        .is_none()
        .then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// An IP address; `known` ones (of the old object) are not looked at again.
pub(crate) fn ip(
    report: &mut Report,
    path: Path<'_>,
    value: &str,
    known: &[&str],
) -> Option<IpAddr> {
    if known.contains(&value) {
        return sloppy(value);
    }
    let Some(ip) = sloppy(value) else {
        report.invalid_str(
            path,
            value,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
        return None;
    };
    if value.parse::<IpAddr>().is_err() {
        report.invalid_str(path, value, "must not have leading 0s");
    } else if is_mapped(ip) {
        report.invalid_str(path, value, "must not be an IPv4-mapped IPv6 address");
    }
    Some(ip)
}

/// An IP address in its canonical text.
pub(crate) fn canonical_ip(report: &mut Report, path: Path<'_>, value: &str) {
    let before = report.errors.len();
    if let Some(ip) = ip(report, path, value, &[])
        && report.errors.len() == before
        && ip.to_string() != value
    {
        report.invalid_str(path, value, format!("must be in canonical form (\"{ip}\")"));
    }
}

/// Address and prefix length, host bits and all.
pub(crate) fn sloppy_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, len) = text.split_once('/')?;
    let ip = sloppy(ip)?;
    if len.is_empty() || len.len() > 8 || !len.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let len: u32 = len.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    (len <= most).then_some((ip, len as u8))
}

pub(crate) fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// The network as Go compares it: one of mapped addresses is one of IPv4.
pub(crate) fn network(ip: IpAddr, len: u8) -> (IpAddr, u8) {
    let network = masked(ip, len);
    let canonical = network.to_canonical();
    if canonical == network {
        (network, len)
    } else {
        (canonical, len.saturating_sub(96))
    }
}

pub(crate) fn cidr(
    report: &mut Report,
    path: Path<'_>,
    value: &str,
    known: &[&str],
) -> Option<(IpAddr, u8)> {
    if known.contains(&value) {
        return sloppy_cidr(value);
    }
    let Some((ip, len)) = sloppy_cidr(value) else {
        report.invalid_str(
            path,
            value,
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
        return None;
    };
    let (text, digits) = value.split_once('/').unwrap_or_default();
    if text.parse::<IpAddr>().is_err() || (digits.len() > 1 && digits.starts_with('0')) {
        report.invalid_str(
            path,
            value,
            "must not have leading 0s in IP or prefix length",
        );
    } else if is_mapped(ip) {
        report.invalid_str(path, value, "must not have an IPv4-mapped IPv6 address");
    } else if masked(ip, len) != ip {
        report.invalid_str(
            path,
            value,
            "must not have bits set beyond the prefix length",
        );
    }
    Some((ip, len))
}

/// An address that traffic may be sent to.
pub(crate) fn endpoint_ip(report: &mut Report, path: Path<'_>, value: &str) {
    let Some(ip) = sloppy(value) else {
        report.invalid_str(path, value, "must be a valid IP address");
        return;
    };
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        report.invalid_str(path, value, format!("may not be unspecified ({value})"));
    }
    if ip.is_loopback() {
        report.invalid_str(
            path,
            value,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        );
    }
    let (unicast, multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local(),
            v6.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    if unicast {
        report.invalid_str(
            path,
            value,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
    }
    if multicast {
        report.invalid_str(
            path,
            value,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: impl Fn(&mut Report, Path<'_>)) -> Vec<String> {
        let mut report = Report::default();
        check(&mut report, Path::root("x"));
        report.errors.iter().map(|e| e.detail.clone()).collect()
    }

    /// apimachinery `pkg/util/validation/ip_test.go`
    #[test]
    fn addresses_and_ranges_are_taken_as_upstream_takes_them() {
        let none: [&str; 0] = [];
        for good in ["1.2.3.4", "::1", "fe80::1", "0.0.0.0"] {
            assert_eq!(
                problems(|r, p| {
                    ip(r, p, good, &[]);
                }),
                none,
                "{good}"
            );
        }
        assert_eq!(
            problems(|r, p| {
                ip(r, p, "1.2.3.04", &[]);
            }),
            ["must not have leading 0s"]
        );
        assert_eq!(
            problems(|r, p| {
                ip(r, p, "1.2.3.04", &["1.2.3.04"]);
            }),
            none
        );
        assert_eq!(
            problems(|r, p| {
                ip(r, p, "::ffff:1.2.3.4", &[]);
            }),
            ["must not be an IPv4-mapped IPv6 address"]
        );
        assert_eq!(
            problems(|r, p| {
                ip(r, p, "1.2.3", &[]);
            })
            .len(),
            1
        );
        for good in ["10.0.0.0/8", "::/0", "2001:db8::/64", "1.2.3.4/32"] {
            assert_eq!(
                problems(|r, p| {
                    cidr(r, p, good, &[]);
                }),
                none,
                "{good}"
            );
        }
        assert_eq!(
            problems(|r, p| {
                cidr(r, p, "10.0.0.1/8", &[]);
            }),
            ["must not have bits set beyond the prefix length"]
        );
        assert_eq!(
            problems(|r, p| {
                cidr(r, p, "10.0.0.0/08", &[]);
            }),
            ["must not have leading 0s in IP or prefix length"]
        );
        assert_eq!(
            problems(|r, p| {
                cidr(r, p, "10.0.0.0/33", &[]);
            })
            .len(),
            1
        );
        assert_eq!(problems(|r, p| endpoint_ip(r, p, "127.0.0.1")).len(), 1);
        assert_eq!(problems(|r, p| endpoint_ip(r, p, "169.254.1.1")).len(), 1);
        assert_eq!(problems(|r, p| endpoint_ip(r, p, "10.0.0.1")), none);
        assert_eq!(
            problems(|r, p| canonical_ip(r, p, "2001:DB8::1")),
            ["must be in canonical form (\"2001:db8::1\")"]
        );
    }
}
