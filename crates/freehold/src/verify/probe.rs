//! Raw requests with chosen credentials against a chosen endpoint, and what their answers mean.

use super::Outcome;
use crate::cli::Target;
use anyhow::{Context as _, Result};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use kube::config::{AuthInfo, Cluster, Config, KubeConfigOptions};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Where to, and what to trust there.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) cluster: Cluster,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    Http {
        status: u16,
        body: String,
    },
    /// TLS refused one side or the other, or the connection was closed on us
    Refused(String),
    /// no connection at all, or no answer in time
    Unreachable(String),
}

impl Way {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// The host, as the command itself reaches it.
    pub(crate) async fn of_target(target: &Target) -> Result<Self> {
        let named = target
            .kubeconfig
            .contexts
            .iter()
            .find(|c| c.name == target.context)
            .and_then(|c| c.context.clone());
        let named = named.context("the host's context is gone")?;
        let cluster = target
            .kubeconfig
            .clusters
            .iter()
            .find(|c| c.name == named.cluster)
            .and_then(|c| c.cluster.clone());
        Ok(Self {
            cluster: cluster.context("the host's context has no cluster")?,
        })
    }

    pub(crate) fn server_name(&self) -> &str {
        self.cluster.tls_server_name.as_deref().unwrap_or_default()
    }

    /// A client of this way that brings `who`; it never tries twice by itself.
    pub(crate) async fn client(&self, who: AuthInfo) -> Result<Client> {
        let kubeconfig = crate::cli::user_config::single("probe", self.cluster.clone(), who);
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }
}

/// A request to try.
pub(crate) struct Try<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<serde_json::Value>,
}

impl<'a> Try<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            headers: &[],
            body: None,
        }
    }
}

/// Sends one request and says what came back.
pub(crate) async fn send(client: &Client, attempt: &Try<'_>) -> Answer {
    let mut request = Request::builder().method(&attempt.method).uri(attempt.path);
    for (name, value) in attempt.headers {
        request = request.header(*name, *value);
    }
    if attempt.body.is_some() {
        let kind = if attempt.method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        request = request.header(http::header::CONTENT_TYPE, kind);
    }
    let body = attempt
        .body
        .as_ref()
        .map(|b| b.to_string().into_bytes())
        .unwrap_or_default();
    let Ok(request) = request.body(Body::from(body)) else {
        return Answer::Unreachable("the request cannot be built".to_owned());
    };
    let answered = tokio::time::timeout(LIMIT, async {
        let response = client.send(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(kube::Error::Service)?
            .to_bytes();
        Ok::<_, kube::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    });
    match answered.await {
        Ok(Ok((status, body))) => Answer::Http { status, body },
        Ok(Err(error)) => failure(&error),
        Err(_) => Answer::Unreachable(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

fn failure(error: &kube::Error) -> Answer {
    let mut text = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = next {
        text.push(e.to_string());
        if let Some(io) = e.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::TimedOut
            )
        {
            return Answer::Unreachable(text.last().cloned().unwrap_or_default());
        }
        next = e.source();
    }
    // The innermost cause is the one that says something.
    Answer::Refused(text.pop().unwrap_or_default())
}

/// The credential must not be known: 401, nobody's rights, or no TLS connection at all.
pub(crate) fn must_be_refused(answer: &Answer) -> Outcome {
    match answer {
        Answer::Http { status: 401, .. } => Outcome::Held("refused (401)".to_owned()),
        Answer::Http { status: 403, body } if body.contains("system:anonymous") => {
            Outcome::Held("taken for nobody (403)".to_owned())
        }
        Answer::Http { status, .. } => Outcome::Failed(format!("answered {status}")),
        Answer::Refused(why) => Outcome::Held(format!("refused in the TLS handshake ({why})")),
        Answer::Unreachable(why) => Outcome::NotMade(why.clone()),
    }
}

/// The client must not accept who answers.
pub(crate) fn must_not_be_trusted(answer: &Answer) -> Outcome {
    match answer {
        Answer::Refused(why)
            if why.contains("certificate")
                || why.contains("Unknown")
                || why.contains("NotValidFor") =>
        {
            Outcome::Held(format!("not trusted ({why})"))
        }
        Answer::Refused(why) => Outcome::Held(format!("no connection ({why})")),
        Answer::Http { status, .. } => Outcome::Failed(format!("trusted, and answered {status}")),
        Answer::Unreachable(why) => Outcome::NotMade(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_counts_as_held() {
        let http = |status, body: &str| Answer::Http {
            status,
            body: body.to_owned(),
        };
        assert_eq!(must_be_refused(&http(401, "")).word(), "held");
        assert_eq!(
            must_be_refused(&http(403, "User \"system:anonymous\" cannot …")).word(),
            "held"
        );
        assert_eq!(
            must_be_refused(&http(403, "User \"kubernetes-admin\" cannot …")).word(),
            "FAILED"
        );
        assert_eq!(must_be_refused(&http(200, "{}")).word(), "FAILED");
        assert_eq!(must_be_refused(&http(500, "")).word(), "FAILED");
        assert_eq!(
            must_be_refused(&Answer::Unreachable(String::new())).word(),
            "not made"
        );
    }
}
