//! Alertmanagers that the alerts of our own rules are sent on to.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Alerts, Span};
use crate::forward::{Settings, address};
use crate::notify::{Authorization, DEFAULT_TIMEOUT, HttpSettings, Secret};

/// How long a request may take at most.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);

/// One Alertmanager as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Alertmanager {
    /// Its address, with the prefix of its paths if it has one.
    pub url: String,
    /// The file of the bearer token.
    pub token_file: Option<PathBuf>,
    /// The user of basic authentication.
    pub username: Option<String>,
    /// The file of that user's password.
    pub password_file: Option<PathBuf>,
    /// A file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long a request may take.
    pub timeout: Option<Span>,
}

/// All of them, or what is wrong with them.
pub(super) fn settings(
    alertmanagers: &[Alertmanager],
    alerts: &Alerts,
) -> Result<Vec<Settings>, Vec<String>> {
    let (mut settings, mut faults) = (Vec::<Settings>::new(), Vec::new());
    for one in alertmanagers {
        match one.settings(alerts) {
            Ok(read) if settings.iter().any(|other| other.url == read.url) => {
                faults.push(format!("the url {:?} is given twice", one.url));
            }
            Ok(read) => settings.push(read),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

impl Alertmanager {
    fn settings(&self, alerts: &Alerts) -> Result<Settings, String> {
        // An address that is refused may carry a secret, so it is not repeated.
        address(&self.url).map_err(|error| error.to_string())?;
        let fault = |what: &str| Err(format!("{:?}: {what}", self.url));
        let authorization = match (&self.token_file, &self.username, &self.password_file) {
            (None, None, None) => None,
            (Some(token), None, None) => Some(Authorization::Header {
                scheme: "Bearer".to_owned(),
                credentials: Secret::File(token.clone()),
            }),
            (None, Some(username), Some(password)) => Some(Authorization::Basic {
                username: username.clone(),
                password: Secret::File(password.clone()),
            }),
            _ => return fault("either token_file, or username and password_file may be set"),
        };
        let timeout = self.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0);
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            return fault("timeout must be more than 0 and at most 1m");
        }
        let http = HttpSettings {
            timeout,
            authorization,
            ca_file: self.ca_file.clone(),
            allow_networks: alerts.allow_networks.clone(),
        };
        Ok(Settings { url: self.url.trim_end_matches('/').to_owned(), http })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Vec<Settings>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.toml");
        std::fs::write(&path, format!("[[alertmanagers]]\n{text}")).unwrap();
        let config = Config::load(&path).map_err(|error| error.to_string())?;
        config.alertmanagers().map_err(|faults| faults.join("\n"))
    }

    #[test]
    fn alertmanagers_are_read() {
        let text = "url = \"https://am:9093/prefix/\"\nusername = \"u\"\npassword_file = \"/p\"\n\
            [[alertmanagers]]\nurl = \"http://am2\"\ntoken_file = \"/t\"\ntimeout = \"2s\"\n";
        let [first, second] = <[Settings; 2]>::try_from(read(text).unwrap()).unwrap();
        assert_eq!(first.url, "https://am:9093/prefix");
        assert_eq!(first.http.timeout, DEFAULT_TIMEOUT);
        assert!(matches!(first.http.authorization, Some(Authorization::Basic { .. })));
        assert!(matches!(second.http.authorization, Some(Authorization::Header { .. })));
        assert_eq!(second.http.timeout, Duration::from_secs(2));
    }

    #[test]
    fn what_is_wrong_with_an_alertmanager_is_said() {
        let check = |text: &str, expect: &str| {
            let fault = read(text).unwrap_err();
            assert!(fault.contains(expect), "{text}: {fault}");
            assert!(!fault.contains("hunter2"), "{text}: {fault}");
        };
        check("", "alertmanagers: the URL cannot be read");
        check("url = \"am:9093\"", "must begin with http");
        check("url = \"https://u:hunter2@am\"", "must have no user, password");
        check("url = \"https://am/?token=hunter2\"", "must have no user, password, parameters");
        let url = "url = \"https://am\"\n";
        check(&format!("{url}username = \"u\""), "either token_file, or username and");
        check(
            &format!("{url}token_file = \"/t\"\nusername = \"u\"\npassword_file = \"/p\""),
            "either",
        );
        check(&format!("{url}timeout = \"0s\""), "timeout must be more than 0");
        check(&format!("{url}timeout = \"2m\""), "at most 1m");
        check(&format!("{url}password = \"hunter2\""), "password");
        check(&format!("{url}[[alertmanagers]]\nurl = \"https://am/\""), "given twice");
    }
}
