//! What the host is: distribution, kernel, hardware; what of it changed; which packages are installed
//! and which processes are heavy.

mod changes;
mod configuration;
mod failed_units;
mod going_down;
mod memory;
mod packages;
mod processes;

use upkeep_model::{Distribution, Hardware, HostFacts};

pub use self::changes::{ChangeWatch, Changes};
pub use self::configuration::DEFAULT_FILES;
pub use self::going_down::is_going_down;
pub use self::memory::MemoryError;
pub use self::packages::{HeldPackages, PackageNews, PackageWatch};
pub use self::processes::ProcessWatch;
use crate::host::{Host, Tree};

/// Gathers the facts about a host. What cannot be read stays empty.
pub fn facts(host: &Host) -> HostFacts {
    HostFacts {
        hostname: line(host, Tree::Proc, "sys/kernel/hostname"),
        distribution: distribution(host),
        kernel: line(host, Tree::Proc, "sys/kernel/osrelease"),
        architecture: host.architecture().unwrap_or_default(),
        hardware: hardware(host),
        virtualization: host.virtualization(),
        boot_id: line(host, Tree::Proc, "sys/kernel/random/boot_id"),
        boot_time_ms: boot_time_ms(&line(host, Tree::Proc, "stat")),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// What a host's clock is to be judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockBearings {
    /// How long the host has been running, time asleep included; 0 where it cannot be told.
    pub uptime_ms: i64,
    /// Whether the kernel holds the clock for synchronised; `None` where a sandbox keeps that secret.
    pub synchronized: Option<bool>,
}

/// Asks how a host's clock is to be judged.
pub fn clock_bearings(host: &Host) -> ClockBearings {
    ClockBearings {
        uptime_ms: uptime_ms(&line(host, Tree::Proc, "uptime")).unwrap_or_default(),
        synchronized: host.clock_state().ok().flatten().map(|state| state.synchronized),
    }
}

fn uptime_ms(uptime: &str) -> Option<i64> {
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some((seconds * 1000.0) as i64).filter(|milliseconds| *milliseconds > 0)
}

fn line(host: &Host, tree: Tree, path: &str) -> String {
    let text = host.read(tree, path);
    text.map(|text| text.trim_matches([' ', '\t', '\n', '\0']).to_owned()).unwrap_or_default()
}

fn distribution(host: &Host) -> Distribution {
    let release = host.os_release().ok().flatten().unwrap_or_default();
    Distribution {
        id: release.get("ID").to_owned(),
        version: release.get("VERSION_ID").to_owned(),
        name: release.get("PRETTY_NAME").to_owned(),
    }
}

fn hardware(host: &Host) -> Hardware {
    let (vendor, product) = maker(host);
    let (processor, processors) = processors(&line(host, Tree::Proc, "cpuinfo"));
    let memory_bytes = memory_bytes(&line(host, Tree::Proc, "meminfo")).unwrap_or_default();
    Hardware { vendor, product, processor, processors, memory_bytes }
}

/// The maker and the model: from DMI, or from the device tree, whose first `compatible` entry is
/// the maker and the model with a comma between them.
fn maker(host: &Host) -> (String, String) {
    let dmi = ["sys_vendor", "product_name"]
        .map(|name| line(host, Tree::Sys, &format!("class/dmi/id/{name}")));
    if dmi.iter().any(|text| !text.is_empty()) {
        return dmi.into();
    }
    let model = line(host, Tree::Sys, "firmware/devicetree/base/model");
    let compatible = line(host, Tree::Sys, "firmware/devicetree/base/compatible");
    let vendor = compatible.split([',', '\0']).next().unwrap_or_default();
    (vendor.to_owned(), model)
}

/// The name of the first processor and how many there are. Processors of some architectures have
/// their name under another key, or none.
fn processors(text: &str) -> (String, u32) {
    let mut name = "";
    let mut count = 0;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        match (key.trim(), value.trim()) {
            ("processor", number) if number.parse::<u32>().is_ok() => count += 1,
            ("model name" | "cpu model" | "cpu" | "Hardware" | "uarch", value)
                if name.is_empty() =>
            {
                name = value;
            }
            _ => {}
        }
    }
    (name.to_owned(), count)
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn boot_time_ms(stat: &str) -> Option<i64> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse::<i64>().ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    pub(super) use crate::host::tests::host_with_texts as host_with;

    #[test]
    fn uptime_is_read_or_unknown() {
        let check = |text: &str, expect| assert_eq!(uptime_ms(text), expect, "{text:?}");
        check("350735.47 234388.90\n", Some(350_735_470));
        check("0.00 0.00", None);
        check("-5 1", None);
        check("NaN", None);
        check("", None);
    }

    #[test]
    fn facts_are_gathered_and_what_is_missing_stays_empty() {
        let files: [(&str, &str); 7] = [
            ("proc/sys/kernel/hostname", "web1\n"),
            ("proc/sys/kernel/arch", "aarch64\n"),
            ("proc/stat", "cpu 1 2\nbtime 1418183276\n"),
            ("proc/meminfo", "MemTotal:       16 kB\n"),
            ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n"),
            ("sys/firmware/devicetree/base/model", "Raspberry Pi 4\0"),
            ("sys/firmware/devicetree/base/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0"),
        ];
        let (_folder, host) = host_with(&files);
        let facts = facts(&host);
        assert_eq!(
            facts,
            HostFacts {
                hostname: "web1".to_owned(),
                architecture: "aarch64".to_owned(),
                boot_time_ms: Some(1_418_183_276_000),
                distribution: Distribution {
                    id: "debian".to_owned(),
                    version: "12".to_owned(),
                    name: "Debian 12".to_owned(),
                },
                hardware: Hardware {
                    vendor: "raspberrypi".to_owned(),
                    product: "Raspberry Pi 4".to_owned(),
                    memory_bytes: 16 * 1024,
                    ..Hardware::default()
                },
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..HostFacts::default()
            }
        );
    }

    #[test]
    fn processors_are_counted_and_named() {
        let check = |text: &str, expect: (&str, u32)| {
            let (name, count) = processors(text);
            assert_eq!((name.as_str(), count), expect);
        };
        check("processor\t: 0\nmodel name\t: A\n\nprocessor\t: 1\nmodel name\t: A\n", ("A", 2));
        check("processor\t: 0\nBogoMIPS: 108\n\nHardware\t: BCM2835\n", ("BCM2835", 1));
        check("Processor\t: ARMv7 rev 4\nprocessor\t: 0\n", ("", 1));
        check("", ("", 0));
    }
}
