//! What a probe could not read.

use std::fmt::Write as _;

use thiserror::Error;

use crate::host::HostError;

/// The most faults that one error spells out; a file that is garbage from end to end must not
/// flood the log.
const MAX_FAULTS: usize = 8;

/// Something that a probe could not read.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A file or folder could not be read at all.
    #[error(transparent)]
    Host(#[from] HostError),
    /// One value of a file could not be read and was left out.
    #[error("{file}, line {line}, {item}: {fault}")]
    Value {
        /// The file, relative to its tree.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The value's name.
        item: String,
        /// What is wrong with it.
        fault: String,
    },
    /// One value of what a program answered could not be read and was left out.
    #[error("{item}: {fault}")]
    Answer {
        /// The program, whom it was asked about, and the way to the value.
        item: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A file system did not answer in time and is left out until it does.
    #[error("{mount_point}: the file system does not answer")]
    Stuck {
        /// Where it is mounted.
        mount_point: String,
    },
    /// The operating system did not answer.
    #[error("{0}")]
    System(String),
    /// More than one of the above.
    #[error("{}", several(.first, *.more))]
    Several {
        /// The first of them.
        first: Vec<ProbeError>,
        /// How many there were beyond those.
        more: usize,
    },
}

impl ProbeError {
    /// How many things could not be read.
    pub fn count(&self) -> usize {
        match self {
            Self::Several { first, more } => {
                first.iter().map(Self::count).fold(*more, usize::saturating_add)
            }
            _ => 1,
        }
    }
}

/// Gathers faults while a probe goes on.
#[derive(Debug, Default)]
pub(super) struct Faults {
    first: Vec<ProbeError>,
    more: usize,
}

impl Faults {
    /// Notes a fault.
    pub(super) fn note(&mut self, error: impl Into<ProbeError>) {
        match error.into() {
            ProbeError::Several { first, more } => self.append(Self { first, more }),
            error if self.first.len() < MAX_FAULTS => self.first.push(error),
            _ => self.more += 1,
        }
    }

    /// Notes faults that nobody spells out.
    pub(super) fn note_more(&mut self, more: usize) {
        self.more = self.more.saturating_add(more);
    }

    /// Notes a value that could not be read.
    pub(super) fn value(&mut self, file: &str, line: usize, item: &str, fault: impl Into<String>) {
        self.note(ProbeError::Value {
            file: file.to_owned(),
            line,
            item: item.to_owned(),
            fault: fault.into(),
        });
    }

    /// Reads a number, or notes why that is not possible.
    pub(super) fn number(
        &mut self,
        file: &str,
        line: usize,
        item: &str,
        text: Option<&str>,
    ) -> Option<f64> {
        let fault = match text.map(|text| (text, text.parse::<f64>())) {
            Some((_, Ok(number))) if number.is_finite() => return Some(number),
            Some((text, _)) => format!("{text:?} is not a number"),
            None => "missing".to_owned(),
        };
        self.value(file, line, item, fault);
        None
    }

    /// Keeps what was read; notes a fault otherwise.
    pub(super) fn keep<T, E: Into<ProbeError>>(&mut self, answer: Result<T, E>) -> Option<T> {
        answer.map_err(|error| self.note(error)).ok()
    }

    /// Notes a fault, if there is one.
    pub(super) fn check<E: Into<ProbeError>>(&mut self, answer: Result<(), E>) {
        if let Err(error) = answer {
            self.note(error);
        }
    }

    /// Whether nothing was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Notes the faults of a part.
    pub(super) fn append(&mut self, part: Self) {
        self.more += part.more;
        for error in part.first {
            self.note(error);
        }
    }

    /// The faults as one error.
    pub(super) fn into_result(mut self) -> Result<(), ProbeError> {
        match (self.first.pop(), self.first.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                self.first.push(last);
                Err(ProbeError::Several { first: self.first, more: self.more })
            }
        }
    }
}

fn several(first: &[ProbeError], more: usize) -> String {
    let mut text = String::new();
    for (at, error) in first.iter().enumerate() {
        let separator = if at == 0 { "" } else { "; " };
        // Writing to a string does not fail.
        let _written = write!(text, "{separator}{error}");
    }
    if more > 0 {
        let _written = write!(text, "; and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_bounded_and_name_their_place() {
        let mut faults = Faults::default();
        assert_eq!(faults.number("stat", 1, "btime", Some("12")), Some(12.0));
        assert_eq!(faults.number("stat", 3, "btime", Some("x")), None);
        for line in 0..MAX_FAULTS {
            assert_eq!(faults.number("stat", line, "ctxt", None), None);
        }
        let error = faults.into_result().unwrap_err();
        assert_eq!(error.count(), MAX_FAULTS + 1, "also those that are not spelt out count");
        let text = error.to_string();
        assert!(text.starts_with("stat, line 3, btime: \"x\" is not a number; "), "{text}");
        assert!(text.ends_with("; and 1 more"), "{text}");
        assert!(Faults::default().into_result().is_ok());
    }
}
