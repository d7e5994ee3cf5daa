//! Follows the metadata of one kind for ever: a list, then watches, and a list again when the
//! server no longer knows where we were. While nothing happens it holds an open response and an
//! empty buffer.

use crate::api::{Api, Kind, Meta, PARTIAL_LIST, Page, Partial, code};
use bytes::Buf as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const PARTIAL: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longer than any object: a server that sends more without a line's end is not one.
const LONGEST_LINE: usize = 32 * 1024 * 1024;

/// Something that happened to an object of a kind.
pub(crate) struct Event {
    pub kind: Arc<Kind>,
    pub what: What,
}

pub(crate) enum What {
    /// it exists, new or changed
    Applied(Meta),
    Deleted(Meta),
    /// deletions may have gone unseen; everything that exists follows
    Restarted,
    /// everything that existed at the start was told
    Listed,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    what: Box<str>,
    object: Object,
}

/// An object's metadata, or the code of an error.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    code: u16,
}

enum Ended {
    /// go on from the last revision
    Normally,
    /// the last revision is no longer known
    TooOld,
    Failed,
}

/// Tells `see` about every object of `kind`, for ever; `opening` bounds how many do so at once.
pub(crate) async fn follow(api: &Api, kind: &Arc<Kind>, opening: &Semaphore, see: impl Fn(Event)) {
    let mut listed = false;
    let mut pause = FIRST_PAUSE;
    let mut revision = String::new();
    loop {
        if revision.is_empty() {
            let turn = opening.acquire().await;
            let at = Box::pin(list(api, kind, listed, &see)).await;
            drop(turn);
            match at {
                Ok(at) => {
                    revision = at;
                    listed = true;
                    pause = FIRST_PAUSE;
                }
                // The kind is no longer served: nothing to follow until it is discovered again.
                Err(e) if code(&e) == 404 => pause = LONGEST_PAUSE,
                Err(e) => tracing::debug!(plural = &*kind.plural, error = %e, "a list failed"),
            }
        }
        if !revision.is_empty() {
            match watch(api, kind, opening, &mut revision, &see).await {
                Ended::Normally => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ended::TooOld => revision.clear(),
                Ended::Failed => {}
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn list(
    api: &Api,
    kind: &Arc<Kind>,
    again: bool,
    see: &impl Fn(Event),
) -> crate::api::Result<String> {
    let tell = |what| {
        see(Event {
            kind: kind.clone(),
            what,
        })
    };
    let mut next = String::new();
    let mut first = String::new();
    loop {
        let page: Page<Partial> = api.page(kind, "", "", PARTIAL_LIST, &next).await?;
        if first.is_empty() {
            first = page.metadata.resource_version;
            if again {
                tell(What::Restarted);
            }
        }
        for item in page.items.unwrap_or_default() {
            tell(What::Applied(item.metadata));
        }
        next = page.metadata.next;
        if next.is_empty() {
            tell(What::Listed);
            return Ok(first);
        }
    }
}

async fn open(api: &Api, kind: &Kind, revision: &str) -> kube::Result<Response<Body>> {
    let uri = format!("{}?watch=1&resourceVersion={revision}", kind.path("", ""));
    let request = Request::builder()
        .method(Method::GET)
        .uri(uri)
        .header(http::header::ACCEPT, PARTIAL);
    api.client
        .send(
            request
                .body(Body::empty())
                .map_err(kube::Error::HttpError)?,
        )
        .await
}

async fn watch(
    api: &Api,
    kind: &Arc<Kind>,
    opening: &Semaphore,
    revision: &mut String,
    see: &impl Fn(Event),
) -> Ended {
    let turn = opening.acquire().await;
    let opened = Box::pin(open(api, kind, revision)).await;
    drop(turn);
    let mut body = match opened {
        Ok(response) if response.status() == 410 => return Ended::TooOld,
        Ok(response) if response.status().is_success() => response.into_body(),
        Ok(_) | Err(_) => return Ended::Failed,
    };
    let mut rest: Vec<u8> = Vec::new();
    let mut any = false;
    let since = Instant::now();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        while let Some(end) = memchr_newline(&data) {
            let line = data.split_to(end);
            data.advance(1);
            let ended = if rest.is_empty() {
                read_line(kind, &line, revision, see)
            } else {
                rest.extend_from_slice(&line);
                read_line(kind, &std::mem::take(&mut rest), revision, see)
            };
            if let Some(ended) = ended {
                return ended;
            }
            any = true;
        }
        rest.extend_from_slice(&data);
        if rest.len() > LONGEST_LINE {
            return Ended::Failed;
        }
    }
    // A server that ends every watch at once must not be asked without pause.
    if any || since.elapsed() > LONGEST_PAUSE {
        Ended::Normally
    } else {
        Ended::Failed
    }
}

fn memchr_newline(data: &[u8]) -> Option<usize> {
    data.iter().position(|b| *b == b'\n')
}

/// Reads one event; an answer ends the watch.
fn read_line(
    kind: &Arc<Kind>,
    line: &[u8],
    revision: &mut String,
    see: &impl Fn(Event),
) -> Option<Ended> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    let Ok(Line { what, object }) = serde_json::from_slice::<Line>(line) else {
        return Some(Ended::Failed);
    };
    let meta = object.metadata;
    let tell = |what| {
        see(Event {
            kind: kind.clone(),
            what,
        })
    };
    match &*what {
        "ERROR" if object.code == 410 => return Some(Ended::TooOld),
        "ERROR" => return Some(Ended::Failed),
        _ if meta.resource_version.is_empty() => return Some(Ended::Failed),
        _ => revision.clone_from(&meta.resource_version),
    }
    match &*what {
        "ADDED" | "MODIFIED" => tell(What::Applied(meta)),
        "DELETED" => tell(What::Deleted(meta)),
        _ => {}
    }
    None
}
