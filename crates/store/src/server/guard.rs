//! Cuts off clients that stop reading.
//!
//! A body that gave out data and is not asked for more waits for its client. HTTP/2 pings do not
//! show that: the connection is alive, only this stream's window is shut.
//!
//! The HTTP library asks for one piece more than it can send. So data is given out in pieces, and
//! the last byte by itself: who has taken that has taken all before it.

use super::Held;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::body::Body;

/// Data up to this size is given out whole.
const SMALL: usize = 4 << 10;
const PIECE: usize = 64 << 10;

/// The answers of one connection that wait for the client, since when.
#[derive(Default)]
pub(super) struct Watchdog {
    next: AtomicU64,
    waiting: Mutex<Vec<(u64, Instant)>>,
}

impl Watchdog {
    /// Ends when an answer has waited for longer than `bound`.
    pub(super) async fn bites(&self, bound: Duration) {
        let mut look = tokio::time::interval(bound / 4);
        loop {
            look.tick().await;
            let oldest = self.waiting.lock().iter().map(|(_, since)| *since).min();
            if oldest.is_some_and(|since| since.elapsed() > bound) {
                return;
            }
        }
    }
}

/// An answer's body, with what it holds of the budget.
pub(super) struct Guarded {
    body: Body,
    id: u64,
    waits: bool,
    /// of the last data
    rest: Bytes,
    small: bool,
    watchdog: Arc<Watchdog>,
    _held: Option<Arc<Held>>,
}

impl Guarded {
    pub(super) fn new(body: Body, watchdog: &Arc<Watchdog>, held: Option<Arc<Held>>) -> Self {
        Self {
            body,
            id: watchdog.next.fetch_add(1, Ordering::Relaxed),
            waits: false,
            rest: Bytes::new(),
            small: true,
            watchdog: watchdog.clone(),
            _held: held,
        }
    }

    fn asked(&mut self) {
        if std::mem::take(&mut self.waits) {
            let mut waiting = self.watchdog.waiting.lock();
            if let Some(at) = waiting.iter().position(|(id, _)| *id == self.id) {
                waiting.swap_remove(at);
            }
        }
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        this.asked();
        if this.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.small = data.len() <= SMALL;
                        this.rest = data;
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let size = match this.rest.len() {
            len if this.small => len,
            1 => 1,
            len => PIECE.min(len - 1),
        };
        let whole = size == this.rest.len();
        let piece = if whole {
            std::mem::take(&mut this.rest)
        } else {
            this.rest.split_to(size)
        };
        this.waits = true;
        let mut waiting = this.watchdog.waiting.lock();
        waiting.push((this.id, Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let upper = hint.upper();
        hint.set_lower(hint.lower() + rest);
        if let Some(upper) = upper {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.asked();
    }
}
