//! TLS to PostgreSQL: rustls with ring, the server's certificate always checked.

use crate::remote::{Tls, chain};
use crate::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

/// Makes the TLS session of each connection; without settings every wish for TLS is refused.
#[derive(Clone)]
pub(super) struct MakeTls {
    config: Option<Arc<ClientConfig>>,
    name: Option<String>,
}

impl MakeTls {
    pub(super) fn new(tls: Option<&Tls>) -> Result<Self> {
        let Some(tls) = tls else {
            return Ok(Self {
                config: None,
                name: None,
            });
        };
        let config = config(tls).map_err(|why| Error::Invalid(format!("PostgreSQL: {why}")))?;
        Ok(Self {
            config: Some(Arc::new(config)),
            name: tls.server_name.clone(),
        })
    }
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&tls.ca) {
        let cert = cert.map_err(|e| format!("the certificate authority is not PEM: {e}"))?;
        roots
            .add(cert)
            .map_err(|e| format!("the certificate authority is no certificate: {e}"))?;
    }
    if roots.is_empty() {
        return Err("the certificate authority has no certificate".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let Some((cert, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let certs: Vec<_> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("the client certificate is not PEM: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|e| format!("the client key is not PEM: {e}"))?;
    builder
        .with_client_auth_cert(certs, key)
        .map_err(|e| format!("the client certificate and key do not fit: {}", chain(&e)))
}

impl<S> MakeTlsConnect<S> for MakeTls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Connect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Connect> {
        let name = self.name.as_deref().unwrap_or(host).to_owned();
        Ok(Connect {
            config: self.config.clone(),
            name,
        })
    }
}

pub(super) struct Connect {
    config: Option<Arc<ClientConfig>>,
    name: String,
}

impl<S> TlsConnect<S> for Connect
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Some(config) = self.config else {
                return Err(io::Error::other("TLS is not set up"));
            };
            let name = ServerName::try_from(self.name).map_err(io::Error::other)?;
            let session = TlsConnector::from(config).connect(name, stream).await?;
            Ok(Stream(session))
        })
    }
}

pub(super) struct Stream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
