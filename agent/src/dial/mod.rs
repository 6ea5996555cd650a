//! Connections to the collector: TCP, then TLS 1.3 that trusts nothing but what it is told to.

mod pin;

use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use upkeep_wire::Fingerprint;

use pin::PinnedRoot;

/// How long a connection may take to be made, the TLS handshake included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection without traffic is probed, and how long an answer may take. Together they
/// bound how long a connection that died silently is taken for alive.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// The address cannot be used.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// Nobody answers there, or the name is not known.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// It took too long.
    #[error("{address} did not complete a connection within {} s", CONNECT_PATIENCE.as_secs())]
    Timeout {
        /// The address.
        address: String,
    },
    /// The collector showed no certificate of a root that the token names.
    #[error(
        "{address} is not the collector that the token is for: none of its certificates has a fingerprint that the token names"
    )]
    Fingerprint {
        /// The address.
        address: String,
    },
    /// The collector's certificate was refused, or it is not one who speaks TLS.
    #[error("no trusted connection to {address}: {reason}")]
    Tls {
        /// The address.
        address: String,
        /// What the TLS library says.
        reason: String,
    },
    /// The certificates or the key to be used are not usable.
    #[error("the TLS configuration is not usable: {0}")]
    Configuration(#[from] rustls::Error),
    /// The connection broke as soon as it stood.
    #[error("{address} ended the connection: {source}")]
    Transport {
        /// The address.
        address: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
}

/// TLS that trusts the roots with the given fingerprints alone, and shows no certificate: for the
/// first contact.
///
/// # Errors
/// When there is no fingerprint: then nothing could be trusted.
pub fn pinned(pins: &[Fingerprint]) -> Result<ClientConfig, DialError> {
    let verifier = PinnedRoot::new(pins.to_vec(), provider())?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(finished(config))
}

/// TLS that trusts the given roots alone and shows the host's certificate.
///
/// # Errors
/// When a root, the chain or the key is not usable.
pub fn mutual(
    roots: &[CertificateDer<'static>],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, DialError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_client_auth_cert(chain, key)?;
    Ok(finished(config))
}

/// Connects to `address` (`host:port`). The channel lives as long as this one connection: when it
/// breaks, its user makes another.
///
/// # Errors
/// When there is no connection, or nobody at its end who is trusted.
pub async fn connect(address: &str, tls: ClientConfig) -> Result<Channel, DialError> {
    channel(address, handshake(address, tls)).await
}

/// The same over a connection that somebody else makes, and without TLS.
///
/// # Errors
/// When there is no connection.
pub async fn connect_over<S>(
    address: &str,
    connecting: impl Future<Output = io::Result<S>>,
) -> Result<Channel, DialError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |source| DialError::Connect { address: address.to_owned(), source };
    channel(address, async { connecting.await.map_err(failed) }).await
}

async fn channel<S>(
    address: &str,
    connecting: impl Future<Output = Result<S, DialError>>,
) -> Result<Channel, DialError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = tokio::time::timeout(CONNECT_PATIENCE, connecting)
        .await
        .map_err(|_| DialError::Timeout { address: address.to_owned() })??;
    // TLS is ours, so the transport sees a plain stream and its scheme is http.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| DialError::Address(address.to_owned()))?
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_PATIENCE)
        .keep_alive_while_idle(true);
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let once = tower::service_fn(move |_| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    });
    endpoint
        .connect_with_connector(once)
        .await
        .map_err(|source| DialError::Transport { address: address.to_owned(), source })
}

async fn handshake(address: &str, tls: ClientConfig) -> Result<TlsStream<TcpStream>, DialError> {
    let name = server_name(address).ok_or_else(|| DialError::Address(address.to_owned()))?;
    let failed = |source| DialError::Connect { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let connected = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    connected.map_err(|error| refused(address, &error))
}

fn server_name(address: &str) -> Option<ServerName<'static>> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

fn refused(address: &str, error: &io::Error) -> DialError {
    let address = address.to_owned();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.0.is::<pin::NoPinMatches>() =>
        {
            DialError::Fingerprint { address }
        }
        _ => DialError::Tls { address, reason: error.to_string() },
    }
}

fn finished(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_to_verify_is_the_addresss_host() {
        let check = |address: &str, expect: Option<&str>| {
            let name = server_name(address).map(|name| name.to_str().into_owned());
            assert_eq!(name.as_deref(), expect, "{address}");
        };
        check("collector.example:8443", Some("collector.example"));
        check("127.0.0.1:1", Some("127.0.0.1"));
        check("[::1]:8443", Some("::1"));
        check("no-port", None);
        check("a b:1", None);
    }

    #[test]
    fn without_a_pin_there_is_no_configuration() {
        assert!(pinned(&[]).is_err());
        assert!(pinned(&[Fingerprint([0; 32])]).is_ok());
    }
}
