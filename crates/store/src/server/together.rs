//! A connection and all its requests as one task.
//!
//! The HTTP library starts a task for each request, and every one of them takes the connection's
//! lock, wakes the connection and is woken by itself. As one task they are never in each other's
//! way: answers that become ready together are written together.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Collects what a connection starts.
#[derive(Clone, Default)]
pub(super) struct Started(Arc<Mutex<Vec<Request>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Started {
    fn execute(&self, request: F) {
        self.0.lock().push(Box::pin(request));
    }
}

/// Runs a connection with the requests that it starts, and ends with it.
pub(super) struct Together<'a, C> {
    connection: Pin<&'a mut C>,
    started: Started,
    running: FuturesUnordered<Request>,
}

impl<'a, C: Future> Together<'a, C> {
    pub(super) fn new(connection: Pin<&'a mut C>, started: Started) -> Self {
        Self {
            connection,
            started,
            running: FuturesUnordered::new(),
        }
    }

    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C: Future> Future for Together<'_, C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // What is started may be ready at once, and what is ready has something to write.
        if let Poll::Ready(done) = this.connection.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        this.running.extend(this.started.0.lock().drain(..));
        while let Poll::Ready(Some(())) = this.running.poll_next_unpin(cx) {}
        Poll::Pending
    }
}
