//! YAML as a tree whose every node knows its line and column, so that everything that is wrong
//! with a file can be said at once and at its place.
//!
//! Scalars stay text as written: whether `1.10` is a number or a version is for the reader to say.
//! Aliases and merge keys are resolved, within the parser's limits on how much they may expand to.

mod duration;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, NonFiniteFloatPolicy, Spanned};
use thiserror::Error;

pub use duration::{DurationError, duration};

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The place, if it concerns one.
    pub place: Option<Place>,
    /// What is wrong, in words for an operator.
    pub message: String,
}

/// `file:line:column: message`, as compilers print it.
impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if let Some(place) = self.place {
            write!(formatter, "{}:{}:", place.line, place.column)?;
        }
        write!(formatter, " {}", self.message)
    }
}

/// Everything that is wrong; never empty inside an `Err`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub struct Faults(pub Vec<Fault>);

/// One fault a line.
impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// Collects the faults of one file.
#[derive(Debug)]
pub struct FaultList {
    file: PathBuf,
    faults: Vec<Fault>,
}

impl FaultList {
    /// An empty list for a file.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), faults: Vec::new() }
    }

    /// Notes what is wrong at a place.
    pub fn at(&mut self, place: Place, message: impl Into<String>) {
        self.note(Some(place), message.into());
    }

    /// Notes what is wrong with the file as a whole.
    pub fn whole(&mut self, message: impl Into<String>) {
        self.note(None, message.into());
    }

    /// The result if nothing was noted, else everything that was, in order of its place.
    ///
    /// # Errors
    /// When at least one fault was noted.
    pub fn into_result<T>(mut self, result: T) -> Result<T, Faults> {
        if self.faults.is_empty() {
            return Ok(result);
        }
        self.faults.sort_by_key(|fault| fault.place);
        Err(Faults(self.faults))
    }

    fn note(&mut self, place: Option<Place>, message: String) {
        self.faults.push(Fault { file: self.file.clone(), place, message });
    }
}

/// A node and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Where it begins; of what an alias brought in, where the alias stands.
    pub place: Place,
    /// What it is.
    pub node: Node,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar as it was written, quotes and escapes resolved.
    Scalar(String),
    /// A sequence.
    List(Vec<Tree>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the key stands.
    pub place: Place,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Tree,
}

/// Reads a document; an empty one is [`Node::Null`]. `None` means that the fault was noted.
pub fn parse(text: &str, faults: &mut FaultList) -> Option<Tree> {
    let options = serde_saphyr::options! {
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(resolve(raw, text)),
        Err(error) => {
            let message = strip_position(&error.without_snippet().to_string());
            match error.location() {
                Some(location) => faults.at(place(location), message),
                None => faults.whole(message),
            }
            None
        }
    }
}

impl Tree {
    /// The scalar's text, nothing being an empty one; notes a fault for lists and mappings.
    pub fn text(&self, faults: &mut FaultList) -> Option<&str> {
        match &self.node {
            Node::Null => Some(""),
            Node::Scalar(text) => Some(text),
            Node::List(_) | Node::Map(_) => {
                faults.at(self.place, "this must be a single value");
                None
            }
        }
    }

    /// The items of a list, nothing being an empty one; notes a fault for anything else.
    pub fn list(&self, faults: &mut FaultList) -> &[Self] {
        match &self.node {
            Node::Null => &[],
            Node::List(items) => items,
            Node::Scalar(_) | Node::Map(_) => {
                faults.at(self.place, "this must be a list");
                &[]
            }
        }
    }

    /// The entries of a mapping, nothing being an empty one; notes a fault for anything else.
    pub fn map(&self, faults: &mut FaultList) -> &[Entry] {
        match &self.node {
            Node::Null => &[],
            Node::Map(entries) => entries,
            Node::Scalar(_) | Node::List(_) => {
                faults.at(self.place, "this must be a mapping");
                &[]
            }
        }
    }

    /// A value that the text parses to; notes a fault in the parser's words.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        faults: &mut FaultList,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(faults)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                faults.at(self.place, error.to_string());
                None
            }
        }
    }
}

/// The keys of one mapping, taken one by one; what nobody takes is unknown.
#[derive(Debug)]
pub struct Fields<'a> {
    what: &'static str,
    place: Place,
    left: Vec<&'a Entry>,
}

impl<'a> Fields<'a> {
    /// The fields of a mapping, which is called `what` in messages.
    pub fn of(tree: &'a Tree, what: &'static str, faults: &mut FaultList) -> Self {
        Self { what, place: tree.place, left: tree.map(faults).iter().collect() }
    }

    /// Where the mapping stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Takes a key and its value.
    pub fn entry(&mut self, key: &str) -> Option<&'a Entry> {
        let at = self.left.iter().position(|entry| entry.key == key)?;
        Some(self.left.remove(at))
    }

    /// Takes a key's value; a key without a value counts as absent.
    pub fn take(&mut self, key: &str) -> Option<&'a Tree> {
        self.entry(key).map(|entry| &entry.value).filter(|tree| tree.node != Node::Null)
    }

    /// What nobody took.
    pub fn rest(self) -> Vec<&'a Entry> {
        self.left
    }

    /// Notes every key that nobody took as unknown.
    pub fn refuse_rest(self, faults: &mut FaultList) {
        for entry in self.left {
            faults.at(entry.place, format!("unknown key `{}` in {}", entry.key, self.what));
        }
    }
}

/// What the parser gives: scalars that YAML takes for numbers, booleans or nothing are left to
/// their text in the source, since only that is as it was written.
enum Raw {
    Null,
    Plain,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn resolve(raw: Spanned<Raw>, text: &str) -> Tree {
    let node = match raw.value {
        Raw::Null => Node::Null,
        Raw::Plain => Node::Scalar(source(raw.defined, text).to_owned()),
        Raw::Text(text) => Node::Scalar(text),
        Raw::List(items) => Node::List(items.into_iter().map(|item| resolve(item, text)).collect()),
        Raw::Map(entries) => Node::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    place: place(key.referenced),
                    key: key.value,
                    value: resolve(value, text),
                })
                .collect(),
        ),
    };
    Tree { place: place(raw.referenced), node }
}

/// The text of a scalar in the source.
fn source(location: Location, text: &str) -> &str {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        Some(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.and_then(|range| text.get(range)).unwrap_or_default()
}

fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// The parser ends its messages with the position, which a [`Fault`] says in its own way.
fn strip_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text).to_owned()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML node")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tree, Faults> {
        let mut faults = FaultList::new(Path::new("f.yml"));
        let tree = parse(text, &mut faults);
        faults.into_result(()).map(|()| tree.unwrap())
    }

    #[test]
    fn scalars_stay_as_written_and_know_their_place() {
        let tree = read("v: 1.10\nn: ~\nq: \"5\"\nl: [yes, 0x10]\nm: &m {ü: é}\na: *m\n").unwrap();
        let mut faults = FaultList::new(Path::new("f.yml"));
        let mut fields = Fields::of(&tree, "test", &mut faults);
        let mut text = |key: &str| match fields.take(key).map(|tree| (&tree.node, tree.place)) {
            Some((Node::Scalar(text), place)) => format!("{text}@{}:{}", place.line, place.column),
            Some((node, place)) => format!("{node:?}@{}:{}", place.line, place.column),
            None => "absent".to_owned(),
        };
        assert_eq!(text("v"), "1.10@1:4");
        assert_eq!(text("n"), "absent");
        assert_eq!(text("q"), "5@3:4");
        assert!(text("l").contains("\"yes\"") && text("nothing") == "absent");
        assert!(text("a").ends_with("@6:4"), "an alias stands where it is used");
        assert_eq!(fields.rest().iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["m"]);
    }

    #[test]
    fn faults_name_file_line_and_column() {
        let check = |text: &str, expect: &str| {
            assert_eq!(read(text).map(|_| ()).unwrap_err().to_string(), expect);
        };
        check("a: [1\nb: 2", "f.yml:2:2: illegal placement of ':' indicator");
        let duplicate = read("a: 1\na: 2").unwrap_err().to_string();
        assert!(duplicate.starts_with("f.yml:2:1: duplicate mapping key: a"), "{duplicate}");
    }
}
