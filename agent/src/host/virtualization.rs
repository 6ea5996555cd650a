//! What lies between the host and the machine: a container's engine, a hypervisor, or nothing.
//!
//! The signs are those that systemd-detect-virt goes by, as far as an ordinary user may read them.
//! What it asks the processor for, the kernel's list of clocks tells too.

use upkeep_model::Virtualization;

use super::{Host, Tree};

/// Files that only containers have, and whose engine they are of. Pods have their engine's marks
/// too, so their own go first.
const CONTAINER_FILES: [(&str, &str); 3] = [
    ("run/secrets/kubernetes.io/serviceaccount", "kubernetes"),
    (".dockerenv", "docker"),
    ("run/.containerenv", "podman"),
];

/// Where an engine leaves its name.
const CONTAINER_NAMES: [&str; 2] = ["run/host/container-manager", "run/systemd/container"];

/// Where a container's first process was put by its engine, as parts of its control group.
const CONTAINER_GROUPS: [(&str, &str); 6] = [
    ("/kubepods", "kubernetes"),
    ("/docker/", "docker"),
    ("/docker-", "docker"),
    ("/lxc/", "lxc"),
    ("/lxc.payload", "lxc"),
    ("/libpod-", "podman"),
];

/// Where the files lie that an engine mounts over a container's `/etc/hosts` and its like.
const CONTAINER_SOURCES: [(&str, &str); 4] = [
    ("/kubelet/pods/", "kubernetes"),
    ("/docker/containers/", "docker"),
    ("/overlay-containers/", "podman"),
    ("/io.containerd", "containerd"),
];

/// What engines mount over.
const CONTAINER_MOUNTS: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// What a container is told to be in, where no better name is found: the name of a standard.
const STANDARD: &str = "oci";

/// Files of the firmware in which makers and hypervisors sign.
const FIRMWARE: [&str; 5] =
    ["product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version"];

/// What stands in them at the beginning. Who lets the machine goes before what it runs on.
const SIGNATURES: [(&str, &str); 20] = [
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("DigitalOcean", "digitalocean"),
    ("Hetzner", "hetzner"),
    ("OpenStack", "openstack"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("innotek GmbH", "virtualbox"),
    ("Xen", "xen"),
    ("Hyper-V", "hyper-v"),
    ("Virtual Machine", "hyper-v"),
    ("Parallels", "parallels"),
    ("Apple Virtualization", "apple"),
    ("BHYVE", "bhyve"),
    ("Bochs", "bochs"),
    ("KubeVirt", "kvm"),
    ("KVM", "kvm"),
    ("RHEV Hypervisor", "kvm"),
    (QEMU, "qemu"),
];

/// It may emulate the processor, or only the devices around one that KVM shares.
const QEMU: &str = "QEMU";

/// Clocks that a hypervisor offers to the kernel.
const CLOCKS: [(&str, &str); 3] =
    [("kvm-clock", "kvm"), ("hyperv_clocksource", "hyper-v"), ("xen", "xen")];

/// How the device tree of a machine without such firmware names its hypervisor.
const DEVICE_TREE: [(&str, &str); 3] = [("linux,kvm", "kvm"), ("xen", "xen"), ("vmware", "vmware")];

/// Who made the tables of a Firecracker machine, which has no other firmware. Only the
/// administrator may read them; to others it is one of KVM's.
const FIRECRACKER: &[u8] = b"FIRECK";

/// Where that stands in a table, in bytes.
const TABLE_MAKER_AT: usize = 10;

/// Finds out what the host runs in.
pub(super) fn detect(host: &Host) -> Virtualization {
    container(host).map_or_else(|| decide(&Signs::read(host)), Virtualization::Container)
}

fn container(host: &Host) -> Option<String> {
    // A host of such containers has the second one as well.
    if host.exists(Tree::Proc, "vz") && !host.exists(Tree::Proc, "bc") {
        return Some("openvz".to_owned());
    }
    let release = text(host, Tree::Proc, "sys/kernel/osrelease").to_lowercase();
    if release.contains("microsoft") || release.contains("wsl") {
        return Some("wsl".to_owned());
    }
    let mut named = CONTAINER_NAMES.iter().map(|file| text(host, Tree::Root, file));
    // Only the administrator may read this; where it is closed, the other signs have to do.
    let environment = text(host, Tree::Proc, "1/environ");
    let named = named.find(|name| !name.is_empty()).or_else(|| {
        let named = environment.split('\0').find_map(|line| line.strip_prefix("container="))?;
        (!named.is_empty()).then(|| named.to_owned())
    });
    match named {
        Some(engine) if engine != STANDARD => Some(engine),
        named => unnamed(host).map(str::to_owned).or(named),
    }
}

/// The engine of a container in which it did not leave its name.
fn unnamed(host: &Host) -> Option<&'static str> {
    let file = CONTAINER_FILES.iter().find(|(file, _)| host.exists(Tree::Root, file));
    let groups = text(host, Tree::Proc, "1/cgroup");
    let group = CONTAINER_GROUPS.iter().find(|(part, _)| groups.contains(part));
    let found = file.or(group).map(|(_, engine)| *engine);
    found.or_else(|| mounted_by(&text(host, Tree::Proc, "self/mountinfo")))
}

/// The engine whose files are mounted over those of a container.
fn mounted_by(mounts: &str) -> Option<&'static str> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(3);
        let (source, place) = (words.next()?, words.next()?);
        let is_over = CONTAINER_MOUNTS.contains(&place);
        let known = CONTAINER_SOURCES.iter().find(|(part, _)| is_over && source.contains(part))?;
        Some(known.1)
    })
}

/// What is read to tell a virtual machine by.
#[derive(Debug, Default)]
struct Signs {
    /// What stands in the firmware's files.
    firmware: Vec<String>,
    /// The start of the processors' list.
    processors: String,
    /// The clocks that the kernel could take.
    clocks: String,
    /// The kernel's own word for what it runs on.
    hypervisor: String,
    /// Whether this is the system that manages the others on its hypervisor.
    is_manager: bool,
    /// What a device tree says the machine is, and what its hypervisor is.
    device_tree: [String; 2],
    /// What a mainframe runs its systems by.
    mainframe: String,
    /// Who made the tables of the machine's devices.
    tables: Vec<u8>,
}

impl Signs {
    fn read(host: &Host) -> Self {
        let clocks = "devices/system/clocksource/clocksource0/available_clocksource";
        Self {
            firmware: FIRMWARE
                .map(|name| text(host, Tree::Sys, &format!("class/dmi/id/{name}")))
                .into(),
            processors: text(host, Tree::Proc, "cpuinfo"),
            clocks: text(host, Tree::Sys, clocks),
            hypervisor: text(host, Tree::Sys, "hypervisor/type"),
            is_manager: manages_others(host),
            device_tree: ["compatible", "hypervisor/compatible"]
                .map(|name| text(host, Tree::Proc, &format!("device-tree/{name}"))),
            mainframe: text(host, Tree::Proc, "sysinfo"),
            tables: host.read_bytes(Tree::Sys, "firmware/acpi/tables/DSDT").unwrap_or_default(),
        }
    }

    /// Whether the processor says that it is a hypervisor's; `None` if it is of a kind that never
    /// says.
    fn processor_tells(&self) -> Option<bool> {
        let flags = self.processors.lines().find_map(|line| line.strip_prefix("flags"))?;
        Some(flags.split_ascii_whitespace().any(|flag| flag == "hypervisor"))
    }

    /// Cloud providers let whole machines too, and sign them the same way.
    fn is_whole_machine(&self) -> bool {
        let ends = |name: &String| name.ends_with(".metal") || name.contains(".metal-");
        self.firmware.iter().any(ends)
    }

    fn hypervisor(&self) -> Option<&str> {
        let signed = self.firmware.iter().find_map(|text| {
            SIGNATURES.iter().find(|(sign, _)| text.starts_with(sign)).map(|&(_, name)| name)
        });
        let clock = CLOCKS.iter().find(|(clock, _)| {
            self.clocks.split_ascii_whitespace().any(|known| known.starts_with(clock))
        });
        let clock = clock.map(|&(_, name)| name);
        match (signed, clock) {
            (Some("qemu"), Some(name)) => return Some(name),
            (Some(name), _) => return Some(name),
            (None, _) => {}
        }
        if self.processors.contains("User Mode Linux") {
            return Some("uml");
        }
        let maker = self.tables.get(TABLE_MAKER_AT..).unwrap_or_default();
        if maker.starts_with(FIRECRACKER) {
            return Some("firecracker");
        }
        clock
            .or_else(|| (!self.hypervisor.is_empty()).then_some(self.hypervisor.as_str()))
            .or_else(|| self.in_device_tree())
            .or_else(|| self.on_mainframe())
    }

    fn in_device_tree(&self) -> Option<&str> {
        let [machine, hypervisor] = &self.device_tree;
        let known = DEVICE_TREE.iter().find(|(name, _)| hypervisor.contains(name));
        match known {
            Some((_, name)) => Some(name),
            None if !hypervisor.is_empty() => Some(hypervisor.trim_end_matches('\0')),
            None if machine.starts_with("qemu,") => Some("qemu"),
            None => None,
        }
    }

    fn on_mainframe(&self) -> Option<&str> {
        let line =
            self.mainframe.lines().find_map(|line| line.strip_prefix("VM00 Control Program:"))?;
        Some(if line.trim_start().starts_with("z/VM") { "zvm" } else { "kvm" })
    }
}

fn decide(signs: &Signs) -> Virtualization {
    let tells = signs.processor_tells();
    if tells == Some(false) || signs.is_manager || signs.is_whole_machine() {
        return Virtualization::None;
    }
    match signs.hypervisor() {
        Some(name) => Virtualization::Machine(name.to_owned()),
        None if tells == Some(true) => Virtualization::Machine("unknown hypervisor".to_owned()),
        None if signs.firmware.iter().chain(&signs.device_tree).all(String::is_empty) => {
            Virtualization::Unknown
        }
        None => Virtualization::None,
    }
}

/// Whether this is the first system on Xen, which drives the devices for the others and runs on the
/// machine itself.
fn manages_others(host: &Host) -> bool {
    let features = text(host, Tree::Sys, "hypervisor/properties/features");
    match u64::from_str_radix(&features, 16) {
        Ok(features) => features & XEN_FIRST_SYSTEM != 0,
        Err(_) => text(host, Tree::Proc, "xen/capabilities").contains("control_d"),
    }
}

/// The bit by which Xen marks its first system.
const XEN_FIRST_SYSTEM: u64 = 1 << 11;

fn text(host: &Host, tree: Tree, path: &str) -> String {
    host.read(tree, path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::host_with_texts;

    /// What is found on a host made of the given files.
    fn found(files: &[(&str, &str)]) -> Virtualization {
        let (_folder, host) = host_with_texts(files);
        detect(&host)
    }

    const GUEST: (&str, &str) = ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor sse\n");
    const WHOLE: (&str, &str) = ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse\n");
    const ARM: (&str, &str) = ("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n");

    const PRODUCT: &str = "sys/class/dmi/id/product_name";
    const VENDOR: &str = "sys/class/dmi/id/sys_vendor";
    const VERSION: &str = "sys/class/dmi/id/product_version";
    const CLOCK: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";

    #[test]
    fn hypervisors_are_told_from_machines() {
        let machine = |name: &str| Virtualization::Machine(name.to_owned());
        let check = |files: &[(&str, &str)], expect: Virtualization| {
            assert_eq!(found(files), expect, "{files:?}");
        };
        let q35 = (PRODUCT, "Standard PC (Q35 + ICH9, 2009)\n");
        check(&[GUEST, q35, (VENDOR, "QEMU\n"), (CLOCK, "tsc hpet acpi_pm \n")], machine("qemu"));
        check(&[GUEST, q35, (VENDOR, "QEMU\n"), (CLOCK, "kvm-clock tsc \n")], machine("kvm"));
        check(&[GUEST, (PRODUCT, "KVM\n"), (VENDOR, "Red Hat\n")], machine("kvm"));
        check(&[GUEST, (PRODUCT, "VMware Virtual Platform\n")], machine("vmware"));
        check(&[GUEST, (PRODUCT, "VMware7,1\n"), (VENDOR, "VMware, Inc.\n")], machine("vmware"));
        check(&[GUEST, (PRODUCT, "VirtualBox\n")], machine("virtualbox"));
        check(&[GUEST, (VENDOR, "innotek GmbH\n")], machine("virtualbox"));
        check(&[GUEST, (PRODUCT, "HVM domU\n"), (VENDOR, "Xen\n")], machine("xen"));
        check(&[GUEST, (PRODUCT, "Parallels Virtual Platform\n")], machine("parallels"));
        check(&[GUEST, (PRODUCT, "BHYVE\n"), (VENDOR, "FreeBSD\n")], machine("bhyve"));
        check(&[GUEST, (PRODUCT, "Bochs\n")], machine("bochs"));
        check(&[ARM, (PRODUCT, "Apple Virtualization Generic Platform\n")], machine("apple"));
        check(
            &[GUEST, (PRODUCT, "Virtual Machine\n"), (VENDOR, "Microsoft Corporation\n")],
            machine("hyper-v"),
        );
        check(&[GUEST, (VERSION, "Hyper-V UEFI Release v4.1\n")], machine("hyper-v"));
        check(&[GUEST, (CLOCK, "hyperv_clocksource_tsc_page acpi_pm\n")], machine("hyper-v"));
        check(&[WHOLE, (PRODUCT, "Surface\n"), (VENDOR, "Microsoft\n")], Virtualization::None);
        check(&[GUEST, (PRODUCT, "m5.large\n"), (VENDOR, "Amazon EC2\n")], machine("amazon"));
        check(&[ARM, (PRODUCT, "m6g.metal\n"), (VENDOR, "Amazon EC2\n")], Virtualization::None);
        check(
            &[ARM, (PRODUCT, "c7g.metal-48xl\n"), (VENDOR, "Amazon EC2\n")],
            Virtualization::None,
        );
        check(&[GUEST, (PRODUCT, "Google Compute Engine\n")], machine("google"));
        check(
            &[GUEST, (VENDOR, "DigitalOcean\n"), (PRODUCT, "Droplet\n")],
            machine("digitalocean"),
        );
        check(&[GUEST, (VENDOR, "Hetzner\n"), (PRODUCT, "vServer\n")], machine("hetzner"));
        check(&[ARM, (VENDOR, "OpenStack Foundation\n")], machine("openstack"));
        check(&[WHOLE, (VENDOR, "Dell Inc.\n")], Virtualization::None);
        check(&[ARM, (VENDOR, "Ampere\n")], Virtualization::None);
        check(&[GUEST], machine("unknown hypervisor"));
        check(&[ARM], Virtualization::Unknown);
        check(&[], Virtualization::Unknown);
    }

    #[test]
    fn machines_without_firmware_are_told_by_other_signs() {
        let machine = |name: &str| Virtualization::Machine(name.to_owned());
        let check = |files: &[(&str, &str)], expect: Virtualization| {
            assert_eq!(found(files), expect, "{files:?}");
        };
        let table = ("sys/firmware/acpi/tables/DSDT", "DSDTS\0\0\0\u{2}wFIRECKFCVMDSDT");
        check(&[GUEST, (CLOCK, "tsc kvm-clock\n"), table], machine("firecracker"));
        check(&[GUEST, (CLOCK, "tsc kvm-clock\n")], machine("kvm"));
        check(&[GUEST, ("sys/firmware/acpi/tables/DSDT", "DSDT")], machine("unknown hypervisor"));
        let uml = ("proc/cpuinfo", "processor\t: 0\nvendor_id\t: User Mode Linux\n");
        check(&[uml], machine("uml"));
        let xen = ("sys/hypervisor/type", "xen\n");
        check(&[GUEST, xen], machine("xen"));
        let features = "sys/hypervisor/properties/features";
        check(&[GUEST, xen, (features, "00002705\n")], machine("xen"));
        check(&[GUEST, xen, (features, "00002fd5\n"), (VENDOR, "Dell\n")], Virtualization::None);
        check(&[GUEST, xen, ("proc/xen/capabilities", "control_d\n")], Virtualization::None);
        let tree = "proc/device-tree/hypervisor/compatible";
        check(&[ARM, (tree, "linux,kvm\0")], machine("kvm"));
        check(&[ARM, (tree, "xen,xen-4.17\0xen,xen\0")], machine("xen"));
        check(&[ARM, (tree, "odd\0")], machine("odd"));
        check(&[ARM, ("proc/device-tree/compatible", "qemu,pseries\0")], machine("qemu"));
        check(
            &[ARM, ("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0")],
            Virtualization::None,
        );
        let by = |program: &str| format!("VM00 Name: LNX1\nVM00 Control Program: {program}\n");
        check(&[("proc/sysinfo", &by("z/VM    7.2.0"))], machine("zvm"));
        check(&[("proc/sysinfo", &by("KVM/Linux"))], machine("kvm"));
    }

    #[test]
    fn containers_are_recognised_by_their_marks() {
        let check = |files: &[(&str, &str)], expect: &str| {
            assert_eq!(found(files), Virtualization::Container(expect.to_owned()), "{files:?}");
        };
        let named = "run/systemd/container";
        check(&[(named, "systemd-nspawn\n"), (VENDOR, "Dell\n")], "systemd-nspawn");
        check(&[("run/host/container-manager", "systemd-nspawn\n")], "systemd-nspawn");
        check(&[(".dockerenv", "")], "docker");
        check(&[("run/.containerenv", "")], "podman");
        check(&[("proc/1/environ", "A=b\0container=lxc\0")], "lxc");
        check(&[("proc/1/environ", "container=oci\0")], "oci");
        check(&[("proc/1/environ", "container=oci\0"), ("run/.containerenv", "")], "podman");
        check(&[("proc/1/environ", "container=podman\0")], "podman");
        check(&[("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n")], "kubernetes");
        check(&[("proc/1/cgroup", "1:name=systemd:/docker/0123\n")], "docker");
        check(&[("proc/1/cgroup", "0::/system.slice/docker-0123.scope\n")], "docker");
        check(&[("proc/1/cgroup", "0::/lxc.payload.web\n")], "lxc");
        check(&[("proc/1/cgroup", "3:cpu:/lxc/web\n")], "lxc");
        check(&[("proc/1/cgroup", "0::/machine.slice/libpod-01.scope\n")], "podman");
        let account = "run/secrets/kubernetes.io/serviceaccount/token";
        check(&[(account, "x"), (".dockerenv", "")], "kubernetes");
        check(&[("proc/vz/version", "1\n")], "openvz");
        let release = "proc/sys/kernel/osrelease";
        check(&[(release, "5.15.1-microsoft-standard-WSL2\n")], "wsl");
        check(&[(release, "4.4.0-19041-Microsoft\n")], "wsl");
        let mount = |source: &str| format!("9 8 0:1 {source} /etc/hosts rw - ext4 /dev/sda1 rw\n");
        let mounts = "proc/self/mountinfo";
        check(&[(mounts, &mount("/var/lib/docker/containers/0123/hosts"))], "docker");
        check(&[(mounts, &mount("/var/lib/kubelet/pods/0123/etc-hosts"))], "kubernetes");
    }

    #[test]
    fn a_host_of_containers_is_none() {
        let check = |files: &[(&str, &str)]| {
            let mut files = files.to_vec();
            files.push(WHOLE);
            assert_eq!(found(&files), Virtualization::None, "{files:?}");
        };
        check(&[("proc/1/cgroup", "0::/init.scope\n")]);
        check(&[("proc/1/environ", "container=\0TERM=linux\0")]);
        check(&[("proc/vz/version", "1\n"), ("proc/bc/0", "")]);
        check(&[(
            "proc/self/mountinfo",
            "9 8 0:1 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
             9 8 0:1 /var/lib/kubelet/pods/1/volume-subpaths/a /data rw - ext4 /dev/sda1 rw\n",
        )]);
    }
}
