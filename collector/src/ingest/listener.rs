//! The door for agents: accepts connections, does the TLS handshakes, and hands over peers whose
//! certificate, if they showed one, was verified.
//!
//! The number of handshakes under way and the time of each are bounded, so that peers who connect
//! and say nothing cannot keep others out for long. When the system has no more file descriptors,
//! accepting pauses instead of spinning.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::quota::LogQuota;
use crate::ca::{PeerIdentity, identify};
use crate::clock::Clock;

/// A peer that has not finished its handshake by then is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// So many handshakes may be under way at once; more wait in the kernel's queue.
const HANDSHAKES_IN_FLIGHT: usize = 256;

/// So many finished handshakes may wait to be served.
pub(super) const READY_CONNECTIONS: usize = 64;

/// How long accepting pauses after an error; doubled with each one in a row up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub(super) address: SocketAddr,
    /// The host that its verified certificate names; `None` without a certificate.
    pub(super) identity: Option<PeerIdentity>,
}

/// A connection after its handshake.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
}

impl<S> Connection<S> {
    /// A connection of a peer, with the host that its certificate names, if it showed one.
    pub fn new(stream: S, address: SocketAddr, identity: Option<PeerIdentity>) -> Self {
        Self { stream, peer: Peer { address, identity } }
    }
}

/// Accepts until it is told to stop; then handshakes under way are dropped.
pub(super) async fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    ready: mpsc::Sender<io::Result<Connection<TlsStream<TcpStream>>>>,
    clock: Clock,
    stop: CancellationToken,
) {
    let quota = Arc::new(LogQuota::default());
    let acceptor = TlsAcceptor::from(config);
    let places = Arc::new(Semaphore::new(HANDSHAKES_IN_FLIGHT));
    let mut handshakes = JoinSet::new();
    let mut pause = PAUSE.0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = handshakes.join_next() => continue,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, address, place)) => {
                pause = PAUSE.0;
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                let (quota, clock) = (Arc::clone(&quota), clock.clone());
                handshakes.spawn(async move {
                    let admitted = admit(acceptor, stream, address, place, ready).await;
                    if let Err(error) = admitted
                        && quota.admits(address.ip(), clock.now_ms())
                    {
                        tracing::info!(%address, %error, "a TLS handshake failed");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(pause).await;
                pause = PAUSE.1.min(pause * 2);
            }
        }
    }
    handshakes.shutdown().await;
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

async fn admit(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    ready: mpsc::Sender<io::Result<Connection<TlsStream<TcpStream>>>>,
) -> io::Result<()> {
    let connection = shake_hands(acceptor, stream, address).await?;
    // The server takes connections as long as it runs; whoever comes later is let go.
    drop(place);
    drop(ready.send(Ok(connection)).await);
    Ok(())
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<Connection<TlsStream<TcpStream>>> {
    stream.set_nodelay(true)?;
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let certificates = stream.get_ref().1.peer_certificates();
    let identity = match certificates.and_then(|chain| chain.first()) {
        None => None,
        Some(certificate) => {
            let unnamed = || io::Error::other("the client certificate names no host");
            Some(identify(certificate).ok_or_else(unnamed)?)
        }
    };
    Ok(Connection::new(stream, address, identity))
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
