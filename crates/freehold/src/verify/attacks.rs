//! What is tried with one control plane's credentials.

use super::probe::{Answer, Try, Way, must_be_refused, must_not_be_trusted, send};
use super::{Outcome, Report};
use crate::cli::{Target, kubeconfig, names, objects};
use anyhow::{Context as _, Result, bail};
use http::Method;
use kube::Client;
use kube::config::AuthInfo;
use serde_json::{Value, json};
use std::time::Duration;

/// One control plane with everything its administrator has.
pub(crate) struct Subject {
    pub(crate) tenant: String,
    pub(crate) shown: String,
    way: Way,
    admin: AuthInfo,
    /// as its administrator
    client: Client,
    /// a service-account token of it
    token: String,
    /// a ConfigMap in it that nobody else may find
    marker: String,
}

/// Certificates for the attack are as short-lived as they can be.
const EXPIRES: Duration = Duration::from_mins(10);
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

impl Subject {
    /// Issues credentials and sees that they work where they should: an attack with credentials
    /// that work nowhere would prove nothing.
    pub(crate) async fn prepare(target: &Target, tenant: &str, name: &str) -> Result<Self> {
        let found = objects::find_control_plane(&target.client, name, Some(tenant)).await?;
        let config = kubeconfig::issue(&target.client, &found, EXPIRES).await?;
        let cluster = config
            .clusters
            .into_iter()
            .next()
            .and_then(|c| c.cluster)
            .context("no cluster was issued")?;
        let admin = config
            .auth_infos
            .into_iter()
            .next()
            .and_then(|u| u.auth_info)
            .context("no user was issued")?;
        let way = Way::new(cluster);
        let client = way.client(admin.clone()).await?;
        let marker = format!("freehold-verify-{}", short_id());
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": marker, "labels": {"app.kubernetes.io/managed-by": "freehold-verify"}},
            "data": {"of": format!("{tenant}/{name}")},
        });
        expect(
            send(
                &client,
                &Try {
                    method: Method::POST,
                    path: CONFIG_MAPS,
                    headers: &[],
                    body: Some(object),
                },
            )
            .await,
            201,
        )
        .context("its own administrator cannot write to it")?;
        let token = token(&client).await?;
        Ok(Self {
            tenant: tenant.to_owned(),
            shown: format!("{tenant}/{name}"),
            way,
            admin,
            client,
            token,
            marker,
        })
    }

    fn bearer(&self) -> AuthInfo {
        AuthInfo {
            token: Some(self.token.clone().into()),
            ..AuthInfo::default()
        }
    }

    pub(crate) async fn clean_up(&self) {
        let path = format!("{CONFIG_MAPS}/{}", self.marker);
        let gone = send(
            &self.client,
            &Try {
                method: Method::DELETE,
                path: &path,
                headers: &[],
                body: None,
            },
        )
        .await;
        if !matches!(
            gone,
            Answer::Http {
                status: 200 | 404,
                ..
            }
        ) {
            tracing::warn!(control_plane = %self.shown, "the ConfigMap {} could not be removed: {gone:?}", self.marker);
        }
    }
}

/// A token of the default service account, seen to work where it should.
pub(crate) async fn token(client: &Client) -> Result<String> {
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    // The account itself is made by a controller shortly after the control plane is new.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let attempt = Try {
            method: Method::POST,
            path,
            headers: &[],
            body: Some(request.clone()),
        };
        match send(client, &attempt).await {
            Answer::Http { status: 404, .. } if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => {
                let body = expect(answer, 201).context("no service-account token could be had")?;
                let body: Value =
                    serde_json::from_str(&body).context("the token answer is no JSON")?;
                let token = body
                    .pointer("/status/token")
                    .and_then(Value::as_str)
                    .context("the answer has no token")?;
                return Ok(token.to_owned());
            }
        }
    }
}

fn expect(answer: Answer, wanted: u16) -> Result<String> {
    match answer {
        Answer::Http { status, body } if status == wanted => Ok(body),
        Answer::Http { status, body } => bail!(
            "answered {status}: {}",
            body.chars().take(200).collect::<String>()
        ),
        Answer::Refused(why) | Answer::Unreachable(why) => bail!("{why}"),
    }
}

fn short_id() -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_nanos())
        .unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), nanos & 0xff_ffff_ffff)
}

/// Sends as somebody; credentials that cannot even be used are a check that was not made.
async fn as_who(way: &Way, who: AuthInfo, attempt: &Try<'_>) -> Answer {
    match way.client(who).await {
        Ok(client) => send(&client, attempt).await,
        Err(error) => Answer::Unreachable(format!("{error:#}")),
    }
}

/// A control plane's credentials against the host.
pub(crate) async fn against_host(a: &Subject, host: &Way, report: &mut Report) {
    let between = format!("{} → host", a.shown);
    let namespace = names::namespace_of(&a.tenant);
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let own = as_who(&a.way, a.bearer(), &Try::get("/api/v1/namespaces/default")).await;
    let works = matches!(own, Answer::Http { status, .. } if status != 401);
    let with_token = async |attempt: &Try<'_>| {
        if works {
            must_be_refused(&as_who(host, a.bearer(), attempt).await)
        } else {
            Outcome::NotMade(format!("the token does not work at home either: {own:?}"))
        }
    };

    let answer = as_who(host, a.admin.clone(), &Try::get("/api/v1/namespaces")).await;
    report.add(
        &between,
        "its administrator's certificate",
        must_be_refused(&answer),
    );
    let outcome = with_token(&Try::get("/api/v1/namespaces")).await;
    report.add(&between, "its service-account token", outcome);
    let answer = as_who(host, a.admin.clone(), &Try::get(&secrets)).await;
    report.add(
        &between,
        "reading the host's secrets of its own tenant with its certificate",
        must_be_refused(&answer),
    );
    let outcome = with_token(&Try::get(&secrets)).await;
    report.add(
        &between,
        "reading the host's secrets of its own tenant with its token",
        outcome,
    );

    pretending(a, host, &between, works, report).await;
    restraints(a, host, &between, report).await;
}

/// Headers that would make somebody else of the caller.
async fn pretending(a: &Subject, host: &Way, between: &str, works: bool, report: &mut Report) {
    let namespace = names::namespace_of(&a.tenant);
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let mighty = [
        ("Impersonate-User", "kubernetes-admin"),
        ("Impersonate-Group", "system:masters"),
    ];
    let attempt = Try {
        headers: &mighty,
        ..Try::get(&secrets)
    };
    let outcome = if works {
        must_be_refused(&as_who(host, a.bearer(), &attempt).await)
    } else {
        Outcome::NotMade("the token does not work at home either".to_owned())
    };
    report.add(between, "impersonating the host's administrator", outcome);
    let forged = [
        ("X-Remote-User", "kubernetes-admin"),
        ("X-Remote-Group", "system:masters"),
    ];
    let attempt = Try {
        headers: &forged,
        ..Try::get(&secrets)
    };
    let answer = as_who(host, AuthInfo::default(), &attempt).await;
    report.add(
        between,
        "claiming to be a proxy that authenticated an administrator",
        must_be_refused(&answer),
    );
}

/// What restrains a tenant must be out of its reach.
async fn restraints(a: &Subject, host: &Way, between: &str, report: &mut Report) {
    let tenant = objects::Kind::Tenant.path(None, Some(&a.tenant));
    let patch = json!({"spec": {"owners": []}});
    let attempt = Try {
        method: Method::PATCH,
        path: &tenant,
        headers: &[],
        body: Some(patch),
    };
    let answer = as_who(host, a.admin.clone(), &attempt).await;
    report.add(
        between,
        "editing the Tenant that restrains it",
        must_be_refused(&answer),
    );
    let inside = send(&a.client, &Try::get(&tenant)).await;
    report.add(
        between,
        "finding that Tenant inside its own API",
        must_not_be_found(&inside),
    );
}

/// One control plane's credentials and connections against another.
pub(crate) async fn between(a: &Subject, b: &Subject, report: &mut Report) {
    let between = format!("{} → {}", a.shown, b.shown);
    let reachable = send(&b.client, &Try::get("/api/v1/namespaces/default")).await;
    if !matches!(reachable, Answer::Http { status: 200, .. }) {
        report.add(
            &between,
            "all",
            Outcome::NotMade(format!(
                "{} does not answer its own administrator: {reachable:?}",
                b.shown
            )),
        );
        return;
    }
    let answer = as_who(&b.way, a.admin.clone(), &Try::get("/api/v1/namespaces")).await;
    report.add(
        &between,
        "its administrator's certificate",
        must_be_refused(&answer),
    );
    let answer = as_who(&b.way, a.bearer(), &Try::get("/api/v1/namespaces")).await;
    report.add(
        &between,
        "its service-account token",
        must_be_refused(&answer),
    );
    let mighty = [
        ("Impersonate-User", "kubernetes-admin"),
        ("Impersonate-Group", "system:masters"),
    ];
    let answer = as_who(
        &b.way,
        a.bearer(),
        &Try {
            headers: &mighty,
            ..Try::get("/api/v1/namespaces")
        },
    )
    .await;
    report.add(
        &between,
        "impersonating the other's administrator",
        must_be_refused(&answer),
    );

    let mut disguised = b.way.clone();
    disguised
        .cluster
        .tls_server_name
        .clone_from(&a.way.cluster.tls_server_name);
    let answer = as_who(&disguised, b.admin.clone(), &Try::get("/api/v1/namespaces")).await;
    report.add(
        &between,
        "passing for the other towards its clients (server certificate)",
        must_not_be_trusted(&answer),
    );

    let theirs = format!("{CONFIG_MAPS}/{}", b.marker);
    let found = send(&a.client, &Try::get(&theirs)).await;
    report.add(
        &between,
        "reading an object of the other by name",
        must_not_be_found(&found),
    );
    report.add(
        &between,
        "listing the other's objects",
        must_not_be_listed(a, b).await,
    );
    tricks(a, b, &between, &theirs, report).await;
}

/// Paths and headers that other multi-tenant servers understand, on a connection of A's own.
async fn tricks(a: &Subject, b: &Subject, between: &str, theirs: &str, report: &mut Report) {
    let name = b.way.server_name();
    let uid = b.shown.replace('/', ":");
    for header in [
        "Host",
        "X-Forwarded-Host",
        "X-Kubernetes-Cluster",
        "X-Tenant",
    ] {
        let headers = [(header, name)];
        let answer = send(
            &a.client,
            &Try {
                headers: &headers,
                ..Try::get(theirs)
            },
        )
        .await;
        report.add(
            between,
            &format!("asking for the other with the header {header}"),
            must_not_be_found(&answer),
        );
    }
    for prefix in [
        format!("/clusters/{uid}"),
        format!("/clusters/{name}"),
        format!("/k8s/clusters/{name}"),
        "//".to_owned(),
    ] {
        let answer = send(&a.client, &Try::get(&format!("{prefix}{theirs}"))).await;
        report.add(
            between,
            &format!("asking for the other below the path {prefix}"),
            must_not_be_found(&answer),
        );
    }
}

fn must_not_be_found(answer: &Answer) -> Outcome {
    match answer {
        Answer::Http {
            status: 200..=299, ..
        } => Outcome::Failed("found".to_owned()),
        Answer::Http {
            status: 500..,
            body,
        } => Outcome::NotMade(format!(
            "the server failed: {}",
            body.chars().take(120).collect::<String>()
        )),
        Answer::Http { status, .. } => Outcome::Held(format!("nothing there ({status})")),
        Answer::Refused(why) => Outcome::Held(format!("refused ({why})")),
        Answer::Unreachable(why) => Outcome::NotMade(why.clone()),
    }
}

async fn must_not_be_listed(a: &Subject, b: &Subject) -> Outcome {
    match send(&a.client, &Try::get("/api/v1/configmaps")).await {
        Answer::Http { status: 200, body } if body.contains(&b.marker) => {
            Outcome::Failed("the list has an object of the other".to_owned())
        }
        // Its own marker in the list shows that the list is one.
        Answer::Http { status: 200, body } if body.contains(&a.marker) => {
            Outcome::Held("only its own are there".to_owned())
        }
        Answer::Http { status, .. } => {
            Outcome::NotMade(format!("the list answered {status} without its own object"))
        }
        Answer::Refused(why) | Answer::Unreachable(why) => Outcome::NotMade(why),
    }
}
