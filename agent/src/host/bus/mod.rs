//! The system's message bus, on which systemd answers: one connection, calls and their answers.
//!
//! The calls that are needed have texts as arguments and are few. Two libraries were weighed against
//! this on 2026-11-22. With zbus 6.2.1 (tokio, nothing else) the agent is 0.53 MB larger (8.34 MB), has
//! 0.45 MiB more in memory while it runs (11.43 MiB instead of 10.98, of 12 that it may have), takes
//! 2.2 ms of a processor for a look at systemd instead of 0.9, and stands on ten more crates. rustbus
//! 0.19.3 stands on second versions of syn, bitflags and nix that are years old. Memory decided.
//!
//! Whatever comes is bounded in length, and every call has a deadline.

#[cfg_attr(not(unix), expect(dead_code, reason = "there is no bus to write to"))]
mod message;

use std::io;

use thiserror::Error;

pub use self::message::{Arguments, Call, Cursor, Refusal, Reply, Variant};

pub(super) use self::connection::{Connection, call_all};

/// Why the bus did not answer.
#[derive(Debug, Error)]
pub enum BusError {
    /// There is no connection, or it broke.
    #[error("the system bus: {0}")]
    Io(#[from] io::Error),
    /// The bus does not let this program in.
    #[error("the system bus refuses this program: {0}")]
    Rejected(String),
    /// What came is not what was expected.
    #[error("the system bus: {0}")]
    Malformed(&'static str),
    /// A call was refused.
    #[error("{member}: {}: {}", refusal.name, refusal.message)]
    Refused {
        /// The method that was called.
        member: String,
        /// What was said.
        refusal: Refusal,
    },
}

#[cfg(unix)]
mod connection {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::message::{self, FIXED_BYTES, Received};
    use super::{Arguments, BusError, Call, Refusal, Reply};

    /// How long an answer may take. systemd answers within milliseconds unless it is reloading.
    const DEADLINE: Duration = Duration::from_secs(4);

    /// The longest line of the greeting.
    const MAX_LINE_BYTES: usize = 1024;

    /// So many calls are sent before the first of their answers is read, so that neither side waits
    /// for the other to read.
    const CALLS_AT_ONCE: usize = 64;

    /// A connection to the bus.
    #[derive(Debug)]
    pub(in crate::host) struct Connection {
        stream: UnixStream,
        serial: u32,
    }

    /// Makes calls over the connection that is kept, or over a new one if it is gone.
    pub(in crate::host) fn call_all(
        kept: &mut Option<Connection>,
        socket: &Path,
        calls: &[Call<'_>],
    ) -> Result<Vec<Result<Reply, Refusal>>, BusError> {
        if let Some(mut connection) = kept.take()
            && let Ok(replies) = connection.call_all(calls)
        {
            *kept = Some(connection);
            return Ok(replies);
        }
        let mut connection = Connection::open(socket)?;
        let replies = connection.call_all(calls)?;
        *kept = Some(connection);
        Ok(replies)
    }

    impl Connection {
        fn open(socket: &Path) -> Result<Self, BusError> {
            let until = Instant::now() + DEADLINE;
            let stream = UnixStream::connect(socket)?;
            stream.set_write_timeout(Some(DEADLINE))?;
            let mut connection = Self { stream, serial: 0 };
            // Without a name the bus takes the one that the kernel knows, which holds in a user
            // namespace as well.
            connection.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\n")?;
            loop {
                let line = connection.line(until)?;
                if line.starts_with("OK ") {
                    break;
                } else if !line.starts_with("DATA") {
                    return Err(BusError::Rejected(line));
                }
            }
            connection.stream.write_all(b"BEGIN\r\n")?;
            let bus = "org.freedesktop.DBus";
            let hello = Call {
                destination: bus,
                path: "/org/freedesktop/DBus",
                interface: bus,
                member: "Hello",
                arguments: Arguments::Texts(&[]),
            };
            let refused = |refusal| BusError::Refused { member: "Hello".to_owned(), refusal };
            for reply in connection.call_all(&[hello])? {
                reply.map_err(refused)?;
            }
            Ok(connection)
        }

        /// Makes calls and gives their answers in the same order.
        fn call_all(
            &mut self,
            calls: &[Call<'_>],
        ) -> Result<Vec<Result<Reply, Refusal>>, BusError> {
            let mut replies = Vec::with_capacity(calls.len());
            for some in calls.chunks(CALLS_AT_ONCE) {
                let first = self.serial + 1;
                let mut bytes = Vec::new();
                for call in some {
                    self.serial += 1;
                    bytes.extend_from_slice(&message::encode(call, self.serial));
                }
                self.stream.write_all(&bytes)?;
                replies.append(&mut self.answers(first, some.len())?);
            }
            Ok(replies)
        }

        /// Waits for the answers to so many calls, the first of which has the given number.
        fn answers(
            &mut self,
            first: u32,
            count: usize,
        ) -> Result<Vec<Result<Reply, Refusal>>, BusError> {
            let until = Instant::now() + DEADLINE;
            let mut answers: Vec<Option<Result<Reply, Refusal>>> = vec![None; count];
            let mut missing = count;
            while missing > 0 {
                let Received::Answer(serial, answer) = self.receive(until)? else { continue };
                let place = serial.checked_sub(first).and_then(|at| answers.get_mut(at as usize));
                // What comes too late for an earlier call has no place.
                if let Some(place) = place
                    && place.replace(answer).is_none()
                {
                    missing -= 1;
                }
            }
            Ok(answers.into_iter().flatten().collect())
        }

        fn receive(&mut self, until: Instant) -> Result<Received, BusError> {
            let mut fixed = [0; FIXED_BYTES];
            self.fill(&mut fixed, until)?;
            let mut whole = vec![0; message::length_of(fixed)?];
            let (head, rest) = whole
                .split_at_mut_checked(FIXED_BYTES)
                .ok_or(BusError::Malformed("a message ends early"))?;
            head.copy_from_slice(&fixed);
            self.fill(rest, until)?;
            message::decode(&whole)
        }

        fn line(&mut self, until: Instant) -> Result<String, BusError> {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                if line.len() > MAX_LINE_BYTES {
                    return Err(BusError::Malformed("the greeting does not end"));
                }
                let mut byte = [0];
                self.fill(&mut byte, until)?;
                line.extend_from_slice(&byte);
            }
            Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
        }

        /// Reads as many bytes as fit, before a moment.
        fn fill(&mut self, buffer: &mut [u8], until: Instant) -> Result<(), BusError> {
            let mut rest = buffer;
            while !rest.is_empty() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
                }
                self.stream.set_read_timeout(Some(left))?;
                match self.stream.read(rest) {
                    Ok(0) => {
                        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                    }
                    Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        }
    }
}

#[cfg(not(unix))]
mod connection {
    use std::path::Path;

    use super::{BusError, Call, Refusal, Reply};

    /// There is no such bus on this system.
    #[derive(Debug)]
    pub(in crate::host) enum Connection {}

    /// Says that there is no bus.
    pub(in crate::host) fn call_all(
        _kept: &mut Option<Connection>,
        _socket: &Path,
        _calls: &[Call<'_>],
    ) -> Result<Vec<Result<Reply, Refusal>>, BusError> {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound).into())
    }
}
