//! What this crate makes of a request, against what upstream made of it.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_model::apply::{Applier, apply, track_update};
use freehold_model::catalogue::{Catalogue, NEWEST_MINOR, Resource};
use freehold_model::field::FieldError;
use freehold_model::{
    Value, convert, defaults, json, patch, proto, strategic, strict, validate, warnings,
};

/// Differences of one line, none when both sides agree.
pub(crate) fn line(
    catalogue: &Catalogue,
    sort: &str,
    kind: &str,
    parts: &[&str],
) -> Result<Vec<String>> {
    let mut path = kind.split('/');
    let mut next = || path.next().unwrap_or_default();
    let (group, version, name) = (next(), next(), next());
    // What this version has as beta only is judged as the next one serves it.
    let newest = Catalogue::builtin(NEWEST_MINOR).context("no catalogue")?;
    let resource = catalogue
        .by_kind(group, version, name)
        .or_else(|| newest.by_kind(group, "v1", name))
        .with_context(|| format!("no kind {kind}"))?;
    match (sort, parts) {
        ("default", [given, theirs]) => defaulted(catalogue, resource, given, theirs),
        ("proto", [object, wire]) => protobuf(catalogue, object, wire),
        ("convert", [from, to]) => converted(catalogue, resource, from, to),
        ("create", [object, errors]) => {
            let errors_here = validate::create(resource, &parse(object)?);
            errors_differ(&errors_here, errors)
        }
        ("update" | "status", [object, old, errors]) => {
            let subresource = if sort == "status" { sort } else { "" };
            let (object, old) = (parse(object)?, parse(old)?);
            let errors_here = validate::update_subresource(resource, subresource, &object, &old);
            let mut out = errors_differ(&errors_here, errors)?;
            if object.get("spec") == old.get("spec") && object.get("status") == old.get("status") {
                for difference in &mut out {
                    difference.insert_str(0, "what JSON does not show: ");
                }
            }
            Ok(out)
        }
        ("warn", [object, old, subresource, warnings]) => {
            warned(resource, subresource, object, old, warnings)
        }
        ("json" | "merge" | "strategic", [object, change, result]) => {
            patched(resource, sort, object, change, result)
        }
        ("apply" | "applied-status", [live, by, force, body, result]) => {
            let subresource = if sort == "apply" { "" } else { "status" };
            let by = applier(by, *force == "true", subresource);
            applied(catalogue, resource, &by, live, body, result)
        }
        ("updated", [live, by, _, body, result]) => {
            updated(resource, &applier(by, false, ""), live, body, result)
        }
        _ => bail!("unknown sort or wrong number of parts"),
    }
}

fn parse(text: &str) -> Result<Value> {
    Ok(json::parse(text.as_bytes())
        .map_err(|e| anyhow::anyhow!(e.message))?
        .value)
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(&json::to_vec(value)).into_owned()
}

/// The first places where two values differ.
fn difference(at: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&str> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let inner = format!("{at}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => difference(&inner, a, b, out),
                    (Some(a), None) => out.push(format!("{inner}: only ours has it: {}", text(a))),
                    (None, Some(b)) => {
                        out.push(format!("{inner}: only theirs has it: {}", text(b)));
                    }
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                difference(&format!("{at}[{i}]"), a, b, out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{at}: ours {} theirs {}", text(a), text(b))),
    }
}

fn values_differ(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut out = Vec::new();
    difference("", ours, theirs, &mut out);
    out.truncate(3);
    out
}

/// What is stored at another version is shown as that version has it.
fn through_storage(catalogue: &Catalogue, resource: &Resource, object: &mut Value) {
    if resource.storage_version == resource.version || resource.storage_group != resource.group {
        return;
    }
    let stored = catalogue.by_kind(&resource.group, &resource.storage_version, &resource.kind);
    if let Some(stored) = stored {
        let there = convert::convert(resource, stored, object);
        let back = convert::convert(stored, resource, object);
        debug_assert!(there.is_ok() && back.is_ok());
    }
}

fn defaulted(
    catalogue: &Catalogue,
    resource: &Resource,
    given: &str,
    theirs: &str,
) -> Result<Vec<String>> {
    let mut object = parse(given)?;
    let checked = strict::check_and_prune(resource, &mut object);
    if let Some(theirs) = theirs.strip_prefix('!') {
        return Ok(match checked {
            Ok(_) => vec![format!("ours is read, theirs: {theirs}")],
            // the words before are those of the request's handler
            Err(ours)
                if ours.message.ends_with(&format!(
                    " cannot be handled as a {}: {theirs}",
                    resource.kind
                )) =>
            {
                Vec::new()
            }
            Err(ours) if untyped(&ours.message).ends_with(&untyped(theirs)) => {
                vec![format!("decoding, Go's name of a type: {theirs}")]
            }
            Err(ours) => vec![format!("decoding: ours {} theirs {theirs}", ours.message)],
        });
    }
    if let Err(ours) = checked {
        return Ok(vec![format!("ours is not read: {}", ours.message)]);
    }
    defaults::apply(resource, &mut object);
    through_storage(catalogue, resource, &mut object);
    Ok(values_differ(&object, &parse(theirs)?))
}

/// A decoder's message without the names of Go's types.
fn untyped(message: &str) -> String {
    let (before, _) = message.rsplit_once(" of type ").unwrap_or((message, ""));
    let (before, field) = before.rsplit_once(' ').unwrap_or(("", before));
    let fields = field
        .split('.')
        .skip(1)
        .filter(|f| !f.starts_with(|c: char| c.is_ascii_uppercase()));
    format!("{before} {}", fields.collect::<Vec<_>>().join("."))
}

fn protobuf(catalogue: &Catalogue, object: &str, wire: &str) -> Result<Vec<String>> {
    let object = parse(object)?;
    let theirs = STANDARD.decode(wire)?;
    let ours = match proto::encode(catalogue, &object) {
        Ok(ours) => ours,
        Err(e) => return Ok(vec![format!("cannot encode: {}", e.message)]),
    };
    let back = match proto::decode(catalogue, &ours) {
        Ok(back) => back,
        Err(e) => return Ok(vec![format!("cannot decode: {}", e.message)]),
    };
    // an empty list has no form of its own, nor have apiVersion and kind of an embedded object, nor
    // bytes that are null
    let mut object = object;
    for field in ["data", "binaryData"] {
        let data = object.get_mut(field).and_then(Value::as_object_mut);
        for (_, value) in data.into_iter().flat_map(|data| data.iter_mut()) {
            if value.is_null() {
                *value = "".into();
            }
        }
    }
    let mut out = values_differ(&settled(&back), &settled(&object));
    match proto::decode(catalogue, &theirs) {
        Ok(theirs) => out.extend(values_differ(&back, &theirs)),
        Err(e) => out.push(format!("cannot decode theirs: {}", e.message)),
    }
    Ok(out)
}

fn converted(
    catalogue: &Catalogue,
    from: &Resource,
    object: &str,
    theirs: &str,
) -> Result<Vec<String>> {
    let (mut object, theirs) = (parse(object)?, parse(theirs)?);
    let api_version = theirs.str_at(&["apiVersion"]).context("apiVersion")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let to = catalogue
        .by_kind(group, version, &from.kind)
        .context("kind")?;
    // upstream reads it first
    defaults::apply(from, &mut object);
    if let Err(e) = convert::convert(from, to, &mut object) {
        return Ok(vec![format!("not converted: {}", e.message)]);
    }
    Ok(values_differ(&object, &theirs))
}

/// Values of Go's own string types are shown as JSON with the escapes for HTML; which types those
/// are the catalogue does not know.
fn html_unescaped(error: &str) -> String {
    error
        .replace("\\u003c", "<")
        .replace("\\u003e", ">")
        .replace("\\u0026", "&")
}

/// Upstream shows structs with the field names of its internal Go types, and diffs of them: what is
/// compared is where, what kind of error, and why.
pub(crate) fn comparable(error: &str) -> String {
    let error = error.split('\n').next().unwrap_or_default();
    let error = &html_unescaped(error).replacen("value: null", "value: {}", 1);
    let Some(start) = ["value: {", "value: ["].iter().find_map(|s| error.find(s)) else {
        return error.into();
    };
    let start = start + "value: ".len();
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (i, c) in error[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return format!("{}…{}", &error[..start], &error[start + i + c.len_utf8()..]);
        }
    }
    error.into()
}

fn errors_differ(ours: &[FieldError], theirs: &str) -> Result<Vec<String>> {
    let shown = |e: &FieldError| {
        let cause = e.cause();
        comparable(&format!(
            "{}|{}: {}",
            cause.reason, cause.field, cause.message
        ))
    };
    let theirs = parse(theirs)?;
    let mut missing: Vec<String> = theirs
        .as_array()
        .context("a list of errors")?
        .iter()
        .map(|e| comparable(e.as_str().unwrap_or_default()))
        .collect();
    let mut extra: Vec<String> = ours.iter().map(shown).collect();
    let both: Vec<String> = missing
        .iter()
        .filter(|e| extra.contains(e))
        .cloned()
        .collect();
    missing.retain(|e| !both.contains(e));
    extra.retain(|e| !both.contains(e));
    missing.sort();
    missing.dedup();
    extra.sort();
    extra.dedup();
    Ok(missing
        .into_iter()
        .map(|e| format!("missing {e}"))
        .chain(extra.into_iter().map(|e| format!("extra {e}")))
        .collect())
}

/// Warnings in their order. Those that upstream takes out of a map come in any.
fn warned(
    resource: &Resource,
    subresource: &str,
    object: &str,
    old: &str,
    theirs: &str,
) -> Result<Vec<String>> {
    let (object, old) = (parse(object)?, live_of(old)?);
    let mut ours = warnings::of_object(resource, subresource, &object, old.as_ref());
    let theirs = parse(theirs)?;
    let theirs = theirs.as_array().context("a list of warnings")?.iter();
    let mut theirs: Vec<String> = theirs
        .map(|w| w.as_str().unwrap_or_default().to_owned())
        .collect();
    let of_map = |w: &String| {
        w.contains("odeSelector[")
            || w.starts_with("scheduling.nodeSelector: ")
            || w.starts_with("nodeTopology.matchLabels.")
    };
    for list in [&mut ours, &mut theirs] {
        list.chunk_by_mut(|a, b| of_map(a) && of_map(b))
            .for_each(<[String]>::sort);
    }
    if ours == theirs {
        return Ok(Vec::new());
    }
    let lacking = |a: &[String], b: &[String], what: &str| -> Vec<String> {
        let lacking = a.iter().filter(|w| !b.contains(w));
        lacking.map(|w| format!("{what} warning: {w}")).collect()
    };
    let mut out = lacking(&theirs, &ours, "missing");
    out.extend(lacking(&ours, &theirs, "extra"));
    if out.is_empty() {
        out.push(format!("order: ours {ours:?} theirs {theirs:?}"));
    }
    Ok(out)
}

/// Without null fields and empty lists: nobody can tell them from absent ones after decoding.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, v)| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()))
                .map(|(k, v)| (k, settled(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(settled).collect()),
        other => other.clone(),
    }
}

fn patched(
    resource: &Resource,
    sort: &str,
    object: &str,
    change: &str,
    theirs: &str,
) -> Result<Vec<String>> {
    let (mut ours, change) = (parse(object)?, parse(change)?);
    let result = match sort {
        "json" => patch::json_patch(&mut ours, &change),
        "merge" => patch::merge_patch(&mut ours, &change),
        _ => strategic::strategic_merge(&resource.types, resource.root, &mut ours, &change),
    };
    let mut out = match (result, theirs.strip_prefix('!')) {
        (Ok(()), None) if sort == "strategic" => {
            values_differ(&settled(&ours), &settled(&parse(theirs)?))
        }
        (Ok(()), None) => values_differ(&ours, &parse(theirs)?),
        // with several faults upstream finds any of them first; the words have tests of their own
        (Err(e), Some(_)) if e.code == 422 || e.code == 400 => Vec::new(),
        (Ok(()), Some(theirs)) => vec![format!("ours is patched, theirs: {theirs}")],
        (Err(e), _) => vec![format!("ours: {} {}", e.code, e.message)],
    };
    let why = match sort {
        "strategic" if says_twice(&change) => "deleted from and changed at once: ",
        "json" if copies_null(&change) => "a null that is copied: ",
        _ => "",
    };
    for difference in &mut out {
        difference.insert_str(0, why);
    }
    Ok(out)
}

/// Whether a JSON patch copies, and has a null that it may copy.
fn copies_null(patch: &Value) -> bool {
    let ops = patch.as_array().unwrap_or_default();
    ops.iter().any(|op| op.str_at(&["op"]) == Some("copy"))
        && ops
            .iter()
            .any(|op| op.get("value").is_some_and(Value::is_null))
}

/// Whether a patch deletes from a list that it changes, too: upstream goes through it in random order.
fn says_twice(patch: &Value) -> bool {
    match patch {
        Value::Array(items) => items.iter().any(says_twice),
        Value::Object(map) => {
            let twice = |key: &str| {
                key.strip_prefix("$deleteFromPrimitiveList/")
                    .is_some_and(|list| map.contains_key(list))
            };
            map.iter()
                .any(|(key, value)| twice(key) || says_twice(value))
        }
        _ => false,
    }
}

fn applier<'a>(manager: &'a str, force: bool, subresource: &'a str) -> Applier<'a> {
    Applier {
        manager,
        force,
        subresource,
        now: "2000-01-01T00:00:00Z",
        versions: &freehold_model::apply::Alike,
    }
}

/// The entries of managedFields in an order of their own, without times.
fn ownership(object: &Value) -> Value {
    let entries = object
        .at(&["metadata", "managedFields"])
        .and_then(Value::as_array)
        .unwrap_or_default();
    let mut entries: Vec<Value> = entries.to_vec();
    for entry in &mut entries {
        entry.unset(&["time"]);
    }
    entries.sort_by_key(text);
    Value::Array(entries)
}

fn settle(resource: &Resource, mut object: Value) -> Result<Value, String> {
    strict::check_and_prune(resource, &mut object).map_err(|e| e.message)?;
    defaults::apply(resource, &mut object);
    object.unset(&["metadata", "managedFields"]);
    object.unset(&["metadata", "uid"]);
    Ok(object)
}

fn live_of(live: &str) -> Result<Option<Value>> {
    if live == "-" {
        Ok(None)
    } else {
        parse(live).map(Some)
    }
}

fn applied(
    catalogue: &Catalogue,
    resource: &Resource,
    by: &Applier<'_>,
    live: &str,
    body: &str,
    result: &str,
) -> Result<Vec<String>> {
    let live = live_of(live)?;
    let ours = apply(resource, live.as_ref(), &parse(body)?, by);
    let Some(theirs) = result.strip_prefix('!') else {
        let theirs = parse(result)?;
        let ours = match ours {
            Ok(ours) => ours,
            Err(e) => return Ok(vec![format!("ours fails: {}", e.message)]),
        };
        let mut out = Vec::new();
        difference(
            "managedFields",
            &ownership(&ours),
            &ownership(&theirs),
            &mut out,
        );
        match (settle(resource, ours), settle(resource, theirs)) {
            (Ok(mut ours), Ok(theirs)) => {
                through_storage(catalogue, resource, &mut ours);
                difference("", &ours, &theirs, &mut out);
            }
            (Err(e), _) | (_, Err(e)) => out.push(format!("the result is not read: {e}")),
        }
        out.truncate(3);
        return Ok(out);
    };
    let theirs = theirs.replace('\u{b}', "\n");
    Ok(match ours {
        Err(e) if theirs.starts_with("Apply failed") && e.message != theirs => {
            vec![format!("conflict: ours {} theirs {theirs}", e.message)]
        }
        // of several faults upstream reports some, in any order
        Err(_) => Vec::new(),
        // a value of the right JSON type that Go cannot read: ours finds it when it is decoded
        Ok(object) if !theirs.starts_with("Apply failed") => match settle(resource, object) {
            Ok(_) => vec![format!("ours applies, theirs: {theirs}")],
            Err(_) => Vec::new(),
        },
        Ok(_) => vec![format!("ours applies, theirs: {theirs}")],
    })
}

/// Whether something inside a list is null, or has no items: decoding leaves it out.
fn has_nothing_in_a_list(value: &Value, in_list: bool) -> bool {
    match value {
        Value::Null => in_list,
        Value::Array(items) => {
            in_list && items.is_empty() || items.iter().any(|v| has_nothing_in_a_list(v, true))
        }
        Value::Object(map) => {
            in_list && map.is_empty() || map.iter().any(|(_, v)| has_nothing_in_a_list(v, in_list))
        }
        _ => false,
    }
}

fn updated(
    resource: &Resource,
    by: &Applier<'_>,
    live: &str,
    body: &str,
    result: &str,
) -> Result<Vec<String>> {
    if result.starts_with('!') {
        return Ok(Vec::new());
    }
    let (live, theirs) = (live_of(live)?, parse(result)?);
    let mut new = theirs.clone();
    new.unset(&["metadata", "managedFields"]);
    track_update(resource, live.as_ref(), &mut new, by);
    let mut out = Vec::new();
    difference(
        "managedFields",
        &ownership(&new),
        &ownership(&theirs),
        &mut out,
    );
    out.truncate(3);
    if has_nothing_in_a_list(&parse(body)?, false) {
        for difference in &mut out {
            difference.insert_str(0, "nothing in a list of the request: ");
        }
    }
    Ok(out)
}
