//! Reading a whole log to prove that nothing in it is missing, damaged or altered.

use std::io;
use std::ops::RangeInclusive;

use super::lookup::Lookup;
use super::position::Stream;
use super::reader::Reader;
use super::snapshot::Snapshot;
use crate::format::{self, Link};

/// Numbers listed at most; the counts are always whole.
const LISTED_MAX: usize = 1_000;

/// What reading a whole log has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The numbers of the oldest and the newest record, 0 where there is none.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Readable records.
    pub(crate) count: u64,
    /// Numbers that are missing, those that can't be read, and those that are not what was written, by the
    /// chain.
    pub(crate) gaps: Vec<[u64; 2]>,
    pub(crate) corrupt: Vec<u64>,
    pub(crate) altered: Vec<u64>,
    /// The links of the newest record of each stream.
    pub(crate) heads: [Link; 2],
}

impl Proof {
    /// Whether nothing is missing, damaged or altered.
    pub(crate) fn is_sound(&self) -> bool {
        self.gaps.is_empty() && self.corrupt.is_empty() && self.altered.is_empty()
    }
}

/// Reads all records of a log. `goes_on` is asked before each; returns none where it was not to.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn prove(
    log: &Snapshot,
    view: Option<&Lookup>,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<Option<Proof>> {
    let mut reader = Reader::from(log, 0, view);
    let mut proof = Proof::default();
    let lanes = Stream::ALL.map(|stream| *log.position.lane(stream));
    let mut links: [Option<Link>; 2] = lanes.map(|lane| Some(lane.anchor));
    let mut next = lanes.map(|lane| lane.first).into_iter().min().unwrap_or(1);
    let mut expected = lanes.map(|lane| lane.kept_from);
    let mut missing = Vec::new();
    while let Some(record) = reader.next()? {
        if !goes_on() {
            return Ok(None);
        }
        let at = record.stream as usize;
        if proof.count == 0 {
            proof.first = record.id;
        }
        if record.id > next {
            missing.push(next..=record.id - 1);
        }
        (proof.last, next) = (record.id, record.id + 1);
        proof.count += 1;
        // Behind a gap nothing is known of the link before.
        let previous = links[at].filter(|_| record.ordinal == expected[at]);
        expected[at] = record.ordinal + 1;
        match check(log, &record.value, record.id, previous) {
            Ok((link, right)) => {
                if !right {
                    list(&mut proof.altered, record.id);
                }
                links[at] = Some(link);
            }
            Err(()) => {
                list(&mut proof.corrupt, record.id);
                links[at] = None;
            }
        }
    }
    if next < log.position.next {
        missing.push(next..=log.position.next - 1);
    }
    for ids in missing {
        explain(log, &reader, ids, &mut proof);
    }
    proof.heads = lanes.map(|lane| lane.head);
    Ok(Some(proof))
}

/// Returns a record's link and whether that is right behind the one before it.
fn check(
    log: &Snapshot,
    value: &[u8],
    id: u64,
    previous: Option<Link>,
) -> Result<(Link, bool), ()> {
    let (stated, link, origin) = format::identify(value).map_err(drop)?;
    let maker = log.known.maker(origin).filter(|_| stated == id).ok_or(())?;
    let right = previous
        .is_none_or(|previous| format::expected_link(&previous, &maker.content, value) == Ok(link));
    Ok((link, right))
}

/// Says what numbers are that no record has: void, retired, unreadable, or missing.
fn explain(log: &Snapshot, reader: &Reader, ids: RangeInclusive<u64>, proof: &mut Proof) {
    let voids = log.voids();
    let overlaps = |from: u64, to: u64| from <= *ids.end() && to >= *ids.start();
    let lost = log.losses.iter().any(|loss| overlaps(loss.after + 1, loss.before - 1));
    // Below the beginning of a stream that has lost its oldest, numbers may have been its.
    let retired = Stream::ALL.iter().map(|stream| log.position.lane(*stream));
    let retired = retired.filter(|lane| lane.kept_from > 0).map(|lane| lane.first).max();
    let mut gap: Option<[u64; 2]> = None;
    for id in ids.clone() {
        let void = voids.iter().any(|void| void.contains(&id));
        let damaged = reader.damaged.iter().any(|(_, spot)| (spot.first..=spot.last).contains(&id));
        let gone = !lost && retired.is_some_and(|first| id < first);
        if void || damaged || gone {
            if damaged && !void {
                list(&mut proof.corrupt, id);
            }
            continue;
        }
        match &mut gap {
            Some([_, to]) if *to + 1 == id => *to = id,
            _ => {
                proof.gaps.extend(gap.filter(|_| proof.gaps.len() < LISTED_MAX));
                gap = Some([id, id]);
            }
        }
    }
    proof.gaps.extend(gap.filter(|_| proof.gaps.len() < LISTED_MAX));
}

fn list(numbers: &mut Vec<u64>, id: u64) {
    if numbers.len() < LISTED_MAX {
        numbers.push(id);
    }
}
