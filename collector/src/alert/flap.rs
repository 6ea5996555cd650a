//! Alerts that come and go: when one flaps, and when it is calm again. Pure, with the clock passed in.
//!
//! An alert begins to flap when it fires once more after so many changes within a while, and is calm
//! again when nothing of it changed for a shorter one. In between it counts as firing, so whoever was
//! told that it flaps hears nothing of its comings and goings, and of its end once it has stayed
//! over. So nothing is hidden: it is only told later.

use std::collections::BTreeMap;
use std::time::Duration;

use super::group::milliseconds;
use crate::notify::Fingerprint;
use crate::state::{AlertChanges, FlapRecord};

/// How many alerts are looked after; more than that are not damped.
const MOST_ALERTS: usize = 100_000;

/// So many changes of an alert are remembered.
const MOST_CHANGES: usize = 100;

/// Of fewer changes nothing is stored: most alerts never have more than they begin and end.
const STORED_FROM: usize = 3;

/// When an alert flaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlapSettings {
    /// After so many changes between firing and resolved; 0 means that none ever does.
    pub changes: u32,
    /// Within so long.
    pub window: Duration,
    /// It is calm again when nothing changed for so long.
    pub quiet: Duration,
}

impl Default for FlapSettings {
    fn default() -> Self {
        Self { changes: 6, window: Duration::from_hours(1), quiet: Duration::from_mins(15) }
    }
}

/// What a look at an alert gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It stands as before.
    Same,
    /// It changed.
    Changed,
    /// It changed, and flaps from now on.
    BeganToFlap,
}

/// What alerts did lately.
#[derive(Default)]
pub(super) struct Flaps {
    settings: FlapSettings,
    records: BTreeMap<Fingerprint, FlapRecord>,
}

impl Flaps {
    pub(super) fn new(settings: FlapSettings) -> Self {
        Self { settings, records: BTreeMap::new() }
    }

    /// Takes up what was stored before a restart.
    pub(super) fn restore(&mut self, stored: BTreeMap<String, FlapRecord>) {
        let records = stored.into_iter().filter_map(|(fingerprint, record)| {
            Some((Fingerprint(u64::from_str_radix(&fingerprint, 16).ok()?), record))
        });
        self.records = records.collect();
    }

    /// Takes whether an alert fires; what is to be stored goes into `changes`.
    pub(super) fn look(
        &mut self,
        alert: Fingerprint,
        fires: bool,
        at_ms: i64,
        changes: &mut AlertChanges,
    ) -> Turn {
        if !self.records.contains_key(&alert) && (!fires || self.records.len() >= MOST_ALERTS) {
            return Turn::Same;
        }
        let record = self.records.entry(alert).or_default();
        let stored_before = record.changes_ms.len() >= STORED_FROM;
        let turn = take(record, fires, at_ms, self.settings);
        if turn != Turn::Same && (stored_before || record.changes_ms.len() >= STORED_FROM) {
            changes.flap(alert.to_string(), Some(record.clone()));
        }
        turn
    }

    /// For how long an alert counts as firing after it ended: not at all, unless it flaps.
    pub(super) fn kept_ms(&self, alert: Fingerprint, now_ms: i64) -> i64 {
        if self.flapping(alert, now_ms).is_some() { milliseconds(self.settings.quiet) } else { 0 }
    }

    /// What an alert that flaps did lately.
    pub(super) fn flapping(&self, alert: Fingerprint, now_ms: i64) -> Option<&FlapRecord> {
        let record = self.records.get(&alert)?;
        flaps(record, now_ms, self.settings).then_some(record)
    }

    /// What people are told of an alert that flaps.
    pub(super) fn words(&self, alert: Fingerprint, now_ms: i64) -> Option<String> {
        let record = self.flapping(alert, now_ms)?;
        let most = if record.changes_ms.len() >= MOST_CHANGES { "at least " } else { "" };
        let shown = |duration: Duration| humantime::format_duration(duration).to_string();
        Some(format!(
            "It changed {most}{} times within {}. Its comings and goings are not told; its end is, \
             once it has been over for {}.",
            record.changes_ms.len(),
            shown(self.settings.window),
            shown(self.settings.quiet),
        ))
    }

    /// Forgets alerts that have been calm for long.
    pub(super) fn forget(&mut self, now_ms: i64, changes: &mut AlertChanges) {
        let kept_ms = milliseconds(self.settings.window.max(self.settings.quiet));
        self.records.retain(|alert, record| {
            let last_ms = record.changes_ms.last().copied().unwrap_or(i64::MIN);
            let is_kept = now_ms.saturating_sub(last_ms) <= kept_ms;
            if !is_kept {
                changes.flap(alert.to_string(), None);
            }
            is_kept
        });
    }

    /// Goes on by a clock that was set by so much.
    pub(super) fn clock_was_set(&mut self, by_ms: i64) {
        let shift = |at_ms: &mut i64| *at_ms = at_ms.saturating_add(by_ms);
        for record in self.records.values_mut() {
            record.since_ms.iter_mut().for_each(shift);
            record.changes_ms.iter_mut().for_each(shift);
        }
    }
}

/// Whether an alert flaps: it began to, and has not been quiet for long enough since.
fn flaps(record: &FlapRecord, now_ms: i64, settings: FlapSettings) -> bool {
    let last_ms = record.changes_ms.last().copied().unwrap_or(i64::MIN);
    let was_quiet_ms = now_ms.saturating_sub(last_ms);
    record.since_ms.is_some() && was_quiet_ms < milliseconds(settings.quiet)
}

/// Takes whether the alert of a record fires.
fn take(record: &mut FlapRecord, fires: bool, at_ms: i64, settings: FlapSettings) -> Turn {
    if record.fires == fires {
        return Turn::Same;
    }
    if !flaps(record, at_ms, settings) {
        record.since_ms = None;
    }
    record.fires = fires;
    // Most alerts never have more than a change or two, and there may be many alerts.
    record.changes_ms.reserve_exact(1);
    record.changes_ms.push(at_ms);
    let window_ms = milliseconds(settings.window);
    record.changes_ms.retain(|changed_ms| at_ms.saturating_sub(*changed_ms) <= window_ms);
    let beyond = record.changes_ms.len().saturating_sub(MOST_CHANGES);
    record.changes_ms.drain(..beyond);
    let wanted = usize::try_from(settings.changes).unwrap_or(usize::MAX);
    // The change that brings it to fire once more comes on top of those that are too many.
    let is_too_often = wanted > 0 && record.changes_ms.len() > wanted.min(MOST_CHANGES - 1);
    if !fires || record.since_ms.is_some() || !is_too_often {
        return Turn::Changed;
    }
    record.since_ms = Some(at_ms);
    Turn::BeganToFlap
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: FlapSettings = FlapSettings {
        changes: 4,
        window: Duration::from_secs(100),
        quiet: Duration::from_secs(30),
    };

    const ALERT: Fingerprint = Fingerprint(0x1f);

    /// Lets an alert change at these seconds, firing first, and gives what each change came to.
    fn turns(settings: FlapSettings, at_s: &[i64]) -> (Flaps, String) {
        let mut flaps = Flaps::new(settings);
        let mut changes = AlertChanges::default();
        let turns = at_s.iter().enumerate().map(|(number, at_s)| {
            let turn = flaps.look(ALERT, number % 2 == 0, at_s * 1000, &mut changes);
            assert_eq!(flaps.look(ALERT, number % 2 == 0, at_s * 1000, &mut changes), Turn::Same);
            match turn {
                Turn::Same => '=',
                Turn::Changed => '.',
                Turn::BeganToFlap => '!',
            }
        });
        let turns = turns.collect();
        (flaps, turns)
    }

    #[test]
    fn an_alert_flaps_after_too_many_changes_and_is_calm_after_a_while() {
        let check = |at_s: &[i64], expect: &str| {
            assert_eq!(turns(SETTINGS, at_s).1, expect, "{at_s:?}");
        };
        check(&[0, 10, 20, 30], "....");
        check(&[0, 10, 20, 30, 40], "....!");
        check(&[0, 10, 20, 30, 40, 50, 60, 70], "....!...");
        // The first changes are too long ago.
        check(&[0, 10, 90, 95, 101], ".....");
        check(&[0, 10, 90, 95, 100], "....!");
        // It was quiet in between: it begins anew, and has its changes of before still against it.
        check(&[0, 10, 20, 30, 40, 71, 72], "....!.!");
        check(&[0, 10, 20, 30, 40, 69, 70], "....!..");
        check(&[0, 10, 20, 30, 40, 150, 151], "....!..");
        let never = FlapSettings { changes: 0, ..SETTINGS };
        assert_eq!(turns(never, &[0, 1, 2, 3, 4, 5, 6, 7, 8]).1, ".........");
    }

    #[test]
    fn while_it_flaps_it_counts_as_firing_for_longer() {
        let (flaps, _) = turns(SETTINGS, &[0, 10, 20, 30, 40, 50]);
        assert_eq!(flaps.kept_ms(ALERT, 79_999), 30_000);
        assert_eq!(flaps.kept_ms(ALERT, 80_000), 0);
        assert_eq!(flaps.kept_ms(Fingerprint(1), 50_000), 0);
        let words = flaps.words(ALERT, 50_000).unwrap();
        assert!(words.starts_with("It changed 6 times within 1m 40s.") && words.ends_with("30s."));
        assert_eq!(flaps.words(ALERT, 80_000), None);
    }

    #[test]
    fn what_is_calm_is_not_stored_or_is_forgotten() {
        let mut changes = AlertChanges::default();
        let mut flaps = Flaps::new(SETTINGS);
        flaps.look(ALERT, true, 0, &mut changes);
        flaps.look(ALERT, false, 1_000, &mut changes);
        assert!(changes.is_empty(), "it began and ended");
        flaps.look(ALERT, true, 2_000, &mut changes);
        let mut expect = AlertChanges::default();
        let changes_ms = vec![0, 1_000, 2_000];
        let record = FlapRecord { fires: true, since_ms: None, changes_ms };
        expect.flap(ALERT.to_string(), Some(record.clone()));
        assert_eq!(changes, expect);

        let mut again = Flaps::new(SETTINGS);
        again.restore(BTreeMap::from([(ALERT.to_string(), record)]));
        again.look(ALERT, false, 3_000, &mut changes);
        assert_eq!(again.look(ALERT, true, 4_000, &mut changes), Turn::BeganToFlap);
        again.clock_was_set(1_000_000);
        assert!(again.flapping(ALERT, 1_005_000).is_some());
        let mut changes = AlertChanges::default();
        again.forget(1_104_000, &mut changes);
        assert!(changes.is_empty());
        again.forget(1_104_001, &mut changes);
        assert!(!changes.is_empty() && again.records.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let seconds: Vec<_> = (0..2 * MOST_CHANGES as i64).map(|number| number / 3).collect();
        let (flaps, _) = turns(SETTINGS, &seconds);
        let last_ms = seconds.last().unwrap() * 1000;
        assert_eq!(flaps.flapping(ALERT, last_ms).unwrap().changes_ms.len(), MOST_CHANGES);
        assert!(flaps.words(ALERT, last_ms).unwrap().starts_with("It changed at least 100 times"));
    }
}
