//! The two streams of a log, and where each of them stands. It knows no file.

use serde::{Deserialize, Serialize};

use crate::format::{GENESIS, Link};

/// What a record belongs to: each stream has a chain, files and a budget of its own, and numbers are given
/// to both together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// What this box has seen.
    Own,
    /// What others have reported to it.
    Reported,
}

impl Stream {
    pub(crate) const ALL: [Stream; 2] = [Stream::Own, Stream::Reported];

    pub(crate) fn name(self) -> &'static str {
        ["own", "reported"][self as usize]
    }
}

/// Stands for a link that nobody knows any more.
pub(crate) const UNKNOWN: Link = [0xff; 12];

/// Where a stream stands. Its records are counted from 0: a missing one shows by that count, also where the
/// numbers beside it belong to the other stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lane {
    /// How many records retention has removed, which is the count of the oldest that is kept.
    pub(crate) kept_from: u64,
    /// Its number, or where none is kept the one that the log gave next at that time.
    pub(crate) first: u64,
    /// The link before it.
    pub(crate) anchor: Link,
    /// The count of the next record.
    pub(crate) next: u64,
    /// The link of the newest.
    pub(crate) head: Link,
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The number of the next record.
    pub(crate) next: u64,
    lanes: [Lane; 2],
}

impl Position {
    /// Returns where a new log stands.
    pub(crate) fn start() -> Position {
        Position::continuing(1, GENESIS)
    }

    /// Returns where a log stands that gives `next` first and continues a chain.
    pub(crate) fn continuing(next: u64, head: Link) -> Position {
        let lane = Lane { kept_from: 0, first: next, anchor: head, next: 0, head };
        Position { next, lanes: [lane; 2] }
    }

    /// Returns the heads of both streams as text, which proves the log later if it is noted elsewhere.
    pub(crate) fn head(&self) -> String {
        head_text(self.lanes.map(|lane| lane.head))
    }

    pub(crate) fn lane(&self, stream: Stream) -> &Lane {
        &self.lanes[stream as usize]
    }

    pub(crate) fn lane_mut(&mut self, stream: Stream) -> &mut Lane {
        &mut self.lanes[stream as usize]
    }
}

/// Returns the links of the newest records of both streams as text: hexadecimal, that of the reported
/// records only once there are any.
pub(crate) fn head_text(links: [Link; 2]) -> String {
    let [own, reported] = links;
    let hex = |link: Link| link.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if reported == GENESIS { hex(own) } else { hex(own) + &hex(reported) }
}
