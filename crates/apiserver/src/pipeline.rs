//! What happens to every request before and after its verb: limits, identity, authorization,
//! dispatch, time limit, panics caught.

use crate::codec::{self, Accept};
use crate::control_plane::ControlPlane;
use crate::registry::{Kind, Served};
use crate::request::{Query, RequestInfo};
use crate::{Body, Identity, authn, clock, discovery, metrics, respond, verbs};
use freehold_model::field::{ErrorKind, FieldError};
use freehold_model::{ApiError, Resource, warnings};
use freehold_policy::User;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// As upstream's `--request-timeout`; watches have their own.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A request to a resource, past authorization.
pub(crate) struct Call {
    pub cp: Arc<ControlPlane>,
    pub served: Arc<Served>,
    pub info: RequestInfo,
    pub query: Query,
    pub user: User,
    pub headers: HeaderMap,
    /// at the version of the path
    pub resource: Arc<Resource>,
    /// at the version its objects are stored in
    pub storage: Arc<Resource>,
    /// of custom resources
    pub kind: Option<Arc<Kind>>,
    pub accept: Accept,
    /// unix seconds when the request arrived
    pub now: i64,
    warnings: parking_lot::Mutex<Vec<String>>,
    pub origin: Origin,
}

impl Call {
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let mut all = self.warnings.lock();
        let text = text.into();
        if all.len() < 256 && !all.contains(&text) {
            all.push(text);
        }
    }

    /// The same request, acting on another kind.
    pub(crate) fn with(&self, info: RequestInfo, resource: Arc<Resource>) -> Self {
        Self {
            cp: self.cp.clone(),
            served: self.served.clone(),
            storage: self.served.storage(&resource),
            kind: None,
            resource,
            info,
            query: self.query.clone(),
            user: self.user.clone(),
            headers: self.headers.clone(),
            accept: self.accept,
            now: self.now,
            warnings: parking_lot::Mutex::default(),
            origin: self.origin,
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// 404 for `name`.
    pub(crate) fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.info.group, &self.info.resource, name)
    }

    pub(crate) fn forbidden(&self, name: &str, why: &str) -> ApiError {
        ApiError::forbidden(&self.info.group, &self.info.resource, name, why)
    }

    pub(crate) fn rfc3339(&self) -> String {
        clock::rfc3339(self.now)
    }

    /// `dryRun=All`.
    ///
    /// # Errors
    /// 422 for any other value.
    pub(crate) fn dry_run(&self) -> Result<bool, ApiError> {
        let mut on = false;
        for v in self.query.all("dryRun").filter(|v| !v.is_empty()) {
            if v != "All" {
                let e = FieldError::new(
                    ErrorKind::NotSupported,
                    "dryRun",
                    format!("[{v:?}]"),
                    "supported values: \"All\"",
                );
                return Err(self.invalid_options(&[e]));
            }
            on = true;
        }
        Ok(on)
    }
}

/// Answers a request; nothing that goes wrong inside leaves here as anything but a response.
pub(crate) fn handle(
    cp: Arc<ControlPlane>,
    request: Request<Body>,
) -> BoxFuture<'static, Response<Body>> {
    let span = tracing::info_span!("control_plane", name = %cp.config.name);
    let answering = async move {
        let method = metrics::label(request.method());
        let response = match AssertUnwindSafe(route(cp.clone(), request))
            .catch_unwind()
            .await
        {
            Ok(Ok(response)) => response,
            Ok(Err(e)) => respond::error(&e),
            Err(_) => {
                tracing::error!("a request handler panicked");
                respond::error(&ApiError::internal("the request could not be answered"))
            }
        };
        cp.requests.count(method, response.status().as_u16());
        response
    };
    Box::pin(answering.instrument(span))
}

async fn route(cp: Arc<ControlPlane>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    if cp.cache.closed().is_cancelled() {
        return Err(ApiError::unavailable("this control plane is shutting down"));
    }
    let (mut parts, body) = request.into_parts();
    let origin = Origin::of(&parts);
    let _outside = cp.outside(origin);
    let query = Query::parse(parts.uri.query().unwrap_or(""))?;
    let info = RequestInfo::parse(&parts.method, &parts.uri, &query)?;
    let _permit = cp.budget.enter(info.mutates(), info.verb == "watch")?;
    let authenticating: BoxFuture<'_, _> = Box::pin(cp.authn.authenticate(&parts));
    let user = authenticating.await?;
    let user = authn::impersonate(&mut parts.headers, &user, &cp.authz)?.unwrap_or(user);
    cp.authz.require(&user, &info.attributes(&query))?;
    let work = async {
        if info.is_resource {
            let asked = Asked {
                info,
                query,
                user,
                origin,
            };
            Box::pin(resource(cp, asked, parts.headers, parts.method, body)).await
        } else {
            let answering: BoxFuture<'_, _> = Box::pin(discovery::answer(
                &cp,
                &parts.method,
                &info.path,
                &query,
                &parts.headers,
            ));
            answering.await
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, work)
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::timeout(
                "request did not complete within the allotted timeout",
            ))
        })
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// a client of this very process, such as a controller
    Inside,
    Outside,
}

impl Origin {
    fn of(parts: &http::request::Parts) -> Self {
        if parts.extensions.get::<Identity>().is_some() {
            Self::Inside
        } else {
            Self::Outside
        }
    }
}

/// What was asked, by whom, once that is allowed.
struct Asked {
    info: RequestInfo,
    query: Query,
    user: User,
    origin: Origin,
}

async fn resource(
    cp: Arc<ControlPlane>,
    asked: Asked,
    headers: HeaderMap,
    method: Method,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let Asked {
        info,
        query,
        user,
        origin,
    } = asked;
    let served = cp.registry.now();
    let Some(resource) = served
        .lookup(&info.group, &info.version, &info.resource)
        .cloned()
    else {
        return Err(ApiError::no_such_path());
    };
    check_route(&resource, &info)?;
    let pretty = query
        .get("pretty")
        .map(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    let accept = Accept::negotiate(&headers, pretty, true)?;
    let storage = served.storage(&resource);
    let custom = resource.custom.as_ref();
    let kind = custom.and_then(|_| served.kind(&resource.group, &resource.plural).cloned());
    if kind.as_ref().is_some_and(|k| k.terminating) && info.verb == "create" {
        let mut e = ApiError::method_not_allowed(&info.group, &info.resource, &info.verb);
        e.message = "create not allowed while custom resource definition is terminating".into();
        return Err(e);
    }
    let call = Arc::new(Call {
        served,
        query,
        user,
        // A watch lives long and has no use for them.
        headers: if info.verb == "watch" {
            HeaderMap::new()
        } else {
            headers
        },
        resource,
        storage,
        kind,
        accept,
        now: clock::now(),
        warnings: parking_lot::Mutex::default(),
        origin,
        info,
        cp,
    });
    if matches!(call.info.subresource.as_str(), "" | "status") {
        let minor = u32::from(call.served.catalogue.minor);
        if let Some(text) = warnings::deprecated(&call.resource, minor) {
            call.warn(text);
        }
    }
    let answered = verbs::dispatch(&call, body).await;
    let warnings = call.take_warnings();
    let mut response = answered.unwrap_or_else(|e| respond::error(&e));
    respond::add_warnings(&mut response, &warnings);
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

/// Scope and verb must fit the kind.
fn check_route(resource: &Resource, info: &RequestInfo) -> Result<(), ApiError> {
    let not_allowed = || {
        let why = "the server does not allow this method on the requested resource";
        let mut e = ApiError::new(405, "MethodNotAllowed", why);
        e.details = Some(Box::default());
        Err(e)
    };
    if !resource.namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(ApiError::no_such_path());
    }
    if info.subresource.is_empty() {
        if !resource.verbs.iter().any(|v| v == info.verb.as_str()) {
            return not_allowed();
        }
        let unnamed = matches!(
            info.verb.as_str(),
            "create" | "list" | "watch" | "deletecollection"
        );
        if resource.namespaced
            && info.namespace.is_empty()
            && !matches!(info.verb.as_str(), "list" | "watch")
        {
            // Only lists and watches go over all namespaces. Kinds that are never stored and
            // namespaced are posted below their namespace too.
            return if unnamed {
                not_allowed()
            } else {
                Err(ApiError::no_such_path())
            };
        }
        if !unnamed && info.name.is_empty() || info.verb == "create" && !info.name.is_empty() {
            return not_allowed();
        }
        return Ok(());
    }
    let Some(sub) = resource.subresource(&info.subresource) else {
        return Err(ApiError::no_such_path());
    };
    if info.name.is_empty() || (resource.namespaced && info.namespace.is_empty()) {
        return Err(ApiError::no_such_path());
    }
    if sub.verbs.iter().any(|v| v == info.verb.as_str()) {
        Ok(())
    } else {
        not_allowed()
    }
}

/// The media type of the request's body.
pub(crate) fn media(call: &Call) -> String {
    codec::media_type(&call.headers)
}
