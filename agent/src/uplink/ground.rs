//! What the uplink stands on: the network and the threads of the system, or a simulation of both.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Channel;

use super::UplinkError;
use crate::dial;
use crate::identity::{Credential, IdentityFolder};

/// A connection of a simulation.
pub trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// A connection of a simulation that is being made.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Line>>> + Send>>;

/// What the uplink stands on.
#[derive(Clone, Default)]
pub enum Ground {
    /// TCP and TLS, and threads of their own for what waits for the disk.
    #[default]
    System,
    /// Connections of a simulation, which has to know who is at their ends, and one thread for
    /// everything: so the order in which things happen is up to the simulation alone.
    Simulated(Arc<dyn Fn() -> Connecting + Send + Sync>),
}

impl Ground {
    /// Connects to the collector as the owner of a credential.
    pub(super) async fn connect(
        &self,
        address: &str,
        folder: &IdentityFolder,
        credential: &Credential,
    ) -> Result<Channel, UplinkError> {
        match self {
            Self::System => {
                let (chain, key) = (credential.chain(), credential.tls_key()?);
                let tls = dial::mutual(&folder.roots()?, chain, key)?;
                Ok(dial::connect(address, tls).await?)
            }
            Self::Simulated(connect) => Ok(dial::connect_over(address, connect()).await?),
        }
    }

    /// Runs something that waits for the disk.
    pub(super) async fn blocking<T, E>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, UplinkError>
    where
        T: Send + 'static,
        E: Send + 'static,
        UplinkError: From<E>,
    {
        match self {
            Self::System => match tokio::task::spawn_blocking(work).await {
                Ok(outcome) => Ok(outcome?),
                Err(error) => {
                    Err(UplinkError::Status(format!("a thread of the agent ended: {error}")))
                }
            },
            Self::Simulated(_) => Ok(work()?),
        }
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::System => "System",
            Self::Simulated(_) => "Simulated",
        })
    }
}
