//! Watches: each is a position in a view's event window, and a response that goes on from there.

use super::get::parse_rev;
use super::list::Selection;
use crate::Body;
use crate::budget::Permit;
use crate::cache::view::{TooOld, line};
use crate::cache::{Event, Object, View};
use crate::codec::{Format, Shape};
use crate::pipeline::Call;
use crate::stored::Schema;
use bytes::Bytes;
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::{ApiError, Value, json, proto, value};
use futures::Stream;
use http::Response;
use http_body::Frame;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Events looked at in one go.
const BATCH: usize = 256;
const CHUNK: usize = 64 * 1024;
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// As upstream's `--min-request-timeout`: a watch without a time limit ends after this to twice this.
const DEFAULT_TIMEOUT: u64 = 1800;

struct Watcher {
    call: Arc<Call>,
    view: Arc<View>,
    selection: Selection,
    /// `Some`: only this namespace
    namespace: Option<String>,
    /// everything up to here was sent
    rev: u64,
    initial: std::vec::IntoIter<Arc<Object>>,
    /// send the bookmark that says the initial objects are complete
    announce: bool,
    bookmarks: bool,
    changes: tokio::sync::watch::Receiver<u64>,
    closed: tokio_util::sync::CancellationToken,
    /// of a custom kind; the watch ends with it
    schema: Option<Arc<Schema>>,
    deadline: Instant,
    next_bookmark: Instant,
    sent_columns: bool,
    ended: bool,
    _permit: Permit,
    _outside: Option<crate::control_plane::Outside>,
}

fn forbidden(field: &str, detail: &str) -> ApiError {
    let e = FieldError::new(ErrorKind::Forbidden, field, "", detail);
    ApiError::invalid("meta.k8s.io", "ListOptions", "", &[e])
}

/// Whether the watch begins with the existing objects because the client asked so.
fn send_initial(call: &Call) -> Result<bool, ApiError> {
    let q = &call.query;
    let rule = q.text("resourceVersionMatch");
    let Some(on) = q.flag("sendInitialEvents") else {
        if !rule.is_empty() {
            return Err(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        return Ok(false);
    };
    if rule != "NotOlderThan" {
        return Err(forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if on && !q.is_on("allowWatchBookmarks") {
        return Err(forbidden(
            "allowWatchBookmarks",
            "sendInitialEvents requires allowWatchBookmarks",
        ));
    }
    Ok(on)
}

pub(super) async fn watch(call: &Arc<Call>) -> Result<Response<Body>, ApiError> {
    let permit = call.cp.budget.watch()?;
    let selection = Selection::of(call)?;
    let asked_initial = send_initial(call)?;
    let rev_text = call.query.text("resourceVersion");
    let rev = if rev_text.is_empty() {
        0
    } else {
        parse_rev(rev_text)?
    };
    let cache = &call.cp.cache;
    if rev_text.is_empty() {
        cache.fresh().await?;
    } else {
        cache.reach(rev).await?;
    }
    let view = call.view();
    let changes = view.subscribe();
    let namespace =
        Some(call.info.namespace.clone()).filter(|ns| !ns.is_empty() && call.resource.namespaced);
    let implicit = call.query.flag("sendInitialEvents").is_none() && rev == 0;
    let (initial, start) = if asked_initial || implicit {
        view.list(namespace.as_deref())
    } else if rev == 0 {
        (Vec::new(), cache.rev().max(view.changed()))
    } else {
        (Vec::new(), rev)
    };
    let timeout = match call.query.int("timeoutSeconds")? {
        Some(s) if s > 0 => u64::try_from(s).unwrap_or(DEFAULT_TIMEOUT),
        _ => {
            DEFAULT_TIMEOUT + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * DEFAULT_TIMEOUT / 256
        }
    };
    let now = Instant::now();
    let watcher = Watcher {
        view,
        selection,
        namespace,
        rev: start,
        initial: initial.into_iter(),
        announce: asked_initial,
        bookmarks: call.query.is_on("allowWatchBookmarks"),
        changes,
        closed: cache.closed(),
        schema: call.kind.as_ref().map(|k| k.schema.clone()),
        deadline: now + Duration::from_secs(timeout.min(86_400)),
        next_bookmark: now + BOOKMARK_EVERY,
        sent_columns: false,
        ended: false,
        _permit: permit,
        _outside: call.cp.outside(call.origin),
        call: call.clone(),
    };
    let media = match call.accept.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Format::Yaml | Format::Json => "application/json",
    };
    let mut response = crate::respond::bytes(200, Bytes::new(), media);
    let stream = http_body_util::StreamBody::new(stream(watcher));
    *response.body_mut() = Body::wrap(stream);
    Ok(response)
}

fn stream(watcher: Watcher) -> impl Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> {
    // Boxed: a stream of this kind holds its state twice, and controllers keep sixty open.
    futures::stream::unfold(Box::new(watcher), |mut w| async move {
        let chunk = w.next_chunk().await?;
        Some((Ok(Frame::data(chunk)), w))
    })
}

/// Why waiting ended.
enum Woken {
    Change,
    Bookmark,
    End,
}

impl Watcher {
    /// The next bytes to send; `None` at the end of the watch.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        loop {
            if self.ended {
                return None;
            }
            self.initial_events(&mut out).await;
            if out.is_empty() && self.announce {
                self.announce = false;
                self.bookmark(true, &mut out);
            }
            if out.is_empty() {
                self.new_events(&mut out).await;
            }
            if !out.is_empty() {
                return Some(out.into());
            }
            match self.wait().await {
                Woken::Change => {}
                Woken::Bookmark => self.bookmark(false, &mut out),
                Woken::End => {
                    self.ended = true;
                    if self.bookmarks {
                        self.bookmark(false, &mut out);
                    }
                }
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let bookmark = if self.bookmarks {
            self.next_bookmark
        } else {
            self.deadline
        };
        let ended = async {
            match &self.schema {
                Some(schema) => schema.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What happened before the end is told before it.
            biased;
            changed = self.changes.changed() => if changed.is_ok() { Woken::Change } else { Woken::End },
            () = self.closed.cancelled() => Woken::End,
            () = ended => Woken::End,
            () = tokio::time::sleep_until(bookmark.min(self.deadline)) => {
                if Instant::now() >= self.deadline { Woken::End } else { Woken::Bookmark }
            }
        }
    }

    async fn initial_events(&mut self, out: &mut Vec<u8>) {
        while out.len() < CHUNK {
            let Some(object) = self.initial.next() else {
                return;
            };
            if self.selection.is_everything() || self.selection.matches(&self.call, &object) {
                self.write("ADDED", &object, None, out).await;
            }
        }
    }

    async fn new_events(&mut self, out: &mut Vec<u8>) {
        // Marking first: what happens while events are read wakes the next wait.
        self.changes.borrow_and_update();
        loop {
            let begun = self.schema.as_ref().map_or(0, |s| s.begun());
            let found = if self.rev < begun {
                Err(TooOld { oldest: begun })
            } else {
                self.view.events_after(self.rev, BATCH)
            };
            let (events, upto) = match found {
                Ok(found) => found,
                Err(too_old) => {
                    let text = format!(
                        "too old resource version: {} ({})",
                        self.rev, too_old.oldest
                    );
                    self.write_error(&ApiError::expired(text), out);
                    self.ended = true;
                    return;
                }
            };
            let more = events.len() >= BATCH;
            for event in &events {
                self.event(event, out).await;
            }
            self.rev = upto;
            if !more || out.len() >= CHUNK {
                return;
            }
        }
    }

    async fn event(&mut self, event: &Arc<Event>, out: &mut Vec<u8>) {
        if self
            .namespace
            .as_ref()
            .is_some_and(|ns| event.object.namespace() != ns)
        {
            return;
        }
        if self.selection.is_everything() {
            self.write(event.kind(), &event.object, Some(event), out)
                .await;
            return;
        }
        let matched = |o: &Object| self.selection.matches(&self.call, o);
        let now = !event.deleted && matched(&event.object);
        let before = event.prev.as_ref().is_some_and(|p| matched(p));
        match (before, now) {
            (false, false) => {}
            (false, true) => self.write("ADDED", &event.object, None, out).await,
            (true, true) => {
                self.write("MODIFIED", &event.object, Some(event), out)
                    .await
            }
            // The object left the selection: its last selected state, at the new revision.
            (true, false) => {
                let last = event.prev.as_ref().unwrap_or(&event.object).clone();
                self.write_at("DELETED", &last, event.rev, out).await;
            }
        }
    }

    fn is_native(&self, object: &Object) -> bool {
        let a = self.call.accept;
        a.shape == Shape::Plain && a.format != Format::Protobuf && self.call.copies(object)
    }

    async fn write(
        &mut self,
        kind: &str,
        object: &Arc<Object>,
        event: Option<&Event>,
        out: &mut Vec<u8>,
    ) {
        if self.is_native(object) {
            match event {
                Some(e) => out.extend_from_slice(&e.line()),
                None => out.extend_from_slice(&line(kind, object)),
            }
            return;
        }
        self.write_at(kind, object, object.rev, out).await;
    }

    async fn write_at(&mut self, kind: &str, object: &Object, rev: u64, out: &mut Vec<u8>) {
        let served = self.call.to_served(object).await.map(|mut v| {
            v.set(&["metadata", "resourceVersion"], rev.to_string());
            v
        });
        match served {
            Ok(v) => {
                let shaped = self.shape(v);
                self.frame(kind, &shaped, out);
            }
            Err(e) => self.write_error(&e, out),
        }
    }

    fn shape(&mut self, object: Value) -> Value {
        match self.call.accept.shape {
            Shape::Plain => object,
            Shape::Partial => self.call.partial(object),
            Shape::Table => {
                let rev = object
                    .str_at(&["metadata", "resourceVersion"])
                    .unwrap_or("")
                    .to_owned();
                let first = !std::mem::replace(&mut self.sent_columns, true);
                self.call
                    .table(vec![object], value!({"resourceVersion": rev}), first)
            }
        }
    }

    fn write_error(&self, e: &ApiError, out: &mut Vec<u8>) {
        self.frame("ERROR", &e.to_value(), out);
    }

    fn bookmark(&mut self, initial_end: bool, out: &mut Vec<u8>) {
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        let resource = &self.call.resource;
        let mut metadata = value!({"resourceVersion": (self.rev.to_string())});
        if initial_end {
            metadata.set(&["annotations", "k8s.io/initial-events-end"], "true");
        }
        let object = value!({
            "apiVersion": (resource.api_version()),
            "kind": (resource.kind.clone()),
            "metadata": metadata
        });
        let shaped = match self.call.accept.shape {
            Shape::Plain => object,
            Shape::Partial => self.call.partial(object),
            Shape::Table => self.call.table(
                vec![object],
                value!({"resourceVersion": (self.rev.to_string())}),
                false,
            ),
        };
        self.frame("BOOKMARK", &shaped, out);
    }

    fn frame(&self, kind: &str, object: &Value, out: &mut Vec<u8>) {
        if self.call.accept.format != Format::Protobuf {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            json::write(object, out);
            out.extend_from_slice(b"}\n");
            return;
        }
        match proto::encode(&self.call.served.catalogue, object) {
            Ok(bytes) => protobuf_frame(kind, &bytes, out),
            Err(e) => tracing::warn!(error = %e, "a watch event has no protobuf form"),
        }
    }
}

/// An event behind its length.
fn protobuf_frame(kind: &str, object: &[u8], out: &mut Vec<u8>) {
    let event = proto::watch_event(kind, object);
    out.extend_from_slice(&(event.len() as u32).to_be_bytes());
    out.extend_from_slice(&event);
}
