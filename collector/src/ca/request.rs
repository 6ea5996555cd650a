//! Certificate requests of hosts.

use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKey, PublicKeyData,
};
use rustls::pki_types::CertificateSigningRequestDer;
use thiserror::Error;

use crate::state::SecretHash;

/// No request of a key of the accepted kinds comes near this.
const MAX_BYTES: usize = 16 * 1024;

/// Why a request for a certificate is none.
#[derive(Debug, Error)]
pub enum RequestError {
    /// It is far too long.
    #[error("the certificate request has {0} bytes, the limit is {MAX_BYTES}")]
    TooLong(usize),
    /// It is no request, or it is not signed by the key that it names.
    #[error("the certificate request is not valid: {0}")]
    Invalid(rcgen::Error),
    /// Its key is of a kind that is not accepted.
    #[error("the certificate request has a key that is neither ECDSA P-256 nor Ed25519")]
    KeyKind,
}

/// A request whose signature proves that the sender has the key. Names and extensions that it may
/// ask for are not kept.
#[derive(Debug)]
pub struct HostRequest {
    public_key: PublicKey,
}

impl HostRequest {
    /// Reads a PKCS#10 request, DER.
    ///
    /// # Errors
    /// When it is none, is not signed by its own key, or has a key of another kind.
    pub fn from_der(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_BYTES {
            return Err(RequestError::TooLong(bytes.len()));
        }
        let der = CertificateSigningRequestDer::from(bytes);
        let parsed =
            CertificateSigningRequestParams::from_der(&der).map_err(RequestError::Invalid)?;
        let algorithm = parsed.public_key.algorithm();
        if algorithm != &PKCS_ECDSA_P256_SHA256 && algorithm != &PKCS_ED25519 {
            return Err(RequestError::KeyKind);
        }
        Ok(Self { public_key: parsed.public_key })
    }

    /// By what the key is recognized: the SHA-256 of its SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> SecretHash {
        SecretHash::of(&self.public_key.subject_public_key_info())
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}
