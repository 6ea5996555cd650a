//! Everything that happened, as one number: the same seed gives the same one.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

thread_local! {
    static TRACE: RefCell<DefaultHasher> = RefCell::new(DefaultHasher::new());
}

/// Adds something that happened.
pub fn note(what: impl Hash) {
    TRACE.with_borrow_mut(|trace| what.hash(trace));
}

/// The number for all that happened until now.
pub fn sum() -> u64 {
    TRACE.with_borrow(Hasher::finish)
}

/// A connection of which every byte and its time is noted.
pub struct Traced(pub TcpStream);

impl AsyncRead for Traced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        note((turmoil::elapsed(), buffer.filled().get(before..)));
        Poll::Ready(read)
    }
}

impl AsyncWrite for Traced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(context, bytes));
        note((turmoil::elapsed(), written.as_ref().ok(), bytes));
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
