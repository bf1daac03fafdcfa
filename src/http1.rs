//! What HTTP/1.1 is on either side of the gateway: reading heads and bodies that can be read in one way only.
//! <https://www.rfc-editor.org/rfc/rfc9112.html>

mod framing;
mod heads;
mod read_buffer;
mod send;

pub use framing::{BodyFraming, Malformed};
pub use heads::{closes, copied_headers, declared_framing, in_copy, options, write_header};
pub use read_buffer::{READ_BYTES, ReadBuffer};
pub use send::poll_send;
