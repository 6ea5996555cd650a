//! The energy that processors have used. Counters are closed to others since they tell an attacker
//! what a processor computes.

use serde::{Deserialize, Serialize};

use super::HelperError;
use crate::host::{Host, Tree};

/// Where the kernel has its power zones.
const ZONES: &str = "class/powercap";

/// What the power zones say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyAnswer {
    /// The zones that count energy, sorted by their folders.
    pub zones: Vec<EnergyZone>,
    /// What could not be read.
    pub faults: Vec<String>,
}

/// One zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyZone {
    /// Its folder in `/sys/class/powercap`, such as `intel-rapl:0:1`.
    pub zone: String,
    /// Its name, such as `package-0` or `dram`.
    pub name: String,
    /// The counter in microjoules.
    pub energy_uj: u64,
    /// Where the counter starts again from zero, in microjoules.
    pub max_energy_range_uj: Option<u64>,
}

/// Reads every zone; none is no fault, since many machines have none.
pub(super) fn read(host: &Host) -> Result<EnergyAnswer, HelperError> {
    let mut answer = EnergyAnswer::default();
    for folder in host.list_if_present(Tree::Sys, ZONES)? {
        match zone(host, &folder.name) {
            Ok(zone) => answer.zones.extend(zone),
            Err(fault) => answer.faults.push(fault),
        }
    }
    Ok(answer)
}

/// A zone; `None` for folders that only hold zones.
fn zone(host: &Host, folder: &str) -> Result<Option<EnergyZone>, String> {
    let value = |file: &str| {
        let path = format!("{ZONES}/{folder}/{file}");
        let text = host.read_if_present(Tree::Sys, &path).map_err(|error| error.to_string())?;
        Ok::<_, String>(text.map(|text| text.trim().to_owned()))
    };
    let number = |file: &str| match value(file)? {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("{ZONES}/{folder}/{file}: {text:?} is not a number")),
    };
    let Some(energy_uj) = number("energy_uj")? else { return Ok(None) };
    Ok(Some(EnergyZone {
        zone: folder.to_owned(),
        name: value("name")?.unwrap_or_default(),
        energy_uj,
        max_energy_range_uj: number("max_energy_range_uj")?,
    }))
}
