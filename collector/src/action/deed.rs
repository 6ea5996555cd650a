//! Doing what an action does, once, and telling what came of it.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Deed, Settings};
use crate::notify::{HttpSettings, Notification, NotifyError, Webhook, WebhookSettings, one_line};
use crate::process::{self, End};
use crate::state::RunOutcome;

/// An action, ready to be done.
pub(super) enum Doer {
    Command { program: PathBuf, timeout: Duration },
    Webhook(Box<Webhook>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) outcome: RunOutcome,
    /// The code of a command that ended by itself, or the status of an answer.
    pub(super) status: Option<i64>,
    /// The beginning of what it said, or what was wrong.
    pub(super) answer: String,
}

impl Doer {
    /// An action as it is set.
    ///
    /// # Errors
    /// When certificates cannot be read.
    pub(super) fn new(settings: &Settings) -> Result<Self, NotifyError> {
        let timeout = settings.timeout;
        Ok(match &settings.deed {
            Deed::Command { program, .. } => Self::Command { program: program.clone(), timeout },
            Deed::Webhook { url, http } => {
                let settings = WebhookSettings {
                    url: url.clone(),
                    send_resolved: false,
                    max_alerts: 0,
                    http: HttpSettings { timeout, ..http.clone() },
                };
                Self::Webhook(Box::new(Webhook::new(settings)?))
            }
        })
    }

    /// Does it.
    pub(super) async fn act(&self, arguments: &[String], about: &Notification) -> Done {
        match self {
            Self::Command { program, timeout } => match about.payload() {
                Ok(input) => {
                    let ran = process::run(program, arguments, &input, *timeout).await;
                    ran.map_or_else(
                        |error| Done::failed(&format!("cannot be run: {error}")),
                        Done::of,
                    )
                }
                Err(error) => Done::failed(&error.to_string()),
            },
            Self::Webhook(webhook) => match webhook.call(about).await {
                Ok(receipt) => Done {
                    outcome: RunOutcome::Done,
                    status: Some(i64::from(receipt.status)),
                    answer: receipt.said,
                },
                Err(error) => {
                    let status = match &error {
                        NotifyError::Answer { status, .. } => Some(i64::from(*status)),
                        _ => None,
                    };
                    Done { status, ..Done::failed(&error.to_string()) }
                }
            },
        }
    }
}

impl Done {
    /// It could not be done.
    pub(super) fn failed(answer: &str) -> Self {
        Self { outcome: RunOutcome::Failed, status: None, answer: one_line(answer) }
    }

    fn of(ran: process::Ran) -> Self {
        let (outcome, status) = match ran.end {
            End::Code(0) => (RunOutcome::Done, Some(0)),
            End::Code(code) => (RunOutcome::Failed, Some(i64::from(code))),
            End::Signal => (RunOutcome::Failed, None),
            End::TimedOut => (RunOutcome::TimedOut, None),
        };
        let said = one_line(&ran.output);
        let answer = if ran.end == End::Signal && said.is_empty() {
            "a signal ended it".to_owned()
        } else {
            said
        };
        Self { outcome, status, answer }
    }
}
