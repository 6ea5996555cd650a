//! The host's key and its certificate chain.

use std::fmt;

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::IdentityError;

/// So many characters a line, as PEM has them.
const PEM_LINE: usize = 64;

/// A private key, PEM. It is shown by no formatter.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostKey(String);

impl HostKey {
    /// Makes a new key, ECDSA on P-256.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, IdentityError> {
        Ok(Self(KeyPair::generate().map_err(key_error)?.serialize_pem()))
    }

    /// A certificate request for the key, DER. It names nothing: who the host is, the collector
    /// knows.
    ///
    /// # Errors
    /// When the key is not one.
    pub fn certificate_request(&self) -> Result<Vec<u8>, IdentityError> {
        let key = KeyPair::from_pem(&self.0).map_err(key_error)?;
        let request = CertificateParams::default().serialize_request(&key).map_err(key_error)?;
        Ok(request.der().to_vec())
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(private key)")
    }
}

fn key_error(error: rcgen::Error) -> IdentityError {
    IdentityError::Key(error.to_string())
}

/// A key with the chain that certifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    key: HostKey,
    chain: Vec<CertificateDer<'static>>,
    not_before_ms: i64,
    not_after_ms: i64,
}

impl Credential {
    /// Puts a key and its chain together, leaf first.
    ///
    /// # Errors
    /// When the chain is empty or unreadable, or its leaf is of another key; the text says which.
    pub fn new(key: HostKey, chain: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let leaf = chain.first().ok_or("there is no certificate")?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let pair = KeyPair::from_pem(&key.0)
            .map_err(|error| format!("the private key cannot be read: {error}"))?;
        if parsed.public_key().raw != pair.subject_public_key_info() {
            return Err("the certificate is of another key".to_owned());
        }
        let validity = parsed.validity();
        let not_before_ms = validity.not_before.timestamp().saturating_mul(1000);
        let not_after_ms = validity.not_after.timestamp().saturating_mul(1000);
        Ok(Self { key, chain, not_before_ms, not_after_ms })
    }

    /// When the certificate begins and ceases to be valid, in milliseconds since 1970.
    pub fn validity_ms(&self) -> (i64, i64) {
        (self.not_before_ms, self.not_after_ms)
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The key as TLS takes it.
    ///
    /// # Errors
    /// When it is not a key.
    pub fn tls_key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.key.0.as_bytes())
            .map_err(|error| IdentityError::Key(error.to_string()))
    }

    pub(super) fn to_pem(&self) -> String {
        format!("{}{}", self.key.0, certificates_pem(&self.chain))
    }

    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let begin = text.find("-----BEGIN CERTIFICATE-----").ok_or("there is no certificate")?;
        let (key, chain) = text.split_at(begin);
        Self::new(HostKey(key.to_owned()), certificates(chain)?)
    }
}

pub(super) fn certificates_pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut pem = String::new();
    for certificate in certificates {
        let text = BASE64.encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(PEM_LINE) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

pub(super) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = read.map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        Err("there is no certificate".to_owned())
    } else {
        Ok(certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(key: &HostKey) -> CertificateDer<'static> {
        let pair = KeyPair::from_pem(&key.0).unwrap();
        CertificateParams::default().self_signed(&pair).unwrap().der().clone()
    }

    #[test]
    fn a_credential_comes_back_as_it_went() {
        let key = HostKey::generate().unwrap();
        let chain = vec![certified(&key), certified(&HostKey::generate().unwrap())];
        let credential = Credential::new(key, chain).unwrap();
        assert_eq!(Credential::from_pem(&credential.to_pem()).unwrap(), credential);
        assert!(credential.tls_key().is_ok());
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        let (key, other) = (HostKey::generate().unwrap(), HostKey::generate().unwrap());
        let foreign = Credential::new(key.clone(), vec![certified(&other)]);
        assert_eq!(foreign.unwrap_err(), "the certificate is of another key");
        assert!(Credential::new(key.clone(), vec![]).is_err());
        assert!(Credential::new(key.clone(), vec![CertificateDer::from(vec![1, 2])]).is_err());
        assert!(Credential::from_pem(&key.0).is_err());
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", HostKey::generate().unwrap()), "(private key)");
    }
}
