//! Control charts: which signals are charted.

use serde::Deserialize;

use crate::tolerance::{Signal, SignalFault, SignalText, chosen};

/// Control charts.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Tolerance {
    /// Whether there are any.
    pub enabled: bool,
    /// Shipped signals that are not charted, by name.
    pub drop: Vec<String>,
    /// Signals that are charted beside the shipped ones.
    pub signals: Vec<OwnSignal>,
}

/// A signal of the operator's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnSignal {
    /// What it is called.
    pub name: String,
    /// PromQL that gives one series for each `instance`.
    pub expr: String,
    /// What its numbers count.
    #[serde(default)]
    pub unit: String,
    /// A smaller distance from the centre line never counts.
    pub floor: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { enabled: true, drop: Vec::new(), signals: Vec::new() }
    }
}

impl Tolerance {
    /// The signals to chart; none if there are to be no charts.
    ///
    /// # Errors
    /// With everything that is wrong with them.
    pub fn chosen(&self) -> Result<Vec<Signal>, Vec<SignalFault>> {
        let own: Vec<SignalText<'_>> = self.signals.iter().map(OwnSignal::text).collect();
        let signals = chosen(&self.drop, &own)?;
        Ok(if self.enabled { signals } else { Vec::new() })
    }

    /// What is wrong with it, by key.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let faults = self.chosen().err().unwrap_or_default();
        let key = |fault: &SignalFault| match fault {
            SignalFault::Unknown(_) => "tolerance.drop",
            _ => "tolerance.signals",
        };
        faults.into_iter().map(|fault| (key(&fault), fault.to_string())).collect()
    }
}

impl OwnSignal {
    fn text(&self) -> SignalText<'_> {
        let Self { name, expr, unit, floor } = self;
        SignalText { name, expr, unit, floor: *floor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stand_under_the_key_that_has_them() {
        let check = |text: &str, expect: &[&str]| {
            let tolerance: Tolerance = toml::from_str(text).unwrap();
            let keys: Vec<_> = tolerance.faults().into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expect, "{text}");
        };
        check("", &[]);
        check("drop = ['swap_in']", &[]);
        check("drop = ['swapin']", &["tolerance.drop"]);
        check("[[signals]]\nname = 'a'\nexpr = 'x'\nfloor = 1", &[]);
        // What is switched off is still to be right.
        check(
            "enabled = false\n[[signals]]\nname = 'a'\nexpr = 'x('\nfloor = 1",
            &["tolerance.signals"],
        );
        let off: Tolerance = toml::from_str("enabled = false").unwrap();
        assert!(off.chosen().unwrap().is_empty());
        assert!(!Tolerance::default().chosen().unwrap().is_empty());
    }
}
