//! Where agents deliver: authenticate, admit, commit, then acknowledge.
//!
//! Who a host is comes from its verified certificate and from nothing it sends. A record is
//! acknowledged only after it is durable; what cannot be taken now is refused with its reason, and
//! the agent keeps it. Each stream is a task of its own with bounded queues, so one host's trouble
//! is no other's.

mod admit;
mod arrivals;
mod backlog;
mod commit;
mod described;
mod disk_work;
mod gather;
mod listener;
mod marks;
mod meters;
mod pace;
mod quota;
mod service;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod timeline;
mod track;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use upkeep_store::Store;
use upkeep_wire::MAX_MESSAGE_BYTES;
use upkeep_wire::v1::delivery_server::DeliveryServer;
use upkeep_wire::v1::enrollment_server::EnrollmentServer;

use crate::ca::{Authority, EnrollmentService};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::state::State;

pub use admit::{HostClock, Limits, Refusal, Timing, admit_frame, admit_series};
pub use arrivals::Arrivals;
pub use disk_work::DiskWork;
pub use listener::{Connection, Peer};
pub use meters::Meters;
pub use session::Window;

use service::DeliveryService;

/// A peer that does not answer is noticed after these: asked every, given up after.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// An agent has one stream open, and beside it now and then a renewal.
const STREAMS_PER_CONNECTION: u32 = 8;

/// So many bytes a peer may send before they are read: what a batch needs, four times over.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// The longest list of headers; ours are a few hundred bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Why the door for agents closed.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The gRPC server ended.
    #[error("the gRPC server ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// What the door works with. Clones share it.
#[derive(Clone, Debug)]
pub struct Services {
    /// Certifies hosts.
    pub authority: Arc<Authority>,
    /// Takes events, marks and the audit log.
    pub state: State,
    /// Takes samples.
    pub store: Arc<Store>,
    /// Knows who belongs to the fleet.
    pub fleet: Arc<Fleet>,
    /// Tells the time.
    pub clock: Clock,
    /// What one host may ask.
    pub limits: Limits,
    /// How many TLS handshakes may begin within a second.
    pub handshakes_per_second: u32,
    /// What is counted here.
    pub meters: Meters,
    /// How much one host may send unanswered.
    pub window: Window,
    /// Where work runs that waits for the disk.
    pub disk_work: DiskWork,
    /// Are told which hosts' samples have arrived.
    pub arrivals: Arrivals,
    /// Is told why the store takes nothing more until it is opened anew; one message is enough.
    pub failure: mpsc::Sender<String>,
}

/// Serves agents until it is told to stop; then every stream ends, and what was committed is
/// acknowledged.
///
/// # Errors
/// When the server cannot go on.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    services: Services,
    stop: CancellationToken,
) -> Result<(), IngestError> {
    let (ready, connections) = mpsc::channel(listener::READY_CONNECTIONS);
    let settings = listener::Settings {
        tls,
        handshakes_per_second: services.handshakes_per_second,
        meters: services.meters.clone(),
        clock: services.clock.clone(),
    };
    let accepting = tokio::spawn(listener::accept(listener, settings, ready, stop.clone()));
    let served = serve_connections(ReceiverStream::new(connections), services, stop).await;
    if let Err(error) = accepting.await {
        tracing::error!(%error, "accepting connections ended early");
    }
    served
}

/// The same for connections that somebody else accepts and knows the peers of.
///
/// # Errors
/// When the server cannot go on.
pub async fn serve_connections<S>(
    connections: impl Stream<Item = io::Result<Connection<S>>>,
    services: Services,
    stop: CancellationToken,
) -> Result<(), IngestError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let enrollment = EnrollmentService::new(
        Arc::clone(&services.authority),
        services.state.clone(),
        services.clock.clone(),
    );
    let delivery = DeliveryService::new(services, stop.clone());
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .add_service(EnrollmentServer::new(enrollment).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(
            DeliveryServer::new(delivery.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
        )
        .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned())
        .await;
    // The server may have ended by itself; then the rest must not go on without it.
    stop.cancel();
    delivery.ended().await;
    Ok(served?)
}
