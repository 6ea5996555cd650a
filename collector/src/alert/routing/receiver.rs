//! Receivers: what a webhook or e-mail section says.

use std::fmt::Display;
use std::path::PathBuf;

use lettre::message::{Mailbox, Mailboxes};

use super::{Reader, ReceiverSettings};
use crate::notify::{
    Authorization, ChannelSettings, DEFAULT_TIMEOUT, EmailSettings, Secret, WebhookSettings,
    parse_url,
};
use crate::yaml::{Fields, Node, Tree};

/// Kinds of receivers that Alertmanager has and this program does not serve.
const UNSERVED_KINDS: [&str; 16] = [
    "discord",
    "incidentio",
    "jira",
    "mattermost",
    "msteams",
    "msteamsv2",
    "opsgenie",
    "pagerduty",
    "pushover",
    "rocketchat",
    "slack",
    "sns",
    "telegram",
    "victorops",
    "webex",
    "wechat",
];

/// Keys of e-mail sections that Alertmanager has and this program does not serve.
const UNSERVED_MAIL_KEYS: [&str; 8] = [
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

pub(super) fn read_receiver(reader: &mut Reader, tree: &Tree, mail: &Mail) -> ReceiverSettings {
    let mut fields = Fields::of(tree, "a receiver", &mut reader.faults);
    let name = reader.text(&mut fields, "name").unwrap_or_default();
    if name.is_empty() {
        reader.faults.at(tree.place, "this receiver has no name");
    }
    let mut channels = Vec::new();
    for tree in reader.list(&mut fields, "webhook_configs") {
        channels.extend(reader.webhook(tree).map(ChannelSettings::Webhook));
    }
    for tree in reader.list(&mut fields, "email_configs") {
        let email = reader.email(tree, mail).map(Box::new);
        channels.extend(email.map(ChannelSettings::Email));
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

impl Reader {
    fn webhook(&mut self, tree: &Tree) -> Option<WebhookSettings> {
        let mut fields = Fields::of(tree, "a webhook", &mut self.faults);
        let url = self.secret(&mut fields, "url");
        if let Some(Secret::Inline(text)) = &url
            && let Err(error) = parse_url(text)
        {
            self.faults.at(tree.place, error.to_string());
        }
        if url.is_none() {
            self.faults.at(tree.place, "one of `url` and `url_file` must be set in a webhook");
        }
        let send_resolved = self.flag(&mut fields, "send_resolved");
        let max_alerts = fields.take("max_alerts").and_then(|tree| self.number(tree));
        let timeout = self.duration(&mut fields, "timeout").filter(|timeout| !timeout.is_zero());
        let http = fields.take("http_config");
        fields.refuse_rest(&mut self.faults);
        let (authorization, ca_file) = http.map_or((None, None), |tree| self.http(tree));
        Some(WebhookSettings {
            url: url?,
            send_resolved: send_resolved.unwrap_or(true),
            max_alerts: max_alerts.unwrap_or(0),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            authorization,
            ca_file,
            allow_networks: self.allow_networks.clone(),
        })
    }

    fn http(&mut self, tree: &Tree) -> (Option<Authorization>, Option<PathBuf>) {
        let mut fields = Fields::of(tree, "http_config", &mut self.faults);
        let header = fields.take("authorization").and_then(|tree| {
            let mut fields = Fields::of(tree, "authorization", &mut self.faults);
            let scheme = self.text(&mut fields, "type").unwrap_or_else(|| "Bearer".to_owned());
            let credentials = self.secret(&mut fields, "credentials");
            fields.refuse_rest(&mut self.faults);
            Some(Authorization::Header { scheme, credentials: credentials? })
        });
        let basic = fields.take("basic_auth").and_then(|tree| {
            let mut fields = Fields::of(tree, "basic_auth", &mut self.faults);
            let username = self.text(&mut fields, "username").unwrap_or_default();
            let password = self.secret(&mut fields, "password");
            fields.refuse_rest(&mut self.faults);
            Some(Authorization::Basic { username, password: password? })
        });
        if header.is_some() && basic.is_some() {
            self.faults.at(tree.place, "only one of `authorization` and `basic_auth` may be set");
        }
        let ca_file = fields.take("tls_config").and_then(|tree| self.ca_file(tree));
        if let Some(entry) = fields.entry("follow_redirects") {
            self.unserved(entry);
        }
        fields.refuse_rest(&mut self.faults);
        (header.or(basic), ca_file)
    }

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

    fn email(&mut self, tree: &Tree, defaults: &Mail) -> Option<EmailSettings> {
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
        for entry in UNSERVED_MAIL_KEYS.iter().filter_map(|key| fields.entry(key)) {
            self.unserved(entry);
        }
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

    fn ca_file(&mut self, tree: &Tree) -> Option<PathBuf> {
        let mut fields = Fields::of(tree, "tls_config", &mut self.faults);
        let ca_file = self.text(&mut fields, "ca_file").map(PathBuf::from);
        fields.refuse_rest(&mut self.faults);
        ca_file
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

    fn number(&mut self, tree: &Tree) -> Option<usize> {
        tree.parsed(&mut self.faults, |text| {
            text.parse().map_err(|_| format!("`{text}` is not a number of alerts"))
        })
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
