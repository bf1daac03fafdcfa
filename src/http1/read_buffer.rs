//! What all connections of a worker read into: they take turns, and none has a buffer of its own while nothing comes.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Room for one read. Larger: fewer calls for large bodies; but what was read stays in memory for as long as a slow
/// receiver has not taken it.
pub const READ_BYTES: usize = 16 * 1024;
/// The buffer that reads are taken from: so many bytes at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The read buffer of one worker thread.
#[derive(Debug, Default)]
pub struct ReadBuffer(RefCell<BytesMut>);

impl ReadBuffer {
    /// What has come over a connection; empty at its end.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_receive<T: AsyncRead + Unpin>(
        &self,
        connection: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Bytes>> {
        let mut buffer = self.0.borrow_mut();
        if buffer.capacity() < READ_BYTES {
            buffer.reserve(BUFFER_BYTES);
        }
        let received = pin!(connection.read_buf(&mut *buffer)).poll(cx);
        received.map_ok(|_| buffer.split().freeze())
    }
}
