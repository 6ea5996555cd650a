//! The way in: accepts connections, speaks TLS and HTTP/1.1, and bounds what a peer can hold.
//!
//! HTTP/2 is not offered. A slow or silent peer of HTTP/1.1 is cut off by the time that its request
//! head may take, which also ends idle connections; HTTP/2 has no such bound between its frames.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Services;

/// A peer that has not finished the TLS handshake by then is cut off.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that has not sent the whole head of its next request by then is cut off.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that takes nothing of its answer for so long is cut off.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// So many connections are served at once; more wait in the kernel's queue. It is far above what
/// people and dashboards open, and keeps idle peers within about 100 MB.
const MAX_CONNECTIONS: usize = 1024;

/// At shutdown, requests under way have this long to end.
const GRACE: Duration = Duration::from_secs(10);

/// The pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A lack that comes and goes is logged again after so long.
const TOLD_AGAIN: Duration = Duration::from_secs(600);

/// Why the HTTP server cannot run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Plain HTTP where others could listen in.
    #[error(transparent)]
    Plain(#[from] PlainRefused),
    /// The listener is of no use.
    #[error("HTTP listener: {0}")]
    Listener(#[from] io::Error),
}

/// Plain HTTP is for loopback only, since tokens travel in every request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "plain HTTP on {0} would show API tokens to the network: leave TLS on, or listen on a loopback \
     address such as 127.0.0.1"
)]
pub struct PlainRefused(pub SocketAddr);

/// Whether plain HTTP may be served on an address.
///
/// # Errors
/// When the address is not a loopback address.
pub fn check_plain(address: SocketAddr) -> Result<(), PlainRefused> {
    if address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(PlainRefused(address)) }
}

/// Serves the API until `shutdown`, then lets requests under way end.
///
/// # Errors
/// When no TLS is given and the listener's address is not a loopback address.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    services: Services,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    if tls.is_none() {
        check_plain(listener.local_addr()?)?;
    }
    let server = Server {
        tls: tls.map(acceptor),
        router: super::route::router(services),
        shutdown,
        abort: CancellationToken::new(),
        write_timeout: WRITE_TIMEOUT,
    };
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut told = None;
    while let Some((stream, peer, place)) = server.accept(&listener, &places, &mut told).await {
        connections.spawn(server.clone().connection(stream, peer, place));
    }
    drop(listener);
    connections.close();
    if timeout(GRACE, connections.wait()).await.is_err() {
        server.abort.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// What is spoken within TLS is this server's to say, whatever the configuration offers.
fn acceptor(tls: Arc<rustls::ServerConfig>) -> TlsAcceptor {
    let mut config = Arc::unwrap_or_clone(tls);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[derive(Clone)]
struct Server {
    tls: Option<TlsAcceptor>,
    router: Router,
    shutdown: CancellationToken,
    /// Ends connections that did not end within the grace.
    abort: CancellationToken,
    write_timeout: Duration,
}

impl Server {
    /// The next connection with its place among the bounded number, or `None` at shutdown.
    async fn accept(
        &self,
        listener: &TcpListener,
        places: &Arc<Semaphore>,
        told: &mut Option<Instant>,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        self.shutdown
            .run_until_cancelled(async {
                let place = Arc::clone(places).acquire_owned().await.ok()?;
                loop {
                    match listener.accept().await {
                        Ok((stream, peer)) => return Some((stream, peer, place)),
                        Err(error) => {
                            if told.is_none_or(|at| at.elapsed() >= TOLD_AGAIN) {
                                tracing::warn!(%error, "HTTP connections cannot be accepted; tried again until they can");
                                *told = Some(Instant::now());
                            }
                            sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            })
            .await?
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let ended = self.abort.clone();
        if ended.run_until_cancelled(self.converse(stream, peer)).await.is_none() {
            tracing::warn!(%peer, "connection broken off at shutdown");
        }
        drop(place);
    }

    async fn converse(self, stream: TcpStream, peer: SocketAddr) {
        // Without it small answers wait for the peer's acknowledgement; failing costs only speed.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot send without delay");
        }
        let Some(tls) = &self.tls else {
            return self.requests(stream, peer).await;
        };
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    async fn requests(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: SocketAddr,
    ) {
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let service = TowerToHyperService::new(self.router.clone());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let stream = Box::pin(stream);
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended early");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_cut_off() {
        let server = Server {
            tls: None,
            router: Router::new().route("/", get(async || "x".repeat(1024 * 1024))),
            shutdown: CancellationToken::new(),
            abort: CancellationToken::new(),
            write_timeout: Duration::from_millis(50),
        };
        let (mut client, served) = tokio::io::duplex(1024);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        let ended = timeout(Duration::from_secs(5), server.requests(served, peer)).await;
        assert!(ended.is_ok(), "the connection is still open");
        drop(client);
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        let check = |address: &str, allowed: bool| {
            assert_eq!(check_plain(address.parse().unwrap()).is_ok(), allowed, "{address}");
        };
        check("127.0.0.1:9443", true);
        check("127.8.9.10:80", true);
        check("[::1]:9443", true);
        check("[::ffff:127.0.0.1]:9443", true);
        check("0.0.0.0:9443", false);
        check("[::]:9443", false);
        check("192.168.1.5:9443", false);
        check("[fe80::1]:9443", false);
        let refused = check_plain("0.0.0.0:80".parse().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("0.0.0.0:80") && refused.contains("127.0.0.1"), "{refused}");
    }
}
