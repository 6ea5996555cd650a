//! Documents that people, other programs and the network hand to the agent: its configuration,
//! enrollment tokens, metrics as text, frames.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use upkeep_agent::{config, enroll, exposition};
use upkeep_codec::{Encoder, decode, peek, retime};
use upkeep_tests::fuzz;
use upkeep_wire::{Fingerprint, Token, TokenSecret};

#[test]
fn spoilt_configuration_is_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config/agent.toml");
    // With every setting that stands there as a comment in force.
    let text = fs::read_to_string(shipped).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let good = lines.collect::<Vec<_>>().join("\n");
    let file = folder.path().join("agent.toml");
    fs::write(&file, &good).unwrap();
    config::load(Some(&file)).expect("the shipped configuration is a good one");
    fuzz::survive("configuration", 64, &fuzz::spoils(), |spoils| {
        fs::write(&file, fuzz::spoilt(good.as_bytes(), &spoils)).unwrap();
        if let Err(error) = config::load(Some(&file)) {
            let said = error.to_string();
            assert!(said.contains("agent.toml"), "it does not say where: {said}");
        }
    });
}

#[test]
fn spoilt_tokens_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let pins = vec![Fingerprint([7; 32]), Fingerprint([9; 32])];
    let good = Token::new("t1", TokenSecret::new([3; 32]), "collector.example:8443", pins).unwrap();
    let text = good.to_text();
    let file = folder.path().join("token");
    fuzz::survive("tokens", 64, &fuzz::spoils(), |spoils| {
        fs::write(&file, fuzz::spoilt(text.as_bytes(), &spoils)).unwrap();
        // A token has a checksum: one that is read is the good one.
        if let Ok(token) = enroll::read_token(&file) {
            assert_eq!(token, good);
        }
    });
}

const METRICS: &str = "# HELP a_total What it is, with a \\\\ and a \\n.\n# TYPE a_total counter\n\
    a_total{x=\"1\",y=\"a \\\"b\\\"\"} 5\na_total 1e3 1700000000000\n# TYPE h histogram\n\
    h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
    # TYPE s summary\ns{quantile=\"0.9\"} NaN\ns_sum -Inf\ns_count 0\n# a comment\nplain -0.5\n";

#[test]
fn spoilt_texts_of_metrics_are_refused_or_read() {
    assert!(exposition::parse(METRICS).is_ok());
    fuzz::survive("texts of metrics", 128, &fuzz::spoils(), |spoils| {
        let spoilt = fuzz::spoilt(METRICS.as_bytes(), &spoils);
        let text = String::from_utf8_lossy(&spoilt);
        let lines = text.lines().count();
        match exposition::parse(&text) {
            Ok(families) => {
                let samples: usize = families.iter().map(|family| family.samples.len()).sum();
                assert!(samples <= lines, "{samples} samples of {lines} lines");
            }
            Err(error) => assert!((1..=lines.max(1)).contains(&error.line), "{error}"),
        }
    });
}

#[test]
fn spoilt_frames_are_refused_or_read() {
    let mut encoder = Encoder::default();
    let row = |step: u32| -> Vec<(u32, f64)> {
        (0..40).map(|at| (at, f64::from(at * step) / 8.0)).collect()
    };
    let key = encoder.encode(1, 1_000, row(3));
    let delta = encoder.encode(2, 2_000, row(4));
    assert_eq!((key.key, delta.key), (None, Some(1)));
    let base = decode(&key.bytes, |_| None).unwrap().to_key();
    let cases = (prop::sample::select(vec![key.bytes, delta.bytes]), fuzz::spoils());
    fuzz::survive("codec frames", 128, &cases, |(good, spoils)| {
        let spoilt = fuzz::spoilt(&good, &spoils);
        let _ = peek(&spoilt);
        if let Ok(retimed) = retime(&spoilt, 5) {
            assert!(retimed.len() <= spoilt.len() + 10);
        }
        if let Ok(frame) = decode(&spoilt, |_| Some(&base)) {
            assert_eq!(frame.numbers.len(), frame.values.len());
            assert!(frame.numbers.windows(2).all(|pair| pair[0] < pair[1]));
        }
    });
}
