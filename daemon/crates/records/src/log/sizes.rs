//! How large a log and its files get. It knows none of them.

use std::time::Duration;

use super::journal::FILE_BYTES as JOURNAL_BYTES;
use super::position::Stream;

/// How much one stream of the log may hold. The oldest records go first; what is not sealed yet stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_records: u64,
    /// Bytes on disk.
    pub max_bytes: u64,
    /// Age by reckoned time, which counts only while the clock is synchronised.
    pub max_age: Option<Duration>,
}

/// How much each stream may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub own: Limits,
    pub reported: Limits,
}

impl Retention {
    /// What is never exceeded.
    pub const NONE: Retention = Retention { own: Limits::NONE, reported: Limits::NONE };

    pub(crate) fn of(&self, stream: Stream) -> &Limits {
        match stream {
            Stream::Own => &self.own,
            Stream::Reported => &self.reported,
        }
    }

    /// Of each limit the one that keeps more.
    pub fn wider(self, other: Retention) -> Retention {
        let own = self.own.wider(other.own);
        Retention { own, reported: self.reported.wider(other.reported) }
    }
}

/// A file is this share of its stream's limits at most: what retention takes, it takes from the oldest.
const FILE_SHARE: u64 = 16;

/// Largest and smallest file.
const FILE_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;

impl Limits {
    /// What is never exceeded.
    pub const NONE: Limits = Limits { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };

    fn wider(self, other: Limits) -> Limits {
        Limits {
            max_records: self.max_records.max(other.max_records),
            max_bytes: self.max_bytes.max(other.max_bytes),
            max_age: self.max_age.zip(other.max_age).map(|(a, b)| a.max(b)),
        }
    }

    /// Whether a file with so many bytes and records has as much as one may have.
    pub(crate) fn fills(&self, file_bytes: u64, file_records: u64) -> bool {
        let bytes = (self.max_bytes / FILE_SHARE).clamp(*FILE_BYTES.start(), *FILE_BYTES.end());
        let records = (self.max_records / FILE_SHARE).max(1);
        file_bytes >= bytes || file_records >= records
    }
}

/// How large things get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes of records that go into one commit of the journal at most; a batch with more goes into a sealed
    /// file at once.
    pub(crate) commit_bytes: usize,
    /// A sealed file takes no more once it has as many.
    pub(crate) segment_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { commit_bytes: JOURNAL_BYTES / 2, segment_bytes: 4 << 20 }
    }
}
