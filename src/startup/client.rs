//! A client's connection as it is accepted: counted until it is closed, and not kept for one that takes nothing.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_rt::net::TcpStream;

/// A client's connection, counted until it is closed.
pub(super) struct OpenConnection(Arc<AtomicUsize>);

impl OpenConnection {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has the system break the connection once the client has taken nothing of what waits for it for so long: the server
/// itself waits for ever, and a body that nobody polls notices nothing. Zero: no limit.
/// <https://man7.org/linux/man-pages/man7/tcp.7.html> (`TCP_USER_TIMEOUT`)
pub(super) fn limit_waiting(socket: &dyn Any, timeout: Duration) {
    let Some(socket) = socket.downcast_ref::<TcpStream>() else { return };
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(socket, milliseconds) {
        log::debug!("a client's connection has no limit to its waiting: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _no_such_option = (socket, milliseconds);
}
