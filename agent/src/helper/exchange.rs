//! Reading and writing on a socket until a moment, whatever pace the other side has.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::HelperError;

/// How much is read at a time, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// A moment that is waited for at most.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    pub(super) fn after(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// The time that is left, never zero: a socket takes zero for "wait for ever".
    fn left(self) -> Result<Duration, HelperError> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.missed()) } else { Ok(left) }
    }

    fn missed(self) -> HelperError {
        HelperError::Deadline { after: self.after }
    }

    fn error(self, error: io::Error) -> HelperError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.missed(),
            _ => HelperError::Exchange(error),
        }
    }
}

/// Reads up to the first line feed, which is left out.
pub(super) fn read_line(
    stream: &UnixStream,
    limit: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, HelperError> {
    let mut line = Vec::new();
    loop {
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if !read_some(stream, &mut line, limit, deadline)? {
            return Err(HelperError::Malformed("the line has no end".to_owned()));
        }
    }
}

/// Reads until the other side closes.
pub(super) fn read_all(
    stream: &UnixStream,
    limit: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, HelperError> {
    let mut bytes = Vec::new();
    while read_some(stream, &mut bytes, limit, deadline)? {}
    Ok(bytes)
}

/// Writes everything.
pub(super) fn write_all(
    mut stream: &UnixStream,
    mut bytes: &[u8],
    deadline: Deadline,
) -> Result<(), HelperError> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(deadline.left()?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(deadline.error(error)),
        }
    }
    Ok(())
}

/// Appends what is there; `false` at the end of the stream.
fn read_some(
    mut stream: &UnixStream,
    bytes: &mut Vec<u8>,
    limit: usize,
    deadline: Deadline,
) -> Result<bool, HelperError> {
    if bytes.len() > limit {
        return Err(HelperError::TooLong { limit });
    }
    stream.set_read_timeout(Some(deadline.left()?))?;
    let mut chunk = [0; CHUNK_BYTES];
    match stream.read(&mut chunk) {
        Ok(length) => {
            bytes.extend_from_slice(chunk.get(..length).unwrap_or_default());
            Ok(length > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(deadline.error(error)),
    }
}
