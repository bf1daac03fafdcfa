//! The stop: readiness turns red, load balancers get time to notice, requests under way finish, connections close.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::http::Shared;
use crate::http::listen::Connections;

/// How often a stop looks whether requests are still under way.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How long connections may take to close once no request is under way. Idle ones close at once; what this bounds
/// are clients that do not take the last bytes of their answer, or do not send the rest of a request.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT. From when this is made they no longer end the process by themselves.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Receives them from now on. Must be called inside an actix system.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn receive() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one; none is lost meanwhile.
    pub async fn next(&mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}

/// Waits for the first signal; a second one skips the waits.
pub(super) async fn stop_at_signal(
    mut signals: StopSignals,
    server: ServerHandle,
    shared: Arc<Shared>,
    connections: Connections,
) {
    signals.next().await;
    shared.begin_to_stop();
    log::info!("stopping: readiness is red, requests under way finish");
    tokio::select! {
        () = stop_gently(&server, &shared, &connections) => {}
        () = signals.next() => log::warn!("stopping at once"),
    }
    shared.is_cutting_off.store(true, Ordering::Relaxed);
    connections.cut();
    server.stop(false).await;
}

async fn stop_gently(server: &ServerHandle, shared: &Shared, connections: &Connections) {
    let config = &shared.config.server;
    tokio::time::sleep(config.lame_duck).await;
    let deadline = Instant::now() + config.shutdown_grace;
    // From here on idle connections are closed, the others when their answer is through; over HTTP/2 clients are told
    // so (GOAWAY). The server itself looks only once a second whether all are.
    let graceful = server.stop(true);
    let all_closed = async {
        while shared.requests_under_way() > 0 && Instant::now() < deadline {
            tokio::time::sleep(STOP_POLL).await;
        }
        if shared.requests_under_way() > 0 {
            log::warn!("requests under way are cut off: they took longer than shutdown_grace");
        }
        shared.is_cutting_off.store(true, Ordering::Relaxed);
        let closed_by = Instant::now() + CLOSE_GRACE;
        while connections.count() > 0 && Instant::now() < closed_by {
            tokio::time::sleep(STOP_POLL).await;
        }
    };
    tokio::select! { () = graceful => {}, () = all_closed => {} }
}
