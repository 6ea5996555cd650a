//! A chart as series, for PromQL: value, centre line, limits, and which rules are broken.

use upkeep_model::{INSTANCE, JOB, Labels, METRIC_NAME};

use super::broken::ChartRule;
use super::chart::{Chart, ChartLimits};

/// What was measured.
pub const VALUE: &str = "upkeep_chart_value";
/// What is expected.
pub const CENTER: &str = "upkeep_chart_center";
/// Three sigmas below.
pub const LOWER_LIMIT: &str = "upkeep_chart_lower_limit";
/// Three sigmas above.
pub const UPPER_LIMIT: &str = "upkeep_chart_upper_limit";
/// 1 while the rule of the label `rule` is broken, and 0 once after that.
pub const BROKEN: &str = "upkeep_chart_broken";
/// The label that names the signal.
pub const SIGNAL: &str = "signal";
/// The label that names the rule.
pub const RULE: &str = "rule";

/// The label `job` of all of them.
const UPKEEP: &str = "upkeep";

/// One value of one series: its labels, when, in milliseconds since 1970, and what.
pub(super) type ChartPoint = (Labels, i64, f64);

/// What a chart says of its last point, as points of series at a moment.
pub(super) fn points(
    (instance, signal): (&str, &str),
    chart: &Chart,
    at_ms: i64,
) -> Vec<ChartPoint> {
    let Some(judged) = chart.last() else { return Vec::new() };
    let labels = |metric: &str| {
        Labels::new([(METRIC_NAME, metric), (INSTANCE, instance), (JOB, UPKEEP), (SIGNAL, signal)])
    };
    let mut points = vec![(labels(VALUE), at_ms, judged.value)];
    if let Some(ChartLimits { center, lower, upper }) = judged.limits {
        points.push((labels(CENTER), at_ms, center));
        points.push((labels(LOWER_LIMIT), at_ms, lower));
        points.push((labels(UPPER_LIMIT), at_ms, upper));
    }
    let rule = |rule: ChartRule| labels(BROKEN).with(RULE, rule.name());
    points.extend(judged.broken.iter().map(|broken| (rule(*broken), at_ms, 1.0)));
    points.extend(chart.ended().iter().map(|ended| (rule(*ended), at_ms, 0.0)));
    points
}
