//! `deriv` and `predict_linear`: a straight line through the samples of a window.

use crate::eval::accumulate::Sum;
use crate::eval::selector::seconds;
use crate::eval::window::Window;

pub(super) fn deriv(window: &Window<'_>, _: &[f64]) -> Option<f64> {
    // Times are taken from the first sample on, where the least digits are lost.
    let origin_ms = window.times.first().copied()?;
    line(window, origin_ms).map(|(slope, _)| slope)
}

pub(super) fn predict_linear(window: &Window<'_>, parameters: &[f64]) -> Option<f64> {
    let ahead = parameters.first().copied()?;
    let (slope, now) = line(window, window.moment_ms)?;
    Some(slope * ahead + now)
}

/// The slope a second and the value at the origin of the least squares line.
fn line(window: &Window<'_>, origin_ms: i64) -> Option<(f64, f64)> {
    let first = window.values.first().copied()?;
    if window.values.len() < 2 {
        return None;
    }
    if window.values.iter().all(|&value| value == first) {
        let slope = if first.is_infinite() { f64::NAN } else { 0.0 };
        return Some((slope, if first.is_infinite() { f64::NAN } else { first }));
    }
    let count = window.values.len() as f64;
    let times = || window.times.iter().map(|&at| seconds(at - origin_ms));
    let points = || times().zip(window.values.iter().copied());
    let (sum_x, sum_y) = (Sum::of(times()), Sum::of(window.values.iter().copied()));
    let sum_xy = Sum::of(points().map(|(x, y)| x * y));
    let sum_xx = Sum::of(times().map(|x| x * x));
    let covariance = sum_xy - sum_x * sum_y / count;
    let variance = sum_xx - sum_x * sum_x / count;
    let slope = covariance / variance;
    Some((slope, sum_y / count - slope * sum_x / count))
}
