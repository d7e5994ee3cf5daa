//! What a request asks for, from its method, path and query alone.
//!
//! Rules of apiserver `pkg/endpoints/request/requestinfo.go`.

use freehold_model::ApiError;
use freehold_policy::Attributes;
use http::Method;

/// The longest path and query that is looked at.
pub(crate) const MAX_URL: usize = 16 * 1024;
const MAX_PARAMETERS: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// false: a path such as `/healthz`, only `path` and `verb` are set
    pub is_resource: bool,
    pub path: String,
    /// get, list, watch, create, update, patch, delete, deletecollection; the method in lower case
    /// for a non-resource request
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// path segments behind the subresource
    pub rest: Vec<String>,
}

/// The decoded query, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut out = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if out.len() == MAX_PARAMETERS {
                return Err(ApiError::bad_request("too many query parameters"));
            }
            let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
            out.push((decode(k, true)?, decode(v, true)?));
        }
        Ok(Self(out))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// Empty when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// As apimachinery `pkg/runtime/conversion.go`: anything but `0` and `false` is true.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .map(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.flag(name).unwrap_or(false)
    }

    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(v) => v.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {v:?}: invalid syntax"))
            }),
        }
    }
}

fn decode(text: &str, plus_is_space: bool) -> Result<String, ApiError> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'%' => {
                let hex = bytes
                    .get(i + 1..i + 3)
                    .and_then(|h| std::str::from_utf8(h).ok());
                let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
                out.push(byte.ok_or_else(|| ApiError::bad_request("invalid URL escape"))?);
                i += 3;
                continue;
            }
            b'+' if plus_is_space => out.push(b' '),
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8(out).map_err(|_| ApiError::bad_request("the URL is not UTF-8"))
}

impl RequestInfo {
    /// Reads method and path.
    ///
    /// # Errors
    /// 400 for escapes that do not decode or hide a slash, 414 for a URL that is too long.
    pub(crate) fn parse(method: &Method, uri: &http::Uri, query: &Query) -> Result<Self, ApiError> {
        let raw = uri.path();
        if raw.len() + uri.query().map_or(0, str::len) > MAX_URL {
            return Err(ApiError::new(
                414,
                "RequestURITooLong",
                "the request URL is too long",
            ));
        }
        let mut info = Self {
            path: decode(raw, false)?,
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        let segments: Vec<String> = raw
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| decode(s, false))
            .collect::<Result<_, _>>()?;
        if segments
            .iter()
            .any(|s| s.contains('/') || s.contains('\0') || s == "." || s == "..")
        {
            return Err(ApiError::bad_request("invalid path segment"));
        }
        info.read_resource(method, &segments, query)?;
        Ok(info)
    }

    fn read_resource(
        &mut self,
        method: &Method,
        segments: &[String],
        query: &Query,
    ) -> Result<(), ApiError> {
        let mut parts: &[String] = match segments.first().map(String::as_str) {
            Some("api") if segments.len() >= 3 => &segments[1..],
            Some("apis") if segments.len() >= 4 => {
                self.group.clone_from(&segments[1]);
                &segments[2..]
            }
            _ => return Ok(()),
        };
        self.is_resource = true;
        self.version.clone_from(&parts[0]);
        parts = &parts[1..];
        self.verb = verb_of(method).to_owned();
        if parts[0] == "watch" {
            if parts.len() < 2 {
                return Err(ApiError::bad_request(
                    "unable to determine kind and namespace from url",
                ));
            }
            self.verb = "watch".into();
            parts = &parts[1..];
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace.clone_from(&parts[1]);
            if parts.len() > 2 && parts[2] != "status" && parts[2] != "finalize" {
                parts = &parts[2..];
            }
        }
        self.resource.clone_from(&parts[0]);
        if let Some(name) = parts.get(1) {
            self.name.clone_from(name);
        }
        if let Some(sub) = parts.get(2) {
            self.subresource.clone_from(sub);
            self.rest = parts[3..].to_vec();
        }
        if self.name.is_empty() {
            match self.verb.as_str() {
                "get" if query.is_on("watch") => self.verb = "watch".into(),
                "get" => self.verb = "list".into(),
                "delete" => self.verb = "deletecollection".into(),
                _ => {}
            }
        }
        Ok(())
    }

    /// What the authorizer is asked. A list or watch of exactly one name is authorized by that name.
    pub(crate) fn attributes(&self, query: &Query) -> Attributes {
        if !self.is_resource {
            return Attributes {
                verb: self.verb.clone(),
                path: Some(self.path.clone()),
                ..Attributes::default()
            };
        }
        let mut name = self.name.clone();
        if name.is_empty() && matches!(self.verb.as_str(), "list" | "watch") {
            name = exact_name(query.text("fieldSelector"))
                .unwrap_or_default()
                .to_owned();
        }
        Attributes {
            verb: self.verb.clone(),
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name,
            path: None,
        }
    }

    pub(crate) fn mutates(&self) -> bool {
        !matches!(
            self.verb.as_str(),
            "get" | "list" | "watch" | "head" | "options"
        )
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name that a field selector pins, when it does.
fn exact_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let plain =
            !value.is_empty() && value.bytes().all(|b| b != b'\\' && b != b'/' && b != b'%');
        plain.then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, url: &str) -> RequestInfo {
        let uri: http::Uri = url.parse().unwrap();
        let query = Query::parse(uri.query().unwrap_or("")).unwrap();
        RequestInfo::parse(&method.parse().unwrap(), &uri, &query).unwrap()
    }

    /// method, URL, verb, group, namespace, resource, subresource, name (`-`: empty), as apiserver
    /// pkg/endpoints/request/requestinfo_test.go
    const PATHS: &str = "
        GET    /api/v1/namespaces                                     list   -    -     namespaces  -        -
        GET    /api/v1/namespaces/other                               get    -    other namespaces  -        other
        PUT    /api/v1/namespaces/other/finalize                      update -    other namespaces  finalize other
        GET    /api/v1/namespaces/other/pods                          list   -    other pods        -        -
        GET    /api/v1/namespaces/other/pods/foo                      get    -    other pods        -        foo
        HEAD   /api/v1/namespaces/other/pods/foo                      get    -    other pods        -        foo
        GET    /api/v1/pods?watch=1                                   watch  -    -     pods        -        -
        GET    /api/v1/watch/namespaces/other/pods                    watch  -    other pods        -        -
        DELETE /api/v1/namespaces/other/pods                deletecollection -    other pods        -        -
        POST   /apis/apps/v1/namespaces/a/deployments                 create apps a     deployments -        -
        PATCH  /apis/apps/v1/namespaces/a/deployments/d/scale         patch  apps a     deployments scale    d
    ";

    #[test]
    fn paths_give_the_same_parts_as_upstream() {
        for line in PATHS.lines().filter(|l| !l.trim().is_empty()) {
            let words: Vec<&str> = line
                .split_whitespace()
                .map(|w| if w == "-" { "" } else { w })
                .collect();
            let i = info(words[0], words[1]);
            assert!(i.is_resource, "{line}");
            let got = [
                &i.verb,
                &i.group,
                &i.namespace,
                &i.resource,
                &i.subresource,
                &i.name,
            ];
            assert_eq!(got, words[2..], "{line}");
        }
        for url in [
            "/",
            "/api",
            "/apis/apps",
            "/apis/apps/v1",
            "/api/v1",
            "/healthz/x",
        ] {
            assert!(!info("GET", url).is_resource, "{url}");
        }
    }

    #[test]
    fn a_hidden_slash_or_a_dot_segment_is_refused() {
        for url in [
            "/api/v1/namespaces/a%2Fb/pods",
            "/api/v1/namespaces/%2e%2e/pods",
            "/api/v1/pods/%zz",
        ] {
            let uri: http::Uri = url.parse().unwrap();
            assert_eq!(
                RequestInfo::parse(&Method::GET, &uri, &Query::default())
                    .unwrap_err()
                    .code,
                400,
                "{url}"
            );
        }
    }

    #[test]
    fn a_list_of_one_name_is_authorized_by_that_name() {
        let uri: http::Uri = "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dx"
            .parse()
            .unwrap();
        let query = Query::parse(uri.query().unwrap()).unwrap();
        let i = RequestInfo::parse(&Method::GET, &uri, &query).unwrap();
        assert_eq!(i.attributes(&query).name, "x");
        assert_eq!(i.name, "");
    }
}
