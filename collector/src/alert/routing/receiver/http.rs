//! `http_config` and `tls_config`, which most receivers have, and the timeout beside them.

use std::path::PathBuf;

use super::Reader;
use crate::notify::{Authorization, DEFAULT_TIMEOUT, HttpSettings, Secret, parse_url};
use crate::yaml::{Fields, Place, Tree};

/// Keys of `http_config` that Alertmanager has and this program does not serve.
const UNSERVED: [&str; 8] = [
    "enable_http2",
    "follow_redirects",
    "http_headers",
    "no_proxy",
    "oauth2",
    "proxy_connect_header",
    "proxy_from_environment",
    "proxy_url",
];

/// Keys of `tls_config` that Alertmanager has and this program does not serve.
const UNSERVED_TLS: [&str; 11] = [
    "ca",
    "ca_ref",
    "cert",
    "cert_file",
    "cert_ref",
    "insecure_skip_verify",
    "key",
    "key_file",
    "max_version",
    "min_version",
    "server_name",
];

impl Reader {
    /// How requests are made: `http_config` and `timeout`.
    pub(super) fn http(&mut self, fields: &mut Fields<'_>) -> HttpSettings {
        let timeout = self.duration(fields, "timeout").filter(|timeout| !timeout.is_zero());
        let config = fields.take("http_config");
        let (authorization, ca_file) = config.map_or((None, None), |tree| self.http_config(tree));
        HttpSettings {
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            authorization,
            ca_file,
            allow_networks: self.allowed.networks.clone(),
        }
    }

    fn http_config(&mut self, tree: &Tree) -> (Option<Authorization>, Option<PathBuf>) {
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
        // The older way to write a header.
        let token = self
            .secret(&mut fields, "bearer_token")
            .map(|credentials| Authorization::Header { scheme: "Bearer".to_owned(), credentials });
        let mut ways = [header, basic, token].into_iter().flatten();
        let authorization = ways.next();
        if ways.next().is_some() {
            let message = "only one of `authorization`, `basic_auth` and `bearer_token` may be set";
            self.faults.at(tree.place, message);
        }
        let ca_file = fields.take("tls_config").and_then(|tree| self.ca_file(tree));
        self.leave_out(&mut fields, &UNSERVED);
        fields.refuse_rest(&mut self.faults);
        (authorization, ca_file)
    }

    pub(super) fn ca_file(&mut self, tree: &Tree) -> Option<PathBuf> {
        let mut fields = Fields::of(tree, "tls_config", &mut self.faults);
        let ca_file = self.text(&mut fields, "ca_file").map(PathBuf::from);
        self.leave_out(&mut fields, &UNSERVED_TLS);
        fields.refuse_rest(&mut self.faults);
        ca_file
    }

    /// Notes what is wrong with an address that stands in the file.
    pub(super) fn check_url(&mut self, place: Place, url: Option<&Secret>) {
        if let Some(Secret::Inline(text)) = url
            && let Err(error) = parse_url(text)
        {
            self.faults.at(place, error.to_string());
        }
    }

    /// An address that is no secret.
    pub(super) fn url(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<String> {
        let tree = fields.take(key)?;
        let check = |text: &str| parse_url(text).map(|_| text.to_owned());
        tree.parsed(&mut self.faults, check)
    }
}
