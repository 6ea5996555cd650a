//! E-mail: what `global` and a receiver's section say.

use std::path::PathBuf;

use lettre::message::{Mailbox, Mailboxes};

use super::Reader;
use crate::notify::{EmailSettings, Secret};
use crate::yaml::{Fields, Tree};

/// Keys that Alertmanager has and this program does not serve.
const UNSERVED: [&str; 8] = [
    "auth_identity",
    "auth_secret",
    "auth_secret_file",
    "force_implicit_tls",
    "headers",
    "html",
    "text",
    "threading",
];

/// The mail port where none is given.
const SMTP_PORT: u16 = 25;

/// What `global` says about e-mail, and a receiver may say otherwise.
#[derive(Clone, Default)]
pub(super) struct Mail {
    from: Option<Mailbox>,
    smarthost: Option<(String, u16)>,
    hello: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    require_tls: Option<bool>,
    ca_file: Option<PathBuf>,
}

impl Reader {
    pub(super) fn mail_defaults(&mut self, fields: &mut Fields<'_>) -> Mail {
        let mut mail = Mail {
            from: self.parsed(fields, "smtp_from"),
            smarthost: fields.take("smtp_smarthost").and_then(|tree| self.smarthost(tree)),
            hello: self.text(fields, "smtp_hello").filter(|name| !name.is_empty()),
            username: self.text(fields, "smtp_auth_username").filter(|name| !name.is_empty()),
            password: self.secret(fields, "smtp_auth_password"),
            require_tls: self.flag(fields, "smtp_require_tls"),
            ca_file: None,
        };
        mail.ca_file = fields.take("smtp_tls_config").and_then(|tree| self.ca_file(tree));
        mail
    }

    pub(super) fn email(&mut self, tree: &Tree, defaults: &Mail) -> Option<EmailSettings> {
        let mut fields = Fields::of(tree, "an e-mail", &mut self.faults);
        let to: Option<Mailboxes> = self.parsed(&mut fields, "to");
        let smarthost = fields.take("smarthost").and_then(|tree| self.smarthost(tree));
        let mail = Mail {
            from: self.parsed(&mut fields, "from").or_else(|| defaults.from.clone()),
            smarthost: smarthost.or_else(|| defaults.smarthost.clone()),
            hello: self.text(&mut fields, "hello").or_else(|| defaults.hello.clone()),
            username: self.text(&mut fields, "auth_username").or_else(|| defaults.username.clone()),
            password: self
                .secret(&mut fields, "auth_password")
                .or_else(|| defaults.password.clone()),
            require_tls: self.flag(&mut fields, "require_tls").or(defaults.require_tls),
            ca_file: fields
                .take("tls_config")
                .and_then(|tree| self.ca_file(tree))
                .or_else(|| defaults.ca_file.clone()),
        };
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(false);
        self.leave_out(&mut fields, &UNSERVED);
        fields.refuse_rest(&mut self.faults);
        self.complete(tree, to, mail, send_resolved)
    }

    /// Everything that an e-mail needs, from the receiver or `global`.
    fn complete(
        &mut self,
        tree: &Tree,
        to: Option<Mailboxes>,
        mail: Mail,
        send_resolved: bool,
    ) -> Option<EmailSettings> {
        for (is_missing, message) in [
            (to.is_none(), "`to` must be set in an e-mail"),
            (mail.from.is_none(), "`from` must be set here, or `smtp_from` in `global`"),
            (
                mail.smarthost.is_none(),
                "`smarthost` must be set here, or `smtp_smarthost` in `global`",
            ),
        ] {
            if is_missing {
                self.faults.at(tree.place, message);
            }
        }
        let (host, port) = mail.smarthost?;
        let require_tls = mail.require_tls.unwrap_or(true);
        let credentials = mail.username.zip(mail.password);
        let is_local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if credentials.is_some() && !require_tls && !is_local {
            let message = "with `require_tls: false` the password would travel in clear text";
            self.faults.at(tree.place, message);
        }
        Some(EmailSettings {
            to: to?,
            from: mail.from?,
            host,
            port,
            hello: mail.hello,
            require_tls,
            credentials,
            ca_file: mail.ca_file,
            send_resolved,
        })
    }

    fn smarthost(&mut self, tree: &Tree) -> Option<(String, u16)> {
        tree.parsed(&mut self.faults, |text| {
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()),
                None => (text, Some(SMTP_PORT)),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            match port {
                Some(port) if !host.is_empty() => Ok((host.to_owned(), port)),
                _ => Err(format!("`{text}` is not a mail server such as mail.example.org:587")),
            }
        })
    }
}
