//! When alerts flap.

use serde::Deserialize;

use super::Span;
use crate::alert::FlapSettings;

/// When alerts flap.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct Flapping {
    /// After so many changes between firing and resolved; 0: never.
    pub changes: u32,
    /// Within so long.
    pub window: Span,
    /// It is calm again when nothing changed for so long.
    pub quiet: Span,
}

impl Default for Flapping {
    fn default() -> Self {
        let FlapSettings { changes, window, quiet } = FlapSettings::default();
        Self { changes, window: Span(window), quiet: Span(quiet) }
    }
}

impl Flapping {
    /// The most changes that can be waited for: no more of them are remembered.
    const MOST_CHANGES: u32 = 50;

    /// What the alerts are judged by.
    pub fn settings(&self) -> FlapSettings {
        let Self { changes, window, quiet } = *self;
        FlapSettings { changes, window: window.0, quiet: quiet.0 }
    }

    /// What is wrong with it, by key.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.changes == 1 || self.changes > Self::MOST_CHANGES {
            let message = format!("it must be 0, or from 2 to {}", Self::MOST_CHANGES);
            faults.push(("alerts.flapping.changes", message));
        }
        let spans =
            [("alerts.flapping.window", self.window), ("alerts.flapping.quiet", self.quiet)];
        let zero = spans.into_iter().filter(|(_, span)| span.0.is_zero());
        faults.extend(zero.map(|(key, _)| (key, "it must not be 0".to_owned())));
        faults
    }
}
