//! Telling people: one file and one [`Channel`] variant for each way.

mod address;
mod alert;
mod command;
mod email;
mod error;
mod http_client;
mod msteams;
mod notification;
mod ntfy;
mod pagerduty;
mod payload;
mod ping;
mod post;
mod secret;
mod slack;
mod telegram;
mod text;
mod view;
mod webhook;

#[cfg(test)]
mod tests;

pub use alert::{
    ACTION, ALERT_NAME, Alert, Annotations, Fingerprint, OUTCOME, OWNER, Origin, PREDEFINED_ACTION,
    RUNBOOK_URL,
};
pub use command::{COMMAND_TIMEOUT, Command, CommandSettings};
pub use email::{Email, EmailSettings};
pub use error::NotifyError;
pub use http_client::{Authorization, DEFAULT_TIMEOUT, HttpSettings, Receipt, parse_url};
pub use msteams::{Teams, TeamsSettings};
pub use notification::{Notification, Status};
pub use ntfy::{NTFY_URL, Ntfy, NtfySettings};
pub use pagerduty::{PAGERDUTY_URL, PagerDuty, PagerDutySettings};
pub use ping::Ping;
pub use post::Post;
pub use secret::Secret;
pub use slack::{Slack, SlackSettings};
pub use telegram::{TELEGRAM_URL, Telegram, TelegramSettings};
pub use webhook::{Webhook, WebhookSettings};

/// The most characters of a text in a line of the log.
pub const LOGGED_CHARACTERS: usize = 300;

/// A text of others for the log: in one line, and cut.
pub fn one_line(text: &str) -> String {
    text::one_line(text, LOGGED_CHARACTERS)
}

/// What can be set about a way of telling.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelSettings {
    /// An HTTP request.
    Webhook(WebhookSettings),
    /// An e-mail.
    Email(Box<EmailSettings>),
    /// A message in Slack.
    Slack(Box<SlackSettings>),
    /// A message in Microsoft Teams.
    Teams(TeamsSettings),
    /// An event of PagerDuty.
    PagerDuty(Box<PagerDutySettings>),
    /// A message in Telegram.
    Telegram(Box<TelegramSettings>),
    /// A message by ntfy.
    Ntfy(Box<NtfySettings>),
    /// A command on the collector.
    Command(CommandSettings),
    /// A way of telling that this program does not know; telling fails, visibly.
    Unsupported {
        /// What the configuration calls it.
        kind: String,
    },
}

/// A way of telling, ready to be used.
pub enum Channel {
    /// An HTTP request.
    Webhook(Box<Webhook>),
    /// An e-mail.
    Email(Box<Email>),
    /// A message in Slack.
    Slack(Box<Slack>),
    /// A message in Microsoft Teams.
    Teams(Box<Teams>),
    /// An event of PagerDuty.
    PagerDuty(Box<PagerDuty>),
    /// A message in Telegram.
    Telegram(Box<Telegram>),
    /// A message by ntfy.
    Ntfy(Box<Ntfy>),
    /// A command on the collector.
    Command(Box<Command>),
    /// A way of telling that this program does not know.
    Unsupported {
        /// What the configuration calls it.
        kind: String,
    },
}

impl Channel {
    /// A way of telling as it is set.
    ///
    /// # Errors
    /// When something that it needs cannot be read.
    pub fn new(settings: ChannelSettings) -> Result<Self, NotifyError> {
        Ok(match settings {
            ChannelSettings::Webhook(settings) => Self::Webhook(Box::new(Webhook::new(settings)?)),
            ChannelSettings::Email(settings) => Self::Email(Box::new(Email::new(*settings)?)),
            ChannelSettings::Slack(settings) => Self::Slack(Box::new(Slack::new(*settings)?)),
            ChannelSettings::Teams(settings) => Self::Teams(Box::new(Teams::new(settings)?)),
            ChannelSettings::PagerDuty(settings) => {
                Self::PagerDuty(Box::new(PagerDuty::new(*settings)?))
            }
            ChannelSettings::Telegram(settings) => {
                Self::Telegram(Box::new(Telegram::new(*settings)?))
            }
            ChannelSettings::Ntfy(settings) => Self::Ntfy(Box::new(Ntfy::new(*settings)?)),
            ChannelSettings::Command(settings) => Self::Command(Box::new(Command::new(settings))),
            ChannelSettings::Unsupported { kind } => Self::Unsupported { kind },
        })
    }

    /// What the way is called in logs.
    pub fn kind(&self) -> &str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Email(_) => "email",
            Self::Slack(_) => "slack",
            Self::Teams(_) => "msteamsv2",
            Self::PagerDuty(_) => "pagerduty",
            Self::Telegram(_) => "telegram",
            Self::Ntfy(_) => "ntfy",
            Self::Command(_) => "command",
            Self::Unsupported { kind } => kind,
        }
    }

    /// Whether to tell that alerts are resolved.
    pub fn sends_resolved(&self) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.sends_resolved(),
            Self::Email(email) => email.sends_resolved(),
            Self::Slack(slack) => slack.sends_resolved(),
            Self::Teams(teams) => teams.sends_resolved(),
            Self::PagerDuty(pagerduty) => pagerduty.sends_resolved(),
            Self::Telegram(telegram) => telegram.sends_resolved(),
            Self::Ntfy(ntfy) => ntfy.sends_resolved(),
            Self::Command(command) => command.sends_resolved(),
            Self::Unsupported { .. } => true,
        }
    }

    /// Tells, and gives what was answered, in one line without secrets.
    ///
    /// # Errors
    /// When it did not arrive; [`NotifyError::is_permanent`] says whether to try again.
    pub async fn send(&self, notification: &Notification) -> Result<String, NotifyError> {
        match self {
            Self::Webhook(webhook) => webhook.send(notification).await,
            Self::Email(email) => email.send(notification).await,
            Self::Slack(slack) => slack.send(notification).await,
            Self::Teams(teams) => teams.send(notification).await,
            Self::PagerDuty(pagerduty) => pagerduty.send(notification).await,
            Self::Telegram(telegram) => telegram.send(notification).await,
            Self::Ntfy(ntfy) => ntfy.send(notification).await,
            Self::Command(command) => command.send(notification).await,
            Self::Unsupported { kind } => Err(NotifyError::Unsupported(kind.clone())),
        }
    }
}
