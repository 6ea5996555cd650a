//! An alert as rules raise it and as notifications carry it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use upkeep_model::Annotations;
use upkeep_model::Labels;

/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";

/// The annotation that says what to do.
pub const ACTION: &str = "action";

/// The annotation that says which outcome that action is for.
pub const OUTCOME: &str = "outcome";

/// The annotation that has the address of a page about the alert's kind.
pub const RUNBOOK_URL: &str = "runbook_url";

/// The annotation that says who looks after the rule.
pub const OWNER: &str = "owner";

/// The annotation that names an action of the configuration, which is run when people are told.
pub const PREDEFINED_ACTION: &str = "upkeep_action";

/// Something that is wrong, or was until `ends_at_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What identifies it, `alertname` among them.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Annotations,
    /// When it began to fire, in milliseconds since 1970.
    pub starts_at_ms: i64,
    /// When it was resolved, in milliseconds since 1970; `None` while it fires.
    pub ends_at_ms: Option<i64>,
    /// For how long it fires on if nobody speaks of it again; `None` leaves that to whoever is told.
    pub holds_for: Option<Duration>,
    /// Where the rule that raised it can be seen.
    pub generator_url: Arc<str>,
    /// Who raised it.
    pub origin: Origin,
}

/// Who raised an alert. Only our own rules may have an action run, so whoever is not known is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A rule of ours.
    Rule,
    /// Somebody else, by the API.
    #[default]
    Outside,
}

impl Alert {
    /// The alert's name; empty if it has none.
    pub fn name(&self) -> &str {
        self.labels.get(ALERT_NAME).unwrap_or_default()
    }

    /// The number that stands for the alert's labels.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }

    /// Whether it has ended by the given time.
    pub fn is_resolved(&self, now_ms: i64) -> bool {
        self.ends_at_ms.is_some_and(|ends_at_ms| ends_at_ms <= now_ms)
    }
}

/// A label set's hash, the same that Prometheus and Alertmanager show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// FNV-1a over names and values in order of the names, each followed by the byte 255, which
    /// no UTF-8 text contains.
    pub fn of(labels: &Labels) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = labels
            .iter()
            .flat_map(|(name, value)| [name, value])
            .flat_map(|text| text.bytes().chain(std::iter::once(255)));
        Self(bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
    }
}

/// Sixteen hexadecimal digits, as in Alertmanager's payloads.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_alertmanager() {
        let check = |pairs: &[(&str, &str)], expect: &str| {
            assert_eq!(Fingerprint::of(&Labels::new(pairs.iter().copied())).to_string(), expect);
        };
        check(&[], "cbf29ce484222325");
        check(&[("name", "value")], "3a8504e67bf53465");
        check(&[("b", "2"), ("a", "1")], "1cc37fac8a64ae01");
    }
}
