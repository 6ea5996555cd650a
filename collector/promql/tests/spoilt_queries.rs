//! Queries of people who err: nothing panics, and a query that is refused says why.

use proptest::prelude::*;
use upkeep_model::{Labels, METRIC_NAME, SeriesSamples};
use upkeep_promql::{Limits, Selection, Source, SourceError, parse};
use upkeep_tests::fuzz;

/// What queries are made of.
const WORDS: [&str; 64] = [
    "up",
    "node_load1",
    "{x=\"1\"}",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "[5m]",
    "[1m:10s]",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    ">",
    "<=",
    "bool",
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "sum",
    "avg",
    "topk",
    "quantile",
    "count_values",
    "rate",
    "increase",
    "histogram_quantile",
    "label_replace",
    "label_join",
    "absent",
    "predict_linear",
    "time()",
    "vector",
    "scalar",
    "offset",
    "@",
    "start()",
    "end()",
    "1",
    "0",
    "-1",
    "1e308",
    "NaN",
    "Inf",
    "5m",
    "9223372036854775807",
    "\"text\"",
    "\"(\"",
    "x",
    "le",
    "#",
];

/// Two series with a few samples each, whatever is asked for.
struct Anything;

impl Source for Anything {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        let series = |name: &str, x: &str, value: f64| {
            let labels = Labels::new([("x", x), ("le", x)]).with(METRIC_NAME, name);
            let timestamps: Vec<i64> = (0..6)
                .map(|step| step * 10_000)
                .filter(|at| (selection.after_ms..selection.through_ms).contains(&(at - 1)))
                .collect();
            let values = vec![value; timestamps.len()];
            SeriesSamples { labels, timestamps: timestamps.into(), values }
        };
        let all = [series("up", "1", 1.0), series("up", "+Inf", f64::NAN)];
        Ok(all.into_iter().filter(|series| !series.values.is_empty()).collect())
    }
}

fn try_out(text: &str) {
    match parse(text) {
        Ok(query) => {
            let limits = Limits::default();
            drop(query.instant(&Anything, 50_000, &limits));
            drop(query.range(&Anything, 0, 50_000, 10_000, &limits));
        }
        Err(error) => assert!(!error.to_string().is_empty(), "{text}"),
    }
}

#[test]
fn spoilt_queries_are_refused_or_answered() {
    let spaced = |words: Vec<&str>| words.join(" ");
    let made_up = prop::collection::vec(prop::sample::select(&WORDS[..]), 1..12).prop_map(spaced);
    let good = prop::sample::select(vec![
        "sum by (x) (rate(up{x=~\"1|2\"}[5m] offset 1m)) / on (x) group_left (le) up > bool 0.5",
        "histogram_quantile(0.9, sum by (le) (increase(up[1m:10s] @ end())))",
        "label_replace(topk(2, up), \"y\", \"$1-é\", \"x\", \"(.*)\") unless absent(up)",
    ]);
    let spoilt = (good, fuzz::spoils()).prop_map(|(good, spoils)| {
        String::from_utf8_lossy(&fuzz::spoilt(good.as_bytes(), &spoils)).into_owned()
    });
    let cases = prop_oneof![made_up, spoilt];
    fuzz::survive("queries", 256, &cases, |text| try_out(&text));
}
