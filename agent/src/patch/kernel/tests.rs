use super::*;

fn told(kernel: Kernel) -> String {
    match kernel {
        Kernel::Current => "current".to_owned(),
        Kernel::Outdated(reason) => {
            format!("{}; {}", reason.reason, reason.packages.join(" "))
        }
        Kernel::Unknown(reason) => format!("unknown: {reason}"),
    }
}

/// What is told of a host that runs a kernel and has these files; a line `package VERSION` of
/// dpkg's is written as `dpkg:package=VERSION`.
fn look_at(running: &str, build: &str, files: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let write = |path: &str, content: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("proc/sys/kernel/osrelease", &format!("{running}\n"));
    write("proc/sys/kernel/version", &format!("{build}\n"));
    let mut status = String::new();
    for file in files {
        match file.strip_prefix("dpkg:").and_then(|entry| entry.split_once('=')) {
            Some((name, version)) => status.push_str(&format!(
                "Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n"
            )),
            None => write(file, ""),
        }
    }
    write("var/lib/dpkg/status", &status);
    told(look(&Host::replay(folder.path()).unwrap()).unwrap())
}

#[test]
fn kernels_of_all_kinds_are_compared() {
    let check = |running: &str, files: &[&str], expect: &str| {
        assert_eq!(look_at(running, "#1 SMP", files), expect, "{running} {files:?}");
    };
    // Debian and Ubuntu: packages, meta packages, images in /boot, several flavours.
    check(
        "6.1.0-9-amd64",
        &[
            "dpkg:linux-image-amd64=6.1.119-1",
            "dpkg:linux-image-6.1.0-9-amd64=6.1.27-1",
            "dpkg:linux-image-6.1.0-28-amd64=6.1.119-1",
            "dpkg:linux-image-6.1.0-30-cloud-amd64=6.1.124-1",
            "dpkg:linux-image-6.1.0-31-amd64-dbg=6.1.128-1",
            "boot/vmlinuz-6.1.0-28-amd64",
        ],
        "kernel 6.1.0-28-amd64 is installed, 6.1.0-9-amd64 runs; linux-image-6.1.0-28-amd64",
    );
    check(
        "6.1.0-28-amd64",
        &[
            "boot/vmlinuz-6.1.0-28-amd64",
            "boot/vmlinuz-6.1.0-9-amd64",
            "boot/vmlinuz-6.1.0-30-rt-amd64",
        ],
        "current",
    );
    check(
        "6.12.43+deb13-amd64",
        &["dpkg:linux-image-6.12.48+deb13-amd64=6.12.48-1"],
        "kernel 6.12.48+deb13-amd64 is installed, 6.12.43+deb13-amd64 runs; \
         linux-image-6.12.48+deb13-amd64",
    );
    check("5.15.0-91-generic", &["boot/vmlinuz-5.4.0-100-generic"], "current");
    check(
        "5.15.0-91-generic",
        &["dpkg:linux-image-unsigned-5.15.0-101-generic=5.15.0-101.111"],
        "kernel 5.15.0-101-generic is installed, 5.15.0-91-generic runs; \
         linux-image-unsigned-5.15.0-101-generic",
    );
    check(
        "6.8.0-1010-aws",
        &[
            "boot/vmlinuz-6.8.0-40-generic",
            "boot/vmlinuz-6.8.0-1010-aws",
            "boot/vmlinuz-6.8.0-1009-aws.old",
        ],
        "current",
    );
    check(
        "6.8.0-1010-oracle-64k",
        &["boot/vmlinuz-6.8.0-1011-oracle"],
        "unknown: the running kernel 6.8.0-1010-oracle-64k is of no installed flavour",
    );
    check(
        "6.1.0-0.deb11.5-amd64",
        &["boot/vmlinuz-6.1.0-0.deb11.21-amd64"],
        "kernel 6.1.0-0.deb11.21-amd64 is installed, 6.1.0-0.deb11.5-amd64 runs; ",
    );
    // Raspberry Pi OS: of two flavours one is in use; before, there were no versions in /boot.
    check(
        "6.6.31+rpt-rpi-v8",
        &[
            "dpkg:linux-image-rpi-v8=1:6.6.31-1+rpt1",
            "dpkg:linux-image-6.6.31+rpt-rpi-v8=1:6.6.31-1+rpt1",
            "dpkg:linux-image-6.6.51+rpt-rpi-2712=1:6.6.51-1+rpt3",
        ],
        "current",
    );
    check(
        "6.6.31+rpt-rpi-2712",
        &["boot/vmlinuz-6.6.51+rpt-rpi-2712", "boot/vmlinuz-6.12.1+rpt-rpi-v8"],
        "kernel 6.6.51+rpt-rpi-2712 is installed, 6.6.31+rpt-rpi-2712 runs; ",
    );
    check(
        "6.1.0-rpi4-rpi-v8",
        &[
            "dpkg:linux-image-6.1.0-rpi7-rpi-v8=1:6.1.63-1+rpt1",
            "dpkg:linux-image-6.1.0-rpi8-rpi-v7=1",
        ],
        "kernel 6.1.0-rpi7-rpi-v8 is installed, 6.1.0-rpi4-rpi-v8 runs; \
         linux-image-6.1.0-rpi7-rpi-v8",
    );
    check(
        "6.1.21-v8+",
        &[
            "dpkg:raspberrypi-kernel=1:1.20230405-1",
            "boot/kernel8.img",
            "lib/modules/6.1.54-v8+/modules.builtin",
            "lib/modules/6.1.60-v7+/modules.builtin",
        ],
        "kernel 6.1.54-v8+ is installed, 6.1.21-v8+ runs; ",
    );
    check(
        "6.1.21+",
        &["lib/modules/6.1.21+/modules.builtin", "lib/modules/6.1.60-v7+/modules.builtin"],
        "current",
    );
    // Proxmox VE.
    check(
        "6.8.8-2-pve",
        &["dpkg:proxmox-kernel-6.8=6.8.12-4", "dpkg:proxmox-kernel-6.8.12-4-pve-signed=6.8.12-4"],
        "kernel 6.8.12-4-pve is installed, 6.8.8-2-pve runs; proxmox-kernel-6.8.12-4-pve-signed",
    );
    check("5.15.158-2-pve", &["dpkg:pve-kernel-5.15.158-2-pve=5.15.158-2"], "current");
    // Red Hat's world.
    check(
        "5.14.0-70.13.1.el9_0.x86_64",
        &["boot/vmlinuz-5.14.0-70.el9.x86_64", "boot/vmlinuz-0-rescue-0123456789abcdef"],
        "current",
    );
    check(
        "5.14.0-362.8.1.el9_3.x86_64",
        &[
            "boot/vmlinuz-5.14.0-427.13.1.el9_4.x86_64",
            "boot/vmlinuz-5.14.0-500.1.1.el9_4.x86_64+rt",
        ],
        "kernel 5.14.0-427.13.1.el9_4.x86_64 is installed, 5.14.0-362.8.1.el9_3.x86_64 runs; ",
    );
    check(
        "5.15.0-206.153.7.el8uek.x86_64",
        &["boot/vmlinuz-5.15.0-206.153.7.el8uek.x86_64", "boot/vmlinuz-5.15.0-999.el8.x86_64"],
        "current",
    );
    check(
        "5.14.0-427.13.1.el9_4.x86_64",
        &["boot/vmlinuz-5.14.0-427.13.1.el9_4.x86_64", "boot/vmlinuz-6.9.1-1.el9.elrepo.x86_64"],
        "current",
    );
    check(
        "6.8.9-300.fc40.x86_64",
        &[
            "lib/modules/6.8.10-300.fc40.x86_64/vmlinuz",
            "lib/modules/6.8.9-300.fc40.x86_64/vmlinuz",
        ],
        "kernel 6.8.10-300.fc40.x86_64 is installed, 6.8.9-300.fc40.x86_64 runs; ",
    );
    check(
        "6.1.91-99.172.amzn2023.x86_64",
        &["boot/vmlinuz-6.1.102-108.177.amzn2023.x86_64"],
        "kernel 6.1.102-108.177.amzn2023.x86_64 is installed, 6.1.91-99.172.amzn2023.x86_64 runs; ",
    );
    // SUSE, Arch, Alpine, Gentoo.
    check(
        "5.14.21-150500.55.59-default",
        &["boot/vmlinuz-5.14.21-150500.55.68-default", "boot/vmlinuz-6.0.0-1-azure"],
        "kernel 5.14.21-150500.55.68-default is installed, 5.14.21-150500.55.59-default runs; ",
    );
    check(
        "6.8.9-arch1-2",
        &[
            "boot/vmlinuz-linux",
            "lib/modules/6.9.1-arch1-1/pkgbase",
            "lib/modules/6.9.2-1-lts/pkgbase",
        ],
        "kernel 6.9.1-arch1-1 is installed, 6.8.9-arch1-2 runs; ",
    );
    check("6.9.1-zen1-1-zen", &["lib/modules/6.9.1-zen1-1-zen/pkgbase"], "current");
    check(
        "6.6.30-1-lts",
        &["lib/modules/6.6.31-1-lts/pkgbase", "lib/modules/6.9.1-arch1-1/pkgbase"],
        "kernel 6.6.31-1-lts is installed, 6.6.30-1-lts runs; ",
    );
    check(
        "6.6.31-0-lts",
        &["boot/vmlinuz-lts", "lib/modules/6.6.32-0-lts/modules.builtin"],
        "kernel 6.6.32-0-lts is installed, 6.6.31-0-lts runs; ",
    );
    check(
        "6.6.30-gentoo-x86_64",
        &["boot/kernel-6.6.35-gentoo-x86_64", "boot/kernel-6.6.30-gentoo-x86_64.old"],
        "kernel 6.6.35-gentoo-x86_64 is installed, 6.6.30-gentoo-x86_64 runs; ",
    );
    // What is left of a kernel is no kernel.
    check(
        "6.1.0-28-amd64",
        &[
            "boot/vmlinuz-6.1.0-28-amd64",
            "lib/modules/6.1.0-30-amd64/updates/dkms/x.ko",
            "lib/modules/6.1.0-31-amd64/modules.builtin",
        ],
        "current",
    );
    check(
        "6.1.30-custom",
        &["boot/vmlinuz-6.1.0-28-amd64"],
        "unknown: the running kernel 6.1.30-custom is of no installed flavour",
    );
    check("6.1.0", &[], "unknown: no kernel is installed to compare the running one with");
}

#[test]
fn a_rebuilt_kernel_of_the_same_release_is_found() {
    let check = |running: &str, build: &str, package: &str, expect: &str| {
        assert_eq!(look_at(running, build, &[package]), expect, "{package}");
    };
    let build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)";
    check("6.1.0-28-amd64", build, "dpkg:linux-image-6.1.0-28-amd64=6.1.119-1", "current");
    check(
        "6.1.0-28-amd64",
        build,
        "dpkg:linux-image-6.1.0-28-amd64=6.1.124-1",
        "kernel 6.1.0-28-amd64 is installed in version 6.1.124-1, 6.1.119-1 runs; \
         linux-image-6.1.0-28-amd64",
    );
    check(
        "6.1.0-28-amd64",
        "#101-Ubuntu SMP",
        "dpkg:linux-image-6.1.0-28-amd64=6.1.124-1",
        "current",
    );
    check(
        "6.6.31+rpt-rpi-v8",
        "#1 SMP PREEMPT Debian 1:6.6.31-1+rpt1 (2024-05-29)",
        "dpkg:linux-image-6.6.31+rpt-rpi-v8=1:6.6.31-1+rpt1",
        "current",
    );
    check(
        "6.8.12-4-pve",
        "#1 SMP PREEMPT_DYNAMIC PMX 6.8.12-4 (2024-11-06T15:04Z)",
        "dpkg:proxmox-kernel-6.8.12-4-pve-signed=6.8.12-4",
        "current",
    );
}

#[test]
fn releases_have_flavours() {
    let check = |release: &str, version: &str, flavour: &str| {
        let expect = Release { version, flavour: flavour.to_owned() };
        assert_eq!(Release::parse(release), expect);
    };
    check("6.1.0-28-cloud-amd64", "6.1.0-28", "cloud-amd64");
    check("5.14.0-362.24.1.el9_3.x86_64", "5.14.0-362.24.1.el9_3.x86_64", "");
    check("5.14.0-362.24.1.el9_3.x86_64+rt", "5.14.0-362.24.1.el9_3.x86_64+rt", "rt");
    check("6.8.12-4-pve", "6.8.12-4", "pve");
    check("6.1.0-0.deb11.5-amd64", "6.1.0-0.deb11.5", "amd64");
    check("6.8.9-arch1-2", "6.8.9-arch1-2", "arch");
    check("6.9.1-zen1-1-zen", "6.9.1-zen1-1", "zenzen");
    check("6.6.31+rpt-rpi-2712", "6.6.31+rpt", "rpi-2712");
    check("6.1.0-rpi7-rpi-v8", "6.1.0-rpi7", "rpirpi-v8");
    check("6.8.9-x64v3-xanmod1", "6.8.9", "x64v3-xanmod1");
    check("6.1.21-v8+", "6.1.21", "v8+");
    check("6.1.0", "6.1.0", "");
    check("6.1-", "6.1", "");
    check("", "", "");
}

#[test]
fn versions_are_in_order() {
    let check = |one: &str, other: &str, expect: Ordering| {
        assert_eq!(compare(one, other), expect, "{one} {other}");
        assert_eq!(compare(other, one), expect.reverse(), "{other} {one}");
    };
    check("6.1.0-9", "6.1.0-28", Ordering::Less);
    check("6.1.0-28", "6.1.0-28", Ordering::Equal);
    check("6.1.0", "6.1.0-1", Ordering::Less);
    check("5.14.0-70.el9", "5.14.0-70.13.1.el9_0", Ordering::Less);
    check("6.10.0~rc1", "6.10.0", Ordering::Less);
    check("6.10.0~rc1", "6.10.0~rc2", Ordering::Less);
    check("6.010", "6.10", Ordering::Equal);
    check("6.8.9-arch1-2", "6.8.9-arch2-1", Ordering::Less);
}
