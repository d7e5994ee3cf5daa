//! Numbers of `freehold store serve` for whoever runs it, on an address of their own: tenants reach
//! the etcd endpoint and learn nothing of each other there.

use super::open::Open;
use freehold_store::Measured;
use freehold_store::embedded::{Embedded, Metrics};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at the same time, how long one may take to ask, and how long it may stay.
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(10);
const STAY: Duration = Duration::from_secs(600);

/// Where the numbers come from.
#[derive(Clone)]
pub(super) struct Source {
    engine: Option<Arc<Embedded>>,
    measured: Option<Arc<Measured>>,
}

impl Source {
    pub(super) fn of(open: &Open) -> Self {
        Self {
            engine: open.engine().ok().cloned(),
            measured: open.measured().cloned(),
        }
    }

    async fn text(&self) -> String {
        let mut metrics = match &self.engine {
            Some(engine) => engine.metrics(),
            None => Metrics::default(),
        };
        if let Some(measured) = &self.measured {
            measured.refresh().await;
            metrics.awake.extend(measured.metrics(""));
        }
        metrics.text()
    }
}

/// Answers `GET /metrics` until shutdown.
pub(super) async fn serve(listener: TcpListener, source: Source, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Too many: closed.
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let (source, shutdown) = (source.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| answer(source.clone(), request));
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                served = connection => if let Err(error) = served {
                    tracing::debug!(%error, "metrics");
                },
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(STAY) => {}
            }
        });
    }
}

async fn answer(
    source: Source,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (code, text) = match (request.method().as_str(), request.uri().path()) {
        ("GET", "/metrics") => (StatusCode::OK, source.text().await),
        _ => (
            StatusCode::NOT_FOUND,
            "numbers are at /metrics\n".to_owned(),
        ),
    };
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = code;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    Ok(answer)
}
