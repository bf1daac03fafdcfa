//! Which threads go first: those that serve requests, before those that clear away after them.

/// What a thread that clears away adds to its niceness. A thread that serves weighs three times as much on the same core:
/// low enough that requests do not wait for a batch, high enough that a core which always serves still clears away.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

/// Lets the threads that serve go before this one, as far as the system allows. On Linux niceness is of each thread, and
/// nobody needs a right to be nicer; elsewhere it is of the process, and stays as it is.
pub fn stand_behind_requests() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        log::debug!("this thread keeps its priority: {error}");
    }
}
