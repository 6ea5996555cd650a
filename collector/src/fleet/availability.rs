//! When a host was up, when it was down, and when nobody knows. Pure: what is known is handed in.
//!
//! Silence alone says nothing: the network may have been away, or the collector, or the agent. What
//! tells is what came later: a backlog shows that the host was observed all the while, the time of its
//! boot whether the same run of its kernel goes on, a declared gap that there were observations which
//! are lost.

use super::liveness::MISSED_INTERVALS;
use crate::state::Outage;

/// What a host was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// It ran.
    Up,
    /// It did not run.
    Down,
    /// Nobody knows.
    Unknown,
}

impl HostState {
    /// The word for it, as in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// Why that is known, or why not. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was observed.
    Observed,
    /// It was observed, and the observations are lost for the reason.
    Lost(String),
    /// Its kernel ran, and nobody observed it.
    SameBoot,
    /// It was booted then, having ended without a word.
    Booted(i64),
    /// It was shut down at the first time and booted at the second.
    ShutDownAndBooted(i64, i64),
    /// It was shut down then, and nothing came since.
    ShutDown(i64),
    /// The agent was stopped then, and nothing came since.
    AgentStopped(i64),
    /// No collector ran that could have heard of it.
    CollectorAway,
    /// Nothing came from it.
    Silence,
    /// Nothing is known of it before.
    NothingBefore,
}

/// A stretch of time, the end not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// What the host was.
    pub state: HostState,
    /// From when, in milliseconds since 1970.
    pub from_ms: i64,
    /// Until when.
    pub to_ms: i64,
    /// Why that is known, or why not.
    pub why: Why,
}

/// An observation, with the time of the boot that it saw, where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its time.
    pub at_ms: i64,
    /// When the host had been booted.
    pub boot_ms: Option<i64>,
}

/// The end of an agent that was stopped in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When.
    pub at_ms: i64,
    /// Whether the host was being shut down.
    pub is_shutdown: bool,
}

/// Observations that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostStretch {
    /// The time of the first.
    pub from_ms: i64,
    /// The time of the last.
    pub to_ms: i64,
    /// How many there were.
    pub records: u64,
    /// Why they are lost.
    pub reason: String,
}

/// What is known of a host.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How often it is observed.
    pub interval_ms: u32,
    /// Its observations, ascending.
    pub seen: Vec<Sighting>,
    /// What of its observations is lost.
    pub lost: Vec<LostStretch>,
    /// When its agent was stopped, ascending.
    pub stops: Vec<Stop>,
    /// When no collector ran.
    pub outages: Vec<Outage>,
}

/// What a host was from one time until another; not later than `now_ms`.
pub fn decide(evidence: &Evidence, from_ms: i64, to_ms: i64, now_ms: i64) -> Vec<Interval> {
    let mut course = Course { evidence, patience_ms: patience_ms(evidence), found: Vec::new() };
    let mut last = None;
    for sighting in &evidence.seen {
        match last {
            None => course.before(*sighting),
            Some(last_ms) if sighting.at_ms - last_ms <= course.patience_ms => {
                course.add(HostState::Up, last_ms, sighting.at_ms, Why::Observed);
            }
            Some(last_ms) => course.silence(last_ms, *sighting),
        }
        last = Some(sighting.at_ms);
    }
    match last {
        None => course.unknown(i64::MIN, now_ms, &Why::NothingBefore),
        Some(last_ms) if now_ms.saturating_sub(last_ms) <= course.patience_ms => {
            course.add(HostState::Up, last_ms, now_ms, Why::Observed);
        }
        Some(last_ms) => course.end(last_ms, now_ms),
    }
    clipped(course.found, from_ms, to_ms.min(now_ms))
}

fn patience_ms(evidence: &Evidence) -> i64 {
    MISSED_INTERVALS * i64::from(evidence.interval_ms)
}

/// What was found so far, in the order of time and without a hole.
struct Course<'evidence> {
    evidence: &'evidence Evidence,
    /// A silence that is shorter is none.
    patience_ms: i64,
    found: Vec<Interval>,
}

impl Course<'_> {
    /// What is known of the time before the first observation.
    fn before(&mut self, first: Sighting) {
        let boot_ms = first.boot_ms.unwrap_or(first.at_ms).min(first.at_ms);
        self.unknown(i64::MIN, boot_ms, &Why::NothingBefore);
        self.not_observed(HostState::Up, boot_ms, first.at_ms, &Why::SameBoot);
    }

    /// What is known of a silence that ended with an observation.
    fn silence(&mut self, last_ms: i64, next: Sighting) {
        match next.boot_ms {
            None => self.unknown(last_ms, next.at_ms, &Why::Silence),
            Some(boot_ms) if boot_ms <= last_ms => {
                self.not_observed(HostState::Up, last_ms, next.at_ms, &Why::SameBoot);
            }
            Some(boot_ms) => {
                let boot_ms = boot_ms.min(next.at_ms);
                let shutdown = self.stop_after(last_ms, boot_ms).filter(|stop| stop.is_shutdown);
                match shutdown {
                    Some(Stop { at_ms, .. }) => {
                        let at_ms = at_ms.clamp(last_ms, boot_ms);
                        self.not_observed(HostState::Up, last_ms, at_ms, &Why::SameBoot);
                        let why = Why::ShutDownAndBooted(at_ms, boot_ms);
                        self.add(HostState::Down, at_ms, boot_ms, why);
                    }
                    None => {
                        let ended_ms = self.lost_until(last_ms, boot_ms);
                        self.not_observed(HostState::Up, last_ms, ended_ms, &Why::SameBoot);
                        self.add(HostState::Down, ended_ms, boot_ms, Why::Booted(boot_ms));
                    }
                }
                self.not_observed(HostState::Up, boot_ms, next.at_ms, &Why::SameBoot);
            }
        }
    }

    /// What is known of the silence after the last observation.
    fn end(&mut self, last_ms: i64, now_ms: i64) {
        match self.stop_after(last_ms, now_ms) {
            Some(Stop { at_ms, is_shutdown: true }) => {
                let at_ms = at_ms.clamp(last_ms, now_ms);
                self.unknown(last_ms, at_ms, &Why::Silence);
                self.add(HostState::Down, at_ms, now_ms, Why::ShutDown(at_ms));
            }
            Some(Stop { at_ms, is_shutdown: false }) => {
                self.unknown(last_ms, now_ms, &Why::AgentStopped(at_ms));
            }
            None => self.unknown(last_ms, now_ms, &Why::Silence),
        }
    }

    /// How the agent was stopped after its last observation; the two may be as far apart as
    /// observations are.
    fn stop_after(&self, last_ms: i64, until_ms: i64) -> Option<Stop> {
        let stops = self.evidence.stops.iter().rev();
        let after = last_ms.saturating_sub(i64::from(self.evidence.interval_ms));
        stops.copied().find(|stop| (after..=until_ms).contains(&stop.at_ms))
    }

    /// Until when there were observations that are lost, if there were any.
    fn lost_until(&self, last_ms: i64, until_ms: i64) -> i64 {
        let lost = self.evidence.lost.iter().filter(|lost| is_dense(lost, self.patience_ms));
        let within = lost.map(|lost| lost.to_ms).filter(|end_ms| *end_ms <= until_ms);
        within.max().map_or(last_ms, |end_ms| end_ms.max(last_ms))
    }

    /// Adds a stretch of which nothing tells whether the host ran, but lost observations.
    fn unknown(&mut self, from_ms: i64, to_ms: i64, why: &Why) {
        let mut from_ms = from_ms;
        for outage in &self.evidence.outages {
            let (begin_ms, end_ms) = (outage.from_ms.max(from_ms), outage.to_ms.min(to_ms));
            if begin_ms < end_ms {
                self.not_observed(HostState::Unknown, from_ms, begin_ms, why);
                self.not_observed(HostState::Unknown, begin_ms, end_ms, &Why::CollectorAway);
                from_ms = end_ms;
            }
        }
        self.not_observed(HostState::Unknown, from_ms, to_ms, why);
    }

    /// Adds a stretch without observations. Where observations are lost, there were some.
    fn not_observed(&mut self, state: HostState, from_ms: i64, to_ms: i64, why: &Why) {
        let (mut from_ms, patience_ms) = (from_ms, self.patience_ms);
        for lost in self.evidence.lost.iter().filter(|lost| is_dense(lost, patience_ms)) {
            let (mut begin_ms, mut end_ms) = (lost.from_ms.max(from_ms), lost.to_ms.min(to_ms));
            if begin_ms < end_ms {
                // The observation before the first that is lost, and the one after the last, are as far
                // away as observations are.
                if begin_ms.saturating_sub(from_ms) <= patience_ms {
                    begin_ms = from_ms;
                }
                if to_ms.saturating_sub(end_ms) <= patience_ms {
                    end_ms = to_ms;
                }
                self.add(state, from_ms, begin_ms, why.clone());
                self.add(HostState::Up, begin_ms, end_ms, Why::Lost(lost.reason.clone()));
                from_ms = end_ms;
            }
        }
        self.add(state, from_ms, to_ms, why.clone());
    }

    fn add(&mut self, state: HostState, from_ms: i64, to_ms: i64, why: Why) {
        if from_ms >= to_ms {
            return;
        }
        match self.found.last_mut() {
            Some(last) if last.state == state && last.why == why => last.to_ms = to_ms,
            _ => self.found.push(Interval { state, from_ms, to_ms, why }),
        }
    }
}

/// Whether lost observations were as close together as those of a host that runs. Of those that were
/// further apart it is not known when they were.
fn is_dense(lost: &LostStretch, patience_ms: i64) -> bool {
    let steps = i64::try_from(lost.records.saturating_sub(1)).unwrap_or(i64::MAX);
    lost.to_ms.saturating_sub(lost.from_ms) <= steps.saturating_mul(patience_ms)
}

fn clipped(found: Vec<Interval>, from_ms: i64, to_ms: i64) -> Vec<Interval> {
    let clip = |mut one: Interval| {
        one.from_ms = one.from_ms.max(from_ms);
        one.to_ms = one.to_ms.min(to_ms);
        (one.from_ms < one.to_ms).then_some(one)
    };
    found.into_iter().filter_map(clip).collect()
}

#[cfg(test)]
mod tests;
