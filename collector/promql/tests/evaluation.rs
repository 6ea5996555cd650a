//! What Prometheus' own scripts do not show: words of errors, limits, and what is asked of the
//! source.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use upkeep_model::{Labels, METRIC_NAME, SeriesSamples, stale_marker};
use upkeep_promql::{
    Answer, EvalError, Hint, Limits, Selection, Source, SourceError, Value, format_value, parse,
};

/// Samples in memory, which remember what was asked for.
#[derive(Default)]
struct Memory {
    series: Vec<SeriesSamples>,
    asked: RefCell<Vec<Selection>>,
}

impl Memory {
    /// A sample every 10 s from time 0 on; `None` is a gap.
    fn with(mut self, name: &str, labels: &[(&str, &str)], values: &[Option<f64>]) -> Self {
        let samples = (0..).step_by(10_000).zip(values).filter_map(|(at, v)| Some((at, (*v)?)));
        let (timestamps, values): (Vec<i64>, _) = samples.unzip();
        let labels = Labels::new(labels.iter().copied()).with(METRIC_NAME, name);
        self.series.push(SeriesSamples { labels, timestamps: timestamps.into(), values });
        self
    }
}

impl Source for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.asked.borrow_mut().push(selection.clone());
        let matching = self.series.iter().filter(|series| {
            selection.matchers.iter().all(|matcher| matcher.matches(&series.labels))
        });
        let stretch = |series: &SeriesSamples| {
            let within = |at: &i64| (selection.after_ms + 1..=selection.through_ms).contains(at);
            let samples = series.timestamps.iter().copied().zip(series.values.iter().copied());
            let (timestamps, values): (Vec<i64>, _) = samples.filter(|(at, _)| within(at)).unzip();
            SeriesSamples { labels: series.labels.clone(), timestamps: timestamps.into(), values }
        };
        Ok(matching.map(stretch).filter(|series| !series.values.is_empty()).collect())
    }
}

struct Broken;

impl Source for Broken {
    fn select(&self, _: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        Err(SourceError::Failed("disk on fire".to_owned()))
    }
}

fn memory() -> Memory {
    let every = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    Memory::default()
        .with("a", &[("x", "1")], &every(&[1.0, 2.0, 3.0, 4.0]))
        .with("a", &[("x", "2")], &every(&[10.0, 20.0, 30.0, 40.0]))
        .with("b", &[("x", "1"), ("y", "p")], &every(&[5.0, 5.0, 5.0, 5.0]))
        .with("b", &[("x", "1"), ("y", "q")], &every(&[6.0, 6.0, 6.0, 6.0]))
        .with("info", &[("x", "1"), ("os", "debian")], &every(&[1.0, 1.0, 1.0, 1.0]))
        .with("ended", &[], &every(&[1.0, 2.0, stale_marker()]))
        .with("gaps", &[], &[Some(1.0), None, None, Some(4.0)])
        .with("c_total", &[], &every(&[10.0, 20.0, 5.0, 15.0]))
}

fn in_words(result: Result<Answer, EvalError>) -> String {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return format!("error: {error}"),
    };
    let value = match answer.value {
        Value::Scalar { value, .. } => format_value(value),
        Value::Text { text, .. } => format!("{text:?}"),
        Value::Vector(points) => {
            let mut lines: Vec<String> = points
                .iter()
                .map(|point| format!("{} {}", point.labels, format_value(point.value)))
                .collect();
            lines.sort();
            lines.join("; ")
        }
        Value::Matrix(rows) => {
            let line = |row: &upkeep_promql::Row| {
                let points = row.points();
                let points: Vec<String> = points
                    .map(|(at, value)| format!("{}@{}", format_value(value), at / 1000))
                    .collect();
                format!("{} {}", row.labels, points.join(" "))
            };
            rows.iter().map(line).collect::<Vec<_>>().join("; ")
        }
    };
    let notes: Vec<String> = answer.warnings.into_iter().chain(answer.infos).collect();
    if notes.is_empty() { value } else { format!("{value} | {}", notes.join(" | ")) }
}

/// At 30 s.
fn instant(text: &str) -> String {
    match parse(text) {
        Ok(query) => in_words(query.instant(&memory(), 30_000, &Limits::default())),
        Err(error) => error.to_string(),
    }
}

/// From 0 s to 30 s by 10 s.
fn range(text: &str) -> String {
    match parse(text) {
        Ok(query) => in_words(query.range(&memory(), 0, 30_000, 10_000, &Limits::default())),
        Err(error) => error.to_string(),
    }
}

#[test]
fn instants() {
    let check = |text: &str, expect: &str| assert_eq!(instant(text), expect, "{text}");
    check("a", "a{x=\"1\"} 4; a{x=\"2\"} 40");
    check("a offset 15s", "a{x=\"1\"} 2; a{x=\"2\"} 20");
    check("a @ 0", "a{x=\"1\"} 1; a{x=\"2\"} 10");
    check("ended", "");
    check("ended offset 10s", "");
    check("timestamp(ended)", "");
    check("timestamp(ended @ 10)", "{} 10");
    check("ended offset 11s", "ended 2");
    check("-2 ^ 2", "-4");
    check("2 ^ 3 ^ 2", "512");
    check("5 % 3 - -1", "3");
    check("sum(a) / count(a)", "{} 22");
    check("a > 10", "a{x=\"2\"} 40");
    check("10 < a", "a{x=\"2\"} 40");
    check("a > bool 10", "{x=\"1\"} 0; {x=\"2\"} 1");
    check("a{x=\"1\"}[15s]", "a{x=\"1\"} 3@20 4@30");
    check("a{x=\"1\"}[20s:10s] offset 5s", "a{x=\"1\"} 2@10 3@20");
    check("\"text\"", "\"text\"");
    check("rate(c_total[40s])", "{} 0.8333333333333334");
    check("increase(c_total[25s])", "{} 18.75");
    check("irate(c_total[20s])", "{} 1");
    check("rate(c_total[10s])", "");
    check("scalar(a)", "NaN");
    check("scalar(a{x=\"2\"}) + 1", "41");
    check("absent(nothing{job=\"x\", os=~\"d.*\"})", "{job=\"x\"} 1");
    check("label_replace(a{x=\"1\"}, \"z\", \"<$1>\", \"x\", \"(.*)\")", "a{x=\"1\", z=\"<1>\"} 4");
    check("count_values(\"v\", b)", "{v=\"5\"} 1; {v=\"6\"} 1");
    check("limitk(1, a)", "a{x=\"1\"} 4");
}

#[test]
fn ranges() {
    let check = |text: &str, expect: &str| assert_eq!(range(text), expect, "{text}");
    check("a{x=\"1\"}", "a{x=\"1\"} 1@0 2@10 3@20 4@30");
    check("ended", "ended 1@0 2@10");
    check("gaps", "gaps 1@0 1@10 1@20 4@30");
    check("a{x=\"1\"} @ end()", "a{x=\"1\"} 4@0 4@10 4@20 4@30");
    check("a{x=\"1\"} @ start() + 0 * a", "{x=\"1\"} 1@0 1@10 1@20 1@30");
    check("time()", "{} 0@0 10@10 20@20 30@30");
    check("count_over_time(gaps[15s])", "{} 1@0 1@10 1@30");
    check("max_over_time(a{x=\"1\"}[20s:10s])", "{x=\"1\"} 1@0 2@10 3@20 4@30");
    check("a{x=\"1\"} > 2", "a{x=\"1\"} 3@20 4@30");
    check("topk(1, a)", "a{x=\"2\"} 10@0 20@10 30@20 40@30");
    check("5", "{} 5@0 5@10 5@20 5@30");
}

#[test]
fn vector_matching() {
    let check = |text: &str, expect: &str| assert_eq!(instant(text), expect, "{text}");
    check("a + on (x) info", "{x=\"1\"} 5");
    check("a * on (x) group_left (os) info", "{os=\"debian\", x=\"1\"} 4");
    check("info * on (x) group_right (os) a", "{os=\"debian\", x=\"1\"} 4");
    check("b / on (x) group_left a", "{x=\"1\", y=\"p\"} 1.25; {x=\"1\", y=\"q\"} 1.5");
    check("b / ignoring (y) group_left a", "{x=\"1\", y=\"p\"} 1.25; {x=\"1\", y=\"q\"} 1.5");
    check("a and on (x) b", "a{x=\"1\"} 4");
    check("a unless on (x) b", "a{x=\"2\"} 40");
    check("a or on (x) b", "a{x=\"1\"} 4; a{x=\"2\"} 40");
    check(
        "b / on (x) a",
        "error: multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)",
    );
    check(
        "a / on (x) b",
        "error: found duplicate series for the match group {x=\"1\"} on the right hand-side of \
         the operation: [{__name__=\"b\", x=\"1\", y=\"p\"}, {__name__=\"b\", x=\"1\", \
         y=\"q\"}];many-to-many matching not allowed: matching labels must be unique on one side",
    );
    check(
        "b / on (x) group_left (y) info",
        "error: multiple matches for labels: grouping labels must ensure unique matches",
    );
}

#[test]
fn what_is_odd_is_told() {
    let check = |text: &str, expect: &str| {
        let got = instant(text);
        assert!(got.contains(expect), "{text}: {got}");
    };
    check(
        "-{__name__=~\"gaps|c_total\"}",
        "error: vector cannot contain metrics with the same labelset",
    );
    check("quantile(2, a)", "PromQL warning: quantile value should be between 0 and 1, got 2");
    check(
        "rate(gaps[1m])",
        "PromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: \"gaps\"",
    );
    check("topk(NaN, a)", "error: Parameter value is NaN");
    check("label_replace(a, \"\", \"\", \"x\", \"\")", "invalid destination label name");
    check("label_replace(a, \"z\", \"\", \"x\", \"(\")", "error: invalid regular expression");
    assert!(range("sort(a)").contains("sort is ineffective for range queries"));
    assert_eq!(
        range("a[1m]"),
        "error: invalid expression type \"range vector\" for range query, must be Scalar or \
         instant Vector"
    );
}

#[test]
fn limits_end_an_evaluation() {
    let query = parse("sum(a) + absent(a)").unwrap();
    let check = |(start, end, step): (i64, i64, i64), limits: Limits, expect: EvalError| {
        assert_eq!(query.range(&memory(), start, end, step, &limits), Err(expect));
    };
    let limits = Limits::default;
    check((10, 0, 1), limits(), EvalError::Order);
    check((0, 10, 0), limits(), EvalError::Step);
    check((0, 11_001_000, 1_000), limits(), EvalError::Resolution { limit: 11_000 });
    check((0, 1_000, 1), Limits { max_samples: 2_000, ..limits() }, EvalError::TooManySamples);
    let passed = Instant::now() - Duration::from_secs(1);
    check((0, 10, 1), Limits { deadline: Some(passed), ..limits() }, EvalError::Timeout);
    assert!(query.range(&memory(), 0, 11_000_000, 1_000, &limits()).is_ok());

    let endless = parse("count_over_time(absent(a)[200y:1ms])").unwrap();
    assert_eq!(endless.instant(&memory(), 0, &limits()), Err(EvalError::TooManySamples));
}

#[test]
fn only_what_is_in_memory_at_once_counts() {
    let check = |text: &str, max_samples: usize, fits: bool| {
        let limits = Limits { max_samples, ..Limits::default() };
        let result = parse(text).unwrap().range(&memory(), 0, 30_000, 10_000, &limits);
        assert_eq!(result.is_ok(), fits, "{text}: {result:?}");
    };
    // Eight samples in two series, of which columns of four steps are made.
    check("a", 16, true);
    check("a", 7, false);
    check("sum(a)", 40, true);
    check(&["sum(a)"; 60].join(" + "), 60, true);
    check(&["sum(rate(a[1m]))"; 60].join(" + "), 60, true);
    check("count_over_time((a + a)[30s:1s])", 60, false);
}

#[test]
fn limits_and_hints_go_down_to_the_source() {
    let check = |text: &str, expect: Hint| {
        let memory = memory();
        let deadline = Some(Instant::now() + Duration::from_secs(60));
        let limits = Limits { deadline, max_samples: 1_234, ..Limits::default() };
        parse(text).unwrap().range(&memory, 0, 30_000, 10_000, &limits).unwrap();
        let asked = memory.asked.borrow();
        assert_eq!((asked[0].hint, asked[0].max_samples), (expect, 1_234), "{text}");
        assert_eq!(asked[0].deadline, deadline, "{text}");
    };
    let hint = |function: Option<&'static str>, range_ms, step_ms| {
        let takes_last = function.is_none();
        Hint { function, range_ms, step_ms, takes_last }
    };
    check("a", hint(None, 300_000, 10_000));
    check("rate(a[1m])", hint(Some("rate"), 60_000, 10_000));
    check("sum(max_over_time(a[1m] @ 5))", hint(Some("max_over_time"), 60_000, 0));
    check("rate(a[1m:5s])", hint(None, 300_000, 5_000));
}

#[test]
fn limits_that_a_source_finds_passed_are_told_as_such() {
    struct Limited(SourceError);
    impl Source for Limited {
        fn select(&self, _: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
            Err(self.0.clone())
        }
    }
    let check = |found: SourceError, expect: EvalError| {
        let result = parse("a").unwrap().instant(&Limited(found), 0, &Limits::default());
        assert_eq!(result, Err(expect));
    };
    check(SourceError::TooManySamples, EvalError::TooManySamples);
    check(SourceError::Timeout, EvalError::Timeout);
}

#[test]
fn a_failing_source_is_named() {
    let result = parse("a").unwrap().instant(&Broken, 0, &Limits::default());
    assert_eq!(result.unwrap_err().to_string(), "expanding series: disk on fire");
}

#[test]
fn the_source_is_asked_for_no_more_than_needed() {
    let check = |text: &str, expect: &[(i64, i64)]| {
        let memory = memory();
        let limits = Limits { lookback_ms: 60_000, ..Limits::default() };
        parse(text).unwrap().range(&memory, 100_000, 200_000, 10_000, &limits).unwrap();
        let asked = memory.asked.borrow();
        let stretches: Vec<(i64, i64)> =
            asked.iter().map(|one| (one.after_ms / 1000, one.through_ms / 1000)).collect();
        assert_eq!(stretches, expect, "{text}");
    };
    check("a", &[(40, 200)]);
    check("a offset 30s", &[(10, 170)]);
    check("rate(a[5m])", &[(-200, 200)]);
    check("rate(a[5m] offset -1m)", &[(-140, 260)]);
    check("a @ 50", &[(-10, 50)]);
    check("max_over_time(a[30s:10s])", &[(20, 200)]);
    check("a{x=\"1\"} + b", &[(40, 200), (40, 200)]);
    // The same selector is read once, and read again where it needs another stretch.
    check("a + a", &[(40, 200)]);
    check("rate(a[1m]) / rate(a[1m]) + (a or a) + a", &[(40, 200), (40, 200)]);
    check("a + a offset 10s", &[(40, 200), (30, 190)]);
    check("rate(a[1m]) + rate(a[2m])", &[(40, 200), (-20, 200)]);
    let memory = memory();
    parse("a{x=~\"1|2\"}").unwrap().instant(&memory, 0, &Limits::default()).unwrap();
    let matchers: Vec<String> = memory
        .asked
        .borrow()
        .iter()
        .flat_map(|one| &one.matchers)
        .map(ToString::to_string)
        .collect();
    assert_eq!(matchers, ["__name__=\"a\"", "x=~\"1|2\""]);
}

#[test]
fn of_many_series_each_has_the_value_of_its_own_windows() {
    // More than are done at a time, and each of these parts by several threads.
    let memory = (0..2_500).fold(Memory::default(), |memory, number| {
        let (label, value) = (number.to_string(), f64::from(number));
        memory.with("m", &[("number", &label)], &[Some(value), Some(2.0 * value)])
    });
    let query = parse("sum_over_time(m[20s])").unwrap();
    let Value::Vector(points) = query.instant(&memory, 10_000, &Limits::default()).unwrap().value
    else {
        panic!("no vector")
    };
    assert_eq!(points.len(), 2_500);
    for point in points {
        let number: f64 = point.labels.get("number").unwrap().parse().unwrap();
        assert_eq!(point.value, 3.0 * number, "{}", point.labels);
    }
    let limits = Limits { deadline: Some(Instant::now()), ..Limits::default() };
    let late = query.instant(&memory, 10_000, &limits).unwrap_err();
    assert!(matches!(late, EvalError::Timeout), "{late}");
}
