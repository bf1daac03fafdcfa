//! The socket of a client's connection: small writes go out at once, and nobody is waited for who takes nothing.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection whose end can be told from a clean one.
pub(super) trait Abrupt {
    /// Whether the other side is to see that the connection broke (RST), however it ends, where its plain end would say
    /// that all was sent. What it has not taken by then is lost.
    fn set_abrupt(&self, is_abrupt: bool);
}

impl Abrupt for TcpStream {
    fn set_abrupt(&self, is_abrupt: bool) {
        let linger = is_abrupt.then_some(Duration::ZERO);
        if let Err(error) = rustix::net::sockopt::set_socket_linger(self, linger) {
            log::debug!("how a client's connection ends cannot be set: {error}");
        }
    }
}

impl Abrupt for TlsStream<TcpStream> {
    fn set_abrupt(&self, is_abrupt: bool) {
        self.get_ref().0.set_abrupt(is_abrupt);
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
