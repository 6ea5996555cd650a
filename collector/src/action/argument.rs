//! Arguments of commands, with labels of an alert in them: `--host={{ $labels.instance }}`.
//!
//! The values come from hosts and from whoever writes samples, so they are data and nothing else: one
//! that could be read as an option, or that has characters that cannot be seen, is not passed on.
//! There is no shell that could read anything into the others.

use std::str::FromStr;

use thiserror::Error;
use upkeep_model::{Labels, is_label_name};

use crate::notify::{LOGGED_CHARACTERS, one_line};

/// The characters by which programs know options, and files to read options from.
const SIGILS: [char; 3] = ['-', '+', '@'];

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Label(String),
}

/// Why a text is no argument.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArgumentSyntaxError {
    /// Something else than a label stands in braces.
    #[error("argument {0:?}: only a label may stand in braces, as in {{{{ $labels.instance }}}}")]
    NotALabel(String),
    /// A label would go on with what begins an option.
    #[error("argument {0:?}: a label may follow the beginning of an option only behind a `=`")]
    OptionOfLabel(String),
    /// It has control characters.
    #[error("argument {0:?} has control characters")]
    Control(String),
}

/// Why an alert's labels are not passed to a command.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArgumentRefusal {
    /// The alert has no such label.
    #[error("the alert has no label `{0}`, which an argument needs")]
    Missing(String),
    /// The argument would be taken for an option.
    #[error("the label `{0}` begins with a character that could make it an option")]
    Option(String),
    /// It is too long.
    #[error("the label `{0}` has more than {LOGGED_CHARACTERS} characters")]
    TooLong(String),
    /// It has characters that cannot be seen.
    #[error("the label `{0}` has control characters or such without a form")]
    Unclean(String),
}

impl Argument {
    /// The argument for an alert of these labels.
    ///
    /// # Errors
    /// When a label is missing, or cannot be passed on.
    pub fn fill(&self, labels: &Labels) -> Result<String, ArgumentRefusal> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Label(name) => {
                    let value = value(name, labels)?;
                    if filled.is_empty() && value.starts_with(SIGILS) {
                        return Err(ArgumentRefusal::Option(name.clone()));
                    }
                    filled.push_str(value);
                }
            }
        }
        Ok(filled)
    }
}

fn value<'a>(name: &str, labels: &'a Labels) -> Result<&'a str, ArgumentRefusal> {
    // An empty label is no label.
    let value = labels.get(name).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| ArgumentRefusal::Missing(name.to_owned()))?;
    if value.chars().nth(LOGGED_CHARACTERS).is_some() {
        return Err(ArgumentRefusal::TooLong(name.to_owned()));
    }
    // What the cleaning of texts would change is not passed on at all: a command must not act on
    // something else than what was meant.
    if one_line(value) != value {
        return Err(ArgumentRefusal::Unclean(name.to_owned()));
    }
    Ok(value)
}

impl FromStr for Argument {
    type Err = ArgumentSyntaxError;

    fn from_str(text: &str) -> Result<Self, ArgumentSyntaxError> {
        if text.contains(char::is_control) {
            return Err(ArgumentSyntaxError::Control(text.to_owned()));
        }
        let (mut parts, mut left) = (Vec::new(), text);
        while let Some((before, behind)) = left.split_once("{{") {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, rest) =
                label(behind).ok_or_else(|| ArgumentSyntaxError::NotALabel(text.to_owned()))?;
            parts.push(Part::Label(name.to_owned()));
            left = rest;
        }
        if !left.is_empty() {
            parts.push(Part::Text(left.to_owned()));
        }
        let begins_option = |first: &str| first.starts_with(SIGILS) && !first.contains('=');
        if let [Part::Text(first), Part::Label(_), ..] = parts.as_slice()
            && begins_option(first)
        {
            return Err(ArgumentSyntaxError::OptionOfLabel(text.to_owned()));
        }
        Ok(Self(parts))
    }
}

/// The label that stands before the closing braces, and what follows them.
fn label(text: &str) -> Option<(&str, &str)> {
    let (inside, rest) = text.split_once("}}")?;
    let name = inside.trim().strip_prefix("$labels.")?;
    is_label_name(name).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        use ArgumentSyntaxError::{Control, NotALabel, OptionOfLabel};
        let check = |text: &str, fault: Option<fn(String) -> ArgumentSyntaxError>| {
            let read = text.parse::<Argument>().err();
            assert_eq!(read, fault.map(|fault| fault(text.to_owned())), "{text:?}");
        };
        check("", None);
        check("restart", None);
        check("--now", None);
        check("}} {$labels.a}", None);
        check("{{ $labels.instance }}", None);
        check("{{$labels.a}}:{{$labels.b}}", None);
        check("--host={{ $labels.instance }}", None);
        check("host={{ $labels.instance }}", None);
        check("{{ $value }}", Some(NotALabel));
        check("{{ $labels.instance", Some(NotALabel));
        check("{{ $labels.a.b }}", Some(NotALabel));
        check("{{ $labels }}", Some(NotALabel));
        check("{{ printf \"%s\" $labels.a }}", Some(NotALabel));
        check("-{{ $labels.instance }}", Some(OptionOfLabel));
        check("--{{ $labels.instance }}", Some(OptionOfLabel));
        check("-o{{ $labels.instance }}", Some(OptionOfLabel));
        check("@{{ $labels.instance }}", Some(OptionOfLabel));
        check("a\nb", Some(Control));
        check("a\0", Some(Control));
    }

    #[test]
    fn labels_are_passed_on_as_data_or_not_at_all() {
        use ArgumentRefusal::{Missing, Option, TooLong, Unclean};
        let long = "x".repeat(LOGGED_CHARACTERS + 1);
        let labels = Labels::new([
            ("plain", "web1.example.org:9100"),
            ("shell", "$(reboot); `id` | rm -rf / > \"x\" 'y' \\ * ?"),
            ("letters", "größe 日本"),
            ("short", "-rf"),
            ("plus", "+x"),
            ("file", "@/etc/passwd"),
            ("line", "a\nb"),
            ("nul", "a\0b"),
            ("escape", "\u{1b}[2J"),
            ("turned", "a\u{202e}b"),
            ("empty", ""),
            ("full", &long[1..]),
            ("long", &long),
        ]);
        let check = |text: &str, expect: Result<&str, fn(String) -> ArgumentRefusal>| {
            let filled = text.parse::<Argument>().unwrap().fill(&labels);
            let name = text.split(['.', '}']).nth(1).unwrap_or_default().to_owned();
            let expect = expect.map(str::to_owned).map_err(|refusal| refusal(name));
            assert_eq!(filled, expect, "{text:?}");
        };
        check("-o", Ok("-o"));
        check("{{$labels.plain}}", Ok("web1.example.org:9100"));
        check("{{$labels.shell}}", Ok("$(reboot); `id` | rm -rf / > \"x\" 'y' \\ * ?"));
        check("{{$labels.letters}}", Ok("größe 日本"));
        check("{{$labels.full}}", Ok(&long[1..]));
        check("--to={{$labels.short}}!", Ok("--to=-rf!"));
        check("{{$labels.short}}", Err(Option));
        check("{{$labels.plus}}", Err(Option));
        check("{{$labels.file}}", Err(Option));
        check("{{$labels.line}}", Err(Unclean));
        check("--to={{$labels.nul}}", Err(Unclean));
        check("{{$labels.escape}}", Err(Unclean));
        check("{{$labels.turned}}", Err(Unclean));
        check("{{$labels.long}}", Err(TooLong));
        check("{{$labels.empty}}", Err(Missing));
        check("{{$labels.none}}", Err(Missing));
    }
}
