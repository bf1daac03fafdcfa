//! The thread that writes events into the database: behind those that serve, wherever both want the same core.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::error::StoreError;
use super::finished;
use crate::priority;

/// A thread with a runtime of its own, until the last clone is dropped.
#[derive(Clone)]
pub(super) struct ShippingThread {
    runtime: Handle,
    alive: Arc<oneshot::Sender<()>>,
}

impl ShippingThread {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, is_over) = oneshot::channel::<()>();
        let run = move || {
            priority::stand_behind_requests();
            let _nobody_left = runtime.block_on(is_over);
        };
        std::thread::Builder::new().name("spend-writer".to_owned()).spawn(run)?;
        Ok(Self { runtime: handle, alive: Arc::new(alive) })
    }

    /// Runs work to its end, even if its caller goes away. It may block: nobody waits for this thread but who ships.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let alive = Arc::clone(&self.alive);
        let working = async move {
            let done = work.await;
            drop(alive);
            done
        };
        finished(self.runtime.spawn(working).await)
    }
}
