//! The demonstration: two tenants, one of them at work, and what happens when it tries to cross over.

use crate::cli::kubeconfig::issue;
use crate::cli::objects::{self, Found};
use crate::cli::printer::Tone;
use crate::cli::user_config::to_yaml;
use crate::cli::{Printer, client_of, create};
use crate::host::Host;
use crate::host::data_dir::write_private;
use crate::verify::probe::{Answer, Try, Way, must_be_refused, send};
use crate::verify::{Outcome, attacks};
use anyhow::{Context as _, Result, bail};
use http::Method;
use kube::api::DynamicObject;
use kube::config::{AuthInfo, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const EXPIRES: Duration = Duration::from_hours(24);

/// The tour with what it made on the way.
pub(crate) struct Tour {
    pub(crate) failed: usize,
    host_kubeconfig: PathBuf,
    acme: PathBuf,
    globex: PathBuf,
}

/// One tenant's control plane as the tour uses it.
struct Side {
    client: Client,
    kubeconfig: Kubeconfig,
    file: PathBuf,
}

/// Runs a step, times it, and shows it.
struct Steps<'a> {
    out: &'a Printer,
    failed: usize,
}

impl Steps<'_> {
    /// A step that the rest builds on: its failure ends the tour.
    async fn must<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let began = Instant::now();
        match work.await {
            Ok((value, detail)) => {
                self.show(true, what, &detail, began);
                Ok(value)
            }
            Err(error) => {
                self.show(false, what, &format!("{error:#}"), began);
                Err(error.context(format!("the step failed: {what}")))
            }
        }
    }

    /// A boundary that has to hold.
    async fn holds(&mut self, what: &str, attempt: impl Future<Output = Outcome>) {
        let began = Instant::now();
        let outcome = attempt.await;
        let held = matches!(outcome, Outcome::Held(_));
        self.show(
            held,
            what,
            &format!("{}: {}", outcome.word(), outcome.detail()),
            began,
        );
    }

    fn show(&mut self, good: bool, what: &str, detail: &str, began: Instant) {
        let word = if good {
            self.out.tone(Tone::Good, "ok    ")
        } else {
            self.out.tone(Tone::Bad, "FAILED")
        };
        let took = format!("{} ms", began.elapsed().as_millis());
        self.out.line(format!("{word} {took:>8}  {what}: {detail}"));
        self.failed += usize::from(!good);
    }
}

pub(crate) async fn tour(host: &Host, data_dir: &Path, out: &Printer) -> Result<Tour> {
    let out = &out.without_progress();
    let mut steps = Steps { out, failed: 0 };
    let took = format!("{} ms", host.ready_after.as_millis());
    out.line(format!(
        "{} {took:>8}  start a host: it answers at {}",
        out.tone(Tone::Good, "ok    "),
        host.server
    ));
    let config =
        Kubeconfig::read_from(&host.kubeconfig).context("cannot read the host's kubeconfig")?;
    let client = client_of(config.clone()).await?;

    for tenant in ["acme", "globex"] {
        steps
            .must(
                &format!("create tenant {tenant}"),
                ensure_tenant(&client, tenant, out),
            )
            .await?;
    }
    let acme = side(&mut steps, &client, "acme", "dev", data_dir).await?;
    let globex = side(&mut steps, &client, "globex", "prod", data_dir).await?;

    for object in workload() {
        let what = format!(
            "apply {} {} to acme",
            object.kind.to_lowercase(),
            object.name
        );
        steps.must(&what, ensure(&acme.client, &object)).await?;
    }
    let plans = secret_plans();
    for object in &plans {
        let what = format!(
            "put {} {} into globex",
            object.kind.to_lowercase(),
            object.name
        );
        steps.must(&what, ensure(&globex.client, object)).await?;
    }
    cross_over(&mut steps, &acme, &globex, &config, out).await?;
    Ok(Tour {
        failed: steps.failed,
        host_kubeconfig: host.kubeconfig.clone(),
        acme: acme.file,
        globex: globex.file,
    })
}

async fn cross_over(
    steps: &mut Steps<'_>,
    acme: &Side,
    globex: &Side,
    host: &Kubeconfig,
    out: &Printer,
) -> Result<()> {
    out.line(out.tone(Tone::Strong, "Now acme tries to cross over:"));
    let path = "/api/v1/namespaces";
    let there = Way::new(cluster_of(&globex.kubeconfig)?);
    let admin = user_of(&acme.kubeconfig)?;
    steps
        .holds("acme's kubeconfig against globex", async {
            match there.client(admin).await {
                Ok(client) => must_be_refused(&send(&client, &Try::get(path)).await),
                Err(error) => Outcome::NotMade(format!("{error:#}")),
            }
        })
        .await;
    let host = Way::new(cluster_of(host)?);
    steps
        .holds("acme's token against the host", async {
            let bearer = match attacks::token(&acme.client).await {
                Ok(token) => AuthInfo {
                    token: Some(token.into()),
                    ..AuthInfo::default()
                },
                Err(error) => return Outcome::NotMade(format!("{error:#}")),
            };
            match host.client(bearer).await {
                Ok(client) => must_be_refused(&send(&client, &Try::get(path)).await),
                Err(error) => Outcome::NotMade(format!("{error:#}")),
            }
        })
        .await;
    steps
        .holds(
            "globex's objects, looked for in acme",
            looked_for(&acme.client),
        )
        .await;
    Ok(())
}

async fn looked_for(acme: &Client) -> Outcome {
    match send(acme, &Try::get("/api/v1/configmaps")).await {
        Answer::Http { status: 200, body } if body.contains("secret-plans") => {
            Outcome::Failed("they are there".to_owned())
        }
        Answer::Http { status: 200, body } if body.contains("greeting") => {
            Outcome::Held("nothing there but its own".to_owned())
        }
        other => Outcome::NotMade(format!("the list did not answer as it should: {other:?}")),
    }
}

async fn ensure_tenant(client: &Client, name: &str, out: &Printer) -> Result<((), String)> {
    let object = create::tenant(name, &[format!("group:{name}-admins")])?;
    let detail = ensure_ours(
        &objects::tenants(client),
        &object,
        &format!("tenant {name}"),
        out,
    )
    .await?;
    Ok(((), detail))
}

async fn side(
    steps: &mut Steps<'_>,
    client: &Client,
    tenant: &str,
    name: &str,
    data_dir: &Path,
) -> Result<Side> {
    let shown = format!("control plane {tenant}/{name}");
    let out = steps.out.clone();
    steps
        .must(&format!("create {shown}"), async {
            let object = create::control_plane(name, tenant, None, None, None)?;
            let detail = ensure_ours(
                &objects::control_planes(client, tenant),
                &object,
                &shown,
                &out,
            )
            .await?;
            Ok(((), detail))
        })
        .await?;
    steps
        .must(&format!("issue a kubeconfig for {tenant}/{name}"), async {
            let found: Found = objects::find_control_plane(client, name, Some(tenant)).await?;
            let kubeconfig = issue(client, &found, EXPIRES).await?;
            let file = data_dir
                .join("kubeconfigs")
                .join(format!("{tenant}-{name}.yaml"));
            write_private(&file, to_yaml(&kubeconfig)?.as_bytes())?;
            let side = Side {
                client: client_of(kubeconfig.clone()).await?,
                kubeconfig,
                file,
            };
            Ok((side, "valid for 24h, mode 0600".to_owned()))
        })
        .await
}

/// Creates one of our objects unless it is there, and waits until it is ready.
async fn ensure_ours(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    shown: &str,
    out: &Printer,
) -> Result<String> {
    let name = object.name_any();
    let known = api.get_opt(&name).await?.is_some();
    if !known {
        create::post(api, object, shown).await?;
    }
    objects::until_ready(api, &name, shown, LIMIT, out).await?;
    Ok(if known {
        "found as it was, ready"
    } else {
        "created, ready"
    }
    .to_owned())
}

/// A plain object for a control plane.
struct Plain {
    kind: &'static str,
    name: &'static str,
    path: &'static str,
    body: Value,
}

fn workload() -> Vec<Plain> {
    let labels = json!({"app": "hello"});
    vec![
        namespace("shop"),
        Plain {
            kind: "ConfigMap",
            name: "greeting",
            path: "/api/v1/namespaces/shop/configmaps",
            body: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting"}, "data": {"text": "hello from acme"}}),
        },
        Plain {
            kind: "Deployment",
            name: "hello",
            path: "/apis/apps/v1/namespaces/shop/deployments",
            body: json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello", "labels": labels},
                "spec": {
                    "replicas": 2, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "hello", "image": "registry.example/hello:1"}]}},
                },
            }),
        },
    ]
}

fn secret_plans() -> Vec<Plain> {
    vec![Plain {
        kind: "ConfigMap",
        name: "secret-plans",
        path: "/api/v1/namespaces/default/configmaps",
        body: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "secret-plans"}, "data": {"plan": "win"}}),
    }]
}

fn namespace(name: &'static str) -> Plain {
    Plain {
        kind: "Namespace",
        name,
        path: "/api/v1/namespaces",
        body: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
    }
}

/// Creates an object; one that is there already is as good.
async fn ensure(client: &Client, object: &Plain) -> Result<((), String)> {
    let attempt = Try {
        method: Method::POST,
        path: object.path,
        headers: &[],
        body: Some(object.body.clone()),
    };
    match send(client, &attempt).await {
        Answer::Http { status: 201, .. } => Ok(((), "created".to_owned())),
        Answer::Http { status: 409, .. } => {
            let path = format!("{}/{}", object.path, object.name);
            match send(client, &Try::get(&path)).await {
                Answer::Http { status: 200, .. } => Ok(((), "found as it was".to_owned())),
                other => bail!("it exists but cannot be read: {other:?}"),
            }
        }
        Answer::Http { status, body } => bail!(
            "answered {status}: {}",
            body.chars().take(300).collect::<String>()
        ),
        Answer::Refused(why) | Answer::Unreachable(why) => bail!("{why}"),
    }
}

fn cluster_of(config: &Kubeconfig) -> Result<kube::config::Cluster> {
    config
        .clusters
        .first()
        .and_then(|c| c.cluster.clone())
        .context("the kubeconfig has no cluster")
}

fn user_of(config: &Kubeconfig) -> Result<AuthInfo> {
    config
        .auth_infos
        .first()
        .and_then(|u| u.auth_info.clone())
        .context("the kubeconfig has no user")
}

impl Tour {
    /// Where things are, and what to try next.
    pub(crate) fn farewell(&self, out: &Printer) {
        let (host, acme, globex) = (
            self.host_kubeconfig.display(),
            self.acme.display(),
            self.globex.display(),
        );
        out.line("");
        out.line("Kubeconfigs:");
        out.line(format!("  host         {host}"));
        out.line(format!("  acme/dev     {acme}"));
        out.line(format!("  globex/prod  {globex}"));
        out.line("Try next:");
        out.line(format!(
            "  kubectl --kubeconfig {acme} get deployments,configmaps --all-namespaces"
        ));
        out.line(format!(
            "  kubectl --kubeconfig {host} get tenants.freehold.dev,controlplanes.freehold.dev --all-namespaces"
        ));
        out.line(format!("  freehold --kubeconfig {host} verify"));
    }
}
