//! Calling the conversion webhooks of CustomResourceDefinitions: over TLS only, bounded in time,
//! bytes and objects, and only to addresses that tenants may reach through this process.
//!
//! What is asked and what is believed is [`freehold_model::convert::webhook`].

use crate::Limits;
use crate::cache::Cache;
use bytes::Bytes;
use freehold_model::convert::webhook::{Target, Webhook, gvk};
use freehold_model::{ApiError, Resource, Value, crd, json, limits};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;

/// The webhook of one CRD.
pub(crate) struct Converter {
    webhook: Webhook,
    /// what is wrong with `caBundle`
    tls: Result<Arc<rustls::ClientConfig>, String>,
}

/// Where a call goes.
struct Place {
    /// as the certificate must name it
    host: String,
    port: u16,
    path: String,
    /// found without DNS
    addresses: Vec<SocketAddr>,
}

impl Place {
    /// What is posted to: the path, and how long the answer is waited for.
    fn target(&self, of: &Limits) -> String {
        format!("{}?timeout={}s", self.path, of.webhook_time.as_secs())
    }
}

impl Converter {
    pub(crate) fn of(crd: &Value) -> Option<Arc<Self>> {
        let webhook = Webhook::of(crd)?;
        let tls = client_config(&webhook.ca);
        Some(Arc::new(Self { webhook, tls }))
    }

    /// Brings every object that is not in the version of `to` into it.
    pub(crate) async fn convert(
        &self,
        cache: &Cache,
        of: &Limits,
        to: &Resource,
        values: &mut [Value],
    ) -> Result<(), ApiError> {
        let is_other = |v: &Value| !v.str_at(&["apiVersion"]).is_some_and(|text| to.is_of(text));
        let mut others: Vec<&mut Value> = values.iter_mut().filter(|v| is_other(v)).collect();
        while !others.is_empty() {
            let mut bytes = 0;
            let fit = others.iter().take(limits::MAX_WEBHOOK_OBJECTS);
            let fit = fit.take_while(|v| {
                bytes += json::to_vec(v).len();
                bytes <= limits::MAX_WEBHOOK_REQUEST
            });
            // One object alone is within the bound of a body.
            let n = fit.count().max(1);
            let originals: Vec<Value> = others[..n].iter().map(|v| (**v).clone()).collect();
            let kind = gvk(
                originals[0].str_at(&["apiVersion"]).unwrap_or_default(),
                &to.kind,
            );
            let converted = self.ask(cache, of, to, &originals).await.map_err(|why| {
                ApiError::new(500, "", format!("conversion webhook for {kind} {why}"))
            })?;
            for (value, converted) in others.drain(..n).zip(converted) {
                *value = converted;
                crd::prune_converted(to, value);
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        cache: &Cache,
        of: &Limits,
        to: &Resource,
        originals: &[Value],
    ) -> Result<Vec<Value>, String> {
        let uid = uuid::Uuid::new_v4().to_string();
        let request = self.webhook.request(&uid, to, originals.to_vec());
        let body = Bytes::from(json::to_vec(&request));
        let place = self.place(cache).map_err(|why| format!("failed: {why}"))?;
        let target = place.target(of);
        let url = format!("https://{}:{}{target}", place.host, place.port);
        let failed = |why: String| format!("failed: Post \"{url}\": {why}");
        let call = self.call(&place, of, body);
        let answer = tokio::time::timeout(of.webhook_time, call)
            .await
            .map_err(|_| failed("context deadline exceeded".into()))?
            .map_err(failed)?;
        let answer = json::parse(&answer).map_err(|e| failed(e.message))?;
        self.webhook.answer(&uid, to, originals, answer.value)
    }

    fn place(&self, cache: &Cache) -> Result<Place, String> {
        match &self.webhook.target {
            Target::Url(url) => {
                let uri: Uri = url.parse().map_err(|e| format!("bad url: {e}"))?;
                let host = uri.host().unwrap_or_default();
                if uri.scheme_str() != Some("https") || host.is_empty() {
                    return Err("the url of a webhook must begin with https://".into());
                }
                Ok(Place {
                    host: host.trim_matches(['[', ']']).to_owned(),
                    port: uri.port_u16().unwrap_or(443),
                    path: uri.path().to_owned(),
                    addresses: Vec::new(),
                })
            }
            Target::Service {
                namespace,
                name,
                port,
                path,
            } => {
                let service = cache
                    .view("", "services")
                    .get(namespace, name)
                    .ok_or_else(|| format!("service \"{name}\" not found"))?
                    .parse();
                let external = service.str_at(&["spec", "externalName"]);
                let path = if path.is_empty() { "/" } else { path };
                let mut place = Place {
                    host: format!("{name}.{namespace}.svc"),
                    port: *port,
                    path: path.to_owned(),
                    addresses: Vec::new(),
                };
                match external.filter(|_| service.str_at(&["spec", "type"]) == Some("ExternalName"))
                {
                    Some(external) => external.clone_into(&mut place.host),
                    None => place.addresses = endpoints(cache, &service, namespace, name, *port)?,
                }
                Ok(place)
            }
        }
    }

    async fn call(&self, place: &Place, of: &Limits, body: Bytes) -> Result<Bytes, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let tls = self.tls.clone()?;
        let stream = connect(place, of.webhooks_anywhere).await?;
        let name = ServerName::try_from(place.host.clone()).map_err(|e| text(&e))?;
        let stream = tokio_rustls::TlsConnector::from(tls)
            .connect(name, stream)
            .await
            .map_err(|e| text(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| text(&e))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(place.target(of))
            .header(HOST, format!("{}:{}", place.host, place.port))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|e| text(&e))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| text(&e))?;
            if !response.status().is_success() {
                return Err(format!("the server answered {}", response.status()));
            }
            let body = Limited::new(response.into_body(), limits::MAX_WEBHOOK_ANSWER);
            let body = body.collect().await.map_err(|e| text(&e))?;
            Ok(body.to_bytes())
        };
        // The connection only moves bytes: what goes wrong with it, the answer says.
        let driven = async {
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answered => answer,
            () = driven => Err("the connection was closed".into()),
        }
    }
}

async fn connect(place: &Place, anywhere: bool) -> Result<TcpStream, String> {
    let addresses = if place.addresses.is_empty() {
        let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
        found
            .map_err(|e| format!("lookup {}: {e}", place.host))?
            .collect()
    } else {
        place.addresses.clone()
    };
    let mut why = format!("{} has no address", place.host);
    for address in addresses {
        if !anywhere && !is_public(address.ip()) {
            // What this process can reach is not the tenant's to probe.
            why = "webhooks may only be at public addresses".into();
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => why = format!("dial tcp {address}: {e}"),
        }
    }
    Err(why)
}

/// The ready addresses behind a port of a Service.
fn endpoints(
    cache: &Cache,
    service: &Value,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let list = |v: &Value, path: &[&str]| -> Vec<Value> {
        let items = v.at(path).and_then(Value::as_array);
        items.unwrap_or_default().to_vec()
    };
    let number = |v: &Value| v.get("port").and_then(Value::as_i64);
    let ports = list(service, &["spec", "ports"]);
    let Some(wanted) = ports.iter().find(|p| number(p) == Some(port.into())) else {
        return Err(format!("service \"{name}\" has no port {port}"));
    };
    let port_name = |v: &Value| v.str_at(&["name"]).unwrap_or_default().to_owned();
    let mut out = Vec::new();
    let slices = cache.view("discovery.k8s.io", "endpointslices");
    for slice in slices.list(Some(namespace)).0 {
        let slice = slice.parse();
        if slice.str_at(&["metadata", "labels", "kubernetes.io/service-name"]) != Some(name) {
            continue;
        }
        let ports = list(&slice, &["ports"]);
        let port = ports.iter().find(|p| port_name(p) == port_name(wanted));
        let port = port.and_then(number).and_then(|n| u16::try_from(n).ok());
        for endpoint in list(&slice, &["endpoints"]) {
            if endpoint.at(&["conditions", "ready"]) == Some(&Value::Bool(false)) {
                continue;
            }
            let addresses = list(&endpoint, &["addresses"]);
            let parsed = addresses.iter().filter_map(|a| a.as_str()?.parse().ok());
            out.extend(parsed.filter_map(|ip: IpAddr| Some(SocketAddr::new(ip, port?))));
        }
    }
    if out.is_empty() {
        return Err(format!("no endpoints available for service \"{name}\""));
    }
    Ok(out)
}

/// Whether an address is of the internet at large: not of this machine, not of its networks.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || (a, b, c) == (192, 0, 0))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4() {
                return is_public(IpAddr::V4(v4));
            }
            // 2000::/3 is what is given out, without what carries IPv4 addresses inside
            let [first, second, ..] = v6.segments();
            (first & 0xe000) == 0x2000 && first != 0x2002 && !(first == 0x2001 && second < 0x200)
        }
    }
}

fn client_config(ca: &[u8]) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut roots = rustls::RootCertStore::empty();
    if ca.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate =
            certificate.map_err(|e| format!("unable to load root certificates: {e}"))?;
        roots
            .add(certificate)
            .map_err(|e| format!("unable to load root certificates: {e}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (text, want) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("8.8.8.8", true),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("64:ff9b::a00:1", false),
            ("2002:a00:1::", false),
            ("2606:4700::1111", true),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), want, "{text}");
        }
    }
}
