//! A KMS v2 plugin: a program that seals a few bytes with a key that it alone has. It is asked over
//! a unix socket, as Kubernetes asks it (`apis/v2/api.proto` of k8s.io/kms; the bounds are those
//! of `envelope/kmsv2` in k8s.io/apiserver).

use super::record::random;
use crate::remote::chain;
use crate::{Error, Result};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// How long a plugin may take to answer everything that it is asked at once.
const LIMIT: Duration = Duration::from_secs(5);
const MAX_KEY_ID: usize = 1 << 10;
const MAX_CIPHERTEXT: usize = 1 << 10;
const MAX_ANNOTATIONS: usize = 32 << 10;
/// More than a correct answer has.
const MAX_MESSAGE: usize = 64 << 10;

/// What a plugin makes of a key, and all that it needs to give the key back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) key_id: String,
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
}

/// Where a plugin listens, written as Kubernetes does: `unix:///run/kms.sock`.
pub(crate) fn socket(endpoint: &str) -> Result<PathBuf> {
    match endpoint.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') && path.len() > 1 && !path.starts_with("/@") => {
            Ok(path.into())
        }
        _ => Err(Error::Invalid(format!(
            "{endpoint} is no KMS plugin; write unix:///path/of/its.sock"
        ))),
    }
}

/// Has a key sealed.
pub(crate) fn encrypt(endpoint: &str, key: &[u8; 32]) -> Result<Envelope> {
    let plaintext = key.to_vec();
    ask(endpoint, async move |plugin: &mut Plugin| {
        plugin.status().await?;
        let uid = uid()?;
        let request = EncryptRequest { plaintext, uid };
        let answer: EncryptResponse = plugin.call("Encrypt", request).await?;
        let envelope = Envelope {
            ciphertext: answer.ciphertext,
            key_id: answer.key_id,
            annotations: answer.annotations,
        };
        check(&envelope).map_err(|why| plugin.wrong(why))?;
        Ok(envelope)
    })
}

/// Has a key given back. Also says which key the plugin seals with now.
pub(crate) fn decrypt(endpoint: &str, envelope: &Envelope) -> Result<([u8; 32], String)> {
    let envelope = envelope.clone();
    ask(endpoint, async move |plugin: &mut Plugin| {
        let now = plugin.status().await?;
        let request = DecryptRequest {
            ciphertext: envelope.ciphertext,
            uid: uid()?,
            key_id: envelope.key_id,
            annotations: envelope.annotations,
        };
        let answer: DecryptResponse = plugin.call("Decrypt", request).await?;
        let found = answer.plaintext.len();
        let key = answer.plaintext.try_into();
        let key = key.map_err(|_| plugin.wrong(&format!("it gave back {found} bytes, not 32")))?;
        Ok((key, now))
    })
}

fn check(envelope: &Envelope) -> Result<(), &'static str> {
    let annotations = envelope.annotations.iter();
    let annotations: usize = annotations
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if envelope.ciphertext.is_empty() || envelope.ciphertext.len() > MAX_CIPHERTEXT {
        Err("its ciphertext is empty or longer than 1 KiB")
    } else if envelope.key_id.is_empty() || envelope.key_id.len() > MAX_KEY_ID {
        Err("its key id is empty or longer than 1 KiB")
    } else if annotations > MAX_ANNOTATIONS {
        Err("its annotations are longer than 32 KiB")
    } else {
        Ok(())
    }
}

/// Names a call in the plugin's own log.
fn uid() -> Result<String> {
    let bytes: [u8; 16] = random()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Runs a conversation in a thread of its own: callers are threads that wait, whether or not
/// they belong to a runtime.
fn ask<T: Send>(
    endpoint: &str,
    talk: impl AsyncFnOnce(&mut Plugin) -> Result<T> + Send,
) -> Result<T> {
    let path = socket(endpoint)?;
    let unreachable = |why: String| {
        Error::Unavailable(format!(
            "the KMS plugin at {endpoint} cannot be reached: {why}; without it nothing that is \
             asleep can be read"
        ))
    };
    let conversation = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| unreachable(e.to_string()))?;
        runtime.block_on(async {
            let whole = async {
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                let channel = Endpoint::from_static("http://localhost")
                    .connect_with_connector(connector)
                    .await
                    .map_err(|e| unreachable(chain(&e)))?;
                let endpoint = endpoint.to_owned();
                talk(&mut Plugin { channel, endpoint }).await
            };
            let answer = tokio::time::timeout(LIMIT, whole).await;
            answer.unwrap_or_else(|_| {
                let seconds = LIMIT.as_secs();
                Err(unreachable(format!("no answer within {seconds} seconds")))
            })
        })
    };
    let joined = std::thread::scope(|scope| scope.spawn(conversation).join());
    joined.unwrap_or_else(|_| Err(unreachable("asking it failed".into())))
}

struct Plugin {
    channel: Channel,
    endpoint: String,
}

impl Plugin {
    fn wrong(&self, why: &str) -> Error {
        Error::Unavailable(format!("the KMS plugin at {}: {why}", self.endpoint))
    }

    /// The id of the key that it seals with, once it says that it is well.
    async fn status(&mut self) -> Result<String> {
        let status: StatusResponse = self.call("Status", StatusRequest {}).await?;
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            let version = cut(&status.version);
            return Err(self.wrong(&format!("it speaks version {version:?}, not v2")));
        }
        if status.healthz != "ok" {
            let health = cut(&status.healthz);
            return Err(self.wrong(&format!("it says that it is not healthy: {health:?}")));
        }
        if status.key_id.is_empty() || status.key_id.len() > MAX_KEY_ID {
            return Err(self.wrong("its key id is empty or longer than 1 KiB"));
        }
        Ok(status.key_id)
    }

    async fn call<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let ready = grpc.ready().await;
        ready.map_err(|e| self.wrong(&chain(&e)))?;
        let path = format!("/v2.KeyManagementService/{method}");
        let path = PathAndQuery::try_from(path).expect("a method's name is a path");
        let request = tonic::Request::new(request);
        let answer = grpc.unary(request, path, ProstCodec::default()).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                let (code, text) = (status.code(), cut(status.message()));
                Err(self.wrong(&format!("{method} failed ({code:?}): {text}")))
            }
        }
    }
}

/// As much of a foreign text as is worth repeating.
fn cut(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(200)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}
