//! Calls with one request and one answer: all but a few of a kube-apiserver's. Their frames are
//! read and written here, which costs a fraction of what a general stream does.

use super::{Call, MAX_FRAME};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

/// Compressed or not, and the length.
const FRAME_HEADER: usize = 5;

/// One unary method that takes little time.
pub(super) async fn unary<Q, A, F>(
    call: &Call,
    request: http::Request<Incoming>,
    method: impl Fn(Call, Q) -> F + Send + Sync + 'static,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    apart(call, request, method, |_| false).await
}

/// One unary method; what `long` says takes long goes on in a task of its own, so that the other
/// requests of the connection need not wait for it.
pub(super) async fn apart<Q, A, F>(
    call: &Call,
    request: http::Request<Incoming>,
    method: impl Fn(Call, Q) -> F + Send + Sync + 'static,
    long: impl Fn(&Q) -> bool + Send + Sync + 'static,
) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    match answer(call, request, method, long).await {
        Ok(data) => {
            let mut response = http::Response::new(Body::new(Message(Some(data), false)));
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(status) => status.into_http(),
    }
}

async fn answer<Q, A, F>(
    call: &Call,
    request: http::Request<Incoming>,
    method: impl Fn(Call, Q) -> F + Send + Sync + 'static,
    long: impl Fn(&Q) -> bool + Send + Sync + 'static,
) -> Result<Bytes, Status>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Send + Sync + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    check_encoding(&parts.headers)?;
    drop(parts);
    let message = read(body).await?;
    let request = Q::decode(message)
        .map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))?;
    call.arrived();
    let long = long(&request);
    let answer = encoded(call.clone(), method(call.clone(), request));
    if !long {
        return answer.await;
    }
    // Ends with the request.
    let mut task = tokio::task::JoinSet::new();
    task.spawn(answer);
    let done = task.join_next().await.and_then(Result::ok);
    done.unwrap_or_else(|| Err(Status::internal("the request's task ended")))
}

async fn encoded<A: prost::Message>(
    call: Call,
    answer: impl Future<Output = Result<A, Status>>,
) -> Result<Bytes, Status> {
    let answer = answer.await?;
    let size = answer.encoded_len();
    call.hold(size).await?;
    let mut data = BytesMut::with_capacity(FRAME_HEADER + size);
    data.put_u8(0);
    data.put_u32(u32::try_from(size).map_err(|_| Status::internal("the answer is too long"))?);
    answer
        .encode(&mut data)
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(data.freeze())
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            Err(Status::unimplemented(format!(
                "grpc: Decompressor is not installed for grpc-encoding \"{encoding}\""
            )))
        }
        _ => Ok(()),
    }
}

/// The bytes of the one message, which most often came in one piece.
async fn read(mut body: Incoming) -> Result<Bytes, Status> {
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    let mut known = None;
    while let Some(piece) = next(&mut body).await? {
        if whole.is_empty() && pieces.is_empty() {
            whole = piece;
        } else {
            if pieces.is_empty() {
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&piece);
        }
        let all = if pieces.is_empty() {
            &whole[..]
        } else {
            &pieces[..]
        };
        known = known.or(length(all)?);
        // What comes behind the message is not asked for.
        if known.is_some_and(|len| all.len() > FRAME_HEADER + len) {
            break;
        }
    }
    let mut all = if pieces.is_empty() {
        whole
    } else {
        pieces.freeze()
    };
    match known {
        Some(len) if all.len() >= FRAME_HEADER + len => {
            all.advance(FRAME_HEADER);
            all.truncate(len);
            Ok(all)
        }
        None if all.is_empty() => Err(Status::internal("Missing request message.")),
        None => Err(Status::unknown("EOF")),
        Some(_) => Err(Status::unknown("unexpected EOF")),
    }
}

/// The length of the message that starts here, as soon as that is known.
fn length(mut data: &[u8]) -> Result<Option<usize>, Status> {
    if data.len() < FRAME_HEADER {
        return Ok(None);
    }
    if data.get_u8() != 0 {
        let text = "grpc: compressed flag set with identity or empty encoding";
        return Err(Status::internal(text));
    }
    let len = data.get_u32() as usize;
    if len > MAX_FRAME {
        return Err(Status::resource_exhausted(format!(
            "grpc: received message larger than max ({len} vs. {MAX_FRAME})"
        )));
    }
    Ok(Some(len))
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Status> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Status::from_error(Box::new(error))),
            Some(Ok(frame)) => {
                // Trailers of a request mean nothing.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// An answer: its message, then that all is well.
struct Message(Option<Bytes>, bool);

impl http_body::Body for Message {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(data) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(None);
        }
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.1
    }
}
