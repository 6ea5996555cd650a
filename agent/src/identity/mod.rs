//! Who this host is to its collector, and the key that proves it: the files in the state folder.
//!
//! | file | what |
//! |---|---|
//! | `identity.json` | the assigned id and name, the collector's address; written last, so that its presence means that the host is enrolled |
//! | `credential.pem` | private key and certificate chain in one file, so that a renewal replaces both at once |
//! | `roots.pem` | the collector's root certificates, the only ones that are trusted |
//! | `enrollment.json` | an enrollment that was begun: its id and key, kept until it is finished |
//!
//! Each is written beside, synced and renamed, and then the folder is synced: a cut at any point
//! leaves the old file or the new one. All are readable by their owner only.

mod credential;
mod file;

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use upkeep_model::HostId;

pub use credential::{Credential, HostKey};
use credential::{certificates, certificates_pem};

/// Why a file of the identity cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The host was never enrolled.
    #[error("this host is not enrolled: {0} does not exist; run `upkeep-agent enroll`")]
    NotEnrolled(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file does not contain what it should.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No key can be made.
    #[error("a key or a certificate request cannot be made: {0}")]
    Key(String),
}

/// What the collector assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The id.
    pub host_id: HostId,
    /// The name in the fleet.
    pub instance: String,
    /// The collector's address, `host:port`, as the token gave it.
    pub address: String,
    /// When the host was enrolled, in milliseconds since 1970.
    pub enrolled_at_ms: i64,
}

/// An enrollment that was begun and may have to be asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The public id of the token that it was begun with.
    pub token_id: String,
    /// Lets the collector recognize the same enrollment.
    pub enrollment_id: uuid::Uuid,
    /// The key, PEM.
    pub key: HostKey,
}

/// The folder that holds the files.
#[derive(Clone, Debug)]
pub struct IdentityFolder(PathBuf);

impl IdentityFolder {
    /// The folder at a path; it need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What the collector assigned.
    ///
    /// # Errors
    /// When the host is not enrolled, or the file cannot be read.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let path = self.0.join("identity.json");
        self.read_json(&path)?.ok_or(IdentityError::NotEnrolled(path))
    }

    /// The key with its certificate chain.
    ///
    /// # Errors
    /// When the file cannot be read or is not a credential.
    pub fn credential(&self) -> Result<Credential, IdentityError> {
        let path = self.0.join("credential.pem");
        let text = file::read(&path)?.ok_or_else(|| IdentityError::NotEnrolled(path.clone()))?;
        Credential::from_pem(&text).map_err(|reason| IdentityError::Content { path, reason })
    }

    /// The root certificates to trust, at least one.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn roots(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let path = self.0.join("roots.pem");
        let text = file::read(&path)?.ok_or_else(|| IdentityError::NotEnrolled(path.clone()))?;
        certificates(&text).map_err(|reason| IdentityError::Content { path, reason })
    }

    /// The enrollment that was begun, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn pending(&self) -> Result<Option<Pending>, IdentityError> {
        self.read_json(&self.0.join("enrollment.json"))
    }

    /// Stores the beginning of an enrollment durably.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&self, pending: &Pending) -> Result<(), IdentityError> {
        file::prepare_folder(&self.0)?;
        self.write_json("enrollment.json", pending)
    }

    /// Stores the outcome of an enrollment durably, and forgets its beginning.
    ///
    /// # Errors
    /// When a file cannot be written; the enrollment can then be asked for again.
    pub fn finish(
        &self,
        identity: &Identity,
        credential: &Credential,
        roots: &[CertificateDer<'_>],
    ) -> Result<(), IdentityError> {
        self.renew(credential, roots)?;
        self.write_json("identity.json", identity)?;
        file::remove(&self.0.join("enrollment.json"))
    }

    /// Replaces the credential and the roots durably.
    ///
    /// # Errors
    /// When a file cannot be written; then the old ones stay.
    pub fn renew(
        &self,
        credential: &Credential,
        roots: &[CertificateDer<'_>],
    ) -> Result<(), IdentityError> {
        file::write(&self.0.join("roots.pem"), &certificates_pem(roots))?;
        file::write(&self.0.join("credential.pem"), &credential.to_pem())
    }

    fn read_json<T: for<'de> Deserialize<'de>>(
        &self,
        path: &Path,
    ) -> Result<Option<T>, IdentityError> {
        let Some(text) = file::read(path)? else { return Ok(None) };
        let parsed = serde_json::from_str(&text);
        let failed = |error: serde_json::Error| IdentityError::Content {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        parsed.map(Some).map_err(failed)
    }

    fn write_json<T: Serialize>(&self, name: &str, content: &T) -> Result<(), IdentityError> {
        let path = self.0.join(name);
        let text = serde_json::to_string_pretty(content)
            .map_err(|error| IdentityError::Key(error.to_string()))?;
        file::write(&path, &format!("{text}\n"))
    }
}
