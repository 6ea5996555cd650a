//! Receivers: one file a kind of section.

mod command;
mod email;
mod http;
mod msteams;
mod ntfy;
mod pagerduty;
mod slack;
mod telegram;
mod webhook;

use std::fmt::Display;
use std::path::PathBuf;

use self::email::Mail;
use super::{Reader, ReceiverSettings};
use crate::notify::{ChannelSettings, Secret};
use crate::yaml::{Fields, Node, Tree};

/// Kinds of receivers that Alertmanager has and this program does not serve.
const UNSERVED_KINDS: [&str; 12] = [
    "discord",
    "incidentio",
    "jira",
    "mattermost",
    "msteams",
    "opsgenie",
    "pushover",
    "rocketchat",
    "sns",
    "victorops",
    "webex",
    "wechat",
];

/// What `global` says, and a receiver may say otherwise.
#[derive(Clone, Default)]
pub(super) struct Defaults {
    mail: Mail,
    slack_url: Option<Secret>,
    pagerduty_url: Option<String>,
    telegram_url: Option<String>,
    telegram_token: Option<Secret>,
}

pub(super) fn read_receiver(
    reader: &mut Reader,
    tree: &Tree,
    defaults: &Defaults,
) -> ReceiverSettings {
    let mut fields = Fields::of(tree, "a receiver", &mut reader.faults);
    let name = reader.text(&mut fields, "name").unwrap_or_default();
    if name.is_empty() {
        reader.faults.at(tree.place, "this receiver has no name");
    }
    let mut channels = Vec::new();
    for kind in SERVED_KINDS {
        for tree in reader.list(&mut fields, &format!("{}_configs", kind.name())) {
            channels.extend(reader.channel(kind, tree, defaults));
        }
    }
    for kind in UNSERVED_KINDS {
        let Some(entry) = fields.entry(&format!("{kind}_configs")) else { continue };
        for _ in entry.value.list(&mut reader.faults) {
            channels.push(ChannelSettings::Unsupported { kind: kind.to_owned() });
        }
        let message = format!("`{}` is not served; telling `{name}` by it fails", entry.key);
        reader.warnings.at(entry.place, message);
    }
    fields.refuse_rest(&mut reader.faults);
    ReceiverSettings { name, channels }
}

/// A kind of section.
#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Email,
    Slack,
    Teams,
    PagerDuty,
    Telegram,
    Ntfy,
    Command,
}

/// In the order in which a receiver is told.
const SERVED_KINDS: [Kind; 8] = [
    Kind::Webhook,
    Kind::Email,
    Kind::Slack,
    Kind::Teams,
    Kind::PagerDuty,
    Kind::Telegram,
    Kind::Ntfy,
    Kind::Command,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Email => "email",
            Self::Slack => "slack",
            Self::Teams => "msteamsv2",
            Self::PagerDuty => "pagerduty",
            Self::Telegram => "telegram",
            Self::Ntfy => "ntfy",
            Self::Command => "command",
        }
    }
}

impl Reader {
    fn channel(&mut self, kind: Kind, tree: &Tree, defaults: &Defaults) -> Option<ChannelSettings> {
        Some(match kind {
            Kind::Webhook => ChannelSettings::Webhook(self.webhook(tree)?),
            Kind::Email => ChannelSettings::Email(Box::new(self.email(tree, &defaults.mail)?)),
            Kind::Slack => ChannelSettings::Slack(Box::new(self.slack(tree, defaults)?)),
            Kind::Teams => ChannelSettings::Teams(self.teams(tree)?),
            Kind::PagerDuty => self.pagerduty(tree, defaults)?,
            Kind::Telegram => ChannelSettings::Telegram(Box::new(self.telegram(tree, defaults)?)),
            Kind::Ntfy => ChannelSettings::Ntfy(Box::new(self.ntfy(tree)?)),
            Kind::Command => ChannelSettings::Command(self.command(tree)?),
        })
    }

    /// The defaults that `global` has for receivers.
    pub(super) fn defaults(&mut self, fields: &mut Fields<'_>) -> Defaults {
        Defaults {
            mail: self.mail_defaults(fields),
            slack_url: self.secret(fields, "slack_api_url"),
            pagerduty_url: self.url(fields, "pagerduty_url"),
            telegram_url: self.url(fields, "telegram_api_url"),
            telegram_token: self.secret(fields, "telegram_bot_token"),
        }
    }

    /// A key's text, or the file of the key with `_file` behind it.
    fn secret(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<Secret> {
        let inline = self.text(fields, key).filter(|text| !text.is_empty());
        let file = self.text(fields, &format!("{key}_file")).filter(|text| !text.is_empty());
        match (inline, file) {
            (Some(_), Some(_)) => {
                let message = format!("only one of `{key}` and `{key}_file` may be set");
                self.faults.at(fields.place(), message);
                None
            }
            (Some(text), None) => Some(Secret::Inline(text)),
            (None, Some(file)) => Some(Secret::File(PathBuf::from(file))),
            (None, None) => None,
        }
    }

    /// The same where one of the two must be there.
    fn needed_secret(&mut self, fields: &mut Fields<'_>, key: &str, what: &str) -> Option<Secret> {
        let secret = self.secret(fields, key);
        if secret.is_none() {
            let message = format!("one of `{key}` and `{key}_file` must be set in {what}");
            self.faults.at(fields.place(), message);
        }
        secret
    }

    /// A text that stands for itself. One that is a template is left out, with a warning.
    fn plain(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<String> {
        let tree = fields.take(key)?;
        let text = tree.text(&mut self.faults).filter(|text| !text.is_empty())?;
        if text.contains("{{") {
            let message = format!("`{key}` is a template, which is not served here, and left out");
            self.warnings.at(tree.place, message);
            return None;
        }
        Some(text.to_owned())
    }

    /// Keys of Alertmanager's that this program does not serve.
    fn leave_out(&mut self, fields: &mut Fields<'_>, keys: &[&str]) {
        for entry in keys.iter().filter_map(|key| fields.entry(key)) {
            self.unserved(entry);
        }
    }

    fn text(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<String> {
        fields.take(key)?.text(&mut self.faults).map(str::to_owned)
    }

    fn flag(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<bool> {
        let tree = fields.take(key)?;
        self.boolean(tree)
    }

    fn list<'a>(&mut self, fields: &mut Fields<'a>, key: &str) -> &'a [Tree] {
        fields.take(key).map_or(&[][..], |tree| tree.list(&mut self.faults))
    }

    fn parsed<T>(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: Display,
    {
        let tree = fields.take(key).filter(|tree| tree.node != Node::Scalar(String::new()))?;
        tree.parsed(&mut self.faults, |text| {
            text.parse().map_err(|error| format!("`{text}` is not an e-mail address: {error}"))
        })
    }
}
