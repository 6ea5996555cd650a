//! How much goes over a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// A relay that counts what goes up through it, TLS and all.
pub(super) struct Meter {
    pub(super) address: String,
    sent: Arc<AtomicU64>,
}

impl Meter {
    pub(super) async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let sent = Arc::new(AtomicU64::new(0));
        let (count, target) = (Arc::clone(&sent), target.to_owned());
        tokio::spawn(async move {
            while let Ok((down, _)) = listener.accept().await {
                let Ok(up) = TcpStream::connect(&target).await else { continue };
                let count = Arc::clone(&count);
                tokio::spawn(relay(down, up, count));
            }
        });
        Ok(Self { address, sent })
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn relay(down: TcpStream, mut up: TcpStream, count: Arc<AtomicU64>) -> Result<()> {
    let mut down = tokio_util::io::InspectReader::new(down, move |bytes: &[u8]| {
        count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    });
    copy_bidirectional(&mut down, &mut up).await?;
    Ok(())
}
