//! What the host is: distribution, kernel, hardware.

use upkeep_model::HostFacts;

use crate::host::{Host, Tree};

/// Gathers the facts about a host. What cannot be read stays empty.
pub fn facts(host: &Host) -> HostFacts {
    HostFacts {
        hostname: line(host, Tree::Proc, "sys/kernel/hostname"),
        kernel: line(host, Tree::Proc, "sys/kernel/osrelease"),
        boot_id: line(host, Tree::Proc, "sys/kernel/random/boot_id"),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..HostFacts::default()
    }
}

fn line(host: &Host, tree: Tree, path: &str) -> String {
    host.read(tree, path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
