//! Graphics cards, of which their maker's own library tells: NVML.

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_MEMORY_TEMP;
use nvml_wrapper::{Device, Nvml};

use super::HostError;

const LIBRARY: &str = "libnvidia-ml";

/// The library, loaded and connected to its driver.
pub struct Graphics {
    library: Nvml,
    driver: String,
}

/// One card. What it does not measure is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphicsCard {
    /// Its number among the cards of this start.
    pub index: u32,
    /// What stays the same over restarts.
    pub uuid: String,
    /// Its model.
    pub model: String,
    /// Its address on the bus.
    pub bus: String,
    /// The number of its device file.
    pub minor: Option<u32>,
    /// The version of its driver.
    pub driver: String,
    /// Clock of the processors, in millions of hertz.
    pub core_megahertz: Option<f64>,
    /// Clock of the memory, in millions of hertz.
    pub memory_megahertz: Option<f64>,
    /// Temperature of the processors, in degrees Celsius.
    pub core_celsius: Option<f64>,
    /// Temperature of the memory, in degrees Celsius.
    pub memory_celsius: Option<f64>,
    /// Power drawn, in watts.
    pub watts: Option<f64>,
    /// Energy taken since the driver was loaded, in thousandths of joules.
    pub millijoules: Option<f64>,
    /// Transfers over the bus that were repeated.
    pub bus_replays: Option<f64>,
    /// Time in which the processors were busy, in percent.
    pub core_busy_percent: Option<f64>,
    /// Time in which the memory was busy, in percent.
    pub memory_busy_percent: Option<f64>,
    /// Time in which the encoder was busy, in percent.
    pub encoder_busy_percent: Option<f64>,
    /// Time in which the decoder was busy, in percent.
    pub decoder_busy_percent: Option<f64>,
    /// Free memory in bytes.
    pub free_bytes: Option<f64>,
    /// Memory in use in bytes.
    pub used_bytes: Option<f64>,
    /// Memory that the driver keeps for itself, in bytes.
    pub reserved_bytes: Option<f64>,
    /// Memory errors since the driver was loaded that were corrected.
    pub corrected_errors: Option<f64>,
    /// Memory errors since the driver was loaded that could not be corrected.
    pub uncorrected_errors: Option<f64>,
    /// What the driver refused although the card could tell it, in its own words.
    pub fault: Option<String>,
}

impl Graphics {
    /// Loads the library.
    pub(super) fn open() -> Result<Self, HostError> {
        let library = Nvml::init().map_err(failed)?;
        let driver = library.sys_driver_version().map_err(failed)?;
        Ok(Self { library, driver })
    }

    /// Asks all cards. A driver that lost a card may take for ever to answer.
    ///
    /// # Errors
    /// When the driver does not answer at all.
    pub fn cards(&self) -> Result<Vec<GraphicsCard>, HostError> {
        let count = self.library.device_count().map_err(failed)?;
        let ask = |index| match self.library.device_by_index(index) {
            Ok(device) => self.card(index, &device),
            Err(error) => {
                GraphicsCard { index, fault: Some(error.to_string()), ..GraphicsCard::default() }
            }
        };
        Ok((0..count).map(ask).collect())
    }

    fn card(&self, index: u32, device: &Device<'_>) -> GraphicsCard {
        let mut answers = Answers::default();
        let load = answers.keep(device.utilization_rates());
        let memory = answers.keep(device.memory_info());
        let mut number = |answer| answers.keep(answer).map(f64::from);
        let core_megahertz = number(device.clock_info(Clock::SM));
        let memory_megahertz = number(device.clock_info(Clock::Memory));
        let core_celsius = number(device.temperature(TemperatureSensor::Gpu));
        let watts = number(device.power_usage()).map(|milliwatts| milliwatts / 1000.0);
        let bus_replays = number(device.pcie_replay_counter());
        let encoder = answers.keep(device.encoder_utilization());
        let decoder = answers.keep(device.decoder_utilization());
        let mut errors =
            |kind| answers.keep(device.total_ecc_errors(kind, EccCounter::Volatile)).map(whole);
        GraphicsCard {
            index,
            corrected_errors: errors(MemoryError::Corrected),
            uncorrected_errors: errors(MemoryError::Uncorrected),
            uuid: answers.keep(device.uuid()).unwrap_or_default(),
            model: answers.keep(device.name()).unwrap_or_default(),
            bus: answers.keep(device.pci_info()).map(|info| info.bus_id).unwrap_or_default(),
            minor: answers.keep(device.minor_number()),
            driver: self.driver.clone(),
            core_megahertz,
            memory_megahertz,
            core_celsius,
            memory_celsius: memory_celsius(device),
            watts,
            millijoules: answers.keep(device.total_energy_consumption()).map(whole),
            bus_replays,
            core_busy_percent: load.as_ref().map(|load| f64::from(load.gpu)),
            memory_busy_percent: load.map(|load| f64::from(load.memory)),
            encoder_busy_percent: encoder.map(|encoder| f64::from(encoder.utilization)),
            decoder_busy_percent: decoder.map(|decoder| f64::from(decoder.utilization)),
            free_bytes: memory.as_ref().map(|memory| whole(memory.free)),
            used_bytes: memory.as_ref().map(|memory| whole(memory.used)),
            reserved_bytes: memory.map(|memory| whole(memory.reserved)),
            fault: answers.fault,
        }
    }
}

/// Few models measure this, and the others answer with an error of any kind or with nothing.
fn memory_celsius(device: &Device<'_>) -> Option<f64> {
    let fields = device.field_values_for(&[FieldId(NVML_FI_DEV_MEMORY_TEMP)]).ok()?;
    match fields.into_iter().next()?.ok()?.value.ok()? {
        SampleValue::U32(degrees) if degrees > 0 => Some(f64::from(degrees)),
        _ => None,
    }
}

/// Parts what was answered from what was refused.
#[derive(Default)]
struct Answers {
    fault: Option<String>,
}

impl Answers {
    fn keep<T>(&mut self, answer: Result<T, NvmlError>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            // What a model or an old driver does not know is no fault.
            Err(
                NvmlError::NotSupported
                | NvmlError::NotFound
                | NvmlError::NoPermission
                | NvmlError::FailedToLoadSymbol(_),
            ) => None,
            Err(error) => {
                self.fault.get_or_insert_with(|| error.to_string());
                None
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn whole(value: u64) -> f64 {
    value as f64
}

fn failed(error: NvmlError) -> HostError {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            HostError::NoLibrary { name: LIBRARY, fault: error.to_string() }
        }
        error => HostError::Library { name: LIBRARY, fault: error.to_string() },
    }
}
