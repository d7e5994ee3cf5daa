//! Where webhooks are reached: apiserver `pkg/util/webhook/validation.go`.

use super::read::{Read, Report};
use crate::field::Path;
use crate::{Value, rules};

const FORM: &str = "; desired format: https://host[/path]";

/// Exactly one of url and service, and that one as it must be.
pub(crate) fn client_config(report: &mut Report, config: &Value, path: Path<'_>) {
    match (config.string("url"), config.part("service")) {
        (None, None) | (Some(_), Some(_)) => {
            report.required(path, "exactly one of url or service is required");
        }
        (Some(text), None) => url(report, text, path.child("url")),
        (None, Some(service)) => {
            let path = path.child("service");
            // Upstream's callers hand name and namespace over in the wrong order.
            for (field, shown) in [("namespace", "name"), ("name", "namespace")] {
                if service.text(field).is_empty() {
                    report.required(path.child(shown), "");
                }
            }
            let port = service.number("port");
            if let Some(problem) = rules::port_number(port).first() {
                report.invalid_int(
                    path.child("port"),
                    port,
                    format!("port is not valid: {problem}"),
                );
            }
            service_path(report, service.text("path"), path.child("path"));
        }
    }
}

fn service_path(report: &mut Report, text: &str, path: Path<'_>) {
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        report.invalid_str(path, text, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        report.invalid_str(path, text, "must start with a '/'");
    }
    // The first byte is left out whatever it is, as upstream does.
    let rest = String::from_utf8_lossy(&text.as_bytes()[1..]);
    let rest = rest.strip_suffix('/').unwrap_or(&rest);
    for (i, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            report.invalid_str(path, text, format!("segment[{i}] may not be empty"));
            continue;
        }
        for problem in rules::dns1123_subdomain(step) {
            report.invalid_str(path, text, format!("segment[{i}]: {problem}"));
        }
    }
}

fn url(report: &mut Report, text: &str, path: Path<'_>) {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(why) => {
            let shown = crate::field::quote(text);
            let detail = format!("url must be a valid URL: parse {shown}: {why}{FORM}");
            report.required(path, &detail);
            return;
        }
    };
    if url.scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        report.invalid_str(path, &url.scheme, detail);
    }
    if url.host.is_empty() {
        report.invalid_str(path, url.host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        let detail = "user information is not permitted in the URL";
        report.invalid_str(path, user, detail);
    }
    if !url.fragment.is_empty() {
        let detail = "fragments are not permitted in the URL";
        report.invalid_str(path, url.fragment, detail);
    }
    if !url.query.is_empty() {
        let detail = "query parameters are not permitted in the URL";
        report.invalid_str(path, url.query, detail);
    }
}

/// The parts of a URL as Go's `net/url` splits it.
struct Url<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        if text.is_empty() && fragment.is_empty() {
            return Ok(Self::plain("", "", fragment));
        }
        let (scheme, rest) = scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                return Ok(Self::plain(scheme, query, fragment));
            }
            if rest.split('/').next().is_some_and(|s| s.contains(':')) {
                return Err("first path segment in URL cannot contain colon".into());
            }
        }
        let mut url = Self::plain(scheme, query, fragment);
        let mut rest_of_path = rest;
        if let Some(authority) = rest.strip_prefix("//")
            && (!scheme.is_empty() || !rest.starts_with("///"))
        {
            let end = authority.find('/').unwrap_or(authority.len());
            rest_of_path = &authority[end..];
            let authority = &authority[..end];
            let (user, host) = match authority.rsplit_once('@') {
                Some((user, host)) => (Some(user), host),
                None => (None, authority),
            };
            check_host(host)?;
            (url.user, url.host) = (user, host);
        }
        check_escapes(rest_of_path)?;
        Ok(url)
    }

    fn plain(scheme: &str, query: &'a str, fragment: &'a str) -> Self {
        Self {
            scheme: scheme.to_ascii_lowercase(),
            user: None,
            host: "",
            query,
            fragment,
        }
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(literal) = host.strip_prefix('[') {
        let Some((_, rest)) = literal.rsplit_once(']') else {
            return Err("missing ']' in host".into());
        };
        return check_port(rest);
    }
    if let Some(i) = host.rfind(':') {
        check_port(&host[i..])?;
    }
    if let Some(bad) = host
        .chars()
        .find(|c| matches!(c, ' ' | '^' | '\\' | '{' | '}' | '|' | '`'))
    {
        return Err(format!(
            "invalid character {} in host name",
            crate::field::quote(&bad.to_string())
        ));
    }
    check_escapes(host)
}

fn check_port(text: &str) -> Result<(), String> {
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if text.is_empty() || text.strip_prefix(':').is_some_and(digits) {
        return Ok(());
    }
    Err(format!(
        "invalid port {} after host",
        crate::field::quote(text)
    ))
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (i, _) in text.match_indices('%') {
        let escape: String = text[i..].chars().take(3).collect();
        if escape.len() != 3 || !escape[1..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!(
                "invalid URL escape {}",
                crate::field::quote(&escape)
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn said(config: &Value) -> Vec<String> {
        let mut report = Report::default();
        client_config(&mut report, config, Path::root("c"));
        report.errors.iter().map(ToString::to_string).collect()
    }

    /// apiserver `pkg/util/webhook/validation_test.go`
    #[test]
    fn urls_and_services_of_webhooks_are_checked() {
        assert_eq!(said(&value!({"url": "https://example.com/x"})), [""; 0]);
        assert_eq!(
            said(&value!({"url": "http://u:p@example.com?a=b#f"})),
            [
                "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "c.url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "c.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "c.url: Invalid value: \"a=b\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            said(&value!({"url": "https://h:x/"})),
            [
                "c.url: Required value: url must be a valid URL: parse \"https://h:x/\": invalid port \":x\" after host; desired format: https://host[/path]"
            ]
        );
        assert_eq!(
            said(&value!({"service": {"namespace": "ns", "port": 0, "path": "a//b/"}})),
            [
                "c.service.namespace: Required value",
                "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "c.service.path: Invalid value: \"a//b/\": must start with a '/'",
                "c.service.path: Invalid value: \"a//b/\": segment[0] may not be empty",
                "c.service.path: Invalid value: \"a//b/\": segment[1] may not be empty",
            ]
        );
        assert_eq!(
            said(&value!({})),
            ["c: Required value: exactly one of url or service is required"]
        );
    }
}
