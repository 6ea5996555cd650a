//! What an evaluation noticed, for the author of the expression.

use std::collections::HashSet;

use crate::position::Position;

/// Warnings and infos, each once, in the order in which they came up.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: Notes,
    infos: Notes,
}

impl Annotations {
    pub(crate) fn warn(&mut self, place: Position, message: impl AsRef<str>) {
        self.warnings.add(place, "PromQL warning", message.as_ref());
    }

    pub(crate) fn inform(&mut self, place: Position, message: impl AsRef<str>) {
        self.infos.add(place, "PromQL info", message.as_ref());
    }

    /// Warnings, then infos.
    pub(crate) fn into_lists(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_list("warning"), self.infos.into_list("info"))
    }
}

/// Most messages shown of a kind, as in Prometheus: an expression over thousands of metrics has
/// something to say of each.
const MAX_SHOWN: usize = 10;
/// Most messages counted beyond those.
const MAX_COUNTED: usize = 1_000;

/// Messages of one kind.
#[derive(Debug, Default)]
struct Notes {
    shown: Vec<(String, Position)>,
    omitted: HashSet<String>,
}

impl Notes {
    /// Of the same message about several places the last place is told.
    fn add(&mut self, place: Position, level: &str, message: &str) {
        let text = format!("{level}: {message}");
        if let Some((_, known)) = self.shown.iter_mut().find(|(other, _)| *other == text) {
            *known = place;
        } else if self.shown.len() < MAX_SHOWN {
            self.shown.push((text, place));
        } else if self.omitted.len() < MAX_COUNTED {
            self.omitted.insert(text);
        }
    }

    fn into_list(self, kind: &str) -> Vec<String> {
        let shown = self.shown.into_iter().map(|(text, place)| format!("{text} ({place})"));
        let mut list: Vec<String> = shown.collect();
        if !self.omitted.is_empty() {
            list.push(format!("{} more {kind} annotations omitted", self.omitted.len()));
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_told_once_and_not_too_many() {
        let mut notes = Annotations::default();
        for number in 0..13 {
            for column in [1, 7] {
                notes.warn(Position { line: 1, column }, format!("number {}", number % 12));
            }
        }
        notes.inform(Position { line: 2, column: 3 }, "odd");
        let (warnings, infos) = notes.into_lists();
        assert_eq!(warnings.len(), 11);
        assert_eq!(warnings[0], "PromQL warning: number 0 (1:7)");
        assert_eq!(warnings[10], "2 more warning annotations omitted");
        assert_eq!(infos, ["PromQL info: odd (2:3)"]);
    }
}
