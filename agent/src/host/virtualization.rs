//! What lies between the host and the machine: a container's engine, a hypervisor, or nothing.

use upkeep_model::Virtualization;

use super::{Host, Tree};

/// Files that only containers have, and whose engine they are of.
const CONTAINER_FILES: [(&str, &str); 2] =
    [(".dockerenv", "docker"), ("run/.containerenv", "podman")];

/// Where a container's first process was put by its engine, as parts of its control group.
const CONTAINER_GROUPS: [(&str, &str); 5] = [
    ("/kubepods", "kubernetes"),
    ("/docker/", "docker"),
    ("/lxc/", "lxc"),
    ("/lxc.payload", "lxc"),
    ("/libpod-", "podman"),
];

/// What hypervisors write where a maker's name and a product's stand in hardware.
const HYPERVISORS: [(&str, &str); 16] = [
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("DigitalOcean", "digitalocean"),
    ("Hetzner", "hetzner"),
    ("OpenStack", "openstack"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("Xen", "xen"),
    ("Virtual Machine", "hyper-v"),
    ("Parallels", "parallels"),
    ("Apple Virtualization", "apple"),
    ("BHYVE", "bhyve"),
    ("Bochs", "bochs"),
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
];

/// Finds out what the host runs in.
pub(super) fn detect(host: &Host) -> Virtualization {
    if let Some(engine) = container(host) {
        return Virtualization::Container(engine);
    }
    let dmi = ["sys_vendor", "product_name"]
        .map(|name| text(host, Tree::Sys, &format!("class/dmi/id/{name}")));
    let processor_tells = processor_tells(host);
    decide(&dmi, &text(host, Tree::Sys, "hypervisor/type"), processor_tells)
}

fn container(host: &Host) -> Option<String> {
    let named = text(host, Tree::Root, "run/systemd/container");
    if !named.is_empty() {
        return Some(named);
    }
    if let Some((_, engine)) =
        CONTAINER_FILES.iter().find(|(file, _)| host.exists(Tree::Root, file))
    {
        return Some((*engine).to_owned());
    }
    // Only the administrator may read this; where it is closed, the other signs have to do.
    let environment = text(host, Tree::Proc, "1/environ");
    let named = environment.split('\0').find_map(|setting| setting.strip_prefix("container="));
    if let Some(engine) = named.filter(|engine| !engine.is_empty()) {
        return Some(engine.to_owned());
    }
    if text(host, Tree::Proc, "sys/kernel/osrelease").to_lowercase().contains("microsoft") {
        return Some("wsl".to_owned());
    }
    let groups = text(host, Tree::Proc, "1/cgroup");
    let group = CONTAINER_GROUPS.iter().find(|(part, _)| groups.contains(part));
    group.map(|(_, engine)| (*engine).to_owned())
}

/// Whether the processor says that it is a hypervisor's; `None` if it is of a kind that never says.
fn processor_tells(host: &Host) -> Option<bool> {
    let text = host.read(Tree::Proc, "cpuinfo").ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags"))?;
    Some(flags.split_ascii_whitespace().any(|flag| flag == "hypervisor"))
}

fn decide(dmi: &[String], hypervisor: &str, processor_tells: Option<bool>) -> Virtualization {
    // Cloud providers let whole machines too, and sign them the same way.
    let is_whole_machine = dmi.iter().any(|text| text.ends_with(".metal"));
    let signed = HYPERVISORS.iter().find(|(sign, _)| dmi.iter().any(|text| text.contains(sign)));
    match (signed, processor_tells) {
        (_, Some(false)) => Virtualization::None,
        _ if is_whole_machine => Virtualization::None,
        (Some((_, name)), _) => Virtualization::Machine((*name).to_owned()),
        (None, _) if !hypervisor.is_empty() => Virtualization::Machine(hypervisor.to_owned()),
        (None, Some(true)) => Virtualization::Machine("unknown hypervisor".to_owned()),
        (None, None) if dmi.iter().all(String::is_empty) => Virtualization::Unknown,
        (None, None) => Virtualization::None,
    }
}

fn text(host: &Host, tree: Tree, path: &str) -> String {
    host.read(tree, path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostPaths;

    #[test]
    fn hypervisors_are_told_from_machines() {
        let check =
            |dmi: [&str; 2], hypervisor: &str, tells: Option<bool>, expect: Virtualization| {
                assert_eq!(decide(&dmi.map(str::to_owned), hypervisor, tells), expect, "{dmi:?}");
            };
        let machine = |name: &str| Virtualization::Machine(name.to_owned());
        check(["QEMU", "Standard PC (Q35 + ICH9, 2009)"], "", Some(true), machine("qemu"));
        check(["Amazon EC2", "m5.large"], "", Some(true), machine("amazon"));
        check(["Amazon EC2", "m5.metal"], "", None, Virtualization::None);
        check(["Microsoft Corporation", "Virtual Machine"], "", Some(true), machine("hyper-v"));
        check(["Microsoft Corporation", "Surface"], "", Some(false), Virtualization::None);
        check(["Dell Inc.", "PowerEdge R640"], "", Some(false), Virtualization::None);
        check(["Lenovo", "ThinkSystem"], "", None, Virtualization::None);
        check(["", ""], "xen", Some(true), machine("xen"));
        check(["", ""], "", Some(true), machine("unknown hypervisor"));
        check(["", ""], "", None, Virtualization::Unknown);
    }

    #[test]
    fn containers_are_recognised_by_their_marks() {
        let check = |path: &str, content: &str, expect: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
            let host = Host::new(HostPaths {
                rootfs: folder.path().into(),
                procfs: folder.path().join("proc"),
                sysfs: folder.path().join("sys"),
                udev_data: folder.path().join("udev"),
            });
            assert_eq!(container(&host).as_deref(), expect, "{path}");
        };
        check("run/systemd/container", "systemd-nspawn\n", Some("systemd-nspawn"));
        check(".dockerenv", "", Some("docker"));
        check("proc/1/environ", "A=b\0container=lxc\0", Some("lxc"));
        check("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", Some("kubernetes"));
        check("proc/1/cgroup", "0::/init.scope\n", None);
        check("proc/sys/kernel/osrelease", "5.15.1-microsoft-standard-WSL2\n", Some("wsl"));
    }
}
