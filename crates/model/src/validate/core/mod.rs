//! The core group: kubernetes `pkg/apis/core/validation/`.

mod config;
mod containers;
mod env;
mod events;
mod misc;
mod nodes;
mod plugins;
pub(crate) mod pod;
mod pod_parts;
mod profile_notes;
mod projections;
mod quota;
pub(super) mod resources;
mod scheduling;
mod service;
pub(crate) mod storage;
mod volumes;
mod windows;

pub(super) use nodes::node_status_update;
pub(super) use pod_parts::{ephemeral, resize};
pub(super) use quota::hard as quota_amounts;
pub(super) use resources::{container_resource_name, is_extended, is_native, resource_quantity};
pub(super) use scheduling::{node_selector, tolerations};
pub(super) use volumes::csi_driver_name;

use super::read::Report;
use crate::Value;

pub(super) fn create(report: &mut Report, kind: &str, object: &Value) {
    match kind {
        "Pod" => pod::create(report, object),
        "PodTemplate" => misc::pod_template(report, object),
        "Service" => service::service(report, object, None),
        "ConfigMap" => config::config_map(report, object),
        "Secret" => config::secret(report, object),
        "Namespace" => config::namespace(report, object),
        "ResourceQuota" => quota::resource_quota(report, object),
        "LimitRange" => quota::limit_range(report, object),
        "PersistentVolumeClaim" => storage::claim(report, object),
        "PersistentVolume" => storage::volume(report, object),
        "ReplicationController" => misc::replication_controller(report, object),
        "Endpoints" => misc::endpoints(report, object),
        "Node" => nodes::node(report, object),
        "Event" => events::event(report, object, "reportingComponent"),
        "Binding" => misc::binding(report, object),
        _ => {}
    }
}

pub(super) fn update(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    match kind {
        "Pod" => pod::update(report, new, old),
        "Service" => service::update(report, new, old),
        "ConfigMap" => config::config_map_update(report, new, old),
        "Secret" => config::secret_update(report, new, old),
        "ResourceQuota" => quota::resource_quota_update(report, new, old),
        "PersistentVolumeClaim" => storage::claim_update(report, new, old),
        "PersistentVolume" => storage::volume_update(report, new, old),
        "Node" => nodes::node_update(report, new, old),
        "Namespace" | "ServiceAccount" => {}
        "Event" => events::event(report, new, "reportingComponent"),
        kind => create(report, kind, new),
    }
}

pub(super) use events::{new_event, new_event_update};
