//! What reading all of a log has shown, for a report. It reads nothing.

use super::position::Stream;
use super::proof::{Proof, Testimony};
use super::snapshot::Snapshot;

/// What reading all of a log has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The numbers of the oldest and the newest record, 0 where there is none.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Readable records.
    pub(crate) count: u64,
    /// Missing numbers, as inclusive ranges, numbers that can't be read, and those that are not what was
    /// written, by the chain: the first 1,000 of each.
    pub(crate) gaps: Vec<[u64; 2]>,
    pub(crate) corrupt: Vec<u64>,
    pub(crate) altered: Vec<u64>,
    pub(crate) head: String,
    /// How many records retention has taken, the newest number before those that are left of a stream that
    /// has lost any, and when the last went, epoch µs.
    pub(crate) retired: u64,
    pub(crate) retired_until: u64,
    pub(crate) retired_at_us: Option<i64>,
    pub(crate) witness: Option<Testimony>,
}

impl Findings {
    pub(crate) fn of(log: &Snapshot, proof: Proof) -> Findings {
        let lanes = Stream::ALL.map(|stream| log.position.lane(stream));
        let touched = lanes.iter().filter(|lane| lane.kept_from > 0);
        let moved = log.retired.iter().map(|retired| retired.moved_at_us);
        Findings {
            first: proof.first,
            last: proof.last,
            count: proof.count,
            gaps: proof.gaps,
            corrupt: proof.corrupt,
            altered: proof.altered,
            head: log.position.head(),
            retired: log.gone(),
            retired_until: touched.map(|lane| lane.first.saturating_sub(1)).max().unwrap_or(0),
            retired_at_us: moved.max().filter(|at| *at > 0),
            witness: proof.witness,
        }
    }
}
