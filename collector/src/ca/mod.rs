//! The certificate authority: who is a host of this fleet, and who is its collector.
//!
//! One root signs two intermediates, one for agents and one for servers, so that no certificate of
//! an agent can ever pass for a server's or the other way round. Agents trust the root, which their
//! token pins; the collector trusts certificates of the agents' intermediate and no others.
//!
//! # The folder `ca`
//! | file | what |
//! |---|---|
//! | `root.pem` | every root to trust, one now; a token pins each of them |
//! | `root-a.key` | the key of the root in use; needed only to make intermediates |
//! | `agents.pem`, `agents.key` | the intermediate that certifies hosts |
//! | `servers.pem`, `servers.key` | the intermediate that certifies the collector |
//! | `server.names` | the names and addresses of the collector, one a line |
//! | `server.pem` | the collector's own key and chain; replaced as a whole at renewal |
//!
//! All files have mode 0600, the folder 0700. The folder is made under another name and renamed, so
//! it is there whole or not at all.

mod enrollment;
mod folder;
mod identity;
mod issue;
mod request;
#[cfg(test)]
mod tests;
mod tls;
mod watch;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use upkeep_model::HostId;

pub use enrollment::{EnrollmentService, RenewalError, renew};
pub use identity::{PeerIdentity, identify};
pub use request::{HostRequest, RequestError};
pub use tls::{ServerKey, agents_config, browsers_config};
pub use watch::{Meters, watch};

use issue::{Intermediate, IssuedServer};

/// How long a host's certificate is good, unless the configuration says otherwise.
pub const HOST_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Why the authority cannot do what it is asked.
#[derive(Debug, Error)]
pub enum CaError {
    /// There is an authority already; making another would cut off every host.
    #[error("{}: there is a certificate authority already; it is not overwritten", .0.display())]
    Exists(PathBuf),
    /// There is no authority yet.
    #[error("{}: there is no certificate authority; run `upkeep-collector init` first", .0.display())]
    Missing(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A name for the collector is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// A certificate or key cannot be made.
    #[error("cannot make {what}: {source}")]
    Make {
        /// Which.
        what: &'static str,
        /// Why.
        source: rcgen::Error,
    },
    /// TLS refuses the keys or certificates.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// A certificate for a host.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The host's certificate, then the intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// When it expires, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// The collector's own key and chain.
pub struct ServerCertificate {
    /// The collector's certificate, the intermediate, and the roots.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// When it begins to be valid, milliseconds since 1970.
    pub begins_at_ms: i64,
    /// When it expires, milliseconds since 1970.
    pub expires_at_ms: i64,
    /// Whether it was made just now.
    pub renewed: bool,
}

/// The keys of the fleet.
pub struct Authority {
    folder: PathBuf,
    roots: Vec<CertificateDer<'static>>,
    agents: Intermediate,
    servers: Intermediate,
    host_lifetime: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes the authority of a collector that is reached by `names`.
    ///
    /// # Errors
    /// When there is one already, a name is none, or a file cannot be written.
    pub fn create(data_folder: &Path, names: &[String], now_ms: i64) -> Result<(), CaError> {
        let made = issue::make_authority(names, now_ms)?;
        folder::create(data_folder, names, &made)
    }

    /// Opens the authority in a data folder; hosts get certificates of `host_lifetime`.
    ///
    /// # Errors
    /// When there is none, or its files cannot be read.
    pub fn open(data_folder: &Path, host_lifetime: Duration) -> Result<Self, CaError> {
        folder::open(data_folder, host_lifetime)
    }

    /// The roots that agents are to trust.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The certificate against which the collector holds those of hosts.
    pub fn agents_certificate(&self) -> &CertificateDer<'static> {
        &self.agents.certificate
    }

    /// The names and addresses that the collector's certificate is for.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn server_names(&self) -> Result<Vec<String>, CaError> {
        folder::server_names(&self.folder)
    }

    /// A certificate for a host whose request proved that it has its key.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn certify(
        &self,
        host: HostId,
        request: &HostRequest,
        now_ms: i64,
    ) -> Result<IssuedCertificate, CaError> {
        issue::certify(&self.agents, host, request, self.host_lifetime, now_ms)
    }

    /// The collector's certificate; a new one is made and kept where the present one is near its
    /// end. As long as that one holds, a failure to do so is logged, and it goes on being used.
    ///
    /// # Errors
    /// When the file cannot be read, or what it holds is of no use and no new one can be made or kept.
    pub fn server_certificate(&self, now_ms: i64) -> Result<ServerCertificate, CaError> {
        let mut certificate = folder::read_server(&self.folder)?;
        if issue::is_due(certificate.begins_at_ms, certificate.expires_at_ms, now_ms) {
            let holds = (certificate.begins_at_ms..certificate.expires_at_ms).contains(&now_ms);
            match self.renewed_server(now_ms) {
                Ok(renewed) => certificate = renewed,
                Err(error) if holds => {
                    tracing::error!(%error, "the collector's certificate cannot be renewed yet");
                }
                Err(error) => return Err(error),
            }
        }
        // A host that enrolls has the root's fingerprint and not the root, so the chain brings it.
        certificate.chain.extend(self.roots.iter().cloned());
        Ok(certificate)
    }

    fn renewed_server(&self, now_ms: i64) -> Result<ServerCertificate, CaError> {
        let names = folder::server_names(&self.folder)?;
        let IssuedServer { pem } = issue::make_server(&self.servers, &names, now_ms)?;
        folder::replace_server(&self.folder, &pem)?;
        Ok(ServerCertificate { renewed: true, ..folder::read_server(&self.folder)? })
    }
}
