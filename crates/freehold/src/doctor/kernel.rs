//! What the kernel offers: virtualisation, cgroups, namespaces, packet filter, network devices.

use super::{Finding, State, output};
use std::fs;
use std::path::Path;

/// Three steps: the device is there, it opens, a VM can be made.
pub(super) fn kvm() -> Vec<Finding> {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return vec![Finding::new(
            "KVM",
            State::Lacks,
            "no /dev/kvm",
            "VM nodes would run emulated, several times slower.",
        )];
    }
    match fs::OpenOptions::new().read(true).write(true).open(device) {
        Err(e) => vec![Finding::new(
            "KVM",
            State::Lacks,
            format!("/dev/kvm does not open: {e}"),
            "Join the group kvm, or run as root; else VM nodes would run emulated.",
        )],
        Ok(_) => vec![
            Finding::new(
                "KVM device",
                State::Has,
                "/dev/kvm opens for reading and writing",
                "",
            ),
            Finding::new(
                "KVM machine",
                State::NotTested,
                "no VM was made",
                "Whether VM nodes run at full speed is not known from this.",
            ),
        ],
    }
}

pub(super) fn cgroups() -> Finding {
    let root = Path::new("/sys/fs/cgroup");
    match fs::read_to_string(root.join("cgroup.controllers")) {
        Err(_) => Finding::new(
            "cgroup v2",
            State::Lacks,
            "not mounted at /sys/fs/cgroup",
            "Processes of tenants could not be limited here.",
        ),
        Ok(controllers) => {
            let missing: Vec<&str> = ["cpu", "memory", "pids"]
                .into_iter()
                .filter(|c| !controllers.split_whitespace().any(|x| x == *c))
                .collect();
            if missing.is_empty() {
                Finding::new(
                    "cgroup v2",
                    State::Has,
                    format!("controllers: {}", controllers.trim()),
                    "",
                )
            } else {
                Finding::new(
                    "cgroup v2",
                    State::Lacks,
                    format!("without {}", missing.join(", ")),
                    "Processes of tenants could not be limited in these.",
                )
            }
        }
    }
}

pub(super) async fn user_namespaces() -> Finding {
    let what = "user namespaces";
    let Some(unshare) = crate::env::program("unshare") else {
        return Finding::new(
            what,
            State::NotTested,
            "the program unshare is missing",
            "Install util-linux to have this tested.",
        );
    };
    match output(&unshare, &["--user", "--map-root-user", "true"]).await {
        Ok(_) => Finding::new(what, State::Has, "one was made", ""),
        Err(why) => Finding::new(
            what,
            State::Lacks,
            why,
            "Sandboxes would need root (sysctl user.max_user_namespaces, AppArmor).",
        ),
    }
}

pub(super) async fn nft() -> Finding {
    let what = "nftables";
    let Some(nft) = crate::env::program("nft") else {
        return Finding::new(
            what,
            State::Lacks,
            "the program nft is missing",
            "Networks of tenants need it: apt-get install nftables.",
        );
    };
    // Checked by the kernel, not applied.
    match output(&nft, &["--check", "add", "table", "inet", "freehold_probe"]).await {
        Ok(_) => Finding::new(what, State::Has, "the kernel takes rules from us", ""),
        Err(why) => Finding::new(
            what,
            State::Lacks,
            why,
            "Networks of tenants need root and the nf_tables module.",
        ),
    }
}

pub(super) async fn netlink() -> Finding {
    let what = "network devices";
    let (Some(unshare), Some(ip)) = (crate::env::program("unshare"), crate::env::program("ip"))
    else {
        return Finding::new(
            what,
            State::NotTested,
            "unshare or ip is missing",
            "Install util-linux and iproute2 to have this tested.",
        );
    };
    // In a network namespace of its own that ends with the program.
    let ip = ip.to_string_lossy().into_owned();
    let args = [
        "--user",
        "--map-root-user",
        "--net",
        &ip,
        "link",
        "add",
        "fhprobe",
        "type",
        "bridge",
    ];
    match output(&unshare, &args).await {
        Ok(_) => Finding::new(
            what,
            State::Has,
            "a bridge was made in a network namespace",
            "",
        ),
        Err(why) => Finding::new(
            what,
            State::Lacks,
            why,
            "Networks of tenants cannot be made here.",
        ),
    }
}
