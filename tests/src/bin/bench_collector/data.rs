//! The samples: what hosts observe, the same in every run but for the time at which it begins. Each host
//! is made anew wherever it is needed, as native frames or as bodies of remote write.

use anyhow::{Result, bail};
use bytes::Bytes;
use prost::Message;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use upkeep_codec::Encoder;
use upkeep_tests::TimeSeries;

use super::series::{Moving, SERIES, Shape, all};

/// The time between two steps.
pub(super) const STEP_MS: i64 = 10_000;

/// So many of a rarely moving series' steps pass between two moves.
const RARELY: u32 = 60;

/// How many hosts observe how often, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) hosts: usize,
    pub(super) steps: usize,
    pub(super) begin_ms: i64,
}

impl Size {
    /// A size whose last step is now, by the given clock.
    pub(super) fn ending(now_ms: i64, hosts: usize, steps: usize) -> Self {
        let length_ms = i64::try_from(steps).unwrap_or(i64::MAX).saturating_mul(STEP_MS);
        Self { hosts, steps, begin_ms: (now_ms - length_ms).div_euclid(STEP_MS) * STEP_MS }
    }

    pub(super) fn samples(&self) -> u64 {
        (self.hosts * self.steps * SERIES) as u64
    }

    pub(super) fn at_ms(&self, step: usize) -> i64 {
        self.begin_ms + step as i64 * STEP_MS
    }

    pub(super) fn end_ms(&self) -> i64 {
        self.at_ms(self.steps.saturating_sub(1))
    }
}

/// The name of a host.
pub(super) fn host_name(number: usize) -> String {
    format!("bench{number}")
}

/// A host that observes step by step.
pub(super) struct Observing {
    random: StdRng,
    series: Vec<Moving>,
    values: Vec<f64>,
    /// What each observation adds to a host's counters beside others'.
    pace: f64,
}

impl Observing {
    pub(super) fn new(host: usize) -> Self {
        let mut random = StdRng::seed_from_u64(host as u64 ^ 0x5eed_0000);
        let series = all();
        let pace = random.random_range(0.5..2.0);
        let begin = |moving: &Moving| match moving.shape {
            Shape::Constant(value) => value,
            Shape::Rare { least, .. } => least,
            Shape::Counter { begin, scale, .. } => (begin * pace * scale).round() / scale,
            Shape::Gauge { middle, scale, .. } => (middle * scale).round() / scale,
        };
        let values = series.iter().map(begin).collect();
        Self { random, series, values, pace }
    }

    /// The values of the next step, in the order of the series.
    pub(super) fn row(&mut self) -> &[f64] {
        for (moving, value) in self.series.iter().zip(&mut self.values) {
            match moving.shape {
                Shape::Constant(_) => {}
                Shape::Rare { least, kinds } => {
                    if self.random.random_range(0..RARELY) == 0 {
                        *value = least + f64::from(self.random.random_range(0..kinds));
                    }
                }
                Shape::Counter { a_step, scale, .. } => {
                    let more = a_step * self.pace * self.random.random_range(0.4..1.6) * scale;
                    // Parts of a unit come as whole ones now and then.
                    let whole = more.floor() + f64::from(self.random.random_bool(more.fract()));
                    *value = ((*value * scale).round() + whole) / scale;
                }
                Shape::Gauge { middle, swing, scale } => {
                    let pull = (middle - *value) * 0.05;
                    let next = *value + pull + swing * self.random.random_range(-1.0..1.0);
                    *value = (next.max(0.0) * scale).round() / scale;
                }
            }
        }
        &self.values
    }
}

/// All frames of a host, as an agent keeps them.
pub(super) fn frames(host: usize, size: Size) -> Vec<Bytes> {
    let (mut observing, mut encoder) = (Observing::new(host), Encoder::default());
    let frame = |step: usize| {
        let row = (0..).zip(observing.row().iter().copied()).collect();
        encoder.encode(step as u64 + 1, size.at_ms(step), row).bytes.into()
    };
    (0..size.steps).map(frame).collect()
}

/// Bodies of remote write of a host, so many steps each, packed.
pub(super) struct Bodies {
    observing: Observing,
    /// Each series without samples, as it is written.
    labels: Vec<Vec<u8>>,
    size: Size,
    step: usize,
    steps_a_body: usize,
    packer: snap::raw::Encoder,
}

impl Bodies {
    pub(super) fn new(host: usize, size: Size, steps_a_body: usize) -> Self {
        let observing = Observing::new(host);
        let instance = host_name(host);
        let written = |moving: &Moving| {
            let mut labels: Vec<(&str, &str)> = moving.series.labels.iter().collect();
            labels.extend([("instance", instance.as_str()), ("job", "node")]);
            TimeSeries::new(&labels, &[]).encode_to_vec()
        };
        let labels = observing.series.iter().map(written).collect();
        Self { observing, labels, size, step: 0, steps_a_body, packer: snap::raw::Encoder::new() }
    }

    /// The next body; none once all steps are told.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let last = (self.step + self.steps_a_body).min(self.size.steps);
        if self.step == last {
            return Ok(None);
        }
        let mut samples = vec![Vec::new(); SERIES];
        for step in self.step..last {
            let at_ms = self.size.at_ms(step);
            for (value, written) in self.observing.row().iter().zip(&mut samples) {
                put_sample(written, at_ms, *value);
            }
        }
        self.step = last;
        let mut plain = Vec::new();
        for (labels, samples) in self.labels.iter().zip(&samples) {
            plain.push(0x0a);
            prost::encoding::encode_varint((labels.len() + samples.len()) as u64, &mut plain);
            plain.extend_from_slice(labels);
            plain.extend_from_slice(samples);
        }
        match self.packer.compress_vec(&plain) {
            Ok(packed) => Ok(Some(packed)),
            Err(error) => bail!("packing a body: {error}"),
        }
    }
}

/// A sample as a field of its series: the value, then the time.
fn put_sample(out: &mut Vec<u8>, at_ms: i64, value: f64) {
    let sample = upkeep_tests::Sample { value, timestamp: at_ms };
    out.push(0x12);
    out.extend_from_slice(&sample.encode_length_delimited_to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_tests::WriteRequest;

    #[test]
    fn bodies_and_frames_tell_the_same() {
        let size = Size { hosts: 1, steps: 8, begin_ms: 1_800_000_000_000 };
        let mut bodies = Bodies::new(3, size, 6);
        let mut told = vec![Vec::new(); SERIES];
        while let Some(body) = bodies.next().unwrap() {
            let request = WriteRequest::unpacked(&body).unwrap();
            assert_eq!(request.timeseries.len(), SERIES);
            for (series, told) in request.timeseries.iter().zip(&mut told) {
                told.extend(series.samples.iter().map(|one| (one.timestamp, one.value)));
            }
        }
        let mut key = None;
        for (step, frame) in frames(3, size).into_iter().enumerate() {
            let decoded = upkeep_codec::decode(&frame, |_| key.as_ref()).unwrap();
            for (told, value) in told.iter().zip(&decoded.values) {
                assert_eq!(told[step], (size.at_ms(step), *value));
            }
            if decoded.is_key {
                key = Some(decoded.to_key());
            }
        }
    }
}
