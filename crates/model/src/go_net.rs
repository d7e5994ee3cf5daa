//! IP addresses, read as Go's `net/netip` reads them and refused in its words.

use crate::field::quote;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `netip.ParseAddr`, with a zone allowed: the address, and whether there is a zone.
pub(crate) fn parse_addr(text: &str) -> Result<(IpAddr, bool), String> {
    let fail = |why: &str| Err(format!("ParseAddr({}): {why}", quote(text)));
    match text.bytes().find(|b| b".:%".contains(b)) {
        Some(b'.') => match octets(text) {
            Ok(v4) => Ok((v4.into(), false)),
            Err(why) => fail(&why),
        },
        Some(b':') => {
            let (address, zone) = match text.split_once('%') {
                Some((_, "")) => return fail("zone must be a non-empty string"),
                Some((address, _)) => (address, true),
                None => (text, false),
            };
            match groups(address) {
                Ok(v6) => Ok((v6.into(), zone)),
                Err(why) => fail(&why),
            }
        }
        Some(_) => fail("missing IPv6 address"),
        None => fail("unable to parse IP"),
    }
}

/// `why (at "rest")`; nothing is shown of an empty rest.
fn at(why: &str, rest: &str) -> String {
    if rest.is_empty() {
        why.to_owned()
    } else {
        format!("{why} (at {})", quote(rest))
    }
}

/// Four numbers without leading zeros.
fn octets(text: &str) -> Result<Ipv4Addr, String> {
    let mut octets = [0_u8; 4];
    let (mut place, mut value, mut digits) = (0, 0_u32, 0);
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'0'..=b'9' => {
                if digits == 1 && value == 0 {
                    return Err("IPv4 field has octet with leading zero".into());
                }
                value = value * 10 + u32::from(b - b'0');
                digits += 1;
                if value > 255 {
                    return Err("IPv4 field has value >255".into());
                }
            }
            b'.' => {
                if i == 0 || i == text.len() - 1 || text.as_bytes()[i - 1] == b'.' {
                    return Err(at("IPv4 field must have at least one digit", &text[i..]));
                }
                if place == 3 {
                    return Err("IPv4 address too long".into());
                }
                octets[place] = u8::try_from(value).unwrap_or(u8::MAX);
                (place, value, digits) = (place + 1, 0, 0);
            }
            _ => return Err(at("unexpected character", &text[i..])),
        }
    }
    if place < 3 {
        return Err("IPv4 address too short".into());
    }
    octets[3] = u8::try_from(value).unwrap_or(u8::MAX);
    Ok(octets.into())
}

/// Eight groups, the last two perhaps as an IPv4 address; `::` stands for as many zeros as are missing.
fn groups(text: &str) -> Result<Ipv6Addr, String> {
    let mut bytes = [0_u8; 16];
    let (mut filled, mut gap, mut rest) = (0, None, text);
    if let Some(after) = rest.strip_prefix("::") {
        (gap, rest) = (Some(0), after);
        if rest.is_empty() {
            return Ok(Ipv6Addr::UNSPECIFIED);
        }
    }
    while filled < 16 {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits > 4 {
            return Err(at("each group must have 4 or less digits", rest));
        }
        if digits == 0 {
            return Err(at(
                "each colon-separated field must have at least one digit",
                rest,
            ));
        }
        if rest[digits..].starts_with('.') {
            if gap.is_none() && filled != 12 {
                return Err(at(
                    "embedded IPv4 address must replace the final 2 fields of the address",
                    rest,
                ));
            }
            if filled > 12 {
                return Err(at(
                    "too many hex fields to fit an embedded IPv4 at the end of the address",
                    rest,
                ));
            }
            bytes[filled..filled + 4].copy_from_slice(&octets(rest)?.octets());
            (filled, rest) = (filled + 4, "");
            break;
        }
        let group = u16::from_str_radix(&rest[..digits], 16).unwrap_or(0);
        bytes[filled..filled + 2].copy_from_slice(&group.to_be_bytes());
        filled += 2;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        match rest.strip_prefix(':') {
            None => return Err(at("unexpected character, want colon", rest)),
            Some("") => return Err(at("colon must be followed by more characters", rest)),
            Some(after) => rest = after,
        }
        if let Some(after) = rest.strip_prefix(':') {
            if gap.is_some() {
                return Err(at("multiple :: in address", rest));
            }
            (gap, rest) = (Some(filled), after);
            if rest.is_empty() {
                break;
            }
        }
    }
    if !rest.is_empty() {
        return Err(at("trailing garbage after address", rest));
    }
    expand(&mut bytes, filled, gap)?;
    Ok(bytes.into())
}

/// Moves what follows the gap to the end.
fn expand(bytes: &mut [u8; 16], filled: usize, gap: Option<usize>) -> Result<(), String> {
    match gap {
        None if filled < 16 => Err("address string too short".into()),
        Some(_) if filled == 16 => Err("the :: must expand to at least one field of zeros".into()),
        Some(gap) => {
            let end = 16 - (filled - gap);
            bytes.copy_within(gap..filled, end);
            bytes[gap..end].fill(0);
            Ok(())
        }
        None => Ok(()),
    }
}
