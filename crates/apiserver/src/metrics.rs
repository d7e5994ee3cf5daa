//! Counters of one control plane, in the text format of Prometheus.

use crate::control_plane::ControlPlane;
use http::Method;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Answers by method and status code.
#[derive(Default)]
pub(crate) struct Requests(parking_lot::Mutex<BTreeMap<(&'static str, u16), u64>>);

impl Requests {
    pub(crate) fn count(&self, method: &'static str, code: u16) {
        *self.0.lock().entry((method, code)).or_default() += 1;
    }
}

/// The method as a label; whatever else a client makes up is `OTHER`.
pub(crate) fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "OTHER",
    }
}

pub(crate) fn text(cp: &ControlPlane) -> String {
    let a = cp.activity();
    let mut out = String::from("# TYPE apiserver_request_total counter\n");
    for ((method, code), n) in cp.requests.0.lock().iter() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "apiserver_request_total{{verb=\"{method}\",code=\"{code}\"}} {n}"
        );
    }
    let objects = a.objects.to_string();
    for (name, value) in [
        ("apiserver_storage_objects", objects),
        (
            "apiserver_current_inflight_requests",
            a.requests.to_string(),
        ),
        ("freehold_cache_bytes", a.bytes.to_string()),
        ("freehold_cache_revision", cp.cache.rev().to_string()),
    ] {
        let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
    }
    if let Some(more) = cp.more_metrics.get() {
        out.push_str(&more());
    }
    out
}
