//! E-mail by SMTP: one message a group, as HTML and as text, in one thread a group.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MessageBuilder, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::view::{Bounds, View};
use super::{Notification, NotifyError, Secret};

/// How long talking to the mail server may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a group one message shows; the rest is a number.
const BOUNDS: Bounds = Bounds { alerts: 100, text: 2_000 };

/// The port that speaks TLS from its first byte on.
const IMPLICIT_TLS_PORT: u16 = 465;

const HTML: &str = include_str!("email/message.html");
const TEXT: &str = include_str!("email/message.txt");

/// What can be set about e-mail to one set of people.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailSettings {
    /// The people.
    pub to: Mailboxes,
    /// Who it is from.
    pub from: Mailbox,
    /// The mail server's name.
    pub host: String,
    /// The mail server's port.
    pub port: u16,
    /// What to call ourselves; `None` means the host's name.
    pub hello: Option<String>,
    /// Whether to refuse to send in clear text.
    pub require_tls: bool,
    /// User and password at the mail server.
    pub credentials: Option<(String, Secret)>,
    /// A file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
}

/// Sends to one set of people.
pub struct Email {
    settings: EmailSettings,
    templates: Environment<'static>,
}

impl Email {
    /// E-mail as it is set.
    ///
    /// # Errors
    /// When the message's templates cannot be compiled.
    pub fn new(settings: EmailSettings) -> Result<Self, NotifyError> {
        let mut templates = Environment::new();
        // What ends in `.html` is escaped as HTML, whatever comes in.
        for (name, text) in [("message.html", HTML), ("message.txt", TEXT)] {
            templates
                .add_template(name, text)
                .map_err(|error| NotifyError::Message(error.to_string()))?;
        }
        Ok(Self { settings, templates })
    }

    /// Whether to tell that alerts are resolved.
    pub fn sends_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// When the mail server does not take it.
    pub async fn send(&self, notification: &Notification) -> Result<String, NotifyError> {
        let message = self.message(notification)?;
        let transport = self.transport().await?;
        let destination = format!("smtp://{}:{}", self.settings.host, self.settings.port);
        match transport.send(message).await {
            Ok(answer) => {
                let said: Vec<&str> = answer.message().collect();
                let text = format!("{}: {}", answer.code(), said.join(" "));
                Ok(super::one_line(&text))
            }
            Err(error) => Err(match error.status() {
                Some(code) if error.is_permanent() => NotifyError::Answer {
                    destination,
                    // SMTP's 5xx are refusals for good, as HTTP's 4xx are.
                    status: 400,
                    detail: format!(": {code}: {error}"),
                },
                _ => NotifyError::Unreachable { destination, reason: error.to_string() },
            }),
        }
    }

    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyError> {
        let settings = &self.settings;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .timeout(Some(TIMEOUT))
            .tls(self.tls().await?);
        if let Some(name) = &settings.hello {
            builder = builder.hello_name(ClientId::Domain(name.clone()));
        }
        if let Some((username, password)) = &settings.credentials {
            let password = password.read().await?;
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        Ok(builder.build())
    }

    async fn tls(&self) -> Result<Tls, NotifyError> {
        let settings = &self.settings;
        if !settings.require_tls && settings.port != IMPLICIT_TLS_PORT {
            return Ok(Tls::None);
        }
        let failed = |error: lettre::transport::smtp::Error| {
            NotifyError::Configuration(format!("TLS: {error}"))
        };
        let mut parameters = TlsParameters::builder(settings.host.clone());
        if let Some(path) = &settings.ca_file {
            let pem = tokio::fs::read(path).await;
            let pem = pem.map_err(|source| NotifyError::File { path: path.clone(), source })?;
            parameters =
                parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(failed)?);
        }
        let parameters = parameters.build_rustls().map_err(failed)?;
        Ok(if settings.port == IMPLICIT_TLS_PORT {
            Tls::Wrapper(parameters)
        } else {
            Tls::Required(parameters)
        })
    }

    fn message(&self, notification: &Notification) -> Result<Message, NotifyError> {
        let failed = |error: &dyn std::fmt::Display| NotifyError::Message(error.to_string());
        let domain = self.settings.from.email.domain();
        let view = View::of(notification, BOUNDS);
        let thread = thread(&notification.group_key, domain);
        let builder = Message::builder()
            .from(self.settings.from.clone())
            .subject(view.title.as_str())
            .message_id(Some(format!("<{}@{domain}>", Uuid::new_v4())))
            .in_reply_to(thread.clone())
            .references(thread)
            .header(AutoSubmitted);
        let builder = self.settings.to.iter().cloned().fold(builder, MessageBuilder::to);
        let view = Value::from(Serde(view));
        let render = |name: &str| {
            let template = self.templates.get_template(name).map_err(|error| failed(&error))?;
            template.render(context! { message => view.clone() }).map_err(|error| failed(&error))
        };
        builder
            .multipart(MultiPart::alternative_plain_html(
                render("message.txt")?,
                render("message.html")?,
            ))
            .map_err(|error| failed(&error))
    }
}

/// The name of a group's thread. No message has it: clients join messages that refer to the same.
fn thread(group_key: &str, domain: &str) -> String {
    let digest = Sha256::digest(group_key.as_bytes());
    let name = data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default());
    format!("<group-{name}@{domain}>")
}

/// Tells other programs not to answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests;
