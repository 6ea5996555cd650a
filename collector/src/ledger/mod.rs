//! The ledger of usefulness: what became of the alerts of each rule, week by week, and what that says
//! about the rule.
//!
//! Whoever learns something about an alert tells a [`Reporter`], which never waits; a [`Keeper`] enters it
//! and stores it now and then; everybody may look into the [`Ledger`]. What finds no place on the way
//! is counted as lost.

mod entries;
mod keeper;
mod news;
mod spread;
mod usefulness;
mod verdict;

pub use keeper::{Keeper, Ledger, open};
#[cfg(test)]
pub(crate) use news::channel;
pub use news::{News, Reporter};
pub use spread::quantile_ms;
pub use usefulness::{KnownRule, Usefulness, WEEKS, usefulness};
pub use verdict::{Judgement, Verdict, judge};

pub use crate::state::{Origin, Tally};
