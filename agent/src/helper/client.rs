//! The agent's side of the socket.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::exchange::{Deadline, read_all, write_all};
use super::{Answer, HelperError, Reply, Request, Verb};

/// The most that an answer may be, in bytes: the health of a hundred disks stays under it.
pub(super) const MAX_REPLY_BYTES: usize = 8 << 20;

/// So much later than the helper the agent gives up, so that it hears why there is no answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks the helper that listens at `socket`, and waits a little longer than its answer may take.
pub(super) fn ask(socket: &Path, verb: Verb) -> Result<Answer, HelperError> {
    ask_within(socket, verb, verb.deadline() + PATIENCE)
}

/// Asks the helper that listens at `socket`, and waits for so long.
///
/// # Errors
/// When there is no answer, with the reason.
pub fn ask_within(socket: &Path, verb: Verb, time: Duration) -> Result<Answer, HelperError> {
    let stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => HelperError::Off { socket: socket.to_owned() },
        _ => HelperError::Connect { socket: socket.to_owned(), source },
    })?;
    let deadline = Deadline::after(time);
    write_all(&stream, &Request::line(verb)?, deadline)?;
    let document = read_all(&stream, MAX_REPLY_BYTES, deadline)?;
    if document.is_empty() {
        let reason = "it was closed without an answer";
        return Err(HelperError::Exchange(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
    }
    let answer = Reply::parse(&document)?;
    if answer.verb() == verb {
        Ok(answer)
    } else {
        Err(HelperError::OtherVerb { asked: verb, got: answer.verb() })
    }
}
