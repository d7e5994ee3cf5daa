//! Taints of devices say since when they are there (`SetDefaults_DeviceTaint` of
//! pkg/apis/resource/*/defaults.go).

use freehold_model::Value;

pub(super) fn date_taints(object: &mut Value, now: &str) {
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    if let Some(taint) = spec.get_mut("taint") {
        date(taint, now);
    }
    let devices = spec.get_mut("devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        // The first beta had them one level below.
        let holder = match device.get("basic") {
            Some(_) => device.get_mut("basic"),
            None => Some(device),
        };
        let taints = holder.and_then(|h| h.get_mut("taints"));
        for taint in taints.and_then(Value::as_array_mut).into_iter().flatten() {
            date(taint, now);
        }
    }
}

fn date(taint: &mut Value, now: &str) {
    if taint.as_object().is_some() && taint.get("timeAdded").is_none_or(Value::is_null) {
        taint.set(&["timeAdded"], now);
    }
}
