//! How domain types stand in columns.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};
use serde::Serialize;
use serde::de::DeserializeOwned;
use upkeep_model::{ChangeKind, Epoch, HostId, Labels, Lane, Life, Stay};
use uuid::Uuid;

use super::DamagedPart;

/// A host's identity in a text column.
pub(super) fn host(row: &Row<'_>, name: &str) -> rusqlite::Result<HostId> {
    let text: String = row.get(name)?;
    Uuid::parse_str(&text).map(HostId).map_err(|error| broken(name, error))
}

/// The same in a text column that may be NULL.
pub(super) fn optional_host(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<HostId>> {
    let text: Option<String> = row.get(name)?;
    let host = text.map(|text| Uuid::parse_str(&text).map(HostId));
    host.transpose().map_err(|error| broken(name, error))
}

/// Which part is damaged, in a text column.
pub(super) fn damaged_part(row: &Row<'_>, name: &str) -> rusqlite::Result<DamagedPart> {
    let text: String = row.get(name)?;
    DamagedPart::ALL
        .into_iter()
        .find(|part| part.as_str() == text)
        .ok_or_else(|| broken(name, FromSqlError::InvalidType))
}

/// A buffer's epoch in a text column.
pub(super) fn epoch(row: &Row<'_>, name: &str) -> rusqlite::Result<Epoch> {
    let text: String = row.get(name)?;
    let uuid = Uuid::parse_str(&text).map_err(|error| broken(name, error))?;
    Ok(Epoch(uuid.into_bytes()))
}

/// A life of a buffer in a text column.
pub(super) fn life(row: &Row<'_>, name: &str) -> rusqlite::Result<Life> {
    let text: String = row.get(name)?;
    let uuid = Uuid::parse_str(&text).map_err(|error| broken(name, error))?;
    Ok(Life(uuid.into_bytes()))
}

/// A lane in a text column.
pub(super) fn lane(row: &Row<'_>, name: &str) -> rusqlite::Result<Lane> {
    let text: String = row.get(name)?;
    Lane::ALL
        .into_iter()
        .find(|lane| lane.to_string() == text)
        .ok_or_else(|| broken(name, FromSqlError::InvalidType))
}

/// A kind of change in a text column.
pub(super) fn change_kind(row: &Row<'_>, name: &str) -> rusqlite::Result<ChangeKind> {
    let text: String = row.get(name)?;
    ChangeKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| broken(name, FromSqlError::InvalidType))
}

/// Why an update stays in a text column, which is empty where it does not.
pub(super) fn stay(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<Stay>> {
    let text: String = row.get(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    let found = Stay::ALL.into_iter().find(|stay| stay.as_str() == text);
    found.map(Some).ok_or_else(|| broken(name, FromSqlError::InvalidType))
}

/// A count or sequence number in a BIGINT column.
pub(super) fn unsigned(row: &Row<'_>, name: &str) -> rusqlite::Result<u64> {
    let number: i64 = row.get(name)?;
    u64::try_from(number).map_err(|error| broken(name, error))
}

/// A count or sequence number as a BIGINT. Numbers beyond 63 bits are refused at the edges.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A structure in a text column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let text: String = row.get(name)?;
    serde_json::from_str(&text).map_err(|error| broken(name, error))
}

/// A label set in a text column, which holds an object of names to values.
pub(super) fn labels(row: &Row<'_>, name: &str) -> rusqlite::Result<Labels> {
    json::<BTreeMap<String, String>>(row, name).map(Labels::new)
}

/// A structure in a text column that may be NULL.
pub(super) fn optional_json<T: DeserializeOwned>(
    row: &Row<'_>,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(name)?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| broken(name, error))).transpose()
}

/// A structure as text.
pub(super) fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A stored value that is not what its column holds.
pub(super) fn broken(
    name: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let named = BrokenColumn { name: name.to_owned(), error: Box::new(error) };
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(named))
}

#[derive(Debug, thiserror::Error)]
#[error("column {name}: {error}")]
struct BrokenColumn {
    name: String,
    error: Box<dyn std::error::Error + Send + Sync>,
}
