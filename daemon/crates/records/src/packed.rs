//! The stored form of records: those of one commit share a value, a chunk, in which each is written by
//! what it differs in from the chunk's head. sled writes a value some three times while its leaves
//! split: a byte less here is three less on the device. Knows nothing of the store that holds it.
//!
//! A chunk is a framed head (see format.rs), then its records one behind the other: length, CRC-32,
//! content. Each needs the head and none of the others, so that damage to one leaves the others
//! readable: behind it, the next record is where length, checksum and place in the chunk fit.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::body::VARIANTS;
use super::format::{self, CONTENT_BYTES_MAX, Damage, FLAGS, HEADER_BYTES, Kind, Parts};

/// Records in a chunk at most, and bytes of records after which it takes no more.
pub(crate) const CHUNK_RECORDS_MAX: usize = 50;
const CHUNK_BYTES_MAX: usize = 4096;

/// Longest content of a packed record: clocks far from those of the head take more than they do in
/// a record of its own.
const RECORD_BYTES_MAX: usize = CONTENT_BYTES_MAX + 32;

/// Length, CRC-32 and content of the last record that a chunk takes.
const LAST_RECORD_BYTES_MAX: usize = 3 + 4 + RECORD_BYTES_MAX;

/// Longest content of a head: its integers, all of them large.
const HEAD_BYTES_MAX: usize = 64;

/// Longest chunk.
pub(crate) const BYTES_MAX: usize =
    HEADER_BYTES + HEAD_BYTES_MAX + CHUNK_BYTES_MAX + LAST_RECORD_BYTES_MAX;

/// Beside the flags of the record itself.
const FLAG_OTHER_ORIGIN: u8 = 32;

/// Which body a record has: by variant of `StoredBody`. Format 2 knows the first two.
const FLAGS_OF_BODY: [u8; VARIANTS as usize] = [0, 16, 64, 64 | 128, 64 | 16];
const BODY_FLAGS: u8 = 16 | 64 | 128;

/// What the records of a chunk are written against: the first of them.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Base {
    id: u64,
    wall_us: i64,
    monotonic_us: u64,
    origin: u32,
}

impl Base {
    /// Every record's checksum goes on from this one: behind another head it is no record.
    fn checksum(&self) -> u32 {
        let mut room = [0; HEAD_BYTES_MAX];
        crc32fast::hash(postcard::to_slice(self, &mut room).expect("four integers take less"))
    }

    /// Wall minus monotonic clock, which stays the same unless somebody sets the wall clock.
    fn offset_us(&self) -> i64 {
        offset(self.wall_us, self.monotonic_us)
    }
}

/// Differences are taken modulo 2^64: whatever the clocks say comes back.
fn offset(wall_us: i64, monotonic_us: u64) -> i64 {
    wall_us.wrapping_sub(monotonic_us.cast_signed())
}

/// Records on their way into one value.
#[derive(Clone, Default)]
pub(crate) struct Packer {
    base: Option<(Base, u32)>,
    /// Place in the chunk that the next record may have.
    next: u8,
    records: Vec<u8>,
    /// Room for the content of one record.
    content: Vec<u8>,
}

impl Packer {
    /// Adds a record of a higher number than those before it; not to a full chunk.
    ///
    /// # Errors
    /// When the value is none of a record, or its number doesn't fit into this chunk.
    pub(crate) fn add(&mut self, value: &[u8]) -> Result<(), Damage> {
        debug_assert!(!self.is_full(), "readers bound what they look at");
        let record = Parts::of(value)?;
        let body_flags = FLAGS_OF_BODY.get(usize::from(record.variant)).ok_or(Damage::Content)?;
        if record.flags & !FLAGS != 0 {
            return Err(Damage::Content);
        }
        let Parts { id, wall_us, monotonic_us, origin, .. } = record;
        let (base, checksum) = self.base.unwrap_or_else(|| {
            let base = Base { id, wall_us, monotonic_us, origin };
            (base, base.checksum())
        });
        let place = id.checked_sub(base.id).and_then(|place| u8::try_from(place).ok());
        let place = place.filter(|place| (self.next..u8::MAX).contains(place));
        let place = place.ok_or(Damage::Misplaced(id))?;
        let other_origin = origin != base.origin;
        let flags = record.flags | body_flags | if other_origin { FLAG_OTHER_ORIGIN } else { 0 };
        let since_us = monotonic_us.wrapping_sub(base.monotonic_us).cast_signed();
        let shift_us = offset(wall_us, monotonic_us).wrapping_sub(base.offset_us());
        self.content.clear();
        self.content.extend([place, flags]);
        if other_origin {
            extend(&mut self.content, &origin);
        }
        extend(&mut self.content, &(since_us, shift_us, record.inference_us));
        self.content.extend(record.link);
        self.content.extend_from_slice(record.body);
        extend(&mut self.records, &self.content.len());
        self.records.extend(sum(checksum, &self.content));
        self.records.extend_from_slice(&self.content);
        self.base = Some((base, checksum));
        self.next = place + 1;
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.next) >= CHUNK_RECORDS_MAX || self.records.len() >= CHUNK_BYTES_MAX
    }

    /// The chunk and the number of its first record; none when there is no record in it.
    pub(crate) fn finish(self) -> Option<(u64, Vec<u8>)> {
        let (base, _) = self.base?;
        let mut head = format::header(Kind::Chunk);
        extend(&mut head, &(base, self.next, self.records.len()));
        let mut chunk = format::seal(head);
        chunk.extend_from_slice(&self.records);
        Some((base.id, chunk))
    }
}

fn extend(bytes: &mut Vec<u8>, integers: &impl Serialize) {
    let mut room = [0; HEAD_BYTES_MAX];
    let integers = postcard::to_slice(integers, &mut room).expect("a few integers take less");
    bytes.extend_from_slice(integers);
}

fn sum(checksum: u32, content: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new_with_initial(checksum);
    hasher.update(content);
    hasher.finalize().to_le_bytes()
}

/// A chunk with an intact head.
pub(crate) struct Packed<'a> {
    base: Base,
    checksum: u32,
    count: u8,
    head_bytes: usize,
    /// Shorter than the head says where the chunk was cut.
    records: &'a [u8],
}

/// An intact record of a chunk.
pub(crate) struct Unpacked {
    pub(crate) id: u64,
    /// As a record of its own.
    pub(crate) value: Vec<u8>,
    /// What it takes of the chunk, the first record together with the head.
    pub(crate) extent: Range<usize>,
}

impl<'a> Packed<'a> {
    /// The chunk at the start of `bytes`, and what follows it.
    pub(crate) fn at_start(bytes: &'a [u8]) -> Result<(Packed<'a>, &'a [u8]), Damage> {
        let (kind, head, behind) = format::frame(bytes)?;
        if kind != Kind::Chunk {
            return Err(Damage::Kind);
        }
        let decoded: Result<(Base, u8, usize), _> = postcard::from_bytes(head);
        let (base, count, length) = decoded.map_err(|_| Damage::Content)?;
        let bounded = count > 0 && length <= CHUNK_BYTES_MAX + LAST_RECORD_BYTES_MAX;
        if !bounded || base.id.checked_add(count.into()).is_none() {
            return Err(Damage::Content);
        }
        let (records, behind) = behind.split_at(length.min(behind.len()));
        let head_bytes = HEADER_BYTES + head.len();
        Ok((Packed { base, checksum: base.checksum(), count, head_bytes, records }, behind))
    }

    /// The numbers that it holds or held.
    pub(crate) fn ids(&self) -> Range<u64> {
        self.base.id..self.base.id + u64::from(self.count)
    }

    /// Its intact records, in the order of their numbers.
    pub(crate) fn records(&self) -> impl Iterator<Item = Unpacked> {
        let (mut at, mut next) = (0, 0);
        std::iter::from_fn(move || {
            while at < self.records.len() {
                if let Some((place, length, value)) = self.record_at(at, next) {
                    let start = if at == 0 { 0 } else { self.head_bytes + at };
                    (at, next) = (at + length, place + 1);
                    let id = self.base.id + u64::from(place);
                    return Some(Unpacked { id, value, extent: start..self.head_bytes + at });
                }
                at += 1;
            }
            None
        })
    }

    /// How much of the chunk, from its start on, is intact.
    pub(crate) fn intact_bytes(&self, records: &[Unpacked]) -> usize {
        let follows = |end, record: &Unpacked| {
            if record.extent.start == end { record.extent.end } else { end }
        };
        records.iter().fold(0, follows).max(self.head_bytes)
    }

    /// Place, length and value of the record that begins here, if there is one of this place or a
    /// later one.
    fn record_at(&self, at: usize, next: u8) -> Option<(u8, usize, Vec<u8>)> {
        let bytes = &self.records[at..];
        let (length, rest) = postcard::take_from_bytes::<usize>(bytes).ok()?;
        let (stated, rest) = rest.split_first_chunk::<4>()?;
        let content = rest.get(..length).filter(|_| length <= RECORD_BYTES_MAX)?;
        let place = *content.first()?;
        if !(next..self.count).contains(&place) || sum(self.checksum, content) != *stated {
            return None;
        }
        let value = self.unpack(content).ok()?;
        Some((place, bytes.len() - rest.len() + length, value))
    }

    fn unpack(&self, content: &[u8]) -> Result<Vec<u8>, Damage> {
        let cut = || Damage::Content;
        let (&[place, flags], rest) = content.split_first_chunk::<2>().ok_or_else(cut)?;
        let (origin, rest) = if flags & FLAG_OTHER_ORIGIN != 0 {
            postcard::take_from_bytes(rest).map_err(|_| cut())?
        } else {
            (self.base.origin, rest)
        };
        let integers = postcard::take_from_bytes::<(i64, i64, u64)>(rest);
        let ((since_us, shift_us, inference_us), rest) = integers.map_err(|_| cut())?;
        let (link, body) = rest.split_first_chunk().ok_or_else(cut)?;
        let monotonic_us = self.base.monotonic_us.wrapping_add(since_us.cast_unsigned());
        let offset_us = self.base.offset_us().wrapping_add(shift_us);
        let variant = (0..).zip(FLAGS_OF_BODY).find(|(_, of)| *of == flags & BODY_FLAGS);
        let (variant, _) = variant.ok_or_else(cut)?;
        let record = Parts {
            link: *link,
            origin,
            id: self.base.id + u64::from(place),
            wall_us: offset_us.wrapping_add(monotonic_us.cast_signed()),
            monotonic_us,
            inference_us,
            flags: flags & FLAGS,
            variant,
            body,
        };
        record.to_value()
    }
}

/// The records of a stored chunk, each under its number and as a value of its own, the form that
/// `decode_record` takes. Those that are damaged are left out.
///
/// # Errors
/// When the chunk's head is damaged, and with it the chunk.
pub fn read_chunk(chunk: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, Damage> {
    let (packed, _) = Packed::at_start(chunk)?;
    Ok(packed.records().map(|record| (record.id, record.value)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::record::tests::{LABELS, origin, predicted, reported};
    use super::super::record::{Body, Entry, Predicted};
    use super::super::top::{Top, top};
    use super::*;
    use picket_base::clock::Stamp;

    fn pack(values: &[Vec<u8>]) -> Vec<u8> {
        let mut packer = Packer::default();
        values.iter().for_each(|value| packer.add(value).unwrap());
        packer.finish().unwrap().1
    }

    fn unpack(chunk: &[u8]) -> Vec<Vec<u8>> {
        let records = read_chunk(chunk).unwrap().into_iter();
        records
            .map(|(id, value)| {
                assert_eq!(format::identify(&value).unwrap().0, id);
                value
            })
            .collect()
    }

    /// Values of consecutive numbers, links and origins as a log gives them.
    fn values(first_id: u64, entries: &[(u32, bool, Entry)]) -> Vec<Vec<u8>> {
        let mut previous = format::GENESIS;
        let numbered = entries.iter().zip(first_id..);
        let encode = |((number, more_follow, entry), id): (&(u32, bool, Entry), u64)| {
            let (origin, more_follow) = (*number, *more_follow);
            let place = format::Place { id, previous, origin, more_follow };
            let (value, link) = format::encode(&place, b"origin", entry).unwrap();
            previous = link;
            value
        };
        numbered.map(encode).collect()
    }

    fn predictions(first_id: u64, count: u64) -> Vec<Vec<u8>> {
        let entries: Vec<_> = (0..count)
            .map(|later| {
                let mut entry = predicted(&origin("edge-01"), (later % 10) as u16, later % 3 == 0);
                entry.at.monotonic_us += later * 10_000;
                entry.at.wall_us += (later * 10_000).cast_signed();
                (4, false, entry)
            })
            .collect();
        values(first_id, &entries)
    }

    #[test]
    fn a_typical_prediction_takes_at_most_56_bytes() {
        let chunk = pack(&predictions(199_999, 32));
        assert!(chunk.len() <= 32 * 56, "{} bytes", chunk.len() / 32);
    }

    #[test]
    fn a_record_counts_behind_its_own_head_alone() {
        let (ours, theirs) = (predictions(1, 3), predictions(2, 3));
        let (mut chunk, other) = (pack(&ours), pack(&theirs));
        let (packed, _) = Packed::at_start(&chunk).unwrap();
        let (head_bytes, records) = (packed.head_bytes, packed.records.len());
        let (foreign, _) = Packed::at_start(&other).unwrap();
        assert_eq!(foreign.records.len(), records);
        chunk.truncate(head_bytes);
        chunk.extend(foreign.records);
        assert_eq!(read_chunk(&chunk), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_the_chunk_as_it_was() {
        let values = predictions(10, 3);
        let mut packer = Packer::default();
        packer.add(&values[1]).unwrap();
        assert_eq!(packer.add(&values[0]), Err(Damage::Misplaced(10)), "lower");
        assert_eq!(packer.add(&values[1]), Err(Damage::Misplaced(11)), "the same");
        let far = predictions(11 + 255, 1);
        assert_eq!(packer.add(&far[0]), Err(Damage::Misplaced(266)), "too far");
        assert!(packer.add(b"rubbish").is_err());
        packer.add(&values[2]).unwrap();
        assert_eq!(unpack(&packer.finish().unwrap().1), values[1..]);
    }

    fn any_predicted() -> impl Strategy<Value = Predicted> {
        let label = prop::option::of(".{0,20}");
        let any_top = (any::<u16>(), label, any::<f32>()).prop_map(|(class, label, confidence)| {
            Top { class, label: label.map(Arc::from), confidence }
        });
        let top = prop_oneof![
            prop::collection::vec(any_top, 0..10),
            prop::collection::vec(0.0..1.0_f32, 1..=10).prop_map(|p| top(&p, LABELS)),
        ];
        (any::<u16>(), any::<bool>(), ".{0,200}", any::<u16>(), top).prop_map(
            |(class, uncertain, label, classes, top)| {
                let own = top.first().and_then(|first| first.label.clone().zip(Some(first.class)));
                let own = own.map(|(label, class)| (class, label.to_string()));
                let (class, label) = own.unwrap_or((class, label));
                Predicted { class, label, uncertain, classes, top }
            },
        )
    }

    fn any_entry() -> impl Strategy<Value = (u32, bool, Entry)> {
        let clocks = prop_oneof![
            (any::<u64>(), any::<i64>()),
            (0..1_u64 << 40).prop_map(|us| (us, 1_795_000_000_000_000 + us.cast_signed())),
            prop::sample::select(vec![(0, i64::MIN), (u64::MAX, i64::MIN), (u64::MAX, i64::MAX)]),
        ];
        let number = prop_oneof![Just(4), any::<u32>()];
        let body = prop_oneof![
            any_predicted().prop_map(|made| {
                let entry = predicted(&origin("edge-01"), 0, false);
                Entry { body: Body::Predicted(made), ..entry }
            }),
            (0..40_000_usize).prop_map(|note| reported(&origin("edge-01"), &"n".repeat(note))),
            ".{0,200}".prop_map(|note| reported(&origin("edge-01"), &note)),
        ];
        (number, any::<bool>(), body, clocks, any::<(u64, bool, bool)>()).prop_map(
            |(
                number,
                more,
                entry,
                (monotonic_us, wall_us),
                (inference_us, defect, synchronised),
            )| {
                let at = Stamp { monotonic_us, wall_us, synchronised };
                (number, more, Entry { at, inference_us, defect, ..entry })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_byte_for_byte(
            first_id in prop_oneof![1..300_000_u64, (1 << 40..u64::MAX - 300)],
            entries in prop::collection::vec(any_entry(), 1..40),
        ) {
            let values = values(first_id, &entries);
            let mut rest = &values[..];
            while !rest.is_empty() {
                let mut packer = Packer::default();
                let unpacked = rest;
                while let Some((value, behind)) = rest.split_first().filter(|_| !packer.is_full()) {
                    packer.add(value).unwrap();
                    rest = behind;
                }
                let chunk = packer.finish().unwrap().1;
                prop_assert!(chunk.len() <= BYTES_MAX);
                prop_assert!(unpack(&chunk) == unpacked[..unpacked.len() - rest.len()]);
                let (packed, behind) = Packed::at_start(&chunk).unwrap();
                prop_assert!(behind.is_empty());
                let records: Vec<_> = packed.records().collect();
                prop_assert_eq!(packed.intact_bytes(&records), chunk.len());
                let stored: usize = records.iter().map(|record| record.extent.len()).sum();
                prop_assert_eq!(stored, chunk.len());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_chunk(&bytes);
        }

        /// Heads and records whose checksums are right and whose content is nonsense.
        #[test]
        fn sealed_nonsense_never_panics(
            base in any::<(u64, i64, u64, u32)>(),
            count in any::<u8>(),
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5),
            long in prop_oneof![Just(0), 65_000..RECORD_BYTES_MAX],
        ) {
            let (id, wall_us, monotonic_us, origin) = base;
            let base = Base { id, wall_us, monotonic_us, origin };
            let mut records = Vec::new();
            let long = [vec![0; 2], vec![7; long]].concat();
            for content in contents.iter().chain([&long]) {
                extend(&mut records, &content.len());
                records.extend(sum(base.checksum(), content));
                records.extend(content);
            }
            let mut head = format::header(Kind::Chunk);
            extend(&mut head, &(base, count, records.len()));
            let chunk = [format::seal(head), records].concat();
            let mut ids = id..id.saturating_add(count.into());
            for (id, value) in read_chunk(&chunk).unwrap_or_default() {
                let _ = format::decode(id, &value);
                prop_assert!(ids.contains(&id), "{id} is no later one of {ids:?}");
                ids.start = id + 1;
            }
        }
    }
}
