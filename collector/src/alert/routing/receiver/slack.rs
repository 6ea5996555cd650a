//! Slack: what a receiver's section says.

use super::{Defaults, Reader};
use crate::notify::SlackSettings;
use crate::yaml::{Fields, Tree};

/// Keys that Alertmanager has and this program does not serve.
const UNSERVED: [&str; 21] = [
    "actions",
    "app_token",
    "app_token_file",
    "app_url",
    "callback_id",
    "color",
    "fallback",
    "fields",
    "footer",
    "image_url",
    "link_names",
    "message_text",
    "mrkdwn_in",
    "pretext",
    "short_fields",
    "text",
    "thumb_url",
    "title",
    "title_link",
    "update_message",
    "strategy",
];

impl Reader {
    pub(super) fn slack(&mut self, tree: &Tree, defaults: &Defaults) -> Option<SlackSettings> {
        let mut fields = Fields::of(tree, "a channel of Slack", &mut self.faults);
        let url = self.secret(&mut fields, "api_url").or_else(|| defaults.slack_url.clone());
        if url.is_none() {
            let message = "`api_url` must be set here, or `slack_api_url` in `global`";
            self.faults.at(tree.place, message);
        }
        self.check_url(tree.place, url.as_ref());
        let channel = self.plain(&mut fields, "channel");
        let username = self.plain(&mut fields, "username");
        let icon_emoji = self.plain(&mut fields, "icon_emoji");
        let icon_url = self.plain(&mut fields, "icon_url");
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(false);
        let http = self.http(&mut fields);
        self.leave_out(&mut fields, &UNSERVED);
        fields.refuse_rest(&mut self.faults);
        Some(SlackSettings {
            url: url?,
            channel,
            username,
            icon_emoji,
            icon_url,
            send_resolved,
            http,
        })
    }
}
