//! URLs, read as Go's `net/url` reads them and refused in its words.

use crate::field::quote;
use crate::go_net;
use std::collections::BTreeMap;

/// The parts of a URL; what can be written in several ways is kept as it was written too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: String,
    opaque: String,
    user: Option<(Vec<u8>, Option<Vec<u8>>)>,
    host: Vec<u8>,
    /// Neither user nor host, only a path behind the scheme.
    no_host: bool,
    path: Vec<u8>,
    raw_path: String,
    pub(crate) query: String,
    /// There is a `?` with nothing behind it.
    empty_query: bool,
    fragment: Vec<u8>,
    raw_fragment: String,
}

/// The part of a URL that something is escaped in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Host,
    Zone,
    User,
    Query,
    Fragment,
}

/// Whether a byte cannot stand there as it is.
fn is_escaped(b: u8, place: Place) -> bool {
    if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
        return false;
    }
    match place {
        Place::Host | Place::Zone => !b"!$&'()*+,;=:[]<>\"".contains(&b),
        Place::Path => !b"$&+,/:;=@".contains(&b),
        Place::User => !b"$&+,;=".contains(&b),
        Place::Query => true,
        Place::Fragment => !b"$&+,/:;=?@!()*".contains(&b),
    }
}

fn escape(bytes: &[u8], place: Place) -> String {
    let mut out = String::with_capacity(bytes.len());
    for b in bytes {
        if is_escaped(*b, place) {
            out.push_str(&format!("%{b:02X}"));
        } else {
            out.push(char::from(*b));
        }
    }
    out
}

fn unescape(text: &str, place: Place) -> Result<Vec<u8>, String> {
    let wrong = |s: &[u8]| {
        let shown = String::from_utf8_lossy(&s[..s.len().min(3)]);
        Err(format!("invalid URL escape {}", quote(&shown)))
    };
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(b) = bytes.get(i) {
        match b {
            b'%' => {
                let digit = |at: usize| {
                    let c = bytes.get(at).map(|b| char::from(*b))?;
                    c.to_digit(16).and_then(|d| u8::try_from(d).ok())
                };
                let (Some(high), Some(low)) = (digit(i + 1), digit(i + 2)) else {
                    return wrong(&bytes[i..]);
                };
                let byte = high << 4 | low;
                let percent = &bytes[i..i + 3] == b"%25";
                let refused = match place {
                    Place::Host => high < 8 && !percent,
                    Place::Zone => !percent && byte != b' ' && is_escaped(byte, Place::Host),
                    _ => false,
                };
                if refused {
                    return wrong(&bytes[i..]);
                }
                out.push(byte);
                i += 2;
            }
            b'+' if place == Place::Query => out.push(b' '),
            b if matches!(place, Place::Host | Place::Zone)
                && b.is_ascii()
                && is_escaped(*b, place) =>
            {
                let shown = quote(&char::from(*b).to_string());
                return Err(format!("invalid character {shown} in host name"));
            }
            b => out.push(*b),
        }
        i += 1;
    }
    Ok(out)
}

/// Whether nothing in it had to be escaped that is not.
fn is_valid(text: &str, place: Place) -> bool {
    text.bytes()
        .all(|b| b"!$&'()*+,;=:@[]%".contains(&b) || !is_escaped(b, place))
}

/// The scheme, and what follows its colon.
fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme".into()),
            b':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

/// `absolute`: as `url.ParseRequestURI`, without relative references.
fn parse(text: &str, absolute: bool) -> Result<Url, String> {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err("net/url: invalid control character in URL".into());
    }
    if text.is_empty() && absolute {
        return Err("empty url".into());
    }
    let mut url = Url::default();
    if text == "*" {
        url.path = text.into();
        return Ok(url);
    }
    let (scheme, mut rest) = split_scheme(text)?;
    url.scheme = scheme.to_lowercase();
    if let Some(before) = rest.strip_suffix('?')
        && !before.contains('?')
    {
        (url.empty_query, rest) = (true, before);
    } else if let Some((before, query)) = rest.split_once('?') {
        (url.query, rest) = (query.to_owned(), before);
    }
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            rest.clone_into(&mut url.opaque);
            return Ok(url);
        }
        if absolute {
            return Err("invalid URI for request".into());
        }
        if rest.split('/').next().is_some_and(|s| s.contains(':')) {
            return Err("first path segment in URL cannot contain colon".into());
        }
    }
    let named = !url.scheme.is_empty();
    if let Some(after) = rest.strip_prefix("//")
        && (named || !absolute && !rest.starts_with("///"))
    {
        let end = after.find('/').unwrap_or(after.len());
        (url.user, url.host) = authority(&url.scheme, &after[..end])?;
        rest = &after[end..];
    } else if named && rest.starts_with('/') {
        url.no_host = true;
    }
    url.path = unescape(rest, Place::Path)?;
    if escape(&url.path, Place::Path) != rest {
        rest.clone_into(&mut url.raw_path);
    }
    Ok(url)
}

type Authority = (Option<(Vec<u8>, Option<Vec<u8>>)>, Vec<u8>);

fn authority(scheme: &str, text: &str) -> Result<Authority, String> {
    let Some((user, name)) = text.rsplit_once('@') else {
        return Ok((None, parse_host(scheme, text)?));
    };
    let host = parse_host(scheme, name)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !user.bytes().all(allowed) {
        return Err("net/url: invalid userinfo".into());
    }
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user, None),
    };
    let user = unescape(user, Place::User)?;
    let password = password.map(|p| unescape(p, Place::User)).transpose()?;
    Ok((Some((user, password)), host))
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || matches!(text.strip_prefix(':'), Some(p) if p.bytes().all(|b| b.is_ascii_digit()))
}

fn check_port(text: &str) -> Result<(), String> {
    if is_port(text) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quote(text)))
}

fn parse_host(scheme: &str, host: &str) -> Result<Vec<u8>, String> {
    match host.rfind('[') {
        Some(0) => return parse_literal(host),
        Some(_) => return Err("invalid IP-literal".into()),
        None => {}
    }
    if let Some(first) = host.find(':') {
        // Others than the web may list several hosts.
        let web = scheme == "http" || scheme == "https";
        let last = host.rfind(':').unwrap_or(first);
        check_port(&host[if web { first } else { last }..])?;
    }
    unescape(host, Place::Host)
}

/// `[fe80::1%25en0]:80`
fn parse_literal(host: &str) -> Result<Vec<u8>, String> {
    let Some(end) = host.rfind(']') else {
        return Err("missing ']' in host".into());
    };
    let port = &host[end + 1..];
    check_port(port)?;
    let name = &host[1..end];
    let mut address = match name.find("%25") {
        Some(zone) => {
            let mut address = unescape(&name[..zone], Place::Host)?;
            address.extend(unescape(&name[zone..], Place::Zone)?);
            address
        }
        None => unescape(name, Place::Host)?,
    };
    let (ip, _) =
        go_net::parse_addr(&lossy(&address)).map_err(|why| format!("invalid host: {why}"))?;
    if ip.is_ipv4() {
        return Err("invalid IP-literal".into());
    }
    address.insert(0, b'[');
    address.push(b']');
    address.extend(port.bytes());
    Ok(address)
}

impl Url {
    /// `url.Parse`, after `url.ParseRequestURI` had nothing against it.
    ///
    /// # Errors
    /// `parse "…": …`
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let named = |shown: &str, why| format!("parse {}: {why}", quote(shown));
        parse(text, true).map_err(|why| named(text, why))?;
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let mut url = parse(before, false).map_err(|why| named(before, why))?;
        url.fragment = unescape(fragment, Place::Fragment).map_err(|why| named(text, why))?;
        if escape(&url.fragment, Place::Fragment) != fragment {
            fragment.clone_into(&mut url.raw_fragment);
        }
        Ok(url)
    }

    /// What is wrong with an absolute URI or path (`url.ParseRequestURI`).
    pub(crate) fn uri_problem(text: &str) -> Option<String> {
        let why = parse(text, true).err()?;
        Some(format!("parse {}: {why}", quote(text)))
    }

    pub(crate) fn host(&self) -> String {
        lossy(&self.host)
    }

    pub(crate) fn escaped_path(&self) -> String {
        if !self.raw_path.is_empty() && is_valid(&self.raw_path, Place::Path) {
            return self.raw_path.clone();
        }
        if self.path == b"*" {
            return "*".into();
        }
        escape(&self.path, Place::Path)
    }

    fn escaped_fragment(&self) -> String {
        if !self.raw_fragment.is_empty() && is_valid(&self.raw_fragment, Place::Fragment) {
            return self.raw_fragment.clone();
        }
        escape(&self.fragment, Place::Fragment)
    }

    /// Host without brackets, port.
    pub(crate) fn split_host(&self) -> (String, String) {
        let host = self.host();
        let colon = host.rfind(':').filter(|i| is_port(&host[*i..]));
        let (name, port) = match colon {
            Some(i) => (host[..i].to_owned(), host[i + 1..].to_owned()),
            None => (host, String::new()),
        };
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        (bare.map_or(name.clone(), str::to_owned), port)
    }

    /// The URL as text.
    pub(crate) fn written(&self) -> String {
        let mut out = String::new();
        if !self.scheme.is_empty() {
            out.push_str(&self.scheme);
            out.push(':');
        }
        if self.opaque.is_empty() {
            self.write_place(&mut out);
        } else {
            out.push_str(&self.opaque);
        }
        if self.empty_query || !self.query.is_empty() {
            out.push('?');
            out.push_str(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push('#');
            out.push_str(&self.escaped_fragment());
        }
        out
    }

    fn write_place(&self, out: &mut String) {
        let hosted = !self.host.is_empty() || self.user.is_some();
        let omitted = self.no_host && !hosted;
        if !omitted && (hosted || !self.scheme.is_empty()) {
            if hosted || !self.path.is_empty() {
                out.push_str("//");
            }
            if let Some((user, password)) = &self.user {
                out.push_str(&escape(user, Place::User));
                if let Some(password) = password {
                    out.push(':');
                    out.push_str(&escape(password, Place::User));
                }
                out.push('@');
            }
            out.push_str(&escape(&self.host, Place::Host));
        }
        let path = self.escaped_path();
        if !path.is_empty() && !path.starts_with('/') && !self.host.is_empty() {
            out.push('/');
        }
        if out.is_empty() && path.split('/').next().is_some_and(|s| s.contains(':')) {
            out.push_str("./");
        }
        out.push_str(&path);
    }

    /// The parameters; what cannot be read is left out.
    pub(crate) fn parameters(&self) -> BTreeMap<String, Vec<String>> {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if self.query.matches('&').count() >= MAX_PARAMETERS {
            return parameters;
        }
        for pair in self.query.split('&') {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Ok(name), Ok(value)) =
                (unescape(name, Place::Query), unescape(value, Place::Query))
            {
                let values = parameters.entry(lossy(&name)).or_default();
                values.push(lossy(&value));
            }
        }
        parameters
    }
}

/// Go reads none when there are more.
const MAX_PARAMETERS: usize = 10_000;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
