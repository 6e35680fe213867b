//! Where a named reader of the log stands: which number it wants next, and what retention, or damage, took
//! before it was read. The file lies with the log. It knows nothing of who reads.

use std::io;

use serde::{Deserialize, Serialize};

use super::medium::{Access, Bytes, Medium};
use super::position::Stream;
use super::reader::{Numbered, Reader};
use super::snapshot::{Alone, Snapshot};

const PREFIX: &str = "cursor-";

/// A reader's name is a part of a file's.
const NAME_BYTES_MAX: usize = 32;

/// Two slots, a block each, written in turn; what of a block is used a disk writes whole or not at all.
const BLOCK_BYTES: usize = 4096;
const SLOT_BYTES: usize = 512;
const SLOTS: u64 = 2;

/// Where a reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stand {
    /// All numbers before this one are read or gone.
    pub(crate) next: u64,
    /// How many records of each stream came before it: what retention has moved beyond that was not read.
    ordinals: [u64; 2],
    /// How many records of each stream were gone before they were read.
    pub(crate) missed: [u64; 2],
}

#[derive(Serialize, Deserialize)]
struct Slot {
    turn: u64,
    /// Of which log: in another one the reader begins anew.
    store: u64,
    stand: Stand,
}

/// A named reader's position, kept with the log.
pub(crate) struct Cursor {
    file: Box<dyn Bytes>,
    turn: u64,
    store: u64,
    stand: Stand,
}

/// What a reader gets next.
pub(crate) struct Ahead {
    pub(crate) records: Vec<Numbered>,
    /// How many records of each stream are gone before these, or between them.
    pub(crate) gone: [u64; 2],
    /// Where the reader stands once it has them.
    behind: Stand,
}

/// Whether a file of this name belongs to a reader.
pub(crate) fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(is_reader)
}

fn is_reader(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

impl Cursor {
    /// Opens the position of a reader, or begins one before the oldest record. `reader` is of lower-case
    /// letters, digits and hyphens, at most 32.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn open(medium: &dyn Medium, reader: &str, store: u64) -> io::Result<Cursor> {
        if !is_reader(reader) {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        let name = format!("{PREFIX}{reader}");
        let file = match medium.open(&name, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = medium.open(&name, Access::Create)?;
                // Whole from the start: later writes change no metadata.
                file.write_at(&vec![0; SLOTS as usize * BLOCK_BYTES], 0)?;
                file.sync()?;
                medium.sync_names()?;
                file
            }
            other => other?,
        };
        let newest = (0..SLOTS).filter_map(|number| read_slot(&*file, number));
        let newest = newest.max_by_key(|slot| slot.turn);
        let turn = newest.as_ref().map_or(0, |slot| slot.turn);
        let stand = newest.filter(|slot| slot.store == store).map(|slot| slot.stand);
        Ok(Cursor { file, turn, store, stand: stand.unwrap_or_default() })
    }

    pub(crate) fn stand(&self) -> Stand {
        self.stand
    }

    /// Returns the next records that are in the log, so many at most, and what is gone before them.
    ///
    /// # Errors
    /// When the disk can't open a file.
    pub(crate) fn ahead(&self, log: &Snapshot, limit: usize) -> io::Result<Ahead> {
        let mut behind = self.stand;
        let mut gone = [0; 2];
        let mut go = |ordinals: &mut [u64; 2], stream: Stream, to: u64| {
            let at = &mut ordinals[stream as usize];
            gone[stream as usize] += to.saturating_sub(*at);
            *at = to.max(*at);
        };
        for stream in Stream::ALL {
            let lane = log.position.lane(stream);
            // A log that was put back ends before what was read of it.
            let at = &mut behind.ordinals[stream as usize];
            *at = lane.next.min(*at);
            go(&mut behind.ordinals, stream, lane.kept_from);
        }
        let mut reader = Reader::from(log, behind.next.min(log.position.next), &Alone);
        let mut records = Vec::new();
        while records.len() < limit {
            let Some(record) = reader.next()? else { break };
            go(&mut behind.ordinals, record.stream, record.ordinal);
            behind.ordinals[record.stream as usize] = record.ordinal + 1;
            behind.next = record.id + 1;
            records.push(record);
        }
        if records.len() < limit {
            // What is not readable at the end is gone as well.
            for stream in Stream::ALL {
                go(&mut behind.ordinals, stream, log.position.lane(stream).next);
            }
            behind.next = log.position.next;
        }
        for (missed, gone) in behind.missed.iter_mut().zip(gone) {
            *missed += gone;
        }
        Ok(Ahead { records, gone, behind })
    }

    /// Returns once the reader stands behind these records for good.
    ///
    /// # Errors
    /// When the disk refuses: then it stands where it stood, or behind them.
    pub(crate) fn advance(&mut self, ahead: &Ahead) -> io::Result<()> {
        let slot = Slot { turn: self.turn + 1, store: self.store, stand: ahead.behind };
        let mut bytes = [0; SLOT_BYTES];
        postcard::to_slice(&slot, &mut bytes[4..]).expect("a stand takes a part of a slot");
        let checksum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_at(&bytes, slot.turn % SLOTS * BLOCK_BYTES as u64)?;
        self.file.sync()?;
        (self.turn, self.stand) = (slot.turn, slot.stand);
        Ok(())
    }
}

fn read_slot(file: &dyn Bytes, number: u64) -> Option<Slot> {
    let mut bytes = [0; SLOT_BYTES];
    let read = file.read_at(&mut bytes, number * BLOCK_BYTES as u64).ok()?;
    let (stated, content) = bytes.split_first_chunk::<4>()?;
    let intact = read == SLOT_BYTES && crc32fast::hash(content).to_le_bytes() == *stated;
    intact.then(|| postcard::from_bytes(content).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sim::{Fault, Sim};
    use super::super::sizes::{Limits, Sizes};
    use super::super::staged::Group;
    use super::super::store::Log;
    use super::super::survey::Survey;
    use super::*;
    use crate::record::tests::{origin, predicted, reported};
    use picket_base::clock::Stamp;

    const SIZES: Sizes = Sizes { commit_bytes: 16 << 10, segment_bytes: 4_000 };

    fn open(sim: &Sim) -> Log {
        Log::open(Arc::new(sim.clone()), (7, None), SIZES).unwrap().0
    }

    fn commit(log: &mut Log, stream: Stream, count: usize) {
        let entries: Vec<_> = (0..count)
            .map(|class| match stream {
                Stream::Own => predicted(&origin("edge-01"), (class % 10) as u16, false),
                Stream::Reported => reported(&origin("cam-07"), "a note"),
            })
            .collect();
        log.commit(&[Group { stream, entries: &entries, name: None }]).unwrap();
    }

    fn snapshot(sim: &Sim) -> Snapshot {
        Snapshot::of(&Survey::take(sim).unwrap(), Arc::new(sim.clone()))
    }

    /// Reads all that is there; returns the numbers and what was gone.
    fn read(sim: &Sim, cursor: &mut Cursor) -> (Vec<u64>, [u64; 2]) {
        let (mut ids, mut gone) = (Vec::new(), [0; 2]);
        loop {
            let ahead = cursor.ahead(&snapshot(sim), 30).unwrap();
            let read: Vec<u64> = ahead.records.iter().map(|record| record.id).collect();
            gone = [gone[0] + ahead.gone[0], gone[1] + ahead.gone[1]];
            cursor.advance(&ahead).unwrap();
            if read.is_empty() {
                return (ids, gone);
            }
            ids.extend(read);
        }
    }

    #[test]
    fn a_reader_gets_each_record_once_and_hears_what_went_before_it_was_read() {
        let sim = Sim::default();
        let mut log = open(&sim);
        commit(&mut log, Stream::Own, 40);
        commit(&mut log, Stream::Reported, 25);
        let mut cursor = Cursor::open(&sim, "uplink", 7).unwrap();
        assert_eq!(read(&sim, &mut cursor), ((1..=65).collect(), [0, 0]));
        drop(log);
        let mut log = open(&sim);
        commit(&mut log, Stream::Own, 100);
        commit(&mut log, Stream::Reported, 5);
        log.checkpoint().unwrap();
        log.set_limits([Limits { max_records: 32, ..Limits::NONE }, Limits::NONE]);
        while log.retire(0, &Stamp::now()).unwrap() > 0 {}
        let mut cursor = Cursor::open(&sim, "uplink", 7).unwrap();
        let (ids, gone) = read(&sim, &mut cursor);
        assert_eq!(ids.len() as u64 + gone[0], 105);
        assert!(gone[0] >= 68 && gone[1] == 0, "{gone:?}");
        assert!(ids.iter().copied().eq(66 + gone[0]..=170));
        assert_eq!(Cursor::open(&sim, "uplink", 7).unwrap().stand().missed, gone);
        assert_eq!(read(&sim, &mut cursor), (vec![], [0, 0]));
        // Another reader has a position of its own, and another log begins anew.
        assert_eq!(Cursor::open(&sim, "other", 7).unwrap().stand(), Stand::default());
        assert_eq!(Cursor::open(&sim, "uplink", 8).unwrap().stand(), Stand::default());
    }

    #[test]
    fn what_can_not_be_read_is_gone_as_well() {
        let sim = Sim::default();
        let mut log = open(&sim);
        (0..4).for_each(|_| commit(&mut log, Stream::Own, 40));
        log.checkpoint().unwrap();
        drop(log);
        let name = sim.names().unwrap().into_iter().find(|name| name.ends_with(".seg")).unwrap();
        let mut bytes = sim.content(&name);
        bytes[200] ^= 1;
        sim.set_content(&name, bytes);
        let mut cursor = Cursor::open(&sim, "uplink", 7).unwrap();
        let (ids, gone) = read(&sim, &mut cursor);
        assert!(gone[0] > 0 && ids.len() as u64 + gone[0] == 160, "{gone:?}");
    }

    #[test]
    fn at_every_cut_a_reader_stands_where_it_stood_or_where_it_was_going() {
        let base = Sim::default();
        let mut log = open(&base);
        commit(&mut log, Stream::Own, 200);
        drop(log);
        let steps = base.after_kill().steps();
        let play = |sim: &Sim| -> io::Result<Vec<u64>> {
            let mut reached = vec![0];
            let mut cursor = Cursor::open(sim, "uplink", 7)?;
            for _ in 0..4 {
                let ahead = cursor.ahead(&snapshot(sim), 30)?;
                reached.push(ahead.behind.next);
                cursor.advance(&ahead)?;
            }
            Ok(reached)
        };
        let whole = base.after_kill();
        let reached = play(&whole).unwrap();
        for step in steps + 1..=whole.steps() {
            for keep in [false, true] {
                let sim = base.after_kill();
                sim.fail_at(step, Fault::Cut);
                let _ = play(&sim);
                let after = sim.after_cut(|| keep);
                let stood = Cursor::open(&after, "uplink", 7).unwrap().stand().next;
                // Making the file takes four steps, an advance two.
                let least = (step - steps).saturating_sub(5) / 2;
                let place = reached.iter().position(|next| *next == stood).unwrap();
                assert!(place >= least && place <= least + 1, "step {step}: {place}, {least}");
            }
        }
    }

    #[test]
    fn a_readers_name_is_a_part_of_a_files() {
        let sim = Sim::default();
        for name in ["", "../x", "Up", "a b", &"n".repeat(33)] {
            assert!(Cursor::open(&sim, name, 7).is_err(), "{name}");
        }
        assert!(is_name("cursor-uplink") && !is_name("cursor-") && !is_name("witness"));
    }
}
