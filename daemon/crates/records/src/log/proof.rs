//! Reading a whole log to prove that nothing in it is missing, damaged or altered.

use std::io;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::position::{Stream, UNKNOWN, head_text};
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
    /// What has become of the witness that was asked about.
    pub(crate) witness: Option<Testimony>,
}

/// Where a log stood once, as somebody noted it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The number of its newest record then.
    pub id: u64,
    /// What was said of its heads then.
    pub head: String,
}

/// What a log makes of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Testimony {
    /// The records up to then are those of that time.
    Holds,
    /// They are others.
    Differs,
    /// The log ends before.
    Ahead,
    /// The records of that time have gone by retention, so nothing can be said.
    Retired,
    /// They can't be read.
    Unreadable,
}

impl Proof {
    /// Whether nothing is missing, damaged or altered.
    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        self.gaps.is_empty()
            && self.corrupt.is_empty()
            && self.altered.is_empty()
            && matches!(self.witness, None | Some(Testimony::Holds | Testimony::Retired))
    }
}

/// Compares the heads of a log with those that a witness noted, as its records go by.
struct Hearing<'a> {
    witness: &'a Witness,
    /// The heads right before this number and right behind it: who notes the number that comes next is
    /// understood as well.
    heads: [Option<[Option<Link>; 2]>; 2],
}

impl Hearing<'_> {
    /// Takes note of the heads before the record of this number.
    fn note(&mut self, id: u64, links: [Option<Link>; 2]) {
        let [before, behind] = &mut self.heads;
        if id >= self.witness.id {
            before.get_or_insert(links);
        }
        if id > self.witness.id {
            behind.get_or_insert(links);
        }
    }

    fn testimony(&self, log: &Snapshot, reader: &Reader) -> Testimony {
        let lanes = Stream::ALL.map(|stream| log.position.lane(stream));
        if lanes.iter().any(|lane| lane.kept_from > 0 && lane.first > self.witness.id) {
            return Testimony::Retired;
        }
        if self.witness.id > log.position.next {
            return Testimony::Ahead;
        }
        let texts = self.heads.iter().flatten().map(|[own, reported]| {
            own.zip(*reported).map(|(own, reported)| head_text([own, reported]))
        });
        let known: Vec<String> = texts.flatten().collect();
        match &known[..] {
            [] => Testimony::Unreadable,
            known if known.contains(&self.witness.head) => Testimony::Holds,
            // What can't be read may be what it speaks of.
            _ if reader.damaged.iter().any(|(_, spot)| spot.first <= self.witness.id)
                || log.losses.iter().any(|loss| loss.after < self.witness.id) =>
            {
                Testimony::Unreadable
            }
            _ => Testimony::Differs,
        }
    }
}

/// Reads all records of a log, and hears a witness. `goes_on` is asked before each; returns none where it was not to.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn prove(
    log: &Snapshot,
    witness: Option<&Witness>,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<Option<Proof>> {
    let mut reader = Reader::new(log);
    let mut proof = Proof::default();
    let mut hearing = witness.map(|witness| Hearing { witness, heads: [None; 2] });
    let lanes = Stream::ALL.map(|stream| *log.position.lane(stream));
    let mut links: [Option<Link>; 2] =
        lanes.map(|lane| Some(lane.anchor).filter(|link| *link != UNKNOWN));
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
        if record.ordinal != expected[at] {
            links[at] = None;
        }
        hearing.iter_mut().for_each(|hearing| hearing.note(record.id, links));
        let previous = links[at];
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
        hearing.iter_mut().for_each(|hearing| hearing.note(record.id + 1, links));
    }
    if next < log.position.next {
        missing.push(next..=log.position.next - 1);
    }
    for ids in missing {
        explain(log, &reader, ids, &mut proof);
    }
    proof.heads = lanes.map(|lane| lane.head);
    proof.witness = hearing.map(|mut hearing| {
        let ended = lanes.iter().zip(expected).all(|(lane, expected)| lane.next == expected);
        hearing.note(u64::MAX, if ended { links } else { [None; 2] });
        hearing.testimony(log, &reader)
    });
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
