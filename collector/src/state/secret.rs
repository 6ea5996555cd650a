//! Secrets are kept as hashes only. They are random and 256 bits long, so a plain hash suffices:
//! there is nothing to guess that a slow hash would protect.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a secret or of a public key.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret.
    pub fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// As it stands in a column.
    pub fn to_hex(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }

    /// From a column; `None` if the text is not such a hash.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// Compares in constant time, so that how long a refusal takes tells nothing.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

/// A hash in a text column.
pub(super) fn column(row: &rusqlite::Row<'_>, name: &str) -> rusqlite::Result<SecretHash> {
    let text: String = row.get(name)?;
    SecretHash::from_hex(&text)
        .ok_or_else(|| super::column::broken(name, rusqlite::types::FromSqlError::InvalidType))
}
