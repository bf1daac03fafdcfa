//! The socket of a client's connection: small writes go out at once, and nobody is waited for who takes nothing.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection whose end can be told from a clean one.
pub(super) trait Abort {
    /// Has the other side see that the connection broke (RST), where its plain end would say that all was sent. What it
    /// has not taken yet is lost.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        if let Err(error) = self.set_zero_linger() {
            log::debug!("a client's connection cannot be broken off: {error}");
        }
    }
}

impl Abort for TlsStream<TcpStream> {
    fn abort(&self) {
        self.get_ref().0.abort();
    }
}

/// Has every frame sent as it is written, and the system break the connection once the client has taken nothing of what
/// waits for it for so long (zero: no limit): the server itself waits for ever, and a body that nobody polls notices
/// nothing.
/// <https://man7.org/linux/man-pages/man7/tcp.7.html> (`TCP_NODELAY`, `TCP_USER_TIMEOUT`)
pub(super) fn prepare(socket: &TcpStream, write_timeout: Duration) {
    let nodelay = socket.set_nodelay(true);
    if let Err(error) = nodelay.and_then(|()| limit_waiting(socket, write_timeout)) {
        log::debug!("a client's connection cannot be set up as it should be: {error}");
    }
}

#[cfg(target_os = "linux")]
fn limit_waiting(socket: &TcpStream, timeout: Duration) -> std::io::Result<()> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(socket, milliseconds)?)
}

#[cfg(not(target_os = "linux"))]
fn limit_waiting(_: &TcpStream, _: Duration) -> std::io::Result<()> {
    Ok(())
}
