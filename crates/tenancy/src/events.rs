//! Events: what happened to an object, for `kubectl describe`.

use crate::host::{Host, describe};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};

/// The most characters of a message (as upstream keeps them).
const MAX_MESSAGE: usize = 1024;

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Normal,
    Warning,
}

/// Writes an event about an object. It is information only: when it cannot be written that is
/// logged, nothing else.
pub(crate) async fn publish<K>(host: &Host, about: &K, level: Level, reason: &str, message: &str)
where
    K: Resource<DynamicType = ()>,
{
    let now = Timestamp::now();
    let namespace = about.namespace().unwrap_or_else(|| "default".to_owned());
    let subject = describe(about);
    tracing::info!(%subject, %reason, %message, "event");
    let event = Event {
        metadata: ObjectMeta {
            // unique per object and moment, as upstream names them
            name: Some(format!("{}.{:x}", about.name_any(), now.as_nanosecond())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: about.meta().name.clone(),
            namespace: about.meta().namespace.clone(),
            uid: about.meta().uid.clone(),
            resource_version: about.meta().resource_version.clone(),
            ..ObjectReference::default()
        },
        type_: Some(match level {
            Level::Normal => "Normal".to_owned(),
            Level::Warning => "Warning".to_owned(),
        }),
        reason: Some(reason.to_owned()),
        message: Some(message.chars().take(MAX_MESSAGE).collect()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource {
            component: Some("freehold".to_owned()),
            ..EventSource::default()
        }),
        ..Event::default()
    };
    let events: Api<Event> = Api::namespaced(host.client.clone(), &namespace);
    if let Err(error) = events.create(&PostParams::default(), &event).await {
        tracing::debug!(%subject, %error, "an event could not be written");
    }
}
