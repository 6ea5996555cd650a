//! From samples in the order of their commits to packed messages of bounded size.

use std::collections::HashMap;

use upkeep_model::Labels;

use super::message::{Sample, put_series};
use super::target::Target;

/// No message has more samples, as with Prometheus' own sender by default, times five.
const MAX_SAMPLES: usize = 10_000;

/// A message that has grown past this, in bytes, is followed by another.
const MAX_BYTES: usize = 1024 * 1024;

/// A packed message and how many samples it has.
#[derive(Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) body: Vec<u8>,
    pub(super) samples: usize,
}

/// The messages for a target; the samples of a series stay in their order.
pub(super) fn pack(target: &Target, samples: Vec<(Labels, i64, f64)>) -> Vec<Packed> {
    let mut series: Vec<(Labels, Vec<Sample>)> = Vec::new();
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

fn flush(target: &Target, series: Vec<(Labels, Vec<Sample>)>, messages: &mut Vec<Packed>) {
    let (mut message, mut count) = (Vec::new(), 0);
    for (mut labels, samples) in series {
        for (name, value) in &target.external_labels {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        put_series(&mut message, &labels, &samples);
        count += samples.len();
        if message.len() > MAX_BYTES {
            finish(&mut message, &mut count, messages);
        }
    }
    finish(&mut message, &mut count, messages);
}

fn finish(message: &mut Vec<u8>, count: &mut usize, messages: &mut Vec<Packed>) {
    let (message, samples) = (std::mem::take(message), std::mem::take(count));
    // It fails only where a message is longer than four gigabytes.
    if samples > 0
        && let Ok(body) = snap::raw::Encoder::new().compress_vec(&message)
    {
        messages.push(Packed { body, samples });
    }
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
        assert_eq!(pack(&target(&["none"]), vec![(Labels::default(), 1, 1.0)]), []);
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
