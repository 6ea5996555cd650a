//! Telling people: one file and one [`Channel`] variant for each way.

mod address;
mod alert;
mod email;
mod error;
mod notification;
mod secret;
mod webhook;

pub use alert::{ACTION, ALERT_NAME, Alert, Annotations, Fingerprint, OUTCOME};
pub use email::{Email, EmailSettings};
pub use error::NotifyError;
pub use notification::{Notification, Status};
pub use secret::Secret;
pub use webhook::{Authorization, DEFAULT_TIMEOUT, Webhook, WebhookSettings, parse_url};

/// What can be set about a way of telling.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelSettings {
    /// An HTTP request.
    Webhook(WebhookSettings),
    /// An e-mail.
    Email(Box<EmailSettings>),
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
            ChannelSettings::Unsupported { kind } => Self::Unsupported { kind },
        })
    }

    /// What the way is called in logs.
    pub fn kind(&self) -> &str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Email(_) => "email",
            Self::Unsupported { kind } => kind,
        }
    }

    /// Whether to tell that alerts are resolved.
    pub fn sends_resolved(&self) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.sends_resolved(),
            Self::Email(email) => email.sends_resolved(),
            Self::Unsupported { .. } => true,
        }
    }

    /// Tells.
    ///
    /// # Errors
    /// When it did not arrive; [`NotifyError::is_permanent`] says whether to try again.
    pub async fn send(&self, notification: &Notification) -> Result<(), NotifyError> {
        match self {
            Self::Webhook(webhook) => webhook.send(notification).await,
            Self::Email(email) => email.send(notification).await,
            Self::Unsupported { kind } => Err(NotifyError::Unsupported(kind.clone())),
        }
    }
}
