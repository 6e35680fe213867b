//! The view: the same records once more, in sled, where queries find them by what they are asked for. It is
//! made of what the sealed files hold, no promise rests on it, and whatever is wrong with it, it is thrown
//! away and made anew. It knows neither journal nor sealed files.
//!
//! Of each stream it holds full chunks of records, numbered from 0. sled writes a value again whenever the
//! leaf that holds it splits; so the keys of chunks are put there before their time, without values, and
//! their leaves have split when the chunks come: each is written once. For each sixteen chunks, once they
//! are full, an entry for every term says which of them hold it: an entry for each chunk would cost more than
//! the chunks do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::index::{
    Fed, GROUP_CHUNKS, INDEX_KEY, ORIGIN_KEY, chunk_key, group_of, index_key, records, times_key,
};
use super::item::{Packing, Piece, StoredOrigins};
use super::known::Known;
use super::lookup::Lookup;
use super::position::Stream;
use super::terms::{Term, Times, terms};
use crate::error::{StoreError, guard};
use crate::handle::{Handle, open_sled};
use crate::record::LogRecord;

/// sled's page cache, bytes.
const CACHE_BYTES: u64 = 4 << 20;

/// Keys that are there before their chunks: so many at once, as soon as there are less than half.
const PLACED: u64 = 64;

const STATE_KEY: u8 = b's';

/// Raised whenever the view's form changes: one of another version is made anew.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct State {
    version: u8,
    store: u64,
    fed: [Fed; 2],
}

/// The view, open for its thread.
pub(crate) struct View {
    db: Handle,
    /// Our own handle on sled's file: its flush alone does not reach the medium.
    file: File,
    store: u64,
    lanes: [Lane; 2],
    /// Where the streams stood when it was last synced.
    synced: [Fed; 2],
    /// Origins that it has: with them its records can be read where no other file has them.
    stored: StoredOrigins,
}

struct Lane {
    stream: Stream,
    fed: Fed,
    packing: Packing,
    /// The terms of the chunks of the group that is not full yet.
    terms: BTreeMap<Term, u16>,
    /// Those of the chunk that is not full yet.
    open: BTreeSet<Term>,
    times: Times,
}

impl Lane {
    fn new(stream: Stream, fed: Fed) -> Lane {
        let packing = Packing::new(stream, fed.ordinal, fed.link);
        let (terms, open) = (BTreeMap::new(), BTreeSet::new());
        Lane { stream, fed, packing, terms, open, times: Times::default() }
    }
}

impl Lane {
    /// Notes what a record of the open chunk can be asked for.
    fn note(&mut self, record: Option<LogRecord>) {
        let Some(record) = record else { return };
        self.open.extend(terms(&record));
        self.times.add(&record);
    }

    fn end_chunk(&mut self, number: u64) {
        let bit = 1 << (number % GROUP_CHUNKS);
        for term in std::mem::take(&mut self.open) {
            *self.terms.entry(term).or_default() |= bit;
        }
    }
}

impl View {
    /// Opens the view in `dir`, or makes one. One of another store or version holds nothing.
    ///
    /// # Errors
    /// What sled or the disk says: then it is to be thrown away.
    pub(crate) fn open(dir: &Path, store: u64, known: &Known) -> Result<Option<View>, StoreError> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = open_sled(&config)?;
        let file = guard(|| Ok(File::options().read(true).write(true).open(dir.join("db"))?))?;
        let state = guard(|| db.get([STATE_KEY]))?;
        let empty = guard(|| Ok(db.is_empty()))?;
        let state = state.map(|bytes| postcard::from_bytes::<State>(&bytes));
        let fed = match state {
            None if empty => [Fed::default(); 2],
            Some(Ok(state)) if state.version == VERSION && state.store == store => state.fed,
            _ => return Ok(None),
        };
        let lanes = Stream::ALL.map(|stream| Lane::new(stream, fed[stream as usize]));
        let mut view =
            View { db, file, store, lanes, synced: fed, stored: StoredOrigins::default() };
        for stream in Stream::ALL {
            if !guard(|| view.resume(stream, known))? {
                return Ok(None);
            }
        }
        Ok(Some(view))
    }

    /// Takes the chunks of the group that is not full in hand again. Returns false where they are not what
    /// the state says.
    fn resume(&mut self, stream: Stream, known: &Known) -> sled::Result<bool> {
        let lane = &mut self.lanes[stream as usize];
        let fed = lane.fed;
        let group = fed.next - fed.next % GROUP_CHUNKS;
        for number in group.max(fed.first)..fed.next {
            let Some(records) = records(&self.db, stream, number)? else { return Ok(false) };
            for (id, value) in records {
                lane.note(known.to_record(id, &value).ok());
            }
            lane.end_chunk(number);
        }
        // The link before them is not known, and not needed: it is not kept.
        lane.packing = Packing::new(stream, fed.begun, fed.link);
        let partial = match fed.partial {
            0 => Vec::new(),
            _ => records(&self.db, stream, fed.next)?.unwrap_or_default(),
        };
        let count = fed.partial as usize;
        // More may have come since: it is fed again.
        for (id, value) in partial.iter().take(count) {
            lane.note(known.to_record(*id, value).ok());
            if lane.packing.add(*id, value).is_err() {
                return Ok(false);
            }
        }
        Ok(partial.len() >= count)
    }

    /// Returns where a stream stands in it.
    pub(crate) fn fed(&self, stream: Stream) -> Fed {
        self.lanes[stream as usize].fed
    }

    /// Returns what readers find in it. What it was fed since its last sync and is in no full chunk they find
    /// elsewhere.
    pub(crate) fn lookup(&self) -> Lookup {
        let fed = Stream::ALL.map(|stream| {
            let (fed, synced) = (self.fed(stream), self.synced[stream as usize]);
            let partial = if synced.next == fed.next { synced.partial } else { 0 };
            let ordinal = if partial > 0 { synced.ordinal } else { fed.begun };
            Fed { ordinal, partial, ..fed }
        });
        Lookup::new(self.db.clone(), fed)
    }

    /// Adds a record, the next of its stream that is kept, which had so many before it.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn feed(
        &mut self,
        (stream, ordinal): (Stream, u64),
        (id, value): (u64, &[u8]),
        known: &Known,
    ) -> Result<(), StoreError> {
        let lane = &mut self.lanes[stream as usize];
        let full = lane.packing.add(id, value).expect("it was read from a sealed file");
        if let Some(piece) = full {
            guard(|| put(&self.db, lane, &piece))?;
        }
        lane.note(known.to_record(id, value).ok());
        if lane.fed.partial == 0 {
            lane.fed.begun = ordinal;
        }
        lane.fed.ordinal = ordinal + 1;
        lane.fed.partial += 1;
        if let Ok((_, link, origin)) = crate::format::identify(value) {
            lane.fed.link = link;
            if self.stored.lacks(origin, known) {
                let key = [&[ORIGIN_KEY][..], &origin.to_be_bytes()].concat();
                guard(|| self.db.insert(key, known.values(origin)))?;
            }
        }
        Ok(())
    }

    /// Returns once all that it was fed is on the medium. The chunk that is not full goes with it, and is
    /// written again when it is.
    ///
    /// # Errors
    /// What sled or the disk says.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        guard(|| {
            for lane in &mut self.lanes {
                if let Some(chunk) = lane.packing.so_far() {
                    place(&self.db, lane)?;
                    self.db.insert(chunk_key(lane.stream, lane.fed.next), chunk)?;
                }
            }
            let fed = [self.lanes[0].fed, self.lanes[1].fed];
            let state = State { version: VERSION, store: self.store, fed };
            let state = postcard::to_allocvec(&state).expect("a Vec takes any content");
            self.db.insert([STATE_KEY], state)?;
            self.db.flush()?;
            // flush only asks the kernel to start writing.
            self.file.sync_data()?;
            self.synced = fed;
            Ok(())
        })
    }

    /// Removes the chunks whose records all come before this number.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn remove_before(&mut self, stream: Stream, number: u64) -> Result<(), StoreError> {
        let lane = &mut self.lanes[stream as usize];
        guard(|| {
            while lane.fed.first < lane.fed.next
                && last_number(&self.db, stream, lane.fed.first)?.is_none_or(|last| last < number)
            {
                let gone = lane.fed.first;
                self.db.insert(chunk_key(stream, gone), &[])?;
                lane.fed.first += 1;
                if lane.fed.first.is_multiple_of(PLACED) {
                    clear(&self.db, stream, lane.fed.first)?;
                }
            }
            Ok(())
        })
    }
}

/// Stores a full chunk, and the entries of its group where that is full with it.
fn put(db: &sled::Db, lane: &mut Lane, piece: &Piece) -> sled::Result<()> {
    place(db, lane)?;
    let number = lane.fed.next;
    db.insert(chunk_key(lane.stream, number), &piece.chunk[..])?;
    lane.fed.next += 1;
    lane.fed.partial = 0;
    lane.fed.begun = piece.end();
    lane.end_chunk(number);
    if lane.fed.next.is_multiple_of(GROUP_CHUNKS) {
        let group = number / GROUP_CHUNKS;
        for (term, chunks) in std::mem::take(&mut lane.terms) {
            db.insert(index_key(lane.stream, &term, group), &chunks.to_be_bytes())?;
        }
        let times = postcard::to_allocvec(&std::mem::take(&mut lane.times));
        db.insert(times_key(lane.stream, group), times.expect("a Vec takes any content"))?;
    }
    Ok(())
}

/// Puts keys where chunks will be.
fn place(db: &sled::Db, lane: &mut Lane) -> sled::Result<()> {
    if lane.fed.next + PLACED / 2 < lane.fed.placed {
        return Ok(());
    }
    let to = lane.fed.placed.max(lane.fed.next) + PLACED;
    for number in lane.fed.placed..to {
        let key = chunk_key(lane.stream, number);
        if !db.contains_key(key)? {
            db.insert(key, &[])?;
        }
    }
    lane.fed.placed = to;
    Ok(())
}

/// Takes empty keys away, some behind the first chunk that is left: leaves that hold chunks are not merged
/// with what is left of theirs. The entries of the index go with them.
fn clear(db: &sled::Db, stream: Stream, first: u64) -> sled::Result<()> {
    let Some(to) = first.checked_sub(PLACED) else { return Ok(()) };
    for number in to.saturating_sub(PLACED)..to {
        db.remove(chunk_key(stream, number))?;
    }
    let groups = to.saturating_sub(PLACED) / GROUP_CHUNKS..to / GROUP_CHUNKS;
    let mut gone = Vec::new();
    for entry in db.scan_prefix([INDEX_KEY, stream as u8]).keys() {
        let key = entry?;
        if group_of(&key).is_some_and(|group| groups.contains(&group)) {
            gone.push(key);
        }
    }
    gone.into_iter().try_for_each(|key| db.remove(key).map(drop))
}

fn last_number(db: &sled::Db, stream: Stream, chunk: u64) -> sled::Result<Option<u64>> {
    Ok(records(db, stream, chunk)?.and_then(|records| records.last().map(|(id, _)| *id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{GENESIS, Place, encode};
    use crate::origin::to_content;
    use crate::record::tests::{origin, predicted};

    /// Records of one device, every hundredth of another.
    fn values(known: &mut Known, ids: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
        let devices = [origin("edge-01"), origin("rare")];
        let value = |id: u64| {
            let origin = &devices[usize::from(id.is_multiple_of(100))];
            let number = known.number_of(origin);
            let place = Place { id, previous: GENESIS, origin: number, more_follow: false };
            let entry = predicted(origin, (id % 10) as u16, id.is_multiple_of(1000));
            (id, encode(&place, &to_content(origin), &entry).unwrap().0)
        };
        ids.map(value).collect()
    }

    fn feed(view: &mut View, known: &Known, values: &[(u64, Vec<u8>)]) {
        for (id, value) in values {
            view.feed((Stream::Own, id - 1), (*id, value), known).unwrap();
        }
    }

    fn held(view: &View) -> Vec<u64> {
        let fed = view.fed(Stream::Own);
        let chunks = (fed.first..=fed.next)
            .filter_map(|chunk| records(&view.db, Stream::Own, chunk).unwrap());
        chunks.flatten().map(|(id, _)| id).collect()
    }

    #[test]
    fn it_goes_on_where_it_was_synced_and_drops_what_has_retired() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Known::default();
        let values = values(&mut known, 1..4_001);
        let open = |store| View::open(dir.path(), store, &known).unwrap();
        let mut view = open(7).unwrap();
        feed(&mut view, &known, &values[..1_230]);
        view.sync().unwrap();
        assert_eq!(held(&view), (1..=1_230).collect::<Vec<_>>());
        let index = |view: &View| -> Vec<_> {
            view.db.scan_prefix([INDEX_KEY]).map(Result::unwrap).collect()
        };
        feed(&mut view, &known, &values[1_230..3_000]);
        view.sync().unwrap();
        let (all, entries) = (held(&view), index(&view));
        drop(view);
        assert!(open(8).is_none(), "it is another store's");
        let view = open(7).unwrap();
        assert_eq!(view.fed(Stream::Own).ordinal, 3_000);
        assert_eq!((held(&view), index(&view)), (all, entries.clone()));
        drop(view);
        // What is fed in two openings makes the same index as in one.
        let other = tempfile::tempdir().unwrap();
        let mut whole = View::open(other.path(), 7, &known).unwrap().unwrap();
        feed(&mut whole, &known, &values[..3_000]);
        assert_eq!(index(&whole), entries);
        let mut view = open(7).unwrap();
        feed(&mut view, &known, &values[3_000..]);
        view.remove_before(Stream::Own, 3_500).unwrap();
        view.sync().unwrap();
        let left = held(&view);
        assert!(left[0] > 3_450 && left[0] <= 3_500 && *left.last().unwrap() == 4_000);
        drop(view);
        let view = open(7).unwrap();
        assert_eq!(held(&view), left);
    }
    #[test]
    fn an_audit_finds_a_chunk_and_a_word_of_the_index_that_are_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = Known::default();
        let values = values(&mut known, 1..3_001);
        let mut view = View::open(dir.path(), 7, &known).unwrap().unwrap();
        feed(&mut view, &known, &values);
        view.remove_before(Stream::Own, 700).unwrap();
        let right = |view: &View| view.lookup().is_right(&known, || true).unwrap();
        assert!(right(&view));
        let rare = index_key(Stream::Own, &Term::Device("rare".into()), 2);
        let times = times_key(Stream::Own, 2);
        let chunk = chunk_key(Stream::Own, 40);
        for key in [&rare[..], &chunk[..]] {
            let removed = view.db.remove(key).unwrap().unwrap();
            assert!(!right(&view), "{key:?} is missing");
            view.db.insert(key, removed).unwrap();
        }
        let right_times = view.db.get(&times).unwrap().unwrap();
        view.db.insert(&times[..], postcard::to_allocvec(&Times::default()).unwrap()).unwrap();
        assert!(!right(&view), "times");
        view.db.insert(&times[..], right_times).unwrap();
        let other = view.db.get(chunk_key(Stream::Own, 41)).unwrap().unwrap();
        view.db.insert(chunk, other).unwrap();
        assert!(!right(&view), "a chunk that is another's");
        assert!(view.lookup().is_right(&known, || false).unwrap(), "nothing was read");
    }
}
