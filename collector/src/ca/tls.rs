//! TLS on the collector's side.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::{Authority, CaError, ServerCertificate, identity};

/// The collector's key and chain as handshakes take them; it can be replaced while they go on.
#[derive(Debug)]
pub struct ServerKey(ArcSwap<CertifiedKey>);

impl ServerKey {
    /// Takes a certificate into use.
    ///
    /// # Errors
    /// When the key does not belong to the certificate.
    pub fn new(certificate: ServerCertificate) -> Result<Arc<Self>, CaError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(certified(certificate)?))))
    }

    /// Takes another certificate into use for the handshakes from now on.
    ///
    /// # Errors
    /// When the key does not belong to the certificate; then the one before stays.
    pub fn replace(&self, certificate: ServerCertificate) -> Result<(), CaError> {
        self.0.store(Arc::new(certified(certificate)?));
        Ok(())
    }

    /// When the first certificate of the chain ends, milliseconds since 1970: from then on nobody
    /// accepts what is shown in handshakes.
    pub(super) fn ends_at_ms(&self) -> Option<i64> {
        self.0.load().cert.iter().filter_map(identity::expires_at_ms).min()
    }
}

impl ResolvesServerCert for ServerKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// TLS for agents: 1.3 only; a client may come without a certificate (to enroll), but one that it
/// shows must be of the agents' intermediate, in its time, and for clients.
///
/// # Errors
/// When rustls refuses the authority's certificate.
pub fn agents_config(authority: &Authority, key: Arc<ServerKey>) -> Result<ServerConfig, CaError> {
    let mut anchors = RootCertStore::empty();
    anchors
        .add(authority.agents_certificate().clone())
        .map_err(|error| CaError::Tls(error.to_string()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(anchors), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| CaError::Tls(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CaError::Tls(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(key);
    // A resumed session would bring the certificate of the first handshake, unchecked: one that
    // has expired since would still pass.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// TLS for the HTTP API and the dashboard: 1.3 only, no client certificates.
///
/// # Errors
/// When rustls refuses.
pub fn browsers_config(key: Arc<ServerKey>) -> Result<ServerConfig, CaError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CaError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(key);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certified(certificate: ServerCertificate) -> Result<CertifiedKey, CaError> {
    CertifiedKey::from_der(certificate.chain, certificate.key, &provider())
        .map_err(|error| CaError::Tls(error.to_string()))
}
