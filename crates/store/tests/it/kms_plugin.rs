//! A KMS v2 plugin: a gRPC server on a unix socket that seals with AES-256-GCM under keys that only
//! it has. Typed from `apis/v2/api.proto` of k8s.io/kms, apart from the client's own messages.

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What the plugin does; changed while it runs.
#[derive(Clone, Default)]
pub(crate) struct Plugin {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    health: String,
    version: String,
    /// the last one seals; all open
    keys: Vec<[u8; 32]>,
    /// an answer takes so long
    slow: Duration,
    calls: BTreeMap<&'static str, u32>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            health: "ok".into(),
            version: "v2".into(),
            keys: vec![[7; 32]],
            slow: Duration::ZERO,
            calls: BTreeMap::new(),
        }
    }
}

impl Plugin {
    /// Listens until the task is aborted.
    pub(crate) fn listen(&self, socket: &Path) -> tokio::task::JoinHandle<()> {
        drop(std::fs::remove_file(socket));
        let listener = tokio::net::UnixListener::bind(socket).expect("bind");
        let plugin = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                let plugin = plugin.clone();
                let service = hyper::service::service_fn(move |request| {
                    let plugin = plugin.clone();
                    async move { Ok::<_, Infallible>(plugin.answer(request).await) }
                });
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().expect("no panic while held"))
    }

    pub(crate) fn say_health(&self, text: &str) {
        self.with(|inner| inner.health = text.into());
    }

    pub(crate) fn say_version(&self, text: &str) {
        self.with(|inner| inner.version = text.into());
    }

    pub(crate) fn answer_after(&self, slow: Duration) {
        self.with(|inner| inner.slow = slow);
    }

    /// Seals with another key from now on.
    pub(crate) fn rotate(&self) {
        self.with(|inner| {
            let next = u8::try_from(inner.keys.len()).expect("few") + 50;
            inner.keys.push([next; 32]);
        });
    }

    /// Forgets all keys but the last.
    pub(crate) fn forget_old_keys(&self) {
        self.with(|inner| {
            let last = inner.keys.len() - 1;
            inner.keys[..last].fill([0; 32]);
        });
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: &str) -> u32 {
        self.with(|inner| inner.calls.get(method).copied().unwrap_or(0))
    }

    async fn called(&self, method: &'static str) {
        let slow = self.with(|inner| {
            *inner.calls.entry(method).or_default() += 1;
            inner.slow
        });
        tokio::time::sleep(slow).await;
    }

    async fn status(self, _: Request<Empty>) -> Result<Response<StatusAnswer>, Status> {
        self.called("Status").await;
        Ok(Response::new(self.with(|inner| StatusAnswer {
            version: inner.version.clone(),
            healthz: inner.health.clone(),
            key_id: format!("key-{}", inner.keys.len()),
        })))
    }

    async fn encrypt(self, request: Request<Encrypt>) -> Result<Response<Encrypted>, Status> {
        self.called("Encrypt").await;
        let (key, number) = self.with(|inner| (inner.keys[inner.keys.len() - 1], inner.keys.len()));
        let mut nonce = [0; 12];
        let random = ring::rand::SystemRandom::new();
        ring::rand::SecureRandom::fill(&random, &mut nonce).expect("random");
        let mut ciphertext = request.into_inner().plaintext;
        let sealing = cipher(&key);
        let unique = Nonce::assume_unique_for_key(nonce);
        sealing
            .seal_in_place_append_tag(unique, Aad::empty(), &mut ciphertext)
            .expect("seal");
        // Without the annotation nothing can be opened.
        let annotations = BTreeMap::from([("nonce.plugin.example".to_owned(), nonce.to_vec())]);
        Ok(Response::new(Encrypted {
            ciphertext,
            key_id: format!("key-{number}"),
            annotations,
        }))
    }

    async fn decrypt(self, request: Request<Decrypt>) -> Result<Response<Decrypted>, Status> {
        self.called("Decrypt").await;
        let mut request = request.into_inner();
        let wrong = |what: &str| Status::invalid_argument(what.to_owned());
        if request.uid.is_empty() {
            return Err(wrong("no uid"));
        }
        let number = request.key_id.strip_prefix("key-");
        let number: usize = number
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| wrong("key id"))?;
        let key = self.with(|inner| inner.keys.get(number.wrapping_sub(1)).copied());
        let key = key.ok_or_else(|| wrong("unknown key"))?;
        let nonce = request.annotations.get("nonce.plugin.example");
        let nonce = nonce.ok_or_else(|| wrong("no nonce"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong("nonce"))?;
        let plaintext = cipher(&key)
            .open_in_place(nonce, Aad::empty(), &mut request.ciphertext)
            .map_err(|_| wrong("it does not open"))?
            .to_vec();
        Ok(Response::new(Decrypted { plaintext }))
    }
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

impl Plugin {
    async fn answer(self, request: http::Request<Incoming>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        match path.strip_prefix("/v2.KeyManagementService/") {
            Some("Status") => {
                let method = tower::service_fn(move |r| self.clone().status(r));
                let mut grpc = Grpc::new(ProstCodec::default());
                grpc.unary(method, request).await
            }
            Some("Encrypt") => {
                let method = tower::service_fn(move |r| self.clone().encrypt(r));
                let mut grpc = Grpc::new(ProstCodec::default());
                grpc.unary(method, request).await
            }
            Some("Decrypt") => {
                let method = tower::service_fn(move |r| self.clone().decrypt(r));
                let mut grpc = Grpc::new(ProstCodec::default());
                grpc.unary(method, request).await
            }
            _ => Status::unimplemented("no such method").into_http(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Encrypt {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct Encrypted {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Decrypt {
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
struct Decrypted {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}
