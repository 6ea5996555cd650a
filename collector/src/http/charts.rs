//! `/api/v1/charts` and `/api/v1/charts/{host}/{signal}`: the control charts.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{INSTANCE, METRIC_NAME, Matcher, SeriesSamples, is_stale};

use super::error::ApiError;
use super::parameters::{PageLengths, Parameters};
use super::{Services, prometheus, time};
use crate::query::Window;
use crate::tolerance::{
    BROKEN, CENTER, ChartRule, ChartStatus, LOWER_LIMIT, Learned, Phase, RULE, SIGNAL, STEP_MS,
    UPPER_LIMIT, VALUE,
};

const LENGTHS: PageLengths = PageLengths { usual: 1000, most: 10_000 };

const A_DAY_MS: i64 = 24 * 3_600_000;

/// The longest stretch of time of which points are shown.
const LONGEST_MS: i64 = 31 * A_DAY_MS;

#[derive(Serialize)]
struct List {
    charts: Vec<ChartView>,
    /// So many there are in all of what was asked for.
    total: usize,
    /// So many of them are out of tolerance.
    broken: usize,
}

#[derive(Serialize)]
struct ChartView {
    instance: String,
    signal: String,
    unit: String,
    at: String,
    value: f64,
    /// Null as long as too little is known, like the limits.
    center: Option<f64>,
    lower_limit: Option<f64>,
    upper_limit: Option<f64>,
    broken: Vec<&'static str>,
    broken_since: Option<String>,
    phase: &'static str,
}

#[derive(Serialize)]
struct Detail {
    #[serde(flatten)]
    chart: ChartView,
    baseline: BaselineView,
    points: Vec<PointView>,
}

#[derive(Serialize)]
struct BaselineView {
    explanation: String,
    learned_since: Option<String>,
    points: u64,
    hours_out_of_tolerance: u64,
    hours_paused: u64,
    new_normal_at: Option<String>,
}

#[derive(Default, Serialize)]
struct PointView {
    at: String,
    value: Option<f64>,
    center: Option<f64>,
    lower_limit: Option<f64>,
    upper_limit: Option<f64>,
    broken: Vec<&'static str>,
}

/// `GET /api/v1/charts`: those out of tolerance first; parameters `host`, `signal`, `broken` and
/// `limit`.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)? as usize;
    let only_broken = match parameters.get("broken") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let why = format!("cannot parse {other:?} to a valid boolean");
            return Err(ApiError::parameter("broken", why));
        }
    };
    let (host, signal) = (parameters.get("host"), parameters.get("signal"));
    let is_wanted = |chart: &ChartStatus| {
        host.is_none_or(|host| chart.instance == host)
            && signal.is_none_or(|signal| chart.signal == signal)
            && !(only_broken && chart.last.broken.is_empty())
    };
    let charts: Vec<_> = services.charts.charts().into_iter().filter(is_wanted).collect();
    let broken = charts.iter().filter(|chart| !chart.last.broken.is_empty()).count();
    let total = charts.len();
    let charts = charts.into_iter().take(limit).map(ChartView::of).collect();
    Ok(prometheus::success(List { charts, total, broken }))
}

/// `GET /api/v1/charts/{host}/{signal}`: parameters `start` (a day before the end) and `end` (now).
pub(super) async fn show(
    State(services): State<Services>,
    Path((host, signal)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let now_ms = services.clock.now_ms();
    let end_ms = parameters.time("end")?.unwrap_or(now_ms).min(now_ms);
    let start_ms = parameters.time("start")?.unwrap_or(end_ms.saturating_sub(A_DAY_MS));
    if start_ms >= end_ms {
        return Err(ApiError::parameter("start", "it is not before the end, or not before now"));
    }
    if end_ms.saturating_sub(start_ms) > LONGEST_MS {
        return Err(ApiError::parameter("start", "at most 31 days are shown at once"));
    }
    let chart = services.charts.chart(&host, &signal).ok_or_else(|| {
        ApiError::not_found(format!("there is no chart of {signal:?} of the host {host:?}"))
    })?;
    let points = points(&services, &host, &signal, start_ms, end_ms).await?;
    let baseline = BaselineView::of(&chart.learned);
    Ok(prometheus::success(Detail { chart: ChartView::of(chart), baseline, points }))
}

/// The points of a chart, as its series have them.
async fn points(
    services: &Services,
    host: &str,
    signal: &str,
    start_ms: i64,
    end_ms: i64,
) -> Result<Vec<PointView>, ApiError> {
    let names = [VALUE, CENTER, LOWER_LIMIT, UPPER_LIMIT, BROKEN];
    let selector = |name| {
        let equal = [(METRIC_NAME, name), (INSTANCE, host), (SIGNAL, signal)];
        equal.map(|(name, value)| Matcher::equal(name, value)).to_vec()
    };
    let window = Window { after_ms: start_ms.saturating_sub(1), through_ms: end_ms };
    let found = services.engine.samples(None, names.map(selector).to_vec(), window).await?;
    let mut points = BTreeMap::new();
    for (name, all) in names.into_iter().zip(found) {
        for series in all {
            add(&mut points, name, &series);
        }
    }
    let dated = |(at_ms, point)| PointView { at: time::text(at_ms), ..point };
    Ok(points.into_iter().map(dated).collect())
}

/// Adds what one series says of the points; between them it only repeats itself.
fn add(points: &mut BTreeMap<i64, PointView>, name: &str, series: &SeriesSamples) {
    let samples = series.timestamps.iter().zip(&series.values);
    let of_points = samples.filter(|(at_ms, value)| *at_ms % STEP_MS == 0 && !is_stale(**value));
    let rule = series.labels.get(RULE).unwrap_or_default();
    let rule = ChartRule::ALL.into_iter().map(ChartRule::name).find(|name| *name == rule);
    for (at_ms, value) in of_points {
        let point: &mut PointView = points.entry(*at_ms).or_default();
        match (name, rule) {
            (VALUE, _) => point.value = Some(*value),
            (CENTER, _) => point.center = Some(*value),
            (LOWER_LIMIT, _) => point.lower_limit = Some(*value),
            (UPPER_LIMIT, _) => point.upper_limit = Some(*value),
            (_, Some(rule)) if *value > 0.0 => point.broken.push(rule),
            _ => {}
        }
    }
}

impl ChartView {
    fn of(chart: ChartStatus) -> Self {
        let ChartStatus { instance, signal, unit, last, broken_since_ms, learned } = chart;
        let limit = |of: fn(&crate::tolerance::ChartLimits) -> f64| last.limits.as_ref().map(of);
        Self {
            at: time::text(last.at_ms),
            value: last.value,
            center: limit(|limits| limits.center),
            lower_limit: limit(|limits| limits.lower),
            upper_limit: limit(|limits| limits.upper),
            broken: last.broken.iter().map(|rule| rule.name()).collect(),
            broken_since: broken_since_ms.map(time::text),
            phase: match learned.phase {
                Phase::Learning => "learning",
                Phase::Average => "average",
                Phase::Weekly => "hour_of_week",
            },
            instance,
            signal,
            unit,
        }
    }
}

impl BaselineView {
    fn of(learned: &Learned) -> Self {
        Self {
            explanation: explanation(learned),
            learned_since: learned.since_ms.map(time::text),
            points: learned.points,
            hours_out_of_tolerance: learned.hours_odd,
            hours_paused: learned.hours_paused,
            new_normal_at: learned.adopted_ms.map(time::text),
        }
    }
}

fn explanation(learned: &Learned) -> String {
    let Learned { phase, since_ms, points, hours_odd, hours_paused, adopted_ms } = learned;
    let Some(since_ms) = since_ms else {
        return "nothing is known yet: the first hour is not over".to_owned();
    };
    let how = match phase {
        Phase::Learning => "less than a week is known, so nothing is judged yet",
        Phase::Average => {
            "the centre is the exponentially weighted mean of the last week, until three weeks are known"
        }
        Phase::Weekly => {
            "the centre is the median of this hour of the week over the last four weeks, by UTC, and the \
             limits come from the median absolute deviation around it"
        }
    };
    let since = time::text(*since_ms);
    let mut text = format!("{how}; learned from {points} points since {since}");
    if *hours_odd > 0 {
        text.push_str(&format!("; {hours_odd} hours out of tolerance were left out"));
    }
    if *hours_paused > 0 {
        text.push_str(&format!("; {hours_paused} hours of maintenance or incidents were left out"));
    }
    if let Some(adopted_ms) = adopted_ms {
        let at = time::text(*adopted_ms);
        text.push_str(&format!(
            "; what had lasted for two days was taken for the new normal at {at}"
        ));
    }
    text
}
