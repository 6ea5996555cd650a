//! The server's end of the socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Answer, Held, Request, SOCKET};
use crate::archive;
use crate::clock::Clock;

/// No request is longer.
const REQUEST_BYTES: u64 = 64 * 1024;

/// Whoever connects asks within this.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many ask at once; the others wait in the kernel's queue.
const ASKING: usize = 8;

/// Does what is asked through the socket until it is told to stop. What is being done then is left, and
/// whoever asked is told by the end of the connection.
///
/// # Errors
/// None: without the socket the server goes on, and the log says so.
pub async fn serve(held: Held, clock: Clock, stop: CancellationToken) -> io::Result<()> {
    if let Err(error) = archive::remove_staged(held.data_dir()) {
        tracing::warn!(%error, "an unfinished backup is left");
    }
    let path = held.data_dir().join(SOCKET);
    // What an earlier run left is nobody's: the samples are open in one process only.
    drop(fs::remove_file(&path));
    let bound = UnixListener::bind(&path).and_then(|listener| {
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "commands for backup, verification and deletion cannot reach this server");
            stop.cancelled().await;
            return Ok(());
        }
    };
    let asking = Arc::new(Semaphore::new(ASKING));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok(permit) = Arc::clone(&asking).acquire_owned().await else { break };
        match accepted {
            Ok((stream, _)) => {
                let (held, clock) = (held.clone(), clock.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, held, clock).await {
                        tracing::debug!(%error, "a command was not answered");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a command cannot connect");
                let _ = stop.run_until_cancelled(tokio::time::sleep(PATIENCE)).await;
            }
        }
    }
    drop(fs::remove_file(&path));
    Ok(())
}

async fn answer(stream: UnixStream, held: Held, clock: Clock) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut bounded = (&mut stream).take(REQUEST_BYTES);
    let read = bounded.read_line(&mut line);
    tokio::time::timeout(PATIENCE, read).await.map_err(io::Error::from)??;
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let act = move || held.act(&request, clock.now_ms());
            let done = tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?;
            done.unwrap_or_else(|error| Answer::Failed(error.to_string()))
        }
        Err(error) => Answer::Failed(format!("not a request: {error}")),
    };
    stream.write_all(&serde_json::to_vec(&answer)?).await?;
    stream.shutdown().await
}
