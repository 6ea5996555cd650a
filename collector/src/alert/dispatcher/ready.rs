//! A routing file whose channels are set up, so that going by it cannot fail any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DispatcherError;
use crate::alert::book::{Channels, Routes};
use crate::alert::desk::Facts;
use crate::alert::routing::Routing;
use crate::alert::{Settings, load};
use crate::notify::Channel;
use crate::yaml::{Fault, Faults};

/// See the module's description.
pub struct Ready {
    pub(super) routing: Routing,
    pub(super) channels: BTreeMap<String, Vec<Arc<Channel>>>,
}

impl Ready {
    /// Reads a routing file and sets its channels up.
    ///
    /// # Errors
    /// With everything that is wrong with it, or the channel that cannot be used.
    pub fn load(settings: &Settings) -> Result<Self, Faults> {
        let file = &settings.routing;
        Self::new(load(settings)?).map_err(|error| {
            Faults(vec![Fault { file: file.clone(), place: None, message: error.to_string() }])
        })
    }

    /// What holds without a routing file: alerts are shown, and nobody is told.
    pub fn of_nobody() -> Self {
        Self { routing: Routing::nobody(), channels: BTreeMap::new() }
    }

    /// Sets up the channels of a routing file.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn new(routing: Routing) -> Result<Self, DispatcherError> {
        let mut channels = BTreeMap::new();
        for receiver in &routing.receivers {
            let ready = receiver
                .channels
                .iter()
                .map(|settings| Channel::new(settings.clone()).map(Arc::new))
                .collect::<Result<Vec<_>, _>>();
            let ready = ready.map_err(|source| DispatcherError::Channel {
                receiver: receiver.name.clone(),
                source,
            })?;
            channels.insert(receiver.name.clone(), ready);
        }
        Ok(Self { routing, channels })
    }

    /// Whether the file has a receiver of that name.
    pub fn has_receiver(&self, name: &str) -> bool {
        self.channels.contains_key(name)
    }

    /// Says in the log what of the file is not done.
    pub(super) fn warn(&self) {
        for warning in &self.routing.warnings {
            tracing::warn!("{warning}");
        }
        for (receiver, _) in self.channels.iter().filter(|(_, channels)| channels.is_empty()) {
            tracing::info!(receiver, "the receiver is told nothing: it names no way");
        }
    }

    pub(super) fn routes(&self) -> Routes {
        Routes {
            root: self.routing.root.clone(),
            channels: self.sends_resolved(),
            resolve_timeout: self.routing.resolve_timeout,
            inhibit_rules: self.routing.inhibit_rules.clone(),
        }
    }

    fn sends_resolved(&self) -> Channels {
        let of = |(name, channels): (&String, &Vec<Arc<Channel>>)| {
            let sends = channels.iter().map(|channel| channel.sends_resolved());
            (name.clone(), sends.collect())
        };
        self.channels.iter().map(of).collect()
    }

    pub(super) fn facts(&self, since_ms: i64) -> Facts {
        let names = self.routing.receivers.iter().map(|receiver| receiver.name.clone());
        Facts { receivers: names.collect(), routing: self.routing.shown.clone(), since_ms }
    }
}
