//! What a host is, as opposed to how it does.

use serde::{Deserialize, Serialize};

/// Facts about a host that change seldom. What could not be read is empty or `None`, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The name the host calls itself.
    pub hostname: String,
    /// The distribution, from os-release.
    pub distribution: Distribution,
    /// The running kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The machine's architecture, as `uname -m` prints it.
    pub architecture: String,
    /// The hardware, or what a hypervisor presents as such.
    pub hardware: Hardware,
    /// Whether this is a virtual machine or a container.
    pub virtualization: Virtualization,
    /// The kernel's random name of this boot.
    pub boot_id: String,
    /// Wall clock of the boot in milliseconds since 1970, where known.
    pub boot_time_ms: Option<i64>,
    /// The version of the agent that reports this.
    pub agent_version: String,
}

/// The distribution as os-release names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `12`; empty on rolling distributions.
    pub version: String,
    /// `PRETTY_NAME`, for people.
    pub name: String,
}

/// The hardware's make and size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The maker, from DMI or the device tree.
    pub vendor: String,
    /// The model, from DMI or the device tree.
    pub product: String,
    /// The processor's name.
    pub processor: String,
    /// How many logical processors are there.
    pub processors: u32,
    /// Memory in bytes, as the kernel counts it.
    pub memory_bytes: u64,
}

/// What lies between the operating system and the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Virtualization {
    /// It was not possible to tell.
    #[default]
    Unknown,
    /// Nothing.
    None,
    /// A virtual machine, with the hypervisor's name.
    Machine(String),
    /// A container, with the engine's name.
    Container(String),
}
