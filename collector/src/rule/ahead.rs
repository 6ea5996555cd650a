//! Reads ahead what the rules of a group are going to ask for, so that rules that look at the same hosts
//! have these read once.
//!
//! What a rule is going to ask for is what it asked for in the evaluations before, seen from their moments:
//! a [`Habit`]. Whatever it asks for beside is read as it asks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use upkeep_model::{METRIC_NAME, Matcher, SeriesSamples};
use upkeep_promql::{Hint, Selection, Source, SourceError};

/// What is read ahead at a time costs no more than so many samples, by what it was before.
const COST_AHEAD: usize = 2_000_000;

/// A series costs as much memory as so many samples.
const COST_OF_SERIES: usize = 40;

/// However much has come since, no more samples than this are read ahead at a time.
const MOST_SAMPLES: usize = 2 * COST_AHEAD;

/// What a rule asks for, as seen from the moment of the evaluation.
#[derive(Clone, Debug, PartialEq)]
struct Wish {
    matchers: Vec<Matcher>,
    after_ms: i64,
    through_ms: i64,
    hint: Hint,
}

/// What a rule asked for in its last evaluation.
#[derive(Debug, Default)]
pub(super) struct Habit {
    wishes: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    wish: Wish,
    cost: usize,
    /// Whether it was asked for in the evaluation before, too. One that names a fixed moment is not.
    is_steady: bool,
}

/// Something that was read and is to be asked for so many times.
struct Ready {
    wish: Wish,
    series: Vec<SeriesSamples>,
    times: usize,
}

/// A source for one evaluation of a group.
pub(super) struct Ahead {
    source: Arc<dyn Source + Send + Sync>,
    at_ms: i64,
    deadline: Option<Instant>,
    ready: Mutex<Vec<Ready>>,
    asked: Mutex<Vec<(Wish, usize)>>,
}

impl Habit {
    /// Takes what the rule asked for.
    fn learn(&mut self, asked: Vec<(Wish, usize)>) {
        let before = std::mem::take(&mut self.wishes);
        let was_there = |wish: &Wish| before.iter().any(|asked| asked.wish == *wish);
        let wishes = asked.into_iter().map(|(wish, cost)| {
            let is_steady = was_there(&wish);
            Asked { wish, cost, is_steady }
        });
        self.wishes = wishes.collect();
    }

    /// What can be read ahead: not what the group itself writes, which is there only once it was written.
    fn steady<'a>(&'a self, own: &'a BTreeSet<String>) -> impl Iterator<Item = &'a Asked> {
        let steady = self.wishes.iter().filter(|asked| asked.is_steady);
        steady.filter(|asked| !accepts_any(&asked.wish.matchers, own))
    }
}

impl Ahead {
    /// A source that reads nothing ahead yet.
    pub(super) fn new(
        source: Arc<dyn Source + Send + Sync>,
        at_ms: i64,
        deadline: Option<Instant>,
    ) -> Self {
        Self { source, at_ms, deadline, ready: Mutex::default(), asked: Mutex::default() }
    }

    /// Reads for rules to come, as many as are worth it, and says for how many it looked. `own` are the
    /// names of the series that the group writes.
    pub(super) fn prepare<'a>(
        &self,
        rules: impl Iterator<Item = &'a Habit>,
        own: &BTreeSet<String>,
    ) -> usize {
        let mut wanted: Vec<(&Wish, usize)> = Vec::new();
        let (mut looked, mut cost, mut wishes) = (0, 0, 0);
        for habit in rules {
            let fresh =
                habit.steady(own).filter(|one| !wanted.iter().any(|(it, _)| **it == one.wish));
            let more: usize = fresh.map(|asked| asked.cost).sum();
            if looked > 0 && cost + more > COST_AHEAD {
                break;
            }
            cost += more;
            looked += 1;
            for asked in habit.steady(own) {
                wishes += 1;
                match wanted.iter_mut().find(|(wish, _)| **wish == asked.wish) {
                    Some((_, times)) => *times += 1,
                    None => wanted.push((&asked.wish, 1)),
                }
            }
        }
        // What nobody asks for any more goes.
        let mut ready = locked(&self.ready);
        ready.clear();
        if wishes > 1 && cost <= COST_AHEAD {
            ready.extend(self.read(&wanted));
        }
        looked
    }

    /// Lets a rule learn from what was asked for since the last time.
    pub(super) fn teach(&self, habit: &mut Habit) {
        habit.learn(std::mem::take(&mut *locked(&self.asked)));
    }

    fn read(&self, wanted: &[(&Wish, usize)]) -> Vec<Ready> {
        let selections: Vec<_> = wanted.iter().map(|(wish, _)| self.selection(wish)).collect();
        // Whoever asks for it finds out what is wrong.
        let Ok(found) = self.source.select_all(&selections) else { return Vec::new() };
        let ready = wanted.iter().zip(found).map(|((wish, times), series)| Ready {
            wish: Wish::clone(wish),
            series,
            times: *times,
        });
        ready.collect()
    }

    fn selection(&self, wish: &Wish) -> Selection {
        Selection {
            matchers: wish.matchers.clone(),
            after_ms: self.at_ms.saturating_add(wish.after_ms),
            through_ms: self.at_ms.saturating_add(wish.through_ms),
            max_samples: MOST_SAMPLES,
            deadline: self.deadline,
            hint: wish.hint,
        }
    }

    fn take(&self, wish: &Wish) -> Option<Vec<SeriesSamples>> {
        let mut ready = locked(&self.ready);
        let at = ready.iter().position(|one| one.wish == *wish)?;
        let one = ready.get_mut(at)?;
        one.times -= 1;
        if one.times == 0 { Some(ready.swap_remove(at).series) } else { Some(one.series.clone()) }
    }
}

impl Source for Ahead {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let Selection { matchers, after_ms, through_ms, max_samples, hint, .. } = selection;
        let wish = Wish {
            matchers: matchers.clone(),
            after_ms: after_ms.saturating_sub(self.at_ms),
            through_ms: through_ms.saturating_sub(self.at_ms),
            hint: *hint,
        };
        let series = match self.take(&wish) {
            Some(series) => series,
            None => self.source.select(selection)?,
        };
        let samples: usize = series.iter().map(|one| one.values.len()).sum();
        if samples > *max_samples {
            return Err(SourceError::TooManySamples);
        }
        locked(&self.asked).push((wish, samples + COST_OF_SERIES * series.len()));
        Ok(series)
    }
}

/// Whether a selector may find a series of one of these names.
pub(super) fn accepts_any(matchers: &[Matcher], names: &BTreeSet<String>) -> bool {
    names.iter().any(|name| {
        let mut on_name = matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME);
        on_name.all(|matcher| matcher.accepts(name))
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
