//! What the door for agents counts about itself.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// TLS handshakes by what came of them.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    handshakes: Family<Told, Counter<u64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    stage: Handshake,
}

/// What is counted of handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Handshake {
    /// A connection was accepted.
    Begun,
    /// It did not become one that can be served.
    Failed,
    /// The system gave none, as when there are no more file descriptors.
    NotAccepted,
}

impl Meters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self::default();
        registry.register(
            "upkeep_agent_handshakes",
            "TLS handshakes with agents that were begun and that failed, and connections that could not be accepted",
            meters.handshakes.clone(),
        );
        meters
    }

    pub(super) fn note(&self, stage: Handshake) {
        self.handshakes.get_or_create(&Told { stage }).inc();
    }
}
