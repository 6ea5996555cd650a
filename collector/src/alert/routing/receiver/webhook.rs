//! Webhooks: what a receiver's section says.

use super::Reader;
use crate::notify::WebhookSettings;
use crate::yaml::{Fields, Tree};

impl Reader {
    pub(super) fn webhook(&mut self, tree: &Tree) -> Option<WebhookSettings> {
        let mut fields = Fields::of(tree, "a webhook", &mut self.faults);
        let url = self.needed_secret(&mut fields, "url", "a webhook");
        self.check_url(tree.place, url.as_ref());
        let send_resolved = self.flag(&mut fields, "send_resolved");
        let max_alerts = fields.take("max_alerts").and_then(|tree| self.number(tree));
        let http = self.http(&mut fields);
        fields.refuse_rest(&mut self.faults);
        Some(WebhookSettings {
            url: url?,
            send_resolved: send_resolved.unwrap_or(true),
            max_alerts: max_alerts.unwrap_or(0),
            http,
        })
    }

    fn number(&mut self, tree: &Tree) -> Option<usize> {
        tree.parsed(&mut self.faults, |text| {
            text.parse().map_err(|_| format!("`{text}` is not a number of alerts"))
        })
    }
}
