//! The door for agents: accepts connections, does the TLS handshakes, and hands over peers whose
//! certificate, if they showed one, was verified.
//!
//! The number of handshakes under way and the time of each are bounded, so that peers who connect
//! and say nothing cannot keep others out for long. So is how many begin within a second: when a
//! whole fleet comes back at once, there is time left for what it delivers. Whoever comes too soon
//! waits in the kernel's queue. When the system has no more file descriptors, accepting pauses
//! instead of spinning.

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
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::meters::{Handshake, Meters};
use super::pace::Pace;
use super::quota::LogQuota;
use crate::ca::{PeerIdentity, identify};
use crate::clock::Clock;

/// A peer that has not finished its handshake by then is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// So many handshakes may be under way at once; more wait in the kernel's queue.
const HANDSHAKES_IN_FLIGHT: usize = 256;

/// So many finished handshakes may wait to be served.
pub(super) const READY_CONNECTIONS: usize = 64;

/// How long accepting pauses after an error: the first, doubled with each one in a row up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A trouble of accepting is over once there was none for so long, and only then told anew.
const TROUBLE_OVER: Duration = Duration::from_secs(60);

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

/// How connections are accepted.
pub(super) struct Settings {
    pub(super) tls: Arc<ServerConfig>,
    /// How many handshakes may begin within a second.
    pub(super) handshakes_per_second: u32,
    pub(super) meters: Meters,
    pub(super) clock: Clock,
}

/// Accepts until it is told to stop; then handshakes under way are dropped.
pub(super) async fn accept(
    listener: TcpListener,
    settings: Settings,
    ready: mpsc::Sender<io::Result<Connection<TlsStream<TcpStream>>>>,
    stop: CancellationToken,
) {
    let Settings { tls, handshakes_per_second, meters, clock } = settings;
    let quota = Arc::new(LogQuota::default());
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(HANDSHAKES_IN_FLIGHT));
    let mut pace = Pace::new(handshakes_per_second);
    let mut handshakes = JoinSet::new();
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = handshakes.join_next() => continue,
            accepted = next(&listener, &places, pace.earliest()) => accepted,
        };
        match accepted {
            Ok((stream, address, place)) => {
                pace.note(Instant::now());
                trouble.accepted(Instant::now());
                meters.note(Handshake::Begun);
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                let (quota, clock, meters) = (Arc::clone(&quota), clock.clone(), meters.clone());
                handshakes.spawn(async move {
                    let Err(error) = admit(acceptor, stream, address, place, ready).await else {
                        return;
                    };
                    meters.note(Handshake::Failed);
                    if quota.admits(address.ip(), clock.now_ms()) {
                        tracing::info!(%address, %error, "a TLS handshake failed");
                    }
                });
            }
            Err(error) => {
                meters.note(Handshake::NotAccepted);
                let pause = trouble.failed(&error, Instant::now());
                tokio::time::sleep(pause).await;
            }
        }
    }
    handshakes.shutdown().await;
}

/// Errors of accepting. As long as one file descriptor is free now and then, they come and go; the
/// log says once that they began, and once that they are over.
#[derive(Default)]
struct Trouble {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Trouble {
    /// How long to pause.
    fn failed(&mut self, error: &io::Error, now: Instant) -> Duration {
        if self.last.replace(now).is_none() {
            tracing::warn!(%error, "connections cannot be accepted; tried again until they can");
        }
        let pause = PAUSE.0.saturating_mul(2_u32.saturating_pow(self.in_a_row)).min(PAUSE.1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        pause
    }

    fn accepted(&mut self, now: Instant) {
        self.in_a_row = 0;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= TROUBLE_OVER) {
            tracing::info!("connections are accepted again");
            self.last = None;
        }
    }
}

/// The next connection, not before a moment. Dropping this loses none.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    earliest: Instant,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    tokio::time::sleep_until(earliest).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_a_trouble_that_comes_and_goes_is_one() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let full = io::Error::from_raw_os_error(24);
        let pauses = [10, 20, 40, 80, 160, 320, 640, 1000, 1000];
        for pause in pauses {
            assert_eq!(trouble.failed(&full, start).as_millis(), pause);
        }
        trouble.accepted(start + TROUBLE_OVER / 2);
        assert!(trouble.last.is_some());
        assert_eq!(trouble.failed(&full, start + TROUBLE_OVER / 2).as_millis(), 10);
        trouble.accepted(start + TROUBLE_OVER);
        assert!(trouble.last.is_some());
        trouble.accepted(start + 2 * TROUBLE_OVER);
        assert!(trouble.last.is_none());
    }
}
