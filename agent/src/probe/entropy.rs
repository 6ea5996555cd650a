//! Randomness at hand: `/proc/sys/kernel/random`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

/// The files, their metrics, and what they say.
const FILES: [(&str, &str, &str); 2] = [
    (
        "sys/kernel/random/entropy_avail",
        "node_entropy_available_bits",
        "Randomness that the kernel has at hand.",
    ),
    (
        "sys/kernel/random/poolsize",
        "node_entropy_pool_size_bits",
        "Randomness that the kernel keeps at most.",
    ),
];

/// The kernel's pool of randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntropyProbe;

impl Probe for EntropyProbe {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for (file, metric, help) in FILES {
            let read = host.read_if_present(Tree::Proc, file);
            let Some(text) = faults.keep(read).flatten() else { continue };
            if let Some(bits) = faults.number(file, 1, metric, Some(text.trim())) {
                out.gauge(metric, help, &[], bits);
            }
        }
        faults.into_result()
    }
}
