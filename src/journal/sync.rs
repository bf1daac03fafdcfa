//! The thread that forces what was appended to the disk, so that no worker ever waits for it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::ballast::Ballast;
use super::segment::SegmentState;

/// The segments that are still written to, or not on the disk yet.
#[derive(Debug)]
pub(super) struct SyncList {
    segments: Mutex<Vec<Arc<SegmentState>>>,
    error: Mutex<Option<String>>,
    ballast: Arc<Ballast>,
    dir: PathBuf,
}

/// Starts the thread. It ends by itself within one interval after the list is gone.
pub(super) fn spawn(list: &Arc<SyncList>, interval: Duration) -> io::Result<()> {
    let list: Weak<SyncList> = Arc::downgrade(list);
    let run = move || {
        loop {
            std::thread::sleep(interval);
            let Some(list) = list.upgrade() else { return };
            list.sync();
            list.ballast.refill();
        }
    };
    std::thread::Builder::new().name("journal-sync".to_owned()).spawn(run)?;
    Ok(())
}

impl SyncList {
    pub(super) fn new(dir: PathBuf, ballast: Arc<Ballast>) -> Self {
        Self { segments: Mutex::default(), error: Mutex::default(), ballast, dir }
    }

    pub(super) fn add(&self, segment: Arc<SegmentState>) {
        guard(&self.segments).push(segment);
    }

    pub(super) fn error(&self) -> Option<String> {
        guard(&self.error).clone()
    }

    /// Forces every segment to the disk that has something new, and forgets those that are done.
    fn sync(&self) {
        let segments = guard(&self.segments).clone();
        let mut failure = None;
        for segment in &segments {
            if let Err(error) = self.sync_segment(segment) {
                log::error!("journal segment {} cannot be forced to the disk: {error}", segment.id);
                failure = Some(error.to_string());
            }
        }
        *guard(&self.error) = failure;
        guard(&self.segments).retain(|segment| !is_done(segment));
    }

    fn sync_segment(&self, segment: &SegmentState) -> io::Result<()> {
        let good_bytes = segment.good_bytes.load(Ordering::Acquire);
        let synced_bytes = segment.synced_bytes.load(Ordering::Relaxed);
        if synced_bytes != good_bytes {
            segment.file.sync_data()?;
            if synced_bytes == 0 {
                // The name of a new file is on the disk only once its directory is.
                File::open(&self.dir)?.sync_data()?;
            }
            segment.synced_bytes.store(good_bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn is_done(segment: &SegmentState) -> bool {
    segment.is_closed.load(Ordering::Acquire)
        && segment.synced_bytes.load(Ordering::Relaxed) == segment.good_bytes.load(Ordering::Relaxed)
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
