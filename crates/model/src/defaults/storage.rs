//! storage.k8s.io/v1: kubernetes `pkg/apis/storage/v1/defaults.go`.

use super::{Rule, default, is_empty, object};
use crate::{Map, value};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("StorageClass", |c| {
        default(c, "reclaimPolicy", "Delete");
        default(c, "volumeBindingMode", "Immediate");
    }),
    ("CSIDriver", csi_driver),
];

fn csi_driver(driver: &mut Map) {
    let Some(spec) = object(driver, "spec") else {
        return;
    };
    default(spec, "attachRequired", true);
    default(spec, "podInfoOnMount", false);
    default(spec, "storageCapacity", false);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if is_empty(spec, "volumeLifecycleModes") {
        spec.insert("volumeLifecycleModes", value!(["Persistent"]));
    }
    default(spec, "requiresRepublish", false);
    default(spec, "seLinuxMount", false);
}
