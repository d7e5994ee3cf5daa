//! From a request's body to an object that may be stored: decoding, metadata that belongs to the
//! server, defaulting, validation, field ownership.
//!
//! Order and texts follow apiserver `pkg/registry/rest/{create,update}.go`.

use crate::pipeline::{self, Call};
use crate::write::{Existing, OPTIMISTIC_LOCK};
use crate::{codec, hooks};
use freehold_model::field::{ErrorKind, FieldError, Path};
use freehold_model::{
    ApiError, Str, Value, apply, crd, defaults, meta, strict, validate, warnings,
};

/// What to do about fields that the kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    Ignore,
    Warn,
    Strict,
}

impl Call {
    pub(crate) fn strictness(&self) -> Result<Strictness, ApiError> {
        match self.query.text("fieldValidation") {
            "" | "Warn" => Ok(Strictness::Warn),
            "Ignore" => Ok(Strictness::Ignore),
            "Strict" => Ok(Strictness::Strict),
            other => {
                let e = FieldError::new(
                    ErrorKind::NotSupported,
                    "fieldValidation",
                    format!("{other:?}"),
                    "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                );
                Err(self.invalid_options(&[e]))
            }
        }
    }

    /// 422 for parameters, in the name of the verb's options.
    pub(crate) fn invalid_options(&self, errors: &[FieldError]) -> ApiError {
        let kind = match self.info.verb.as_str() {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => "DeleteOptions",
        };
        ApiError::invalid("meta.k8s.io", kind, "", errors)
    }

    /// Checks the parameters of a write; whether it is a dry run.
    pub(crate) fn write_options(&self) -> Result<bool, ApiError> {
        let manager = self.query.text("fieldManager");
        let mut errors = Vec::new();
        meta::check_field_manager(manager, &Path::root("fieldManager"), &mut errors);
        if !manager.is_empty() && !errors.is_empty() {
            return Err(self.invalid_options(&errors));
        }
        self.strictness()?;
        self.dry_run()
    }

    /// `fieldManager`, else the first word of the user agent.
    pub(crate) fn manager(&self) -> String {
        let given = self.query.text("fieldManager");
        if !given.is_empty() {
            return given.to_owned();
        }
        let agent = self
            .headers
            .get(http::header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        let first = agent.split('/').next().unwrap_or("");
        first
            .chars()
            .filter(|c| !c.is_control())
            .take(128)
            .collect()
    }

    /// Decodes a body as the kind of the path, and checks and prunes its fields.
    pub(crate) fn decode_object(&self, bytes: &[u8]) -> Result<Value, ApiError> {
        let media = pipeline::media(self);
        if codec::is_json(&media)
            && let Some(mut value) = strict::decode_clean(&self.resource, bytes)
        {
            self.check_kind(&mut value)?;
            self.strictness()?;
            return Ok(value);
        }
        let decoded = codec::decode(&self.served.catalogue, &media, bytes)
            .map_err(|e| self.unrecognized(e))?;
        let mut value = decoded.value;
        self.check_kind(&mut value)?;
        self.check_fields(&mut value, decoded.duplicates)?;
        Ok(value)
    }

    /// Syntax errors in upstream's frame.
    fn unrecognized(&self, mut e: ApiError) -> ApiError {
        if e.code == 400 {
            e.message = format!(
                "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {}",
                self.resource.kind, e.message
            );
        }
        e
    }

    pub(crate) fn check_kind(&self, value: &mut Value) -> Result<(), ApiError> {
        if value.as_object().is_none() {
            return Err(ApiError::bad_request(format!(
                "couldn't get version/kind; json parse error: the body is a JSON {}, not an object",
                value.type_name()
            )));
        }
        let expected = self.resource.api_version();
        let (version, kind) = (
            value.str_at(&["apiVersion"]).unwrap_or(""),
            value.str_at(&["kind"]).unwrap_or(""),
        );
        if self.resource.custom.is_some() && kind.is_empty() {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing",
                self.resource.kind
            )));
        }
        if !kind.is_empty() && kind != self.resource.kind {
            let own = &self.resource.kind;
            let short = version.rsplit('/').next().unwrap_or(version);
            return Err(ApiError::bad_request(format!(
                "{kind} in version {short:?} cannot be handled as a {own}: converting ({short}.{kind}) to ({}.{own}): unknown conversion",
                package(&self.resource.group)
            )));
        }
        if !version.is_empty()
            && version != expected
            && self.resource.custom.is_none()
            && !self.served.knows(version, &self.resource.kind)
        {
            let (own, short) = (
                &self.resource.kind,
                version.rsplit('/').next().unwrap_or(version),
            );
            return Err(ApiError::bad_request(format!(
                "{own} in version {short:?} cannot be handled as a {own}: no kind {own:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        if !version.is_empty() && version != expected {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            )));
        }
        value.set(&["apiVersion"], expected);
        value.set(&["kind"], self.resource.kind.clone());
        Ok(())
    }

    /// Types and unknown fields; reports as `fieldValidation` says.
    pub(crate) fn check_fields(
        &self,
        value: &mut Value,
        duplicates: Vec<Str>,
    ) -> Result<(), ApiError> {
        let unknown = strict::check_and_prune(&self.resource, value)?;
        let duplicates = duplicates.iter().map(|p| format!("duplicate field {p:?}"));
        let unknown = unknown.iter().map(|p| format!("unknown field {p:?}"));
        self.report_fields(duplicates.chain(unknown))
    }

    /// Warns of fields, or refuses them, as `fieldValidation` says.
    pub(crate) fn report_fields(
        &self,
        problems: impl Iterator<Item = String>,
    ) -> Result<(), ApiError> {
        let strictness = self.strictness()?;
        let problems: Vec<String> = problems.collect();
        if strictness == Strictness::Ignore || problems.is_empty() {
            return Ok(());
        }
        if strictness == Strictness::Warn {
            problems.into_iter().for_each(|p| self.warn(p));
            return Ok(());
        }
        Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            self.resource.kind,
            self.resource.version,
            self.resource.kind,
            problems.join(", ")
        )))
    }

    /// Makes the object's namespace that of the path.
    pub(crate) fn settle_namespace(&self, value: &mut Value) -> Result<(), ApiError> {
        let wanted = if self.resource.namespaced {
            self.info.namespace.as_str()
        } else {
            ""
        };
        let given = value.str_at(&["metadata", "namespace"]).unwrap_or("");
        if given == wanted && !wanted.is_empty() {
            return Ok(());
        }
        if wanted.is_empty() {
            value.unset(&["metadata", "namespace"]);
        } else if given.is_empty() {
            value.set(&["metadata", "namespace"], wanted);
        } else {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }

    /// Everything between the decoded body of a create and the bytes that are stored.
    pub(crate) fn prepare_create(&self, value: &mut Value, track: bool) -> Result<(), ApiError> {
        self.settle_namespace(value)?;
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "resourceVersion",
            "selfLink",
            "generation",
        ] {
            value.unset(&["metadata", field]);
        }
        value.set(&["metadata", "uid"], uuid::Uuid::new_v4().to_string());
        value.set(&["metadata", "creationTimestamp"], self.rfc3339());
        if hooks::has_generation(&self.resource) {
            value.set(&["metadata", "generation"], 1_i64);
        }
        if self.resource.has_status() && !hooks::keeps_status_on_create(&self.resource) {
            value.unset(&["status"]);
        }
        self.default(value)?;
        hooks::drop_disabled(&self.resource, value, None);
        hooks::complete(&self.resource, value);
        // Fields belong to who sent them; what the server adds below belongs to nobody.
        if track {
            self.track(None, value);
        }
        hooks::before_create(self, value)?;
        let errors = if self.resource.custom.is_some() {
            let mut errors = meta::validate_create(&self.resource, value);
            errors.extend(crd::validate(&self.resource, value, None));
            errors
        } else {
            validate::create(&self.resource, value)
        };
        self.reject(value, errors)?;
        hooks::allocate(self, value, None)?;
        self.warn_of(value, None);
        Ok(())
    }

    fn warn_of(&self, value: &Value, old: Option<&Value>) {
        for text in warnings::of_object(&self.resource, &self.info.subresource, value, old) {
            self.warn(text);
        }
    }

    /// Everything between the new state of an object and the bytes that are stored.
    pub(crate) fn prepare_update(
        &self,
        value: &mut Value,
        old: &Existing,
        track: bool,
    ) -> Result<(), ApiError> {
        self.settle_namespace(value)?;
        self.check_preconditions(value, old)?;
        let previous = &old.value;
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
        ] {
            keep(value, previous, field);
        }
        if value
            .at(&["metadata", "deletionGracePeriodSeconds"])
            .is_none()
        {
            keep(value, previous, "deletionGracePeriodSeconds");
        }
        value.unset(&["metadata", "selfLink"]);
        value.unset(&["metadata", "resourceVersion"]);
        self.split_status(value, previous);
        self.default(value)?;
        hooks::drop_disabled(&self.resource, value, Some(previous));
        hooks::complete(&self.resource, value);
        if track {
            self.track(Some(previous), value);
        }
        hooks::before_update(self, value, previous)?;
        self.count_generation(value, previous);
        let errors = if self.resource.custom.is_some() {
            let mut errors = meta::validate_update(&self.resource, value, previous);
            let (old, mut forgiven) = (Some(previous), Vec::new());
            let found = crd::validate_telling(&self.resource, value, old, &mut forgiven);
            errors.extend(found);
            for error in forgiven {
                self.warn(error.to_string());
            }
            errors
        } else {
            let subresource = self.info.subresource.as_str();
            validate::update_subresource(&self.resource, subresource, value, previous)
        };
        self.reject(value, errors)?;
        hooks::allocate(self, value, Some(previous))?;
        self.warn_of(value, Some(previous));
        apply::keep_times_of_unchanged(previous, value);
        Ok(())
    }

    fn default(&self, value: &mut Value) -> Result<(), ApiError> {
        if self.resource.custom.is_some() {
            crd::prune_and_default(&self.resource, value)?;
        } else {
            strict::normalise(&self.resource, value);
            defaults::apply(&self.resource, value);
            hooks::date(&self.resource, value, &self.rfc3339());
            strict::normalise(&self.resource, value);
        }
        Ok(())
    }

    fn reject(&self, value: &Value, errors: Vec<FieldError>) -> Result<(), ApiError> {
        if errors.is_empty() {
            return Ok(());
        }
        let name = value
            .str_at(&["metadata", "name"])
            .filter(|n| !n.is_empty())
            .or_else(|| value.str_at(&["metadata", "generateName"]))
            .unwrap_or("");
        // Upstream has one internal kind for both groups of events.
        let group = match self.resource.group.as_str() {
            "events.k8s.io" => "",
            group => group,
        };
        Err(ApiError::invalid(group, &self.resource.kind, name, &errors))
    }

    pub(crate) fn track(&self, live: Option<&Value>, value: &mut Value) {
        let (manager, now) = (self.manager(), self.rfc3339());
        let by = apply::Applier {
            manager: &manager,
            force: false,
            subresource: &self.info.subresource,
            now: &now,
            versions: self,
        };
        apply::track_update(&self.resource, live, value, &by);
    }

    /// uid and resourceVersion of the given object must be those of the existing one.
    fn check_preconditions(&self, value: &Value, old: &Existing) -> Result<(), ApiError> {
        let name = old.object.name();
        let uid = value.str_at(&["metadata", "uid"]).unwrap_or("");
        let current = old.value.str_at(&["metadata", "uid"]).unwrap_or("");
        if !uid.is_empty() && uid != current && self.info.verb == "patch" {
            let e = FieldError::invalid_str("metadata.uid", uid, "field is immutable");
            return Err(ApiError::invalid(
                &self.resource.group,
                &self.resource.kind,
                name,
                &[e],
            ));
        }
        if !uid.is_empty() && uid != current {
            return Err(self.conflict(
                name,
                &format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {current}"
                ),
            ));
        }
        let rev = value.str_at(&["metadata", "resourceVersion"]).unwrap_or("");
        if rev.is_empty() || rev == "0" {
            if hooks::needs_version(&self.resource)
                && self.info.verb == "update"
                && self.info.subresource != "scale"
            {
                let e = FieldError::new(
                    ErrorKind::Invalid,
                    "metadata.resourceVersion",
                    "0",
                    "must be specified for an update",
                );
                return Err(ApiError::invalid(
                    &self.resource.group,
                    &self.resource.plural,
                    name,
                    &[e],
                ));
            }
            return Ok(());
        }
        if rev.parse() == Ok(old.object.rev) {
            return Ok(());
        }
        if rev.parse::<u64>().is_err() {
            return Err(ApiError::bad_request(format!(
                "invalid resource version {rev:?}"
            )));
        }
        Err(self.conflict(name, OPTIMISTIC_LOCK))
    }

    /// The main resource leaves status alone; a subresource leaves all but its part alone.
    fn split_status(&self, value: &mut Value, old: &Value) {
        let part: &[&str] = match self.info.subresource.as_str() {
            "" | "finalize" if self.resource.has_status() => {
                move_field(value, old.clone(), &["status"]);
                return;
            }
            "status" => &["status"],
            "approval" => &["status", "conditions"],
            "ephemeralcontainers" => &["spec", "ephemeralContainers"],
            "resize" => {
                let given = std::mem::replace(value, old.clone());
                hooks::resize(value, &given);
                keep_given_managers(value, given);
                return;
            }
            _ => return,
        };
        let given = std::mem::replace(value, old.clone());
        let metadata = given.get("metadata").cloned();
        if part == ["status"] {
            hooks::status_metadata(&self.resource, value, metadata.as_ref());
        }
        if let Some(managed) = metadata.and_then(|mut m| m.unset(&["managedFields"])) {
            value.set(&["metadata", "managedFields"], managed);
        }
        move_field(value, given, part);
    }

    fn count_generation(&self, value: &mut Value, old: &Value) {
        if !hooks::has_generation(&self.resource) {
            return;
        }
        let deleting = |v: &Value| v.at(&["metadata", "deletionTimestamp"]).is_some();
        let changed = self.info.subresource != "status"
            && hooks::generation_moves(&self.resource, value, old)
            || (deleting(value) && !deleting(old));
        if changed {
            let now = old
                .at(&["metadata", "generation"])
                .and_then(Value::as_i64)
                .unwrap_or(0);
            value.set(&["metadata", "generation"], now + 1);
        }
    }
}

/// Gives `to` the field of `from`, or none.
fn move_field(to: &mut Value, mut from: Value, path: &[&str]) {
    match from.unset(path) {
        Some(v) => to.set(path, v),
        None => {
            to.unset(path);
        }
    }
}

/// What a subresource was sent about ownership.
fn keep_given_managers(value: &mut Value, mut given: Value) {
    if let Some(managed) = given.unset(&["metadata", "managedFields"]) {
        value.set(&["metadata", "managedFields"], managed);
    }
}

fn keep(value: &mut Value, old: &Value, field: &str) {
    match old.at(&["metadata", field]) {
        Some(v) => value.set(&["metadata", field], v.clone()),
        None => {
            value.unset(&["metadata", field]);
        }
    }
}

/// Upstream's Go package of a group's own types.
pub(crate) fn package(group: &str) -> &str {
    match group.split('.').next().unwrap_or("") {
        "" | "events" => "core",
        first => first,
    }
}

const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// `base` and five random characters, as apiserver `pkg/storage/names/generate.go`.
pub(crate) fn generate_name(base: &str) -> String {
    let mut cut = base.len().min(58);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    let random = uuid::Uuid::new_v4();
    let tail = random.as_bytes()[..5]
        .iter()
        .map(|b| char::from(SUFFIX[usize::from(*b) % SUFFIX.len()]));
    base[..cut].chars().chain(tail).collect()
}
