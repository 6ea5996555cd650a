//! Actions that rules may ask for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Alerts, Span};
use crate::action::{Deed, Settings};
use crate::notify::{Authorization, HttpSettings, Secret, parse_url};
use crate::process;

/// The limit of an action that sets none.
const DEFAULT_LIMIT: &str = "6 in 1h";

/// How long an action may take that does not say so, and how long any may.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_mins(10);

/// So many arguments a command may have.
const MOST_ARGUMENTS: usize = 64;

/// So long a name may be.
const LONGEST_NAME: usize = 64;

/// One action as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Action {
    /// By which rules ask for it, in the annotation `upkeep_action`.
    pub name: String,
    /// The program that is run, by its absolute path.
    pub command: Option<PathBuf>,
    /// Its arguments; labels of the alert stand in braces.
    pub arguments: Vec<String>,
    /// The address that is sent to instead.
    pub url: Option<String>,
    /// The file that holds the address, in place of the address.
    pub url_file: Option<PathBuf>,
    /// The file of the bearer token.
    pub token_file: Option<PathBuf>,
    /// A file of certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// How often it may be run, such as `3 in 10m`.
    pub limit: Option<String>,
    /// How long it may take.
    pub timeout: Option<Span>,
}

/// All actions, or what is wrong with them.
pub(super) fn settings(actions: &[Action], alerts: &Alerts) -> Result<Vec<Settings>, Vec<String>> {
    let (mut settings, mut faults, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for action in actions {
        match action.settings(alerts) {
            Ok(_) if !names.insert(&action.name) => {
                faults.push(format!("the name {:?} is given twice", action.name));
            }
            Ok(read) => settings.push(read),
            Err(fault) => faults.push(format!("{:?}: {fault}", action.name)),
        }
    }
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

impl Action {
    fn settings(&self, alerts: &Alerts) -> Result<Settings, String> {
        let is_name =
            |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        if self.name.is_empty() || self.name.len() > LONGEST_NAME || !self.name.chars().all(is_name)
        {
            return Err(format!(
                "a name has 1 to {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
            ));
        }
        let timeout = self.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.0);
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            return Err(format!(
                "timeout must be more than 0 and at most {}",
                Span(LONGEST_TIMEOUT)
            ));
        }
        let limit = self.limit.as_deref().unwrap_or(DEFAULT_LIMIT).parse();
        Ok(Settings {
            name: self.name.clone(),
            deed: self.deed(alerts)?,
            limit: limit.map_err(|error| format!("limit: {error}"))?,
            timeout,
        })
    }

    fn deed(&self, alerts: &Alerts) -> Result<Deed, String> {
        let inline = self.url.clone().map(Secret::Inline);
        let mut urls = inline.into_iter().chain(self.url_file.clone().map(Secret::File));
        match (&self.command, urls.next(), urls.next()) {
            (Some(program), None, None) => self.command(program.clone(), alerts),
            (None, Some(url), None) => self.webhook(url, alerts),
            _ => Err("exactly one of command, url and url_file must be set".to_owned()),
        }
    }

    fn command(&self, program: PathBuf, alerts: &Alerts) -> Result<Deed, String> {
        if let Some(refusal) = process::refusal(&program, &alerts.allow_commands) {
            return Err(refusal);
        }
        if self.token_file.is_some() || self.ca_file.is_some() {
            return Err("token_file and ca_file are for requests, not for commands".to_owned());
        }
        if self.arguments.len() > MOST_ARGUMENTS {
            return Err(format!("there may be {MOST_ARGUMENTS} arguments at most"));
        }
        let arguments = self.arguments.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let arguments =
            arguments.map_err(|error: crate::action::ArgumentSyntaxError| error.to_string())?;
        Ok(Deed::Command { program, arguments })
    }

    fn webhook(&self, url: Secret, alerts: &Alerts) -> Result<Deed, String> {
        if !self.arguments.is_empty() {
            return Err("arguments are for commands, not for requests".to_owned());
        }
        if let Secret::Inline(text) = &url {
            parse_url(text).map_err(|error| error.to_string())?;
        }
        let token = self.token_file.clone().map(Secret::File);
        let http = HttpSettings {
            authorization: token.map(|credentials| Authorization::Header {
                scheme: "Bearer".to_owned(),
                credentials,
            }),
            ca_file: self.ca_file.clone(),
            allow_networks: alerts.allow_networks.clone(),
            ..HttpSettings::default()
        };
        Ok(Deed::Webhook { url, http })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Vec<Settings>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.toml");
        let allowed = "[alerts]\nallow_commands = [\"/usr/bin/true\"]\n";
        std::fs::write(&path, format!("{allowed}[[actions]]\n{text}")).unwrap();
        let config = Config::load(&path).map_err(|error| error.to_string())?;
        config.actions().map_err(|faults| faults.join("\n"))
    }

    #[test]
    fn actions_are_read_with_their_defaults() {
        let text = "name = \"a\"\ncommand = \"/usr/bin/true\"\narguments = [\"{{ $labels.b }}\"]\n\
            [[actions]]\nname = \"b\"\nurl = \"https://x/\"\nlimit = \"1 in 1d\"\ntimeout = \"5s\"\n\
            token_file = \"/token\"\n";
        let [a, b] = <[Settings; 2]>::try_from(read(text).unwrap()).unwrap();
        assert_eq!((a.limit.to_string().as_str(), a.timeout), ("6 in 1h", DEFAULT_TIMEOUT));
        assert!(matches!(&a.deed, Deed::Command { arguments, .. } if arguments.len() == 1));
        assert_eq!((b.limit.to_string().as_str(), b.timeout.as_secs()), ("1 in 1day", 5));
        let Deed::Webhook { http, .. } = b.deed else { panic!("{:?}", b.deed) };
        assert!(matches!(http.authorization, Some(Authorization::Header { .. })));
    }

    #[test]
    fn what_is_wrong_with_an_action_is_said() {
        let check = |text: &str, expect: &str| {
            let fault = read(&format!("name = \"a\"\n{text}")).unwrap_err();
            assert!(fault.contains(expect), "{text}: {fault}");
        };
        let command = "command = \"/usr/bin/true\"\n";
        check("", "actions: \"a\": exactly one of");
        check(&format!("{command}url = \"https://x/\""), "exactly one of");
        check("url = \"https://x/\"\nurl_file = \"/x\"", "exactly one of");
        check("command = \"/bin/sh\"", "`/bin/sh` is not in `alerts.allow_commands`");
        check("command = \"true\"", "must be an absolute path");
        check("url = \"ftp://x/\"", "must begin with http");
        check("url = \"https://x/\"\narguments = [\"b\"]", "arguments are for commands");
        check(&format!("{command}token_file = \"/x\""), "are for requests");
        check(&format!("{command}arguments = [\"-{{{{ $labels.b }}}}\"]"), "behind a `=`");
        check(&format!("{command}arguments = [\"{{{{ $value }}}}\"]"), "only a label");
        check(&format!("{command}limit = \"often\""), "limit: \"often\" is no limit");
        check(&format!("{command}timeout = \"0s\""), "timeout must be more than 0");
        check(&format!("{command}timeout = \"11m\""), "at most 10m");
        check(&format!("{command}shell = true"), "shell");
        check(&format!("{command}[[actions]]\nname = \"a\"\n{command}"), "given twice");
        check(&format!("{command}[[actions]]\nname = \"b c\"\n{command}"), "a name has");
    }
}
