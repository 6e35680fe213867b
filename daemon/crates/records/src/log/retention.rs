//! Removing a stream's oldest records once one is exceeded: a frame that says so is on
//! the medium before the first file goes. It never looks at the other stream.

use super::item::Item;
use super::known::Known;
use super::pieces::{each_piece, tally_between};
use super::position::{Lane, Stream};
use super::sizes::Limits;
use super::store::Log;
use super::trouble::Trouble;
use crate::marks::{BatchName, StoredBatch};
use crate::tally::Tally;
use picket_base::clock::{Stamp, micros};
use std::collections::BTreeMap;

/// Once over a limit a stream gives up this share of it, so that not every commit has to.
const SLACK_SHARE: u64 = 16;

/// Records that go at once at most, so that no commit takes long.
const STEP_RECORDS: u64 = 4_000;

/// Names of batches in one commit at most: they have room in the journal.
const COMMIT_MARKS_MAX: usize = 2_000;

/// A part of a stream, from its oldest record on.
struct Part {
    tallies: BTreeMap<u32, Tally>,
    /// Where the stream begins behind it.
    lane: Lane,
}

impl Log {
    /// Removes the oldest records of each stream that exceeds a limit, a bounded number at once. `beside`
    /// are the bytes on disk that the streams share. Returns how many went.
    ///
    /// # Errors
    /// As `commit`.
    pub(crate) fn retire(&mut self, beside: u64, now: &Stamp) -> Result<u64, Trouble> {
        let mut gone = 0;
        for stream in Stream::ALL {
            let limits = self.limits[stream as usize];
            let lane = *self.position.lane(stream);
            let kept = lane.next - lane.kept_from;
            let allowance = self.ages[stream as usize].allowance(now, kept);
            let old = self.expired(stream, &limits, now, allowance)?;
            let all = old < lane.kept_from + allowance.min(STEP_RECORDS);
            self.ages[stream as usize].note(old - lane.kept_from, all);
            let many = beyond_count(&lane, &limits);
            let large = self.beyond_bytes(stream, &limits, beside);
            let goal = many.max(large).max(old).min(lane.kept_from + STEP_RECORDS);
            let goal = goal.min(self.sealed[stream as usize].end());
            if goal <= lane.kept_from {
                continue;
            }
            let records = goal - lane.kept_from;
            let retired = &mut self.retired[stream as usize];
            retired.moved_at_us = now.wall_us;
            match goal {
                _ if goal <= old => retired.by_age += records,
                _ if goal <= many => retired.by_count += records,
                _ => retired.by_bytes += records,
            }
            self.remove_before(stream, goal)?;
            gone += records;
        }
        Ok(gone)
    }

    /// The oldest file goes as a whole: nothing less frees anything.
    fn beyond_bytes(&self, stream: Stream, limits: &Limits, beside: u64) -> u64 {
        let bytes = Stream::ALL.map(|stream| self.sealed[stream as usize].bytes());
        let all = bytes.iter().sum::<u64>().max(1);
        let share = u128::from(beside) * u128::from(bytes[stream as usize]) / u128::from(all);
        let mine = u128::from(bytes[stream as usize]) + share;
        match &self.sealed[stream as usize].files[..] {
            [oldest, _, ..] if mine > u128::from(limits.max_bytes) => oldest.summary.end,
            _ => 0,
        }
    }

    /// Returns the count up to which a stream's records are too old: those before one that is were there
    /// earlier, also where nobody knew the time.
    fn expired(
        &self,
        stream: Stream,
        limits: &Limits,
        now: &Stamp,
        allowance: u64,
    ) -> Result<u64, Trouble> {
        let from = self.position.lane(stream).kept_from;
        let (Some(max_age), 1..) = (limits.max_age, allowance) else { return Ok(from) };
        let oldest_us = now.wall_us.saturating_sub_unsigned(micros(max_age));
        let to = from.saturating_add(allowance.min(STEP_RECORDS));
        let mut expired = from;
        let files = &self.sealed[stream as usize].files;
        each_piece(&*self.medium, files, (from, to), |piece| {
            for (ordinal, (id, value)) in (piece.ordinal..).zip(piece.records()) {
                let Some(made_us) = self.known.reckoned_us(id, &value) else { continue };
                if made_us >= oldest_us {
                    return false;
                }
                expired = expired.max((ordinal + 1).min(to));
            }
            true
        })?;
        Ok(expired)
    }

    /// Moves the beginning of a stream, and then removes the files that are behind it.
    fn remove_before(&mut self, stream: Stream, goal: u64) -> Result<(), Trouble> {
        let part = self.part_before(stream, goal)?;
        self.carry_marks(stream, goal)?;
        let (next, retired) = (self.position.next, self.retired[stream as usize]);
        let mut position = self.position;
        *position.lane_mut(stream) = part.lane;
        self.write(vec![Item::Retired { stream, next, lane: part.lane, retired }], position)?;
        part.tallies
            .iter()
            .for_each(|(origin, tally)| self.known.uncount((stream, *origin), *tally));
        self.sealed[stream as usize].remove_before(&*self.medium, goal)?;
        Ok(())
    }

    /// Writes anew which batches were named in the files that go: the names outlive the records.
    fn carry_marks(&mut self, stream: Stream, goal: u64) -> Result<(), Trouble> {
        let Some((_, files)) = self.sealed[stream as usize].files.split_last() else {
            return Ok(());
        };
        let gone = files.iter().take_while(|file| file.summary.end <= goal);
        let mut named: Vec<_> = gone.flat_map(|file| file.summary.named.iter().copied()).collect();
        let marks = self.marks.lock().expect("no holder of the marks panics");
        named.retain(|(name, stored)| marks.get(name) == Some(*stored));
        drop(marks);
        self.write_named(&named)
    }

    /// Takes over which batches an earlier log has stored.
    ///
    /// # Errors
    /// As `commit`.
    pub(crate) fn name_batches(
        &mut self,
        mut named: Vec<(BatchName, StoredBatch)>,
    ) -> Result<(), Trouble> {
        let marks = self.marks.lock().expect("no holder of the marks panics");
        named.retain(|(name, _)| marks.get(name).is_none());
        drop(marks);
        self.write_named(&named)
    }

    fn write_named(&mut self, named: &[(BatchName, StoredBatch)]) -> Result<(), Trouble> {
        for named in named.chunks(COMMIT_MARKS_MAX) {
            let position = self.position;
            self.write(vec![Item::named(named.to_vec(), &position)], position)?;
        }
        Ok(())
    }

    fn part_before(&self, stream: Stream, goal: u64) -> Result<Part, Trouble> {
        let mut lane = *self.position.lane(stream);
        let files = &self.sealed[stream as usize].files;
        let tallies = tally_between(&*self.medium, files, (lane.kept_from, goal))?;
        (lane.kept_from, lane.first) = (goal, self.position.next);
        each_piece(&*self.medium, files, (goal - 1, goal + 1), |piece| {
            for (ordinal, (id, value)) in (piece.ordinal..).zip(piece.records()) {
                if ordinal + 1 == goal {
                    lane.anchor = crate::format::identify(&value).map_or(lane.anchor, |r| r.1);
                } else if ordinal == goal {
                    lane.first = id;
                }
            }
            true
        })?;
        if let Some(Item::Records(piece)) = self.recent.iter().map(|item| &**item).find(|item| {
            matches!(item, Item::Records(piece) if piece.stream == stream && piece.ordinal == goal)
        }) {
            lane.first = piece.first;
        }
        Ok(Part { tallies, lane })
    }
}

/// Returns the count up to which a stream has too many records.
fn beyond_count(lane: &Lane, limits: &Limits) -> u64 {
    let most = limits.max_records.max(1);
    let over = lane.next - lane.kept_from > most;
    if over { lane.next - (most - most / SLACK_SHARE) } else { 0 }
}

impl Known {
    /// Returns when a record was made by the true time, where anybody knows that, epoch µs.
    pub(crate) fn reckoned_us(&self, id: u64, value: &[u8]) -> Option<i64> {
        let stored = crate::format::decode(id, value).ok()?;
        if stored.at.synchronised {
            return Some(stored.at.wall_us);
        }
        let offset_us = self.offset_us(&self.maker(stored.origin)?.origin.boot_id)?;
        Some(offset_us.saturating_add_unsigned(stored.at.monotonic_us))
    }
}
