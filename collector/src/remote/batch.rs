//! From samples in the order of their commits to packed messages of bounded size.

use std::collections::{BTreeSet, HashMap};

use upkeep_model::Labels;

use super::message::{Sample, put_series};
use super::target::Target;

/// No message has more samples, as with Prometheus' own sender by default, times five.
const MAX_SAMPLES: usize = 10_000;

/// A message that has grown past this, in bytes, is followed by another.
const MAX_BYTES: usize = 1024 * 1024;

/// A sample takes at most so many bytes.
const SAMPLE_BYTES: usize = 22;

/// A series and some of its samples.
type Series = (Labels, Vec<Sample>);

/// A packed message.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) body: Vec<u8>,
    /// How many samples it has.
    pub(super) samples: usize,
    series: Vec<Series>,
}

impl Packed {
    fn of(series: Vec<Series>) -> Option<Self> {
        let mut message = Vec::new();
        series.iter().for_each(|(labels, samples)| put_series(&mut message, labels, samples));
        let samples = series.iter().map(|(_, samples)| samples.len()).sum();
        // It fails only where a message is longer than four gigabytes.
        let body = snap::raw::Encoder::new().compress_vec(&message).ok()?;
        (samples > 0).then_some(Self { body, samples, series })
    }

    /// The earlier and the later half of the message's time, the later one first; nothing where all
    /// samples are of one instant. A receiver that takes nothing out of order refuses a message for its
    /// old samples, and the new ones with them.
    pub(super) fn halves(&self) -> Vec<Self> {
        let times = self.series.iter().flat_map(|(_, samples)| samples).map(|(at_ms, _)| *at_ms);
        let times: Vec<i64> = times.collect::<BTreeSet<_>>().into_iter().collect();
        let Some(&middle) = times.get(times.len() / 2).filter(|_| times.len() > 1) else {
            return Vec::new();
        };
        let half = |is_in: &dyn Fn(i64) -> bool| {
            let series = self.series.iter().filter_map(|(labels, samples)| {
                let inside = samples.iter().filter(|(at_ms, _)| is_in(*at_ms));
                let inside: Vec<Sample> = inside.copied().collect();
                (!inside.is_empty()).then(|| (labels.clone(), inside))
            });
            Self::of(series.collect())
        };
        let halves = [half(&|at_ms| at_ms >= middle), half(&|at_ms| at_ms < middle)];
        halves.into_iter().flatten().collect()
    }
}

/// The messages for a target; the samples of a series stay in their order.
pub(super) fn pack(target: &Target, samples: Vec<(Labels, i64, f64)>) -> Vec<Packed> {
    let mut series: Vec<Series> = Vec::new();
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut messages = Vec::new();
    let mut count = 0;
    for (labels, at_ms, value) in samples {
        if !target.keeps(labels.metric_name().unwrap_or_default()) {
            continue;
        }
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            series.push((labels.clone(), Vec::new()));
            series.len() - 1
        });
        if let Some((_, samples)) = series.get_mut(place) {
            samples.push((at_ms, value));
        }
        count += 1;
        if count == MAX_SAMPLES {
            places.clear();
            flush(target, std::mem::take(&mut series), &mut messages);
            count = 0;
        }
    }
    flush(target, series, &mut messages);
    messages
}

fn flush(target: &Target, series: Vec<Series>, messages: &mut Vec<Packed>) {
    let (mut part, mut bytes) = (Vec::new(), 0);
    for (mut labels, samples) in series {
        for (name, value) in &target.external_labels {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        let texts: usize = labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        bytes += texts + SAMPLE_BYTES * samples.len();
        part.push((labels, samples));
        if bytes > MAX_BYTES {
            messages.extend(Packed::of(std::mem::take(&mut part)));
            bytes = 0;
        }
    }
    messages.extend(Packed::of(part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::TargetSettings;
    use crate::remote::body::unpack;
    use crate::remote::message::{parse, parse_labels};

    fn target(keep: &[&str]) -> Target {
        let settings = TargetSettings {
            name: "x".to_owned(),
            url: "http://127.0.0.1/".to_owned(),
            token_file: None,
            ca_file: None,
            keep: keep.iter().map(|name| (*name).to_owned()).collect(),
            external_labels: [("site".to_owned(), "a".to_owned())].into(),
        };
        settings.build().unwrap()
    }

    fn read(messages: &[Packed]) -> Vec<(String, Vec<Sample>)> {
        let mut found = Vec::new();
        for message in messages {
            let bytes = unpack(&message.body).unwrap();
            let request = parse(&bytes).unwrap();
            assert_eq!(request.samples.len(), message.samples);
            for series in &request.series {
                let labels = parse_labels(&series.labels).unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let labels = labels.into_iter().map(|(name, value)| (text(name), text(value)));
                let samples = request.samples[series.samples.clone()].to_vec();
                found.push((Labels::new(labels).to_string(), samples));
            }
        }
        found
    }

    #[test]
    fn series_are_brought_together_filtered_and_given_the_external_labels() {
        let labels = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied());
        let (up, load) = (labels(&[("__name__", "up")]), labels(&[("__name__", "load")]));
        let sited = labels(&[("__name__", "up"), ("site", "b")]);
        let samples = vec![(up.clone(), 1, 1.0), (load, 1, 2.0), (sited, 1, 3.0), (up, 2, 4.0)];
        let found = read(&pack(&target(&["up"]), samples));
        let expect = [
            ("up{site=\"a\"}".to_owned(), vec![(1, 1.0), (2, 4.0)]),
            ("up{site=\"b\"}".to_owned(), vec![(1, 3.0)]),
        ];
        assert_eq!(found, expect);
        assert!(pack(&target(&["none"]), vec![(Labels::default(), 1, 1.0)]).is_empty());
    }

    #[test]
    fn a_message_is_halved_in_time_until_it_is_one_instant() {
        let up = Labels::new([("__name__", "up")]);
        let down = Labels::new([("__name__", "down")]);
        let samples = [(5, &up), (1, &up), (1, &down), (9, &down), (7, &up)];
        let samples = samples.map(|(at_ms, labels)| (labels.clone(), at_ms, at_ms as f64));
        let mut waiting = pack(&target(&[]), samples.to_vec());
        let mut instants = Vec::new();
        while let Some(message) = waiting.pop() {
            let halves = message.halves();
            if halves.is_empty() {
                let of_one = read(std::slice::from_ref(&message));
                instants.push(of_one.iter().map(|(_, samples)| samples[0].0).collect::<Vec<_>>());
            }
            waiting.extend(halves);
        }
        assert_eq!(instants, [vec![1, 1], vec![5], vec![7], vec![9]]);
    }

    #[test]
    fn messages_are_bounded_and_nothing_is_lost() {
        let value = "v".repeat(1_000);
        let labels = |number: usize| {
            Labels::new([("__name__", "up"), ("number", &number.to_string()), ("value", &value)])
        };
        let sets: Vec<_> = (0..2_500).map(labels).collect();
        let samples = |round: i64| sets.iter().map(move |set| (set.clone(), round, round as f64));
        let messages = pack(&target(&[]), (0..9).flat_map(samples).collect());
        assert!(messages.len() > 3, "{}", messages.len());
        for message in &messages {
            assert!(message.samples <= MAX_SAMPLES);
            assert!(unpack(&message.body).unwrap().len() < MAX_BYTES + 2_000);
        }
        let mut by_series: HashMap<String, Vec<Sample>> = HashMap::new();
        for (labels, samples) in read(&messages) {
            by_series.entry(labels).or_default().extend(samples);
        }
        let expect: Vec<_> = (0..9).map(|round| (round, round as f64)).collect();
        assert_eq!(by_series.len(), sets.len());
        assert!(by_series.values().all(|samples| *samples == expect));
    }
}
