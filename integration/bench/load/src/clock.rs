//! The monotonic clock, the same for every process of the machine.

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A timer that fires every `interval` nanoseconds from `start` on, to the microsecond, where tokio's counts milliseconds.
pub struct Ticks(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

impl Ticks {
    pub fn new(start: u64, interval: u64) -> std::io::Result<Self> {
        use std::os::fd::{AsRawFd as _, FromRawFd as _};
        let spec = |nanos: u64| libc::timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as i64,
        };
        // SAFETY: plain system calls; the descriptor is owned from here on.
        unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            let fd = std::os::fd::OwnedFd::from_raw_fd(fd);
            let timer = libc::itimerspec { it_value: spec(start), it_interval: spec(interval) };
            if libc::timerfd_settime(fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &timer, std::ptr::null_mut())
                < 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(Self(tokio::io::unix::AsyncFd::register(fd)?))
        }
    }

    /// How many ticks have passed since the last call; waits for one.
    pub async fn passed(&self) -> std::io::Result<u64> {
        use std::os::fd::AsRawFd as _;
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| {
                let mut count = 0_u64;
                // SAFETY: reads eight bytes into eight bytes.
                let got = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
                if got == 8 { Ok(count) } else { Err(std::io::Error::last_os_error()) }
            });
            if let Ok(count) = read {
                return count;
            }
        }
    }
}
