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
