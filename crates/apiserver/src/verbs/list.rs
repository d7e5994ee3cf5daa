//! GET of a collection: from the cache when it holds the revision asked for, else from the store.

use super::get::parse_rev;
use crate::Body;
use crate::cache::{Object, object, store_error};
use crate::codec::{Format, Shape};
use crate::pipeline::Call;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::select::{FieldSelector, LabelSelector};
use freehold_model::{ApiError, Value, json, value};
use freehold_store::Range;
use http::Response;
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Rows read from the store at a time for a list at an old revision.
const STORE_PAGE: usize = 2_000;
/// Bytes of a list that are assembled at a time.
const CHUNK: usize = 64 * 1024;

/// What a list shows.
pub(super) struct Page {
    pub objects: Vec<Arc<Object>>,
    pub rev: u64,
    next: Option<String>,
    remaining: Option<usize>,
}

/// Label and field selectors of a list or watch.
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// `metadata.name=x` alone, which needs no parsing
    name: Option<String>,
}

impl Selection {
    pub(super) fn of(call: &Call) -> Result<Self, ApiError> {
        let labels = match call.query.text("labelSelector") {
            "" => LabelSelector::default(),
            text => LabelSelector::parse(text)?,
        };
        let fields = match call.query.text("fieldSelector") {
            "" => FieldSelector::default(),
            text => FieldSelector::parse(text)?,
        };
        fields.check(&call.resource)?;
        let mut name = match fields.terms.as_slice() {
            [(path, value, true)] if path == "metadata.name" => Some(value.to_string()),
            _ => None,
        };
        if !call.info.name.is_empty() {
            // The old form /watch/…/name.
            name = Some(call.info.name.clone());
        }
        Ok(Self {
            labels,
            fields,
            name,
        })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }

    /// A field that must be this string cannot be it where the string is nowhere.
    fn rules_out(&self, object: &Object) -> bool {
        let maybe_no_string = |v: &str| {
            v.is_empty() || matches!(v, "true" | "false") || v.bytes().all(|b| b.is_ascii_digit())
        };
        self.fields
            .terms
            .iter()
            .any(|(_, value, equal)| *equal && !maybe_no_string(value) && !object.mentions(value))
    }

    pub(super) fn matches(&self, call: &Call, object: &Object) -> bool {
        if !self.labels.is_empty() && !self.labels.selects(object.labels()) {
            return false;
        }
        match &self.name {
            Some(name) => object.name() == name,
            None if self.fields.is_empty() => true,
            // What a default adds is not in the bytes.
            None if call.is_settled(object) && self.rules_out(object) => false,
            None => call
                .load(object)
                .is_ok_and(|o| self.fields.matches(&call.resource, &o)),
        }
    }
}

/// A place in a list: the revision it is of (0: whatever is now) and the first path to show.
struct Token {
    rev: u64,
    start: String,
}

impl Token {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| bad())?;
        let value = json::parse(&bytes).map_err(|_| bad())?.value;
        let rev = value.get("rv").and_then(Value::as_i64).ok_or_else(bad)?;
        let start = value
            .str_at(&["start"])
            .filter(|s| !s.is_empty())
            .ok_or_else(bad)?;
        if value.str_at(&["v"]) != Some("meta.k8s.io/v1") || start.matches('/').count() != 1 {
            return Err(bad());
        }
        Ok(Self {
            rev: u64::try_from(rev).unwrap_or(0),
            start: start.into(),
        })
    }

    fn text(&self) -> String {
        let rev = if self.rev == 0 {
            -1
        } else {
            i64::try_from(self.rev).unwrap_or(-1)
        };
        let token = value!({"v": "meta.k8s.io/v1", "rv": rev, "start": (self.start.clone())});
        URL_SAFE_NO_PAD.encode(json::to_vec(&token))
    }
}

/// Which state a list is to show.
enum At {
    /// whatever the cache has
    Any,
    Now,
    NotOlderThan(u64),
    Exact(u64),
}

struct Asked {
    at: At,
    limit: usize,
    /// first path to show
    start: Option<String>,
}

fn option_error(field: &str, kind: ErrorKind, value: &str, detail: &str) -> ApiError {
    ApiError::invalid(
        "meta.k8s.io",
        "ListOptions",
        "",
        &[FieldError::new(kind, field, value, detail)],
    )
}

/// Rules of apimachinery `pkg/apis/internalversion/validation/validation.go`.
fn check_match(rev: &str, rule: &str, token: &str) -> Result<(), ApiError> {
    let forbidden = |detail: &str| {
        Err(option_error(
            "resourceVersionMatch",
            ErrorKind::Forbidden,
            "",
            detail,
        ))
    };
    match rule {
        "" => Ok(()),
        _ if rev.is_empty() => {
            forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        _ if !token.is_empty() => {
            forbidden("resourceVersionMatch is forbidden when continue is provided")
        }
        "Exact" if rev == "0" => {
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        "Exact" | "NotOlderThan" => Ok(()),
        other => Err(option_error(
            "resourceVersionMatch",
            ErrorKind::NotSupported,
            &format!("{other:?}"),
            "supported values: \"Exact\", \"NotOlderThan\", \"\"",
        )),
    }
}

fn asked(call: &Call) -> Result<Asked, ApiError> {
    let q = &call.query;
    let (rev, token) = (q.text("resourceVersion"), q.text("continue"));
    let rule = q.text("resourceVersionMatch");
    if q.get("sendInitialEvents").is_some() {
        let detail = "sendInitialEvents is forbidden for list";
        return Err(option_error(
            "sendInitialEvents",
            ErrorKind::Forbidden,
            "",
            detail,
        ));
    }
    let limit = q.int("limit")?.unwrap_or(0);
    let limit = usize::try_from(limit).unwrap_or(0);
    check_match(rev, rule, token)?;
    if !token.is_empty() {
        if !rev.is_empty() && rev != "0" {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let token = Token::parse(token)?;
        let at = if token.rev == 0 {
            At::Now
        } else {
            At::Exact(token.rev)
        };
        return Ok(Asked {
            at,
            limit,
            start: Some(token.start),
        });
    }
    let at = match (rev, rule) {
        ("", _) => At::Now,
        ("0", _) => At::Any,
        (rev, "Exact") => At::Exact(parse_rev(rev)?),
        // As documented upstream: a page of an unqualified revision is a page of exactly that one.
        (rev, "") if limit > 0 => At::Exact(parse_rev(rev)?),
        (rev, _) => At::NotOlderThan(parse_rev(rev)?),
    };
    // A list of "any" state is not paged, as upstream's watch cache does it.
    let limit = if matches!(at, At::Any) { 0 } else { limit };
    Ok(Asked {
        at,
        limit,
        start: None,
    })
}

/// The objects that a list of this call shows.
pub(super) async fn select(call: &Call) -> Result<Page, ApiError> {
    let asked = asked(call)?;
    let selection = Selection::of(call)?;
    let cache = &call.cp.cache;
    let view = call.view();
    let namespace =
        Some(call.info.namespace.as_str()).filter(|ns| !ns.is_empty() && call.resource.namespaced);
    let exact = match asked.at {
        At::Any => None,
        At::Now => {
            cache.fresh().await?;
            None
        }
        At::NotOlderThan(rev) => {
            cache.reach(rev).await?;
            None
        }
        At::Exact(rev) => {
            cache.reach(rev).await?;
            Some(rev)
        }
    };
    let (objects, now) = view.list(namespace);
    let (objects, rev) = match exact {
        // Nothing of this resource changed since: the cache still holds that very state.
        Some(rev) if objects_unchanged_since(&view, rev) => (objects, rev),
        Some(rev) => (at_revision(call, namespace, rev, &asked).await?, rev),
        None => (objects, now),
    };
    Ok(page(call, objects, rev, &asked, &selection))
}

fn objects_unchanged_since(view: &crate::cache::View, rev: u64) -> bool {
    view.changed() <= rev
}

/// Reads a past state from the store's history.
async fn at_revision(
    call: &Call,
    namespace: Option<&str>,
    rev: u64,
    asked: &Asked,
) -> Result<Vec<Arc<Object>>, ApiError> {
    let r = &call.storage;
    let all = object::key(&r.group, &r.plural, "", "");
    // `/registry/group/plural/` of all namespaces, or with the namespace and its slash.
    let base = &all[..all.len() - 1];
    let prefix = match namespace {
        Some(ns) => [base, ns.as_bytes(), b"/"].concat(),
        None => base.to_vec(),
    };
    let mut hi = prefix.clone();
    if let Some(last) = hi.last_mut() {
        *last += 1;
    }
    let mut lo = match &asked.start {
        Some(start) => [base, start.as_bytes()].concat().max(prefix.clone()),
        None => prefix,
    };
    let mut out = Vec::new();
    loop {
        let range = Range {
            lo: lo.clone().into(),
            hi: hi.clone().into(),
            rev,
            limit: STORE_PAGE,
            ..Range::default()
        };
        let reply = call
            .cp
            .config
            .store
            .range(range)
            .await
            .map_err(|e| expired(&e, asked))?;
        for kv in &reply.kvs {
            let parts = std::str::from_utf8(&kv.key).ok().and_then(object::split);
            if let Some(o) = parts.and_then(|(_, ns, name)| Object::new(ns, name, kv)) {
                out.push(Arc::new(o));
            }
        }
        match reply.kvs.last() {
            Some(last) if reply.more => lo = [&last.key[..], &[0]].concat(),
            _ => return Ok(out),
        }
    }
}

/// A continue token that outlived its revision says how to go on, as upstream's
/// `storage/etcd3/errors.go`; the new token rides in the message's details.
fn expired(e: &freehold_store::Error, asked: &Asked) -> ApiError {
    match (e, &asked.start) {
        (freehold_store::Error::Compacted(_), Some(start)) => {
            let mut error = ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            let token = Token {
                rev: 0,
                start: start.clone(),
            };
            error.details.get_or_insert_default().uid =
                format!("{CONTINUE}{}", token.text()).into();
            error
        }
        _ => store_error(e),
    }
}

/// Marks the continue token inside an [`ApiError`], which has no place of its own for it.
const CONTINUE: &str = "continue:";

fn page(
    call: &Call,
    objects: Vec<Arc<Object>>,
    rev: u64,
    asked: &Asked,
    selection: &Selection,
) -> Page {
    let from = asked
        .start
        .as_deref()
        .map_or(0, |start| objects.partition_point(|o| o.path() < start));
    let mut out = Vec::new();
    let mut rest = objects.into_iter().skip(from);
    let (mut next, mut remaining) = (None, None);
    while let Some(object) = rest.next() {
        if !selection.is_everything() && !selection.matches(call, &object) {
            continue;
        }
        if asked.limit > 0 && out.len() == asked.limit {
            next = Some(
                Token {
                    rev,
                    start: object.path().into(),
                }
                .text(),
            );
            remaining = selection.is_everything().then(|| rest.len() + 1);
            break;
        }
        out.push(object);
    }
    Page {
        objects: out,
        rev,
        next,
        remaining,
    }
}

pub(super) async fn list(call: &Call) -> Result<Response<Body>, ApiError> {
    let page = match select(call).await {
        Ok(page) => page,
        Err(e) => return answer_expired(call, e),
    };
    let mut metadata = value!({"resourceVersion": (page.rev.to_string())});
    let a = call.accept;
    if let Some(next) = page.next {
        metadata.set(&["continue"], next);
        if let Some(n) = page.remaining {
            metadata.set(
                &["remainingItemCount"],
                i64::try_from(n).unwrap_or(i64::MAX),
            );
        }
    } else if call.resource.custom.is_some() && a.shape == Shape::Plain {
        // Upstream's lists of custom objects have no type that would leave it out.
        metadata.set(&["continue"], "");
    }
    if a.format != Format::Json
        || a.shape != Shape::Plain
        || a.pretty
        || !call.copies_all(&page.objects)
    {
        return call.answer_list_values(&page.objects, metadata).await;
    }
    let mut head = Vec::with_capacity(64);
    head.extend_from_slice(b"{\"apiVersion\":");
    json::write_string(&call.resource.api_version(), &mut head);
    head.extend_from_slice(b",\"kind\":");
    json::write_string(&call.resource.list_kind, &mut head);
    head.extend_from_slice(b",\"metadata\":");
    json::write(&metadata, &mut head);
    head.extend_from_slice(b",\"items\":[");
    let body = Chunks {
        head: Some(head),
        objects: page.objects.into_iter(),
        typed: call.resource.custom.is_none(),
        first: true,
        ended: false,
    };
    let mut response = crate::respond::bytes(200, Bytes::new(), "application/json");
    *response.body_mut() = Body::wrap(body);
    Ok(response)
}

/// The 410 whose Status carries a token to go on with.
fn answer_expired(call: &Call, mut e: ApiError) -> Result<Response<Body>, ApiError> {
    let token = e
        .details
        .as_ref()
        .and_then(|d| d.uid.strip_prefix(CONTINUE).map(str::to_owned));
    let Some(token) = token else { return Err(e) };
    e.details = None;
    let mut status = e.to_value();
    status.set(&["metadata", "continue"], token);
    call.answer_value(e.code, &status)
}

/// A JSON list, assembled while it is sent.
struct Chunks {
    head: Option<Vec<u8>>,
    objects: std::vec::IntoIter<Arc<Object>>,
    /// what the list is says what its items are
    typed: bool,
    first: bool,
    ended: bool,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut out = self.head.take().unwrap_or_default();
        out.reserve(CHUNK);
        while out.len() < CHUNK {
            let Some(o) = self.objects.next() else {
                out.extend_from_slice(b"]}\n");
                self.ended = true;
                break;
            };
            if !self.first {
                out.push(b',');
            }
            self.first = false;
            if self.typed {
                o.write_untyped(&mut out);
            } else {
                o.write_with_rev(o.rev, &mut out);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(out.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
