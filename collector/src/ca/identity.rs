//! Reading certificates: who a peer is comes from here and from nothing it says.

use rustls::pki_types::CertificateDer;
use upkeep_model::HostId;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What comes before the host's UUID in the URI of its certificate.
pub(super) const HOST_URI: &str = "upkeep:host:";

/// The host that a verified certificate was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The host.
    pub host: HostId,
    /// The certificate's serial number in hexadecimal digits.
    pub serial: String,
    /// When the certificate expires, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// The identity in a certificate whose chain was verified; `None` if it names no host.
pub fn identify(certificate: &CertificateDer<'_>) -> Option<PeerIdentity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let host = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(HOST_URI),
        _ => None,
    })?;
    Some(PeerIdentity {
        host: HostId(Uuid::parse_str(host).ok()?),
        serial: data_encoding::HEXLOWER.encode(parsed.raw_serial()),
        expires_at_ms: expires_at_ms(certificate)?,
    })
}

/// When a certificate begins to be valid, milliseconds since 1970.
pub(super) fn begins_at_ms(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.validity().not_before.timestamp().checked_mul(1000)
}

/// When a certificate expires, milliseconds since 1970.
pub(super) fn expires_at_ms(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.validity().not_after.timestamp().checked_mul(1000)
}
