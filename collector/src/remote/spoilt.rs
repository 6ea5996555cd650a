//! Messages that were spoilt at random are refused or walked, and never more than they are.

use proptest::prelude::*;
use upkeep_model::Labels;
use upkeep_tests::fuzz;

use super::admit;
use super::body::unpack;
use super::message::{parse, put_series};

#[test]
fn spoilt_messages_are_refused_or_taken() {
    let labels = |number: usize| {
        let number = number.to_string();
        Labels::new([("__name__", "größe"), ("instance", "a:9100"), ("number", &number)])
    };
    let mut message = Vec::new();
    for number in 0..5 {
        put_series(&mut message, &labels(number), &[(number as i64, 1.5), (-7, f64::NAN)]);
    }
    let packed = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let cases = (any::<bool>(), fuzz::spoils());
    fuzz::survive("remote write", 256, &cases, |(is_packed, spoils)| {
        let spoilt = fuzz::spoilt(if is_packed { &packed } else { &message }, &spoils);
        let unpacked = if is_packed { unpack(&spoilt) } else { Ok(spoilt) };
        let Ok(bytes) = unpacked else { return };
        let Ok(request) = parse(&bytes) else { return };
        assert!(request.samples.len() <= bytes.len());
        for series in &request.series {
            assert!(series.samples.end <= request.samples.len());
            if let Ok(labels) = admit::labels(&series.labels, &Default::default()) {
                assert!(
                    labels.metric_name().is_some()
                        && labels.iter().all(|(name, _)| !name.is_empty())
                );
            }
        }
    });
}
