//! What the host tells about its health: one file a source, under node_exporter's metric names,
//! labels and units.
//!
//! A probe reads its files through [`Host`], hands their text to pure functions, and adds what they
//! found to the observation. A value that cannot be read is left out and named in the error; the
//! others of the same probe are kept. What a kernel does not offer is no error.

mod fault;
mod load;
mod memory;

use upkeep_model::Observation;

use self::fault::Faults;
pub use self::fault::ProbeError;
pub use self::load::LoadProbe;
pub use self::memory::MemoryProbe;
use crate::host::Host;

/// One source of measurements.
pub trait Probe: Send + Sync {
    /// The source's name, as node_exporter names its collector.
    fn name(&self) -> &'static str;

    /// Adds what the source says now to `out`, whose timestamp is the tick's.
    ///
    /// # Errors
    /// What could not be read. Everything else has been added nevertheless.
    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError>;
}

/// Every probe of this system, with its default settings, in the order in which they are shown.
pub fn all() -> Vec<Box<dyn Probe>> {
    vec![Box::new(LoadProbe), Box::new(MemoryProbe)]
}
