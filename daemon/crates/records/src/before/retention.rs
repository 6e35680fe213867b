//! The limits of the log. It removes nothing.

use std::time::Duration;

/// Bytes on disk for each live byte, once retention has reached its plateau: measured at 2.1 to
/// 2.4 with records of 128 bytes; rounded up.
pub(super) const DISK_AMPLIFICATION: u64 = 3;

/// How much the log may hold. The oldest records go first; the newest always stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub max_records: u64,
    /// Bytes on disk.
    pub max_bytes: u64,
    /// Age by the wall clock of this machine.
    pub max_age: Option<Duration>,
}

impl Retention {
    /// Of each limit the one that keeps more.
    pub fn wider(self, other: Retention) -> Retention {
        Retention {
            max_records: self.max_records.max(other.max_records),
            max_bytes: self.max_bytes.max(other.max_bytes),
            max_age: self.max_age.zip(other.max_age).map(|(a, b)| a.max(b)),
        }
    }
}
