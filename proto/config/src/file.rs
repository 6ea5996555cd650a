//! One file: parsed, and held against the settings that there are.

use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_path_to_error::{Segment, Track};
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Spanned, Table};

use crate::Fault;

/// After so many faults of one file it is not searched for more.
const MOST_FAULTS: usize = 20;

/// Reads a file and checks it against `T` by itself, so that a fault is told with its line.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Table, Vec<Fault>> {
    let text = std::fs::read_to_string(path).map_err(|error| vec![Fault::of_file(path, &error)])?;
    let (mut table, errors) = DeTable::parse_recoverable(&text);
    let at = |span: Option<Range<usize>>, key: Option<String>, message: &str| Fault {
        path: path.to_owned(),
        line: span.map(|span| line_of(&text, span.start)),
        key,
        message: message.to_owned(),
    };
    let mut faults: Vec<Fault> =
        errors.iter().map(|error| at(error.span(), None, error.message())).collect();
    if faults.is_empty() {
        faults = check::<T>(&mut table)
            .into_iter()
            .map(|found| at(found.span, Some(found.key), &found.message))
            .collect();
    }
    if !faults.is_empty() {
        faults.sort_by_key(|fault| fault.line);
        return Err(faults);
    }
    toml::from_str(&text).map_err(|error| vec![at(error.span(), None, error.message())])
}

struct Found {
    span: Option<Range<usize>>,
    key: String,
    message: String,
}

/// Deserializes again and again, each time without the value that failed last, to find all faults.
fn check<T: DeserializeOwned>(table: &mut Spanned<DeTable<'_>>) -> Vec<Found> {
    let mut faults = Vec::new();
    loop {
        let mut unknown = Vec::new();
        let mut track = Track::new();
        let outcome: Result<T, toml::de::Error> = serde_ignored::deserialize(
            serde_path_to_error::Deserializer::new(Deserializer::from(table.clone()), &mut track),
            |path| unknown.push(path.to_string()),
        );
        if let Err(error) = outcome
            && faults.len() < MOST_FAULTS
        {
            let path = track.path();
            let keys: Vec<String> = path.iter().map_while(key_of).collect();
            let key = path.to_string();
            let message = error.message().trim().to_owned();
            let span = error.span().or_else(|| span_of(table.get_ref(), &keys));
            faults.push(Found { span, key, message });
            if remove(table.get_mut(), &keys) {
                continue;
            }
        }
        faults.extend(unknown.into_iter().map(|key| {
            let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
            let span = span_of(table.get_ref(), &keys);
            Found { span, key, message: "no such setting".to_owned() }
        }));
        return faults;
    }
}

fn key_of(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Where the deepest key of the path that exists stands.
fn span_of(table: &DeTable<'_>, keys: &[String]) -> Option<Range<usize>> {
    let (first, rest) = keys.split_first()?;
    let (key, value) = table.get_key_value(first.as_str())?;
    let deeper = value.get_ref().as_table().and_then(|table| span_of(table, rest));
    Some(deeper.unwrap_or_else(|| key.span()))
}

fn remove(table: &mut DeTable<'_>, keys: &[String]) -> bool {
    match keys {
        [] => false,
        [last] => table.remove(last.as_str()).is_some(),
        [first, rest @ ..] => match table.get_mut(first.as_str()).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => remove(inner, rest),
            Some(_) => table.remove(first.as_str()).is_some(),
            None => false,
        },
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
