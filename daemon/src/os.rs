//! What the kernel knows about this machine and this process: clocks, boot id, host name, signals,
//! memory. The only file that names nix.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::time::{ClockId, clock_gettime};

/// Identifies one boot of the machine, so that monotonic times of different boots are never
/// compared. Random UUID from the kernel; "unknown" where /proc is not mounted.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_string(), |text| text.trim().to_string())
}

/// The machine's name, "unknown" where the kernel gives none.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|text| text.trim().to_string())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_string())
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Since boot, suspend included, µs.
    pub monotonic_us: u64,
    /// Since 1970-01-01 UTC, µs; may be years wrong on a box without a clock battery.
    pub wall_us: i64,
}

impl Stamp {
    pub fn now() -> Stamp {
        let since_boot =
            clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        Stamp { monotonic_us: micros(since_boot), wall_us: wall_us(SystemTime::now()) }
    }
}

fn wall_us(time: SystemTime) -> i64 {
    let micros = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()),
        Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
    };
    micros.unwrap_or(i64::MAX)
}

/// Saturating: a duration that long is as good as for ever.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// SIGTERM and SIGINT, kept from killing the process so that a thread can wait for them.
pub struct StopSignals(SigSet);

impl StopSignals {
    /// Blocks both in this thread and in every thread that it starts from now on.
    ///
    /// # Errors
    /// When the kernel refuses the mask.
    pub fn block() -> std::io::Result<StopSignals> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        Ok(StopSignals(signals))
    }

    /// Waits for the next one and gives its name.
    pub fn wait(&self) -> &'static str {
        loop {
            match self.0.wait() {
                Ok(signal) => return signal.as_str(),
                Err(Errno::EINTR) => {}
                // Only an invalid set gives another error, and `block` built a valid one.
                Err(error) => unreachable!("sigwait on a valid set failed: {error}"),
            }
        }
    }
}

/// Fsyncs a directory, so that the names made in it survive a power cut.
///
/// # Errors
/// When it can't be opened or the disk refuses.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

/// Whether an I/O error means that this user may not write here at all, so that waiting for the
/// disk to recover can't help.
pub fn is_refusal(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP)
    )
}
