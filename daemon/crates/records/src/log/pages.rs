//! Pages of records, newest first, of both streams together: what is not in the view yet comes from memory
//! and sealed files, and all of it while there is no view. It takes no lock and writes nothing.

use std::collections::BTreeMap;
use std::io;

use super::index::Records;
use super::item::Item;
use super::lookup::{Lookup, Wanted};
use super::medium::Access;
use super::pieces::{Step, read_at};
use super::position::Stream;
use super::snapshot::{Beside, Snapshot};
use super::summary::Spot;
use super::terms::Term;
use crate::error::{StoreError, StoreFault};
use crate::format::Damage;
use crate::query::{Query, Sink};
use crate::tally::Tally;

/// Chunks looked at for one page at most: a filter that matches nothing must not read a whole log in one go.
/// Whoever asks may end it earlier.
const CHUNKS_MAX: usize = 2_000;

/// What came of a page.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Where to go on; none when the log's end was reached.
    pub(crate) next: Option<u64>,
    /// What the view said when it failed: the rest of the page came without it.
    pub(crate) distrusted: Option<StoreError>,
}

impl Snapshot {
    /// Gives the records that `query` asks for to `sink`, newest first, until it is full. What can't be
    /// read is taken from the view; a file that is not kept any more was removed meanwhile.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn page(
        &self,
        (query, view): (&Query, Option<&Lookup>),
        beside: &dyn Beside,
        sink: &mut impl Sink,
    ) -> io::Result<Given> {
        let wanted = Wanted { terms: wanted_terms(query), since: query.since, until: query.until };
        let before = query.after.unwrap_or(u64::MAX).min(self.position.next);
        let asked = Asked { log: self, wanted, beside };
        let mut lanes = Stream::ALL.map(|stream| Lane::new(self, stream, before, view));
        for lane in &mut lanes {
            lane.ended = query.source.is_some_and(|source| source != lane.stream);
        }
        let mut given = Given::default();
        let (mut looked, mut found) = (0, 0);
        loop {
            for lane in &mut lanes {
                while lane.found.is_empty() && !lane.ended {
                    if looked > 0 && (looked == CHUNKS_MAX || !sink.goes_on()) {
                        given.next = Some(standing(&lanes));
                        return Ok(given);
                    }
                    looked += 1;
                    if let Some(error) = lane.look(&asked)? {
                        given.distrusted = Some(error);
                    }
                }
            }
            let [one, other] = &mut lanes;
            let (newer, older) =
                if one.newest() < other.newest() { (other, one) } else { (one, other) };
            let Some((id, value)) = newer.found.pop() else { return Ok(given) };
            // A number that can't be read in one stream may be a record of the other.
            if value.is_none() && older.newest() == Some(id) {
                continue;
            }
            let record =
                value.map_or(Err(Damage::Content), |value| self.known.to_record(id, &value));
            if record.as_ref().is_ok_and(|record| !query.matches(record)) {
                continue;
            }
            let is_found = record.is_ok();
            if !sink.take(id, record) {
                given.next = Some(id + 1);
                return Ok(given);
            }
            found += usize::from(is_found);
            let more = lanes.iter().any(|lane| !lane.ended || !lane.found.is_empty());
            if !more || found == query.limit || !sink.goes_on() {
                given.next = more.then_some(id);
                return Ok(given);
            }
        }
    }
}

/// Returns the number from which on all records were looked at.
fn standing(lanes: &[Lane]) -> u64 {
    let at = |lane: &Lane| match lane.newest() {
        Some(id) => id + 1,
        None if lane.ended => 0,
        None => lane.before,
    };
    lanes.iter().map(at).max().unwrap_or(0)
}

fn wanted_terms(query: &Query) -> Vec<Term> {
    let device = query.edge_device_id.clone().map(Term::Device);
    let label = query.label.clone().map(Term::Label);
    let defect = query.defect_only.then_some(Term::Defect);
    device.into_iter().chain(label).chain(defect).collect()
}

struct Asked<'a> {
    log: &'a Snapshot,
    wanted: Wanted,
    beside: &'a dyn Beside,
}

/// One stream, from the newest record to the oldest.
struct Lane<'a> {
    stream: Stream,
    view: Option<&'a Lookup>,
    /// What was read and not looked at yet, the newest last; without a value where it can't be read.
    found: Vec<(u64, Option<Vec<u8>>)>,
    /// All records from here on were read.
    before: u64,
    ended: bool,
    /// How much of what is recent, of the files and of the last of these is still to be looked at.
    recent: usize,
    files: usize,
    spots: Option<usize>,
    /// The same of the view's chunks.
    chunks: Option<u64>,
}

impl<'a> Lane<'a> {
    fn new(log: &Snapshot, stream: Stream, before: u64, view: Option<&'a Lookup>) -> Lane<'a> {
        let (recent, files) = (log.recent.len(), log.files[stream as usize].len());
        let found = Vec::new();
        Lane { stream, view, found, before, ended: false, recent, files, spots: None, chunks: None }
    }

    fn newest(&self) -> Option<u64> {
        self.found.last().map(|(id, _)| *id)
    }

    /// Reads the next older chunk. Returns what is wrong with the view, without which it goes on then.
    fn look(&mut self, asked: &Asked) -> io::Result<Option<StoreError>> {
        while self.recent > 0 {
            self.recent -= 1;
            if let Item::Records(piece) = &*asked.log.recent[self.recent]
                && piece.stream == self.stream
                && piece.first < self.before
            {
                if may_hold(&piece.tallies, asked) {
                    self.take(piece.records(), asked);
                    return Ok(None);
                }
                self.before = piece.first;
            }
        }
        let viewed = self.view.map_or(0, |view| view.fed(self.stream).ordinal);
        if let Some(step) = self.next_spot(viewed, asked)? {
            match step {
                Step::Piece(piece) => self.take(piece.records(), asked),
                Step::Damaged(spot) => {
                    let filled =
                        asked.beside.view().and_then(|view| viewed_at(&view, self.stream, &spot));
                    if let Some(records) = filled {
                        self.take(records, asked);
                        return Ok(None);
                    }
                    let first = asked.log.position.lane(self.stream).first;
                    let numbers = spot.first.max(first)..(spot.last + 1).min(self.before);
                    self.found.extend(numbers.map(|id| (id, None)));
                    self.before = self.before.min(spot.first);
                }
            }
            return Ok(None);
        }
        let Some(view) = self.view else {
            self.ended = true;
            return Ok(None);
        };
        match self.next_chunk(view, asked) {
            Ok(Some(records)) => self.take(records, asked),
            Ok(None) => self.ended = true,
            Err(error) => {
                *self = Lane::new(asked.log, self.stream, self.before, None);
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    fn next_chunk(&mut self, view: &Lookup, asked: &Asked) -> Result<Option<Records>, StoreError> {
        let end = match self.chunks {
            Some(end) => end,
            None => view.end_before(self.stream, self.before)?,
        };
        let Some(chunk) = view.candidate(self.stream, &asked.wanted, end)? else { return Ok(None) };
        self.chunks = Some(chunk);
        let missing = || StoreError {
            fault: StoreFault::Store,
            detail: format!("the view's chunk {chunk} can't be read"),
        };
        view.records(self.stream, chunk)?.ok_or_else(missing).map(Some)
    }

    /// Keeps those of a chunk's records that are to be looked at.
    fn take(&mut self, records: Vec<(u64, Vec<u8>)>, asked: &Asked) {
        let first = asked.log.position.lane(self.stream).first;
        let Some(oldest) = records.first().map(|(id, _)| *id) else { return };
        let ids = first..self.before;
        let kept = records.into_iter().filter(|(id, _)| ids.contains(id));
        self.found.extend(kept.map(|(id, value)| (id, Some(value))));
        self.before = self.before.min(oldest);
        self.ended |= oldest <= first;
    }

    /// Reads the next older piece of the sealed files that the view does not hold; none when it holds the
    /// rest. Files without the device are passed over.
    fn next_spot(&mut self, viewed: u64, asked: &Asked) -> io::Result<Option<Step>> {
        let files = &asked.log.files[self.stream as usize];
        while let Some(segment) = self.files.checked_sub(1).map(|last| &files[last]) {
            let spots = &segment.summary.spots;
            let has = self.spots.unwrap_or_else(|| {
                let may = may_hold(&segment.summary.tallies, asked);
                if may { spots.partition_point(|spot| spot.first < self.before) } else { 0 }
            });
            let next = has.checked_sub(1).map(|last| spots[last]);
            let next = next.filter(|spot| spot.ordinal + u64::from(spot.count) > viewed);
            let Some(spot) = next else {
                if segment.summary.ordinal <= viewed && viewed > 0 {
                    (self.files, self.spots) = (0, None);
                    return Ok(None);
                }
                (self.files, self.spots) = (self.files - 1, None);
                continue;
            };
            self.spots = Some(has - 1);
            return match asked.log.medium.open(&segment.name, Access::Read) {
                Ok(file) => read_at(&*file, &spot).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if asked.beside.is_kept(&segment.name) {
                        return Ok(Some(Step::Damaged(spot)));
                    }
                    // With all that is older.
                    (self.files, self.view) = (0, None);
                    Ok(None)
                }
                Err(error) => Err(error),
            };
        }
        Ok(None)
    }
}

/// What the view has in place of a piece that can't be read.
fn viewed_at(view: &Lookup, stream: Stream, spot: &Spot) -> Option<Records> {
    let numbers = (spot.first - 1, spot.last + 1);
    let records = view.between(stream, numbers, spot.count.into()).ok()?;
    (records.len() as u64 == u64::from(spot.count)).then_some(records)
}

/// Whether some of the records of these origins may be of the wanted device.
fn may_hold(tallies: &BTreeMap<u32, Tally>, asked: &Asked) -> bool {
    let Some(Term::Device(device)) = asked.wanted.terms.first() else { return true };
    let known = &asked.log.known;
    let mut makers = tallies.keys().filter_map(|number| known.maker(*number));
    makers.any(|maker| maker.origin.device_id.as_ref() == Some(device))
}
