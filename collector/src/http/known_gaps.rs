//! The gaps of the state as queries ask for them.

use crate::query::{GapSource, KnownGap};
use crate::state::State;

/// So many gaps are looked at for a selector, the newest.
const LOOKED_AT: u32 = 1_000;

/// The gaps that are declared in the state.
#[derive(Clone, Debug)]
pub struct StateGaps(State);

impl StateGaps {
    /// Those of a state.
    pub fn new(state: State) -> Self {
        Self(state)
    }
}

impl GapSource for StateGaps {
    fn gaps(&self, after_ms: i64, through_ms: i64) -> Result<Vec<KnownGap>, String> {
        let found = self.0.lost_between(after_ms, through_ms, LOOKED_AT);
        let found = found.map_err(|error| error.to_string())?;
        let known = found.into_iter().filter_map(|(instance, gap)| {
            let (from_ms, to_ms) = (gap.from_ms, gap.to_ms?);
            Some(KnownGap { instance, from_ms, to_ms, reason: gap.reason })
        });
        Ok(known.collect())
    }
}
