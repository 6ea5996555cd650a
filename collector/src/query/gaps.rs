//! Declared gaps as queries see them: a series of a host that lost observations has no value from the
//! first lost one on until the next that is there, and the answer says why.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use upkeep_model::{INSTANCE, SeriesSamples, stale_marker};

/// So many gaps an answer names.
const NAMED: usize = 10;

/// Observations of a host that are lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownGap {
    /// The host's name.
    pub instance: String,
    /// The time of the first, in milliseconds since 1970; `None` where it is not known.
    pub from_ms: Option<i64>,
    /// The time of the last.
    pub to_ms: i64,
    /// Why they are lost.
    pub reason: String,
}

/// Something that knows which observations are lost.
pub trait GapSource: Send + Sync {
    /// The gaps that touch a stretch of time.
    ///
    /// # Errors
    /// When they cannot be read; the text says why.
    fn gaps(&self, after_ms: i64, through_ms: i64) -> Result<Vec<KnownGap>, String>;
}

/// Ends series where their hosts' observations are lost; gives the gaps of the hosts that the series are
/// of.
pub(super) fn mark(
    series: &mut [SeriesSamples],
    gaps: &[KnownGap],
    after_ms: i64,
) -> BTreeSet<KnownGap> {
    let mut by_host: BTreeMap<&str, Vec<&KnownGap>> = BTreeMap::new();
    for gap in gaps {
        by_host.entry(&gap.instance).or_default().push(gap);
    }
    for gaps in by_host.values_mut() {
        gaps.sort_unstable_by_key(|gap| gap.from_ms);
    }
    let mut met = BTreeSet::new();
    for one in series {
        let Some(gaps) = one.labels.get(INSTANCE).and_then(|host| by_host.get(host)) else {
            continue;
        };
        met.extend(gaps.iter().map(|gap| (*gap).clone()));
        let ends = ends_of(&one.timestamps, gaps, after_ms);
        if !ends.is_empty() {
            insert(one, &ends);
        }
    }
    met
}

/// The times at which a series ends: where a gap begins in which it has no sample. Those that the
/// collector makes itself, such as `up`, go on in a gap.
fn ends_of(timestamps: &[i64], gaps: &[&KnownGap], after_ms: i64) -> Vec<i64> {
    let begins = gaps.iter().filter_map(|gap| {
        let from_ms = gap.from_ms.filter(|from_ms| *from_ms > after_ms)?;
        let next = timestamps.partition_point(|at_ms| *at_ms < from_ms);
        let is_hole = timestamps.get(next).is_none_or(|at_ms| *at_ms > gap.to_ms);
        (next > 0 && is_hole).then_some(from_ms)
    });
    let mut ends: Vec<i64> = begins.collect();
    ends.dedup();
    ends
}

/// Adds a staleness marker at each of the times, which are ascending and at which there is no sample.
fn insert(series: &mut SeriesSamples, ends: &[i64]) {
    let length = series.values.len() + ends.len();
    let (mut times, mut values) = (Vec::with_capacity(length), Vec::with_capacity(length));
    let mut ends = ends.iter().copied().peekable();
    for (&at_ms, &value) in series.timestamps.iter().zip(&series.values) {
        while let Some(end_ms) = ends.next_if(|end_ms| *end_ms < at_ms) {
            times.push(end_ms);
            values.push(stale_marker());
        }
        times.push(at_ms);
        values.push(value);
    }
    for end_ms in ends {
        times.push(end_ms);
        values.push(stale_marker());
    }
    series.timestamps = times.into();
    series.values = values;
}

/// What an answer says of the gaps that it met, the newest first and not too many.
pub(super) fn infos(met: &BTreeSet<KnownGap>) -> Vec<String> {
    let mut gaps: Vec<&KnownGap> = met.iter().collect();
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.to_ms));
    let mut infos: Vec<String> = gaps.iter().take(NAMED).map(|gap| text(gap)).collect();
    if let Some(more) = gaps.len().checked_sub(NAMED).filter(|more| *more > 0) {
        infos.push(format!("{more} more gaps; /api/v1/hosts/{{host}}/gaps lists them"));
    }
    infos
}

fn text(gap: &KnownGap) -> String {
    let KnownGap { instance, from_ms, to_ms, reason } = gap;
    let to = time(*to_ms);
    match from_ms {
        Some(from_ms) => {
            format!("{instance}: samples from {} to {to} are lost: {reason}", time(*from_ms))
        }
        None => format!("{instance}: samples up to {to} are lost: {reason}"),
    }
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use upkeep_model::{Labels, METRIC_NAME, is_stale};

    use super::*;

    fn gap(instance: &str, from_ms: Option<i64>, to_ms: i64) -> KnownGap {
        KnownGap { instance: instance.to_owned(), from_ms, to_ms, reason: "full".to_owned() }
    }

    #[test]
    fn a_series_ends_where_its_observations_are_lost() {
        let check = |timestamps: &[i64], gaps: &[KnownGap], stale: &[i64]| {
            let labels = Labels::new([(METRIC_NAME, "x"), (INSTANCE, "a")]);
            let values = vec![1.0; timestamps.len()];
            let mut series = [SeriesSamples { labels, timestamps: timestamps.into(), values }];
            mark(&mut series, gaps, 0);
            let [series] = series;
            let found = series.timestamps.iter().zip(&series.values);
            let (ended, there): (Vec<_>, Vec<_>) = found.partition(|(_, value)| is_stale(**value));
            assert_eq!(ended.into_iter().map(|(at, _)| *at).collect::<Vec<_>>(), stale);
            assert_eq!(there.into_iter().map(|(at, _)| *at).collect::<Vec<_>>(), timestamps);
            assert!(series.timestamps.is_sorted());
        };
        let times = [10, 20, 60, 70, 90];
        check(&times, &[], &[]);
        check(&times, &[gap("a", Some(30), 50)], &[30]);
        check(&times, &[gap("b", Some(30), 50)], &[]);
        check(&times, &[gap("a", Some(80), 80), gap("a", Some(30), 50)], &[30, 80]);
        check(&times, &[gap("a", Some(100), 120)], &[100]);
        check(&times, &[gap("a", None, 50), gap("a", Some(-5), 0)], &[]);
        // It has not begun yet, or goes on in the gap.
        check(&times, &[gap("a", Some(1), 5)], &[]);
        check(&times, &[gap("a", Some(30), 65)], &[]);
        check(&times, &[gap("a", Some(20), 50)], &[]);
        check(&[], &[gap("a", Some(20), 50)], &[]);
    }

    #[test]
    fn an_answer_names_a_few_gaps_and_counts_the_rest() {
        let mut met: BTreeSet<KnownGap> = (1..=9).map(|at| gap("a", Some(at), at)).collect();
        assert_eq!(infos(&met).len(), 9);
        met.insert(gap("b", None, 60_000));
        met.extend((20..22).map(|at| gap("c", Some(at), at)));
        let infos = infos(&met);
        assert_eq!(infos.len(), 11);
        assert_eq!(infos[0], "b: samples up to 1970-01-01T00:01:00Z are lost: full");
        let last = "2 more gaps; /api/v1/hosts/{host}/gaps lists them";
        assert_eq!(infos[10], last);
    }
}
