//! Records on their way into a commit: encoded under their numbers and packed, each stream by itself. It
//! knows no file.

use std::collections::BTreeSet;

use super::frame::{Author, HEAD_BYTES};
use super::item::{Item, Packing, StoredOrigins, Void};
use super::known::Known;
use super::position::{Position, Stream};
use crate::format::{self, Damage, Place};
use crate::marks::{BatchName, StoredBatch};
use crate::record::Entry;

/// What a value, a frame's head or an origin may take beside its own bytes.
const OVERHEAD_BYTES: usize = HEAD_BYTES + 64;

/// Records that are stored all or none.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    pub stream: Stream,
    pub entries: &'a [Entry],
    /// Under which it is remembered, so that one that is sent again is known.
    pub name: Option<BatchName>,
}

/// The records of a group under their numbers.
pub(crate) struct Encoded {
    stream: Stream,
    values: Vec<(u64, Vec<u8>)>,
    origins: BTreeSet<u32>,
    /// Where the log stands before it.
    before: Position,
    /// Its numbers, where it is void.
    void: Option<u32>,
    named: Option<(BatchName, StoredBatch)>,
}

impl Encoded {
    /// Encodes a group where the log stands, which is moved on. One with a record that can't be encoded is
    /// void as a whole: its numbers have been given.
    pub(crate) fn new(group: Group, position: &mut Position, known: &mut Known) -> Encoded {
        let before = *position;
        let (stream, origins) = (group.stream, BTreeSet::new());
        let mut encoded =
            Encoded { stream, values: Vec::new(), origins, before, void: None, named: None };
        if encoded.fill(group, position, known).is_err() {
            *position = before;
            let count = u32::try_from(group.entries.len()).expect("a batch is bounded");
            position.next += u64::from(count);
            encoded.void = Some(count);
        } else if let (Some(name), Some(last)) = (group.name, group.entries.last()) {
            let (first_id, taken_at_us) = (before.next, last.at.wall_us);
            let records = group.entries.len() as u64;
            encoded.named = Some((name, StoredBatch { first_id, records, taken_at_us }));
        }
        encoded
    }

    fn fill(
        &mut self,
        group: Group,
        position: &mut Position,
        known: &mut Known,
    ) -> Result<(), Damage> {
        let mut left = group.entries.len();
        for entry in group.entries {
            left -= 1;
            let origin = known.number_of(&entry.origin);
            known.note_clock(&entry.origin.boot_id, &entry.at);
            let maker = known.maker(origin).expect("its number was given just now");
            let lane = *position.lane(group.stream);
            let place =
                Place { id: position.next, previous: lane.head, origin, more_follow: left > 0 };
            let (value, link) = format::encode(&place, &maker.content, entry)?;
            self.values.push((place.id, value));
            self.origins.insert(origin);
            position.next += 1;
            let lane = position.lane_mut(group.stream);
            (lane.next, lane.head) = (lane.next + 1, link);
        }
        Ok(())
    }

    pub(crate) fn is_void(&self) -> bool {
        self.void.is_some()
    }

    /// The most that it takes, its origins included.
    pub(crate) fn bytes(&self, known: &Known) -> usize {
        let values = self.values.iter().map(|(_, value)| value.len() + OVERHEAD_BYTES);
        let makers = self.origins.iter().filter_map(|number| known.maker(*number));
        let origins = makers.map(|maker| maker.content.len() + 2 * OVERHEAD_BYTES);
        values.chain(origins).sum::<usize>() + OVERHEAD_BYTES
    }

    /// The group by itself, in pieces that say that more follow.
    pub(crate) fn into_batch(self, position: &Position) -> Vec<Item> {
        let mut staged = Staged::new(&self.before);
        staged.add(self);
        let mut items = staged.into_items(position);
        let last = items.len().saturating_sub(1);
        for item in &mut items[..last] {
            if let Item::Records(piece) = item {
                piece.more_follow = true;
            }
        }
        items
    }
}

/// Groups that go into one commit.
pub(crate) struct Staged {
    packings: [Packing; 2],
    items: Vec<Item>,
    named: Vec<(BatchName, StoredBatch)>,
}

impl Staged {
    /// Begins where the log stands.
    pub(crate) fn new(position: &Position) -> Staged {
        let packing = |stream| {
            let lane = position.lane(stream);
            Packing::new(stream, lane.next, lane.head)
        };
        Staged { packings: Stream::ALL.map(packing), items: Vec::new(), named: Vec::new() }
    }

    /// Adds a group that was encoded behind those before it.
    pub(crate) fn add(&mut self, group: Encoded) {
        if let Some(count) = group.void {
            let lane = group.before.lane(Stream::Own);
            let (ordinal, previous) = (lane.next, lane.head);
            let why = Void::Refused;
            self.items.push(Item::Void { first: group.before.next, count, why, ordinal, previous });
            return;
        }
        self.named.extend(group.named);
        let packing = &mut self.packings[group.stream as usize];
        for (id, value) in &group.values {
            let full = packing.add(*id, value).expect("it was encoded under the next number");
            self.items.extend(full.map(Item::Records));
        }
    }

    /// Returns what the commit holds, after which the log stands at `position`.
    pub(crate) fn into_items(mut self, position: &Position) -> Vec<Item> {
        let rest = self.packings.iter_mut().filter_map(Packing::take);
        self.items.extend(rest.map(Item::Records));
        if !self.named.is_empty() {
            self.items.push(Item::named(self.named, position));
        }
        self.items
    }
}

/// Returns the frames of a commit with these items, and the checksum of the last.
pub(crate) fn to_commit(
    items: &[Item],
    known: &Known,
    stored: &mut StoredOrigins,
    (author, tail): (Author, u32),
) -> (Vec<u8>, u32) {
    let (mut bytes, mut tail) = (Vec::new(), tail);
    for (index, item) in items.iter().enumerate() {
        let mut head = item.head(author, tail);
        (head.begins, head.ends) = (index == 0, index + 1 == items.len());
        tail = head.seal(&item.payload(known, stored), &mut bytes);
    }
    (bytes, tail)
}
