//! What the ledger holds and how news is entered: pure, with moments passed in.
//!
//! Every number belongs to the week in which the alert began to fire, so that shares are shares: an
//! alert of Sunday that is acknowledged on Monday counts for its own week.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::news::News;
use super::spread;
use crate::notify::Fingerprint;
use crate::state::{Became, Origin, Tally, UnendedAlert, UsefulnessChanges, WeekTally};

/// For so many weeks what became of alerts is kept.
pub(super) const KEPT_WEEKS: i64 = 53;

/// So many names of alerts from outside are told apart; all others count under an empty name.
const MOST_OUTSIDE: usize = 500;

/// So many alerts may be open at a time; of those beyond it is only counted that they fired.
const MOST_OPEN: usize = 200_000;

/// So many weeks of rules are kept in all; beyond, the oldest go first.
const MOST_TALLIES: usize = 100_000;

const DAY_MS: i64 = 24 * 3_600_000;

/// One alert from when it began to fire until it is over.
#[derive(Clone, Copy)]
struct Episode {
    fired_at_ms: i64,
    became: Became,
}

/// See the module's description.
pub(super) struct Entries {
    tallies: BTreeMap<(i64, Arc<Origin>), Tally>,
    /// Alerts that fire; several rules may raise the same.
    open: BTreeMap<(Fingerprint, Arc<Origin>), Episode>,
    outside: BTreeSet<Arc<Origin>>,
    changed_tallies: BTreeSet<(i64, Arc<Origin>)>,
    changed_open: BTreeSet<(Fingerprint, Arc<Origin>)>,
    /// No origin comes before this one.
    least: Arc<Origin>,
}

impl Default for Entries {
    fn default() -> Self {
        let [file, group, name] = [const { String::new() }; 3];
        Self {
            tallies: BTreeMap::new(),
            open: BTreeMap::new(),
            outside: BTreeSet::new(),
            changed_tallies: BTreeSet::new(),
            changed_open: BTreeSet::new(),
            least: Arc::new(Origin::Rule { file, group, name }),
        }
    }
}

/// What an episode adds to its week.
enum Mark {
    Told,
    Acknowledged { at_ms: i64 },
    Acted,
    Silenced,
}

/// The week of a moment: weeks begin on Mondays, by UTC, and are counted from that of 1970-01-01.
pub(super) fn week(at_ms: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    at_ms.div_euclid(DAY_MS).saturating_add(3).div_euclid(7)
}

/// When a week begins, in milliseconds since 1970.
pub(super) fn week_start_ms(week: i64) -> i64 {
    week.saturating_mul(7).saturating_sub(3).saturating_mul(DAY_MS)
}

impl Entries {
    /// What was kept.
    pub(super) fn restore(tallies: Vec<WeekTally>, unended: Vec<UnendedAlert>) -> Self {
        let mut entries = Self::default();
        for WeekTally { origin, week, tally } in tallies {
            let origin = Arc::new(origin);
            entries.know(&origin);
            entries.tallies.insert((week, origin), tally);
        }
        for UnendedAlert { fingerprint, origin, fired_at_ms, became } in unended {
            let Ok(number) = u64::from_str_radix(&fingerprint, 16) else { continue };
            let key = (Fingerprint(number), Arc::new(origin));
            entries.open.insert(key, Episode { fired_at_ms, became });
        }
        entries
    }

    /// Enters news.
    pub(super) fn enter(&mut self, news: News) {
        match news {
            News::Fired { origin, alert, at_ms } => self.fired(origin, alert, at_ms),
            News::Resolved { origin, alert, at_ms } => self.resolved(&origin, alert, at_ms),
            News::Notified { alerts } => self.notified(&alerts),
            News::Acknowledged { alert, at_ms } => self.mark(alert, &Mark::Acknowledged { at_ms }),
            News::Acted { alert } => self.mark(alert, &Mark::Acted),
            News::Silenced { alerts } => {
                alerts.into_iter().for_each(|alert| self.mark(alert, &Mark::Silenced));
            }
            News::Flapped { alert } => {
                for (origin, episode) in self.episodes(alert) {
                    self.tally(week(episode.fired_at_ms), &origin).flapped += 1;
                }
            }
        }
    }

    /// What became of the alerts that fired from a week on.
    pub(super) fn since(&self, first: i64) -> BTreeMap<Arc<Origin>, Tally> {
        let mut sums: BTreeMap<Arc<Origin>, Tally> = BTreeMap::new();
        for ((week, origin), tally) in &self.tallies {
            if *week >= first {
                tally.add_to(sums.entry(Arc::clone(origin)).or_default());
            }
        }
        sums
    }

    /// Forgets what is older than is kept.
    pub(super) fn forget(&mut self, now_ms: i64) {
        let first = week(now_ms).saturating_sub(KEPT_WEEKS).saturating_add(1);
        let is_too_much = |tallies: &BTreeMap<(i64, Arc<Origin>), Tally>| {
            let oldest = tallies.first_key_value();
            oldest.is_some_and(|((week, _), _)| *week < first || tallies.len() > MOST_TALLIES)
        };
        if !is_too_much(&self.tallies) {
            return;
        }
        while is_too_much(&self.tallies) {
            self.changed_tallies.extend(self.tallies.pop_first().map(|(key, _)| key));
        }
        let is_old = |_: &(Fingerprint, Arc<Origin>), episode: &mut Episode| {
            week(episode.fired_at_ms) < first
        };
        let old = self.open.extract_if(.., is_old).map(|(key, _)| key);
        self.changed_open.extend(old);
    }

    /// At most so many of the rows that changed, to be stored.
    pub(super) fn take_changes(&mut self, most: usize) -> UsefulnessChanges {
        let mut changes = UsefulnessChanges::default();
        for _ in 0..most {
            let Some((week, origin)) = self.changed_tallies.pop_first() else { break };
            match self.tallies.get(&(week, Arc::clone(&origin))) {
                Some(tally) => {
                    let (origin, tally) = (Origin::clone(&origin), tally.clone());
                    changes.tallies.push(WeekTally { origin, week, tally });
                }
                None => changes.forgotten.push((Origin::clone(&origin), week)),
            }
        }
        for _ in 0..most {
            let Some(key) = self.changed_open.pop_first() else { break };
            let (fingerprint, origin) = (key.0.to_string(), Origin::clone(&key.1));
            match self.open.get(&key) {
                Some(Episode { fired_at_ms, became }) => changes.unended.push(UnendedAlert {
                    fingerprint,
                    origin,
                    fired_at_ms: *fired_at_ms,
                    became: *became,
                }),
                None => changes.ended.push((fingerprint, origin)),
            }
        }
        changes
    }

    /// Takes back what could not be stored.
    pub(super) fn keep_changes(&mut self, changes: UsefulnessChanges) {
        let UsefulnessChanges { tallies, forgotten, unended, ended } = changes;
        let weeks = tallies.into_iter().map(|one| (one.week, one.origin));
        let weeks = weeks.chain(forgotten.into_iter().map(|(origin, week)| (week, origin)));
        self.changed_tallies.extend(weeks.map(|(week, origin)| (week, Arc::new(origin))));
        let alerts = unended.into_iter().map(|one| (one.fingerprint, one.origin)).chain(ended);
        let alerts = alerts.filter_map(|(fingerprint, origin)| {
            let number = u64::from_str_radix(&fingerprint, 16).ok()?;
            Some((Fingerprint(number), Arc::new(origin)))
        });
        self.changed_open.extend(alerts);
    }

    fn fired(&mut self, origin: Arc<Origin>, alert: Fingerprint, at_ms: i64) {
        let origin = self.know(&origin);
        self.tally(week(at_ms), &origin).fired += 1;
        // Of one that is open already the end was lost.
        self.close(alert, &origin);
        if self.open.len() >= MOST_OPEN {
            return;
        }
        let episode = Episode { fired_at_ms: at_ms, became: Became::default() };
        self.open.insert((alert, Arc::clone(&origin)), episode);
        self.changed_open.insert((alert, origin));
    }

    fn resolved(&mut self, origin: &Arc<Origin>, alert: Fingerprint, at_ms: i64) {
        let origin = self.known(origin);
        let Some(Episode { fired_at_ms, became }) = self.close(alert, &origin) else { return };
        let tally = self.tally(week(fired_at_ms), &origin);
        let lasted_ms = at_ms.saturating_sub(fired_at_ms);
        tally.resolved += 1;
        spread::count(&mut tally.lasted, lasted_ms);
        if !(became.acknowledged || became.acted || became.silenced) {
            tally.by_itself += 1;
            spread::count(&mut tally.lasted_by_itself, lasted_ms);
        }
    }

    /// A message counts once for a rule, however many of its alerts it tells of.
    fn notified(&mut self, alerts: &[Fingerprint]) {
        let mut weeks = BTreeSet::new();
        for alert in alerts {
            for (origin, episode) in self.episodes(*alert) {
                weeks.insert((week(episode.fired_at_ms), origin));
            }
            self.mark(*alert, &Mark::Told);
        }
        for (week, origin) in weeks {
            self.tally(week, &origin).notified += 1;
        }
    }

    /// Counts for each episode of an alert what was done about it, the first time.
    fn mark(&mut self, alert: Fingerprint, mark: &Mark) {
        for (origin, episode) in self.episodes(alert) {
            let Episode { fired_at_ms, became: before } = episode;
            let tally = self.tally(week(fired_at_ms), &origin);
            let mut became = before;
            match mark {
                Mark::Told => became.told = true,
                Mark::Acted => became.acted = true,
                Mark::Silenced => became.silenced = true,
                Mark::Acknowledged { at_ms } => {
                    became.acknowledged = true;
                    if !before.acknowledged {
                        let after_ms = at_ms.saturating_sub(fired_at_ms);
                        spread::count(&mut tally.acknowledged_after, after_ms);
                    }
                }
            }
            let cares = |became: Became| became.acknowledged || became.acted;
            tally.told += u64::from(became.told && !before.told);
            tally.acted += u64::from(became.acted && !before.acted);
            tally.silenced += u64::from(became.silenced && !before.silenced);
            tally.acknowledged += u64::from(became.acknowledged && !before.acknowledged);
            tally.cared_for += u64::from(cares(became) && !cares(before));
            if became == before {
                continue;
            }
            let key = (alert, origin);
            if let Some(episode) = self.open.get_mut(&key) {
                episode.became = became;
                self.changed_open.insert(key);
            }
        }
    }

    fn episodes(&self, alert: Fingerprint) -> Vec<(Arc<Origin>, Episode)> {
        let from = self.open.range((alert, Arc::clone(&self.least))..);
        from.take_while(|((other, _), _)| *other == alert)
            .map(|((_, origin), episode)| (Arc::clone(origin), *episode))
            .collect()
    }

    fn close(&mut self, alert: Fingerprint, origin: &Arc<Origin>) -> Option<Episode> {
        let key = (alert, Arc::clone(origin));
        let episode = self.open.remove(&key)?;
        self.changed_open.insert(key);
        Some(episode)
    }

    fn tally(&mut self, week: i64, origin: &Arc<Origin>) -> &mut Tally {
        let key = (week, Arc::clone(origin));
        self.changed_tallies.insert(key.clone());
        self.tallies.entry(key).or_default()
    }

    /// The origin that an alert counts for: names of others are theirs to make up, so only some are
    /// told apart.
    fn know(&mut self, origin: &Arc<Origin>) -> Arc<Origin> {
        if matches!(**origin, Origin::Outside { .. }) && self.outside.len() < MOST_OUTSIDE {
            self.outside.insert(Arc::clone(origin));
        }
        self.known(origin)
    }

    /// The same for an alert that may never have been heard of.
    fn known(&self, origin: &Arc<Origin>) -> Arc<Origin> {
        let is_told_apart =
            matches!(**origin, Origin::Rule { .. }) || self.outside.contains(origin);
        if is_told_apart {
            return Arc::clone(origin);
        }
        Arc::new(Origin::Outside { name: String::new() })
    }
}

impl Tally {
    fn add_to(&self, sum: &mut Self) {
        sum.fired += self.fired;
        sum.told += self.told;
        sum.notified += self.notified;
        sum.acknowledged += self.acknowledged;
        sum.acted += self.acted;
        sum.cared_for += self.cared_for;
        sum.silenced += self.silenced;
        sum.flapped += self.flapped;
        sum.resolved += self.resolved;
        sum.by_itself += self.by_itself;
        spread::add(&mut sum.lasted, &self.lasted);
        spread::add(&mut sum.lasted_by_itself, &self.lasted_by_itself);
        spread::add(&mut sum.acknowledged_after, &self.acknowledged_after);
    }
}

#[cfg(test)]
mod tests;
