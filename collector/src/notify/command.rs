//! Commands on the collector, given a notification as JSON.

use std::path::PathBuf;
use std::time::Duration;

use super::text::one_line;
use super::{Notification, NotifyError, payload};
use crate::process::{self, End};

/// How long a command may take unless the configuration says otherwise.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of what a command says is shown.
const DETAIL_CHARACTERS: usize = 300;

/// Codes by which programs say that trying again is of no use (sysexits), and the one among them that
/// says that it is.
const USELESS: std::ops::RangeInclusive<i32> = 64..=78;
const TRY_AGAIN: i32 = 75;

/// What can be set about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments, as they are.
    pub arguments: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether to tell that alerts are resolved.
    pub send_resolved: bool,
}

/// Tells by a command: the payload of a webhook on its standard input.
pub struct Command {
    settings: CommandSettings,
}

impl Command {
    /// A command as it is set.
    pub fn new(settings: CommandSettings) -> Self {
        Self { settings }
    }

    /// Whether to tell that alerts are resolved.
    pub fn sends_resolved(&self) -> bool {
        self.settings.send_resolved
    }

    /// Runs it.
    ///
    /// # Errors
    /// When it cannot be run, takes too long, or ends with another code than 0.
    pub async fn send(&self, notification: &Notification) -> Result<String, NotifyError> {
        let CommandSettings { program, arguments, timeout, .. } = &self.settings;
        let input = payload::json(notification, 0)?;
        let failed = |reason: String, is_permanent: bool| NotifyError::Command {
            program: program.display().to_string(),
            reason,
            is_permanent,
        };
        let ran = process::run(program, arguments, &input, *timeout)
            .await
            .map_err(|error| failed(format!("cannot be run: {error}"), true))?;
        let said = one_line(&ran.output, DETAIL_CHARACTERS);
        if ran.end == End::Code(0) {
            return Ok(said);
        }
        let said = if said.is_empty() { said } else { format!(": {said}") };
        match ran.end {
            End::Code(code) => {
                let is_permanent = USELESS.contains(&code) && code != TRY_AGAIN;
                Err(failed(format!("ended with code {code}{said}"), is_permanent))
            }
            End::Signal => Err(failed(format!("was ended by a signal{said}"), false)),
            End::TimedOut => Err(failed(format!("took longer than {timeout:?}{said}"), false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::notification::sample;

    fn shell(script: &str) -> Command {
        Command::new(CommandSettings {
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            timeout: Duration::from_secs(20),
            send_resolved: true,
        })
    }

    #[tokio::test]
    async fn a_command_gets_the_payload() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("got");
        let script = format!("cat > {}; echo noted", file.display());
        assert_eq!(shell(&script).send(&sample()).await.unwrap(), "noted");
        let got: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(got["alerts"][0]["labels"]["instance"], "web1");
        assert_eq!((&got["version"], &got["status"]), (&"4".into(), &"firing".into()));
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let check = async |script: &str, is_permanent: bool, expect: &str| {
            let error = shell(script).send(&sample()).await.unwrap_err();
            assert_eq!(error.is_permanent(), is_permanent, "{error}");
            assert_eq!(error.to_string(), format!("/bin/sh {expect}"));
        };
        check("echo no >&2; exit 1", false, "ended with code 1: no").await;
        check("exit 75", false, "ended with code 75").await;
        check("exit 65", true, "ended with code 65").await;
        check("kill -KILL $$", false, "was ended by a signal").await;
        check("printf 'a\\033[2J\\nb'; exit 2", false, "ended with code 2: a [2J b").await;
        let mut command = shell("sleep 60");
        command.settings.timeout = Duration::from_millis(100);
        let error = command.send(&sample()).await.unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("took longer"), "{error}");
        command.settings.program = PathBuf::from("/no/such/program");
        let error = command.send(&sample()).await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("cannot be run"), "{error}");
    }
}
