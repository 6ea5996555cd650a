//! Fields of a JSON document that a program wrote. What is missing has no value; what is there and
//! is not what it should be is left out and noted.

use serde_json::Value;

use crate::probe::{Faults, ProbeError};

/// The most faults of one document that are told apart; the others are counted.
const MAX_NOTES: usize = 32;

/// The most rows that are taken of one table; the longest that a disk can have is of 30 attributes,
/// and of some hundred statistics.
const MAX_ROWS: usize = 512;

/// What could not be read of documents. It is told again at every tick until the next reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// What each is about, and what is wrong with it.
    first: Vec<(String, String)>,
    more: usize,
}

impl Notes {
    /// Notes a fault.
    pub(super) fn add(&mut self, item: String, fault: String) {
        if self.first.len() < MAX_NOTES {
            self.first.push((item, fault));
        } else {
            self.more += 1;
        }
    }

    /// Tells them.
    pub(super) fn tell(&self, faults: &mut Faults) {
        for (item, fault) in &self.first {
            faults.note(ProbeError::Answer { item: item.clone(), fault: fault.clone() });
        }
        faults.note_more(self.more);
    }
}

/// A part of a document, by JSON pointers from there on.
pub(super) struct Fields<'json, 'notes> {
    value: &'json Value,
    /// What the document is about, and the way to this part.
    place: String,
    notes: &'notes mut Notes,
}

impl<'json, 'notes> Fields<'json, 'notes> {
    /// A whole document, and what it is about.
    pub(super) fn new(value: &'json Value, about: &str, notes: &'notes mut Notes) -> Self {
        Self { value, place: about.to_owned(), notes }
    }

    /// Whether there is anything at a place.
    pub(super) fn has(&self, pointer: &str) -> bool {
        self.get(pointer).is_some()
    }

    /// A number.
    pub(super) fn number(&mut self, pointer: &str) -> Option<f64> {
        let value = self.get(pointer)?;
        let number = value.as_f64().filter(|number| number.is_finite());
        self.checked(pointer, number, "is not a number")
    }

    /// A whole number that is not below zero. Anything else would pass for no fault where faults are
    /// counted.
    pub(super) fn count(&mut self, pointer: &str) -> Option<f64> {
        let number = self.number(pointer)?;
        let is_count = number >= 0.0 && number.fract() == 0.0;
        self.checked(pointer, is_count.then_some(number), "is not a count")
    }

    /// A number that is written as text, as smartctl has it where digits after the point matter.
    pub(super) fn number_in_text(&mut self, pointer: &str) -> Option<f64> {
        let Some(text) = self.get(pointer)?.as_str() else { return self.number(pointer) };
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        self.checked(pointer, number, "is not a number")
    }

    /// A truth value.
    pub(super) fn flag(&mut self, pointer: &str) -> Option<bool> {
        let value = self.get(pointer)?;
        self.checked(pointer, value.as_bool(), "is neither true nor false")
    }

    /// Text without blanks around it; empty where there is none.
    pub(super) fn text(&mut self, pointer: &str) -> String {
        let Some(value) = self.get(pointer) else { return String::new() };
        let text = self.checked(pointer, value.as_str(), "is not text");
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    }

    /// The rows of a table, each with its own fields, read one after the other.
    pub(super) fn rows<T>(
        &mut self,
        pointer: &str,
        read: impl Fn(&mut Fields<'json, '_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.get(pointer) else { return Vec::new() };
        let Some(rows) = self.checked(pointer, value.as_array(), "is not a list") else {
            return Vec::new();
        };
        if rows.len() > MAX_ROWS {
            self.note(pointer, &format!("has {} rows; {MAX_ROWS} were read", rows.len()));
        }
        let numbered = rows.iter().take(MAX_ROWS).enumerate();
        numbered.filter_map(|(at, row)| read(&mut self.part(pointer, &at, row))).collect()
    }

    /// The members of an object, each with its name and its own fields.
    pub(super) fn members<T>(
        &mut self,
        pointer: &str,
        read: impl Fn(&str, &mut Fields<'json, '_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.get(pointer) else { return Vec::new() };
        let Some(members) = self.checked(pointer, value.as_object(), "is not an object") else {
            return Vec::new();
        };
        if members.len() > MAX_ROWS {
            self.note(pointer, &format!("has {} members; {MAX_ROWS} were read", members.len()));
        }
        let named = members.iter().take(MAX_ROWS);
        named.filter_map(|(name, row)| read(name, &mut self.part(pointer, name, row))).collect()
    }

    /// Notes what is wrong with a place.
    pub(super) fn note(&mut self, pointer: &str, fault: &str) {
        self.notes.add(format!("{}{pointer}", self.place), fault.to_owned());
    }

    fn part(
        &mut self,
        pointer: &str,
        key: &dyn std::fmt::Display,
        value: &'json Value,
    ) -> Fields<'json, '_> {
        Fields { value, place: format!("{}{pointer}/{key}", self.place), notes: self.notes }
    }

    fn get(&self, pointer: &str) -> Option<&'json Value> {
        self.value.pointer(pointer).filter(|value| !value.is_null())
    }

    fn checked<T>(&mut self, pointer: &str, answer: Option<T>, fault: &str) -> Option<T> {
        if answer.is_none() {
            self.note(pointer, fault);
        }
        answer
    }
}
