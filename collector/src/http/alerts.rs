//! `/api/v1/alerts`: every alert that is pending or firing, in Prometheus' JSON.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use upkeep_model::Labels;

use super::{Services, prometheus, time};
use crate::notify::Annotations;
use crate::rule::{AlertStatus, RuleKind};

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<AlertView>,
}

/// One alert, here and within its rule.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertView {
    labels: Labels,
    annotations: Annotations,
    state: &'static str,
    active_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_since: Option<String>,
    value: String,
}

/// `GET /api/v1/alerts`.
pub(super) async fn list(State(services): State<Services>) -> Response {
    let mut alerts = Vec::new();
    for group in services.rules.snapshot().groups {
        for rule in &group.rules {
            if let RuleKind::Alerting { alerts: of_rule, .. } = &rule.kind {
                alerts.extend(of_rule.iter().map(AlertView::of));
            }
        }
    }
    prometheus::success(Alerts { alerts })
}

impl AlertView {
    pub(super) fn of(alert: &AlertStatus) -> Self {
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            state: alert.phase.name(),
            active_at: time::text(alert.active_at_ms),
            keep_firing_since: alert.keep_firing_since_ms.map(time::text),
            value: scientific(alert.value),
        }
    }
}

/// A number with an exponent of at least two digits and its sign, as Prometheus shows an alert's.
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return upkeep_promql::format_value(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_an_exponent() {
        let check = |value, expect: &str| assert_eq!(scientific(value), expect);
        check(0.0, "0e+00");
        check(1.0, "1e+00");
        check(-0.015, "-1.5e-02");
        check(6.02e123, "6.02e+123");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }
}
