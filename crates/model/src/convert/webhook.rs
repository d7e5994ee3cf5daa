//! Conversion of custom objects by a webhook: what is asked and what is believed of the answer, as
//! apiextensions `pkg/apiserver/conversion/webhook_converter.go`. The call itself is the caller's.

use crate::field::{Path, quote};
use crate::strategic::go_type;
use crate::{Map, Resource, Str, Value, bytes64, crd, limits, meta, value};

/// `spec.conversion` of a CRD whose strategy is `Webhook`.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    pub target: Target,
    /// PEM certificates to believe; empty: those of the system
    pub ca: Vec<u8>,
    /// `v1` or `v1beta1`, the first that both sides know
    review: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Url(String),
    Service {
        namespace: Str,
        name: Str,
        port: u16,
        path: Str,
    },
}

impl Webhook {
    /// The webhook of a CRD; `None`: it has another strategy.
    #[must_use]
    pub fn of(crd: &Value) -> Option<Self> {
        let conversion = crd.at(&["spec", "conversion"])?;
        if conversion.str_at(&["strategy"]) != Some("Webhook") {
            return None;
        }
        let webhook = conversion.get("webhook")?;
        let versions = webhook.get("conversionReviewVersions")?.as_array()?;
        let known = |v: &Value| match v.as_str() {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        };
        let client = webhook.get("clientConfig")?;
        let ca = client.str_at(&["caBundle"]).unwrap_or_default();
        let service = |key: &str| client.str_at(&["service", key]).unwrap_or_default();
        let port = client.at(&["service", "port"]).and_then(Value::as_i64);
        Some(Self {
            target: match client.str_at(&["url"]) {
                Some(url) => Target::Url(url.to_owned()),
                None => Target::Service {
                    namespace: service("namespace").into(),
                    name: service("name").into(),
                    port: u16::try_from(port.unwrap_or(443)).ok()?,
                    path: service("path").into(),
                },
            },
            ca: bytes64::decode(ca).unwrap_or_default().trim_ascii().into(),
            review: versions.iter().find_map(known)?,
        })
    }

    /// The request for some objects, none of which is in the version wanted.
    #[must_use]
    pub fn request(&self, uid: &str, to: &Resource, objects: Vec<Value>) -> Value {
        value!({
            "apiVersion": (format!("apiextensions.k8s.io/{}", self.review)),
            "kind": "ConversionReview",
            "request": {
                "uid": uid,
                "desiredAPIVersion": (to.api_version()),
                "objects": (Value::Array(objects))
            }
        })
    }

    /// The converted objects, in the order of `originals`. Of their metadata only labels and
    /// annotations are taken from the answer.
    ///
    /// # Errors
    /// Upstream's words, to be put behind `conversion webhook for <kind> `.
    pub fn answer(
        &self,
        uid: &str,
        to: &Resource,
        originals: &[Value],
        answer: Value,
    ) -> Result<Vec<Value>, String> {
        let converted = self
            .believed(uid, answer)
            .map_err(|why| format!("failed: {why}"))?;
        if converted.len() != originals.len() {
            return Err(format!(
                "returned {} objects, expected {}",
                converted.len(),
                originals.len()
            ));
        }
        let check = |(i, (original, mut object)): (usize, (&Value, Value))| {
            let at = |why: &str| format!("returned invalid converted object at index {i}: {why}");
            same_kind(to, &object).map_err(|why| at(&why))?;
            same_object(original, &object).map_err(|why| at(&why))?;
            let metadata = restored(original, &mut object).map_err(|why| {
                format!("returned invalid metadata in object at index {i}: {why}")
            })?;
            object.set(&["metadata"], metadata);
            crd::prune_and_default(to, &mut object).map_err(|e| at(&e.message))?;
            Ok(object)
        };
        originals
            .iter()
            .zip(converted)
            .enumerate()
            .map(check)
            .collect()
    }

    fn believed(&self, uid: &str, mut answer: Value) -> Result<Vec<Value>, String> {
        let text = |path: &[&str]| answer.str_at(path).unwrap_or_default().to_owned();
        if self.review == "v1" {
            let (version, kind) = (text(&["apiVersion"]), text(&["kind"]));
            if version != "apiextensions.k8s.io/v1" || kind != "ConversionReview" {
                return Err(format!(
                    "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}",
                    gvk(&version, &kind)
                ));
            }
        }
        if answer.get("response").is_none_or(Value::is_null) {
            return Err("no response provided".into());
        }
        let got = text(&["response", "uid"]);
        if self.review == "v1" && got != uid {
            return Err(format!(
                "expected response.uid={}, got {}",
                quote(uid),
                quote(&got)
            ));
        }
        let status = text(&["response", "result", "status"]);
        if status != "Success" {
            let mut message = text(&["response", "result", "message"]);
            message.truncate(message.floor_char_boundary(limits::MAX_WEBHOOK_MESSAGE));
            return Err(if message.is_empty() {
                format!("response.result.status was '{status}', not 'Success'")
            } else {
                message
            });
        }
        match answer.unset(&["response", "convertedObjects"]) {
            Some(Value::Array(objects)) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }
}

/// `example.com/v1, Kind=Widget`
#[must_use]
pub fn gvk(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn same_kind(to: &Resource, object: &Value) -> Result<(), String> {
    let text = |key: &str| object.str_at(&[key]).unwrap_or_default();
    let (expected, got) = (to.api_version(), text("apiVersion"));
    if expected != got {
        return Err(format!(
            "invalid groupVersion (expected {expected}, received {got})"
        ));
    }
    let got = text("kind");
    if to.kind != got {
        return Err(format!(
            "invalid kind (expected {}, received {got})",
            to.kind
        ));
    }
    Ok(())
}

fn same_object(original: &Value, object: &Value) -> Result<(), String> {
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let text = |v: &Value| v.str_at(&["metadata", key]).unwrap_or_default().to_owned();
        let (expected, got) = (text(original), text(object));
        if expected != got {
            return Err(format!("must have the same {what}: {expected} != {got}"));
        }
    }
    Ok(())
}

/// The original's metadata with the labels and annotations of the answer.
fn restored(original: &Value, object: &mut Value) -> Result<Map, String> {
    let given = match object.unset(&["metadata"]) {
        None => return Err("missing metadata in converted object".into()),
        Some(Value::Object(map)) => map,
        Some(other) => {
            let go = go_type(&other);
            return Err(format!("invalid metadata of type {go} in converted object"));
        }
    };
    let mut metadata = match original.get("metadata") {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    };
    for key in ["labels", "annotations"] {
        let new = match given.get(key) {
            None | Some(Value::Null) => {
                metadata.remove(key);
                continue;
            }
            Some(new) => new,
        };
        let Some(map) = new.as_object() else {
            let go = go_type(new);
            return Err(format!(
                "invalid metadata.{key} of type {go} in converted object"
            ));
        };
        if let Some((name, value)) = map.iter().find(|(_, v)| v.as_str().is_none()) {
            let go = go_type(value);
            return Err(format!(
                "metadata.{key}[{name}] must be a string, but is {go} in converted object"
            ));
        }
        if metadata.get(key) != Some(new) {
            check(key, new)?;
        }
        metadata.insert(key, new.clone());
    }
    Ok(metadata)
}

fn check(key: &str, new: &Value) -> Result<(), String> {
    let (mut errors, root) = (Vec::new(), Path::root("metadata"));
    if key == "labels" {
        meta::check_labels(Some(new), &root.child("labels"), &mut errors);
    } else {
        meta::check_annotations(Some(new), &root.child("annotation"), &mut errors);
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        let version = |name: &str, storage: bool| {
            value!({
                "name": name, "served": true, "storage": storage,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
                }}}
            })
        };
        value!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "ws.e.org"},
            "spec": {
                "group": "e.org", "scope": "Namespaced",
                "names": {"plural": "ws", "singular": "w", "kind": "W", "listKind": "WList"},
                "conversion": {"strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v9", "v1"],
                    "clientConfig": {"service": {"namespace": "a", "name": "b", "port": 443, "path": "/c"}, "caBundle": "QQo="}
                }},
                "versions": [(version("v1", true)), (version("v2", false))]
            }
        })
    }

    fn both() -> (Webhook, std::sync::Arc<Resource>) {
        let webhook = Webhook::of(&definition()).expect("a webhook");
        let compiled =
            crd::compile(&definition(), crate::catalogue::DEFAULT_MINOR).expect("compiles");
        (webhook, compiled.resources[1].clone())
    }

    fn object(version: &str) -> Value {
        value!({
            "apiVersion": (format!("e.org/{version}")), "kind": "W",
            "metadata": {"name": "n", "namespace": "x", "uid": "u", "generation": 3, "labels": {"a": "1"}},
            "spec": {"s": 1}
        })
    }

    fn review(objects: Vec<Value>) -> Value {
        value!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "7", "result": {"status": "Success"}, "convertedObjects": (Value::Array(objects))}
        })
    }

    #[test]
    fn a_definition_says_where_its_webhook_is() {
        let (webhook, v2) = both();
        assert_eq!(webhook.ca, b"A");
        let service = Target::Service {
            namespace: "a".into(),
            name: "b".into(),
            port: 443,
            path: "/c".into(),
        };
        assert_eq!(webhook.target, service);
        let request = webhook.request("7", &v2, vec![object("v1")]);
        assert_eq!(
            request.str_at(&["request", "desiredAPIVersion"]),
            Some("e.org/v2")
        );
        let mut plain = definition();
        plain.set(&["spec", "conversion"], value!({"strategy": "None"}));
        assert_eq!(Webhook::of(&plain), None);
    }

    #[test]
    fn of_metadata_only_labels_and_annotations_are_believed() {
        let (webhook, v2) = both();
        let mut converted = object("v2");
        converted.set(&["metadata", "generation"], 9);
        converted.set(&["metadata", "finalizers"], vec!["e.org/f"]);
        converted.set(&["metadata", "labels"], value!({"a": "2"}));
        converted.set(&["metadata", "annotations"], value!({"b": "c"}));
        converted.set(&["spec", "s"], 2);
        let got = webhook
            .answer("7", &v2, &[object("v1")], review(vec![converted]))
            .expect("fine");
        let mut want = object("v2");
        want.set(&["metadata", "labels"], value!({"a": "2"}));
        want.set(&["metadata", "annotations"], value!({"b": "c"}));
        want.set(&["spec", "s"], 2);
        assert_eq!(got, [want]);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table of answers")]
    fn wrong_answers_are_refused_in_upstreams_words() {
        let (webhook, v2) = both();
        let with = |path: &[&str], v: Value| {
            let mut object = object("v2");
            object.set(path, v);
            review(vec![object])
        };
        let changed = |path: &[&str], v: Value| {
            let mut review = review(vec![object("v2")]);
            review.set(path, v);
            review
        };
        for (answer, want) in [
            (review(vec![]), "returned 0 objects, expected 1"),
            (
                changed(&["response"], Value::Null),
                "failed: no response provided",
            ),
            (
                changed(&["response", "uid"], "8".into()),
                "failed: expected response.uid=\"7\", got \"8\"",
            ),
            (
                changed(&["kind"], "Status".into()),
                "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Status",
            ),
            (
                changed(
                    &["response", "result"],
                    value!({"status": "Failure", "message": "no way"}),
                ),
                "failed: no way",
            ),
            (
                changed(&["response", "result"], Value::Null),
                "failed: response.result.status was '', not 'Success'",
            ),
            (
                with(&["apiVersion"], "e.org/v1".into()),
                "returned invalid converted object at index 0: invalid groupVersion (expected e.org/v2, received e.org/v1)",
            ),
            (
                with(&["kind"], "X".into()),
                "returned invalid converted object at index 0: invalid kind (expected W, received X)",
            ),
            (
                with(&["metadata", "name"], "m".into()),
                "returned invalid converted object at index 0: must have the same name: n != m",
            ),
            (
                with(&["metadata", "uid"], "w".into()),
                "returned invalid converted object at index 0: must have the same UID: u != w",
            ),
            (
                with(&["metadata", "labels"], value!({"a": 1})),
                "returned invalid metadata in object at index 0: metadata.labels[a] must be a string, but is int64 in converted object",
            ),
            (
                with(&["metadata", "annotations"], "x".into()),
                "returned invalid metadata in object at index 0: invalid metadata.annotations of type string in converted object",
            ),
        ] {
            let got = webhook.answer("7", &v2, &[object("v1")], answer);
            assert_eq!(got.unwrap_err(), want);
        }
        let wrong = with(&["metadata", "labels"], value!({"-": "1"}));
        let got = webhook
            .answer("7", &v2, &[object("v1")], wrong)
            .unwrap_err();
        assert!(
            got.contains("metadata.labels: Invalid value: \"-\""),
            "{got}"
        );
    }
}
