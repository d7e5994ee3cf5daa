//! Address ranges: as much as is needed to check what a tenant asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    v6: bool,
    first: u128,
    last: u128,
}

impl Cidr {
    /// Reads `address/prefix`; the address must be the first of its range.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (v6, bits, value) = match address.parse::<IpAddr>().ok()? {
            IpAddr::V4(a) => (false, 32, u128::from(u32::from(a))),
            IpAddr::V6(a) => (true, 128, u128::from(a)),
        };
        let prefix: u32 = prefix.parse().ok().filter(|p| *p <= bits)?;
        let host = match bits - prefix {
            128 => u128::MAX,
            n => (1u128 << n) - 1,
        };
        (value & host == 0).then_some(Self {
            v6,
            first: value,
            last: value | host,
        })
    }

    /// The address at an offset from the first.
    pub(crate) fn at(&self, offset: u128) -> Option<IpAddr> {
        let value = self.first.checked_add(offset)?;
        if value > self.last {
            return None;
        }
        if self.v6 {
            return Some(Ipv6Addr::from(value).into());
        }
        u32::try_from(value).ok().map(|v| Ipv4Addr::from(v).into())
    }

    /// Whether the two have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.first <= other.last && other.first <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        for bad in [
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "x/8",
            "::/129",
            "10.0.0.0/-1",
        ] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
        let services = Cidr::parse("10.96.0.0/16").unwrap();
        assert_eq!(services.at(1).unwrap().to_string(), "10.96.0.1");
        assert_eq!(services.at(1 << 16), None);
        let all = Cidr::parse("::/0").unwrap();
        assert!(all.overlaps(&Cidr::parse("fd00::/108").unwrap()) && !all.overlaps(&services));
        assert!(Cidr::parse("0.0.0.0/0").unwrap().overlaps(&services));
        assert!(!Cidr::parse("10.97.0.0/16").unwrap().overlaps(&services));
    }
}
