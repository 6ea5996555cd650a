//! Telegram: what a receiver's section says.

use super::{Defaults, Reader};
use crate::notify::{TELEGRAM_URL, TelegramSettings};
use crate::yaml::{Fields, Tree};

/// Keys that Alertmanager has and this program does not serve. How `message` is to be read does not
/// matter without it.
const UNSERVED: [&str; 2] = ["message", "parse_mode"];

impl Reader {
    pub(super) fn telegram(
        &mut self,
        tree: &Tree,
        defaults: &Defaults,
    ) -> Option<TelegramSettings> {
        let mut fields = Fields::of(tree, "a chat of Telegram", &mut self.faults);
        let url = self.url(&mut fields, "api_url").or_else(|| defaults.telegram_url.clone());
        let token =
            self.secret(&mut fields, "bot_token").or_else(|| defaults.telegram_token.clone());
        if token.is_none() {
            let message = "`bot_token` must be set here, or `telegram_bot_token` in `global`";
            self.faults.at(tree.place, message);
        }
        let chat = self.needed_secret(&mut fields, "chat_id", "a chat of Telegram");
        let thread = fields.take("message_thread_id").and_then(|tree| {
            tree.parsed(&mut self.faults, |text| {
                text.parse().map_err(|_| format!("`{text}` is not the number of a topic"))
            })
        });
        let is_silent = self.flag(&mut fields, "disable_notifications").unwrap_or(false);
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(true);
        let http = self.http(&mut fields);
        self.leave_out(&mut fields, &UNSERVED);
        fields.refuse_rest(&mut self.faults);
        Some(TelegramSettings {
            url: url.unwrap_or_else(|| TELEGRAM_URL.to_owned()),
            token: token?,
            chat: chat?,
            thread,
            is_silent,
            send_resolved,
            http,
        })
    }
}
