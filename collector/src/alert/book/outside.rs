//! Alerts that others sent: the ledger hears of them from here, since no rule of ours speaks of them.

use std::sync::Arc;

use super::{Book, Known};
use crate::ledger::{News, Origin};
use crate::notify::{Alert, Fingerprint};

impl Book {
    /// Takes what others say of alerts.
    pub(in crate::alert) fn accept_of_others(&mut self, alerts: Vec<Alert>, now_ms: i64) {
        let fingerprints: Vec<_> = alerts.iter().map(Alert::fingerprint).collect();
        for (alert, fingerprint) in alerts.iter().zip(&fingerprints) {
            self.note_of_others(alert, *fingerprint, now_ms);
        }
        self.accept(alerts, now_ms);
        for fingerprint in fingerprints {
            if let Some(known) = self.alerts.get_mut(&fingerprint) {
                known.is_of_others = true;
            }
        }
    }

    /// What there is to report about an alert that is forgotten.
    pub(super) fn note_forgotten(&mut self, fingerprint: Fingerprint, known: &Known) {
        if known.is_of_others {
            self.report_end(&known.held.alert, fingerprint, known.held.ends_at_ms());
        }
    }

    fn note_of_others(&mut self, alert: &Alert, fingerprint: Fingerprint, now_ms: i64) {
        let fires = !alert.is_resolved(now_ms);
        let known = self.alerts.get(&fingerprint);
        let fired = known.is_some_and(|known| !known.held.has_ended(now_ms));
        let ended_ms = known.map(|known| known.held.ends_at_ms());
        match (fired, fires) {
            (false, true) => {
                if let Some(ended_ms) = ended_ms {
                    self.report_end(alert, fingerprint, ended_ms);
                }
                let origin = origin(alert);
                self.news.push(News::Fired { origin, alert: fingerprint, at_ms: now_ms });
            }
            (true, false) => {
                self.report_end(alert, fingerprint, alert.ends_at_ms.unwrap_or(now_ms));
            }
            (false, false) | (true, true) => {}
        }
    }

    fn report_end(&mut self, alert: &Alert, fingerprint: Fingerprint, at_ms: i64) {
        self.news.push(News::Resolved { origin: origin(alert), alert: fingerprint, at_ms });
    }
}

fn origin(alert: &Alert) -> Arc<Origin> {
    Arc::new(Origin::Outside { name: alert.name().to_owned() })
}
