//! PagerDuty: what a receiver's section says.

use super::{Defaults, Reader};
use crate::notify::{ChannelSettings, PAGERDUTY_URL, PagerDutySettings};
use crate::yaml::{Fields, Tree};

/// Keys that Alertmanager has and this program does not serve.
const UNSERVED: [&str; 4] = ["description", "details", "images", "links"];

/// Texts that are the same for all events.
const FIXED: [&str; 6] = ["class", "client", "client_url", "component", "group", "source"];

impl Reader {
    pub(super) fn pagerduty(
        &mut self,
        tree: &Tree,
        defaults: &Defaults,
    ) -> Option<ChannelSettings> {
        let mut fields = Fields::of(tree, "a service of PagerDuty", &mut self.faults);
        let routing_key = self.secret(&mut fields, "routing_key");
        let older = self.secret(&mut fields, "service_key");
        let url = self.url(&mut fields, "url").or_else(|| defaults.pagerduty_url.clone());
        let severity = self.plain(&mut fields, "severity");
        let fixed = FIXED
            .into_iter()
            .filter_map(|key| Some((key, self.plain(&mut fields, key)?)))
            .collect();
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(true);
        let http = self.http(&mut fields);
        self.leave_out(&mut fields, &UNSERVED);
        fields.refuse_rest(&mut self.faults);
        match (routing_key, older) {
            (Some(routing_key), None) => {
                Some(ChannelSettings::PagerDuty(Box::new(PagerDutySettings {
                    url: url.unwrap_or_else(|| PAGERDUTY_URL.to_owned()),
                    routing_key,
                    severity,
                    fixed,
                    send_resolved,
                    http,
                })))
            }
            (None, Some(_)) => {
                let message = "`service_key` is of events of version 1, which are not served; \
                               telling by it fails";
                self.warnings.at(tree.place, message);
                Some(ChannelSettings::Unsupported { kind: "pagerduty of version 1".to_owned() })
            }
            (None, None) | (Some(_), Some(_)) => {
                let message = "one of `routing_key` and `service_key` must be set, or its file";
                self.faults.at(tree.place, message);
                None
            }
        }
    }
}
