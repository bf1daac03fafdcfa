//! Sending: all of it, pieces together, by as few calls as there can be.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite;

/// Sends all of it, and has it leave.
///
/// # Errors
/// The connection broke.
pub fn poll_send<T: AsyncWrite + Unpin>(
    connection: &mut T,
    outgoing: &mut impl Buf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while outgoing.has_remaining() {
        let is_one_piece = outgoing.chunk().len() == outgoing.remaining();
        let sent = if is_one_piece {
            ready!(Pin::new(&mut *connection).poll_write(cx, outgoing.chunk()))?
        } else {
            let mut pieces = [io::IoSlice::new(&[]); 2];
            let count = outgoing.chunks_vectored(&mut pieces);
            let pieces = pieces.get(..count).unwrap_or_default();
            ready!(Pin::new(&mut *connection).poll_write_vectored(cx, pieces))?
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        outgoing.advance(sent);
    }
    Pin::new(connection).poll_flush(cx)
}
