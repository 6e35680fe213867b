//! The clocks of this machine: a moment on both of them, which boot it belongs to, and whether the
//! wall clock may be believed.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Returns what identifies one boot of the machine, so that monotonic times of different boots are never
/// compared. Random UUID from the kernel; "unknown" where /proc is not mounted.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_string(), |text| text.trim().to_string())
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Time since boot, suspend included, µs.
    pub monotonic_us: u64,
    /// Time since 1970-01-01 UTC, µs; may be years wrong on a box without a clock battery.
    pub wall_us: i64,
    /// Whether the kernel considered the wall clock synchronised with a time source.
    pub synchronised: bool,
}

impl Stamp {
    /// Reads both clocks.
    pub fn now() -> Stamp {
        let since_boot =
            clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        Stamp {
            monotonic_us: micros(since_boot),
            wall_us: wall_us(SystemTime::now()),
            synchronised: wall_clock_is_synchronised(),
        }
    }
}

/// Returns the processor time that the calling thread has had; zero where the kernel does not count it.
pub fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// This file exists since systemd-timesyncd set the clock in this boot; systemd-timesyncd.service(8).
const TIMESYNCD_MARK: &str = "/run/systemd/timesync/synchronized";

/// Whether the wall clock follows a time source. The hardened unit may not ask the kernel
/// (ProtectClock=): there timesyncd's mark is all that is known.
pub fn wall_clock_is_synchronised() -> bool {
    kernel_clock_is_synchronised().unwrap_or_else(|| Path::new(TIMESYNCD_MARK).exists())
}

/// Asks the kernel (STA_UNSYNC of adjtimex), whose answer every time service keeps up to date; none
/// where that is not allowed.
#[allow(unsafe_code)]
fn kernel_clock_is_synchronised() -> Option<bool> {
    // SAFETY: timex is plain integers, for which zero is a value; its modes of 0 ask for nothing
    // to be changed; the pointer is to a live local.
    let (state, status) = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        (nix::libc::adjtimex(&raw mut timex), timex.status)
    };
    (state != -1).then_some(status & nix::libc::STA_UNSYNC == 0)
}

fn wall_us(time: SystemTime) -> i64 {
    let micros = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()),
        Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
    };
    micros.unwrap_or(i64::MAX)
}

/// Returns a duration in µs. It saturates: a duration that long is as good as for ever.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
