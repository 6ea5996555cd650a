//! What goes through the socket: one line of JSON there, one document back.

use serde::{Deserialize, Serialize};

use super::{Answer, HelperError, Verb};

/// The version of what goes through the socket. Both sides are the same program, but an agent that
/// was started before an update still asks the new helper.
const VERSION: u32 = 1;

/// A question.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    version: u32,
    verb: Verb,
}

/// What comes back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    version: u32,
    #[serde(flatten)]
    body: Body,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Answer(Answer),
    Absent(String),
    Failed(String),
    Refused(String),
}

impl Request {
    /// The line that asks for a verb.
    pub(super) fn line(verb: Verb) -> Result<Vec<u8>, HelperError> {
        let mut line = json(&Self { version: VERSION, verb })?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads a line.
    pub(super) fn parse(line: &[u8]) -> Result<Verb, HelperError> {
        let request: Self = read(line)?;
        check_version(request.version)?;
        Ok(request.verb)
    }
}

impl Reply {
    /// The document that tells an outcome.
    pub(super) fn document(outcome: &Result<Answer, HelperError>) -> Result<Vec<u8>, HelperError> {
        let body = match outcome {
            Ok(answer) => Body::Answer(answer.clone()),
            Err(HelperError::Absent(reason)) => Body::Absent(reason.clone()),
            Err(HelperError::Failed(reason)) => Body::Failed(reason.clone()),
            Err(HelperError::Refused(reason)) => Body::Refused(reason.clone()),
            Err(other) => Body::Refused(other.to_string()),
        };
        json(&Self { version: VERSION, body })
    }

    /// Reads a document.
    pub(super) fn parse(document: &[u8]) -> Result<Answer, HelperError> {
        let reply: Self = read(document)?;
        check_version(reply.version)?;
        match reply.body {
            Body::Answer(answer) => Ok(answer),
            Body::Absent(reason) => Err(HelperError::Absent(reason)),
            Body::Failed(reason) => Err(HelperError::Failed(reason)),
            Body::Refused(reason) => Err(HelperError::Refused(reason)),
        }
    }
}

fn check_version(version: u32) -> Result<(), HelperError> {
    if version == VERSION {
        return Ok(());
    }
    Err(HelperError::Malformed(format!("it is of version {version}, not {VERSION}")))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, HelperError> {
    serde_json::to_vec(value).map_err(|error| HelperError::Malformed(error.to_string()))
}

fn read<'text, T: Deserialize<'text>>(text: &'text [u8]) -> Result<T, HelperError> {
    serde_json::from_slice(text).map_err(|error| HelperError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::{DmiAnswer, EnergyAnswer};

    #[test]
    fn requests_are_a_verb_and_nothing_else() {
        for verb in Verb::ALL {
            assert_eq!(Request::parse(&Request::line(verb).unwrap()).unwrap(), verb);
        }
        let check = |line: &str, expect: &str| {
            let error = Request::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{line}: {error}");
        };
        check(r#"{"version":1,"verb":"shell"}"#, "unknown variant `shell`");
        check(r#"{"version":1,"verb":"smart","device":"/dev/sda"}"#, "unknown field `device`");
        check(r#"{"version":2,"verb":"smart"}"#, "version 2");
        check(r#"{"version":1}"#, "missing field `verb`");
        check(r#"{"version":1,"verb":"smart"} x"#, "trailing");
        check("", "EOF");
    }

    #[test]
    fn outcomes_come_back_as_they_went() {
        let check = |outcome: Result<Answer, HelperError>| {
            let read = Reply::parse(&Reply::document(&outcome).unwrap());
            assert_eq!(format!("{read:?}"), format!("{outcome:?}"));
        };
        check(Ok(Answer::Dmi(DmiAnswer::default())));
        check(Ok(Answer::Energy(EnergyAnswer::default())));
        check(Err(HelperError::Absent("no smartctl".into())));
        check(Err(HelperError::Failed("it broke".into())));
        check(Err(HelperError::Refused("switched off".into())));
        let error = Reply::parse(br#"{"version":1,"answer":{"shell":{}}}"#).unwrap_err();
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }
}
