//! The records of a store of 0.1 as sealed files of this box's own stream: made from the old store whenever
//! they are read, until they have been copied. It writes nothing to the old store.
//!
//! A record keeps its number, its link and its origin's number. The old store had one chain for own and
//! reported records, so all of them go on in one stream. Each record's place in it is its number less one:
//! what the old store had lost, or removed, leaves the same gap.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::frame::Author;
use super::item::{Item, Packing, Piece, Retired, StoredOrigins};
use super::known::Known;
use super::medium::{Access, Bytes, Disk, Medium};
use super::position::{Lane, Position, Stream, UNKNOWN};
use super::segment::{self, Segment};
use crate::before::Heritage;
use crate::format::{self, GENESIS, Link};

/// Numbers of one file: some 300 KB, made in a few milliseconds.
const FILE_RECORDS: u64 = 4_096;

/// A directory with a log, and the files that an old store stands for.
pub(crate) struct Inherited {
    disk: Disk,
    heritage: Heritage,
    known: Known,
    author: Author,
    /// The file that was made last, under its name.
    last: Mutex<Option<(String, Arc<Vec<u8>>)>>,
}

/// Returns where a log stands that goes on from an old store.
pub(crate) fn position_behind(heritage: &Heritage) -> Position {
    let stood = heritage.position();
    let mut position = Position::continuing(stood.next_id, GENESIS);
    *position.lane_mut(Stream::Own) = lane(heritage);
    position
}

fn lane(heritage: &Heritage) -> Lane {
    let (anchor, stood) = (heritage.anchor(), heritage.position());
    let link = if anchor.id == 0 { Some(GENESIS) } else { anchor.link };
    Lane {
        kept_from: anchor.id,
        first: anchor.id + 1,
        anchor: link.unwrap_or(UNKNOWN),
        next: stood.next_id - 1,
        head: stood.link,
    }
}

impl Inherited {
    pub(crate) fn new(disk: Disk, heritage: Heritage, author: Author) -> Inherited {
        let mut known = Known::default();
        known.adopt(&heritage.values());
        Inherited { disk, heritage, known, author, last: Mutex::new(None) }
    }

    pub(crate) fn heritage(&self) -> &Heritage {
        &self.heritage
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Gives the directory back without the old store.
    pub(crate) fn into_disk(self) -> Disk {
        self.disk
    }

    /// Returns the names of all files that the old store stands for, and their numbers.
    pub(crate) fn files(&self) -> Vec<(String, Range<u64>)> {
        let stood = self.heritage.position();
        let mut files = Vec::new();
        let mut start = stood.first_id;
        while start < stood.next_id {
            let end = ((start - 1) / FILE_RECORDS + 1) * FILE_RECORDS + 1;
            let ids = start..end.min(stood.next_id);
            files.push((segment::name(Stream::Own, start), ids.clone()));
            start = ids.end;
        }
        files
    }

    /// Returns what such a file holds.
    ///
    /// # Errors
    /// When the old store can't be read.
    pub(crate) fn content(&self, name: &str) -> io::Result<Option<Arc<Vec<u8>>>> {
        let mut last = self.last.lock().expect("nobody panics with the last file in hand");
        if let Some((_, bytes)) = last.as_ref().filter(|(of, _)| of == name) {
            return Ok(Some(bytes.clone()));
        }
        let Some((_, ids)) = self.files().into_iter().find(|(of, _)| of == name) else {
            return Ok(None);
        };
        let records = self.heritage.records(&ids)?;
        let bytes = Arc::new(self.to_file(name, &ids, &records)?);
        *last = Some((name.to_string(), bytes.clone()));
        Ok(Some(bytes))
    }

    fn link_before(&self, id: u64) -> io::Result<Link> {
        let lane = lane(&self.heritage);
        if id == lane.first {
            return Ok(lane.anchor);
        }
        let before = self.heritage.records(&(id - 1..id))?;
        let link = before.first().and_then(|(_, value)| format::identify(value).ok());
        Ok(link.map_or(UNKNOWN, |(_, link, _)| link))
    }

    fn to_file(
        &self,
        name: &str,
        ids: &Range<u64>,
        records: &[(u64, Vec<u8>)],
    ) -> io::Result<Vec<u8>> {
        let before = self.link_before(ids.start)?;
        let pieces = pieces(records, (ids.start, before))?;
        let mut items: Vec<Item> = pieces.into_iter().map(Item::Records).collect();
        let lane = lane(&self.heritage);
        if ids.end == lane.next + 1 && lane.kept_from > 0 {
            // Where the old store began, should the witness be lost.
            let moved_at_us = self.heritage.anchor().moved_at_us;
            let retired = Retired { moved_at_us, ..Retired::default() };
            items.push(Item::Retired { stream: Stream::Own, next: ids.end, lane, retired });
        }
        let Some(Item::Records(first)) = items.first() else { return Ok(Vec::new()) };
        let (ordinal, previous) = (first.ordinal, first.previous);
        let mut file = Segment::new(Stream::Own, name.to_string(), ordinal, previous);
        let (mut bytes, mut stored) = (Vec::new(), StoredOrigins::default());
        for item in &items {
            let before = bytes.len();
            let head = item.head(self.author, file.tail);
            let checksum = head.seal(&item.payload(&self.known, &mut stored), &mut bytes);
            file.take(bytes.len() - before, checksum, item);
        }
        file.end_with_footer(&self.known, self.author, &mut bytes);
        Ok(bytes)
    }
}

/// Packs records, of which the first number has this link before it; behind a missing one nothing is known of
/// the link before.
fn pieces(records: &[(u64, Vec<u8>)], (first, before): (u64, Link)) -> io::Result<Vec<Piece>> {
    let broken = |damage| io::Error::new(io::ErrorKind::InvalidData, damage);
    let mut pieces = Vec::new();
    let mut packing: Option<(u64, Packing)> = None;
    for (id, value) in records {
        if packing.as_ref().is_none_or(|(next, _)| next != id) {
            pieces.extend(packing.take().and_then(|(_, mut packing)| packing.take()));
        }
        let previous = if *id == first { before } else { UNKNOWN };
        let (next, packing) =
            packing.get_or_insert_with(|| (*id, Packing::new(Stream::Own, id - 1, previous)));
        pieces.extend(packing.add(*id, value).map_err(broken)?);
        *next = id + 1;
    }
    pieces.extend(packing.and_then(|(_, mut packing)| packing.take()));
    Ok(pieces)
}

impl Medium for Inherited {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.disk.names()?;
        for (name, _) in self.files() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn Bytes>> {
        match self.disk.open(name, access) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.content(name)? {
                Some(bytes) => Ok(Box::new(Made(bytes))),
                None => Err(error),
            },
            other => other,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.disk.remove(name) {
            // It is there as long as the old store is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }

    fn is_at_its_path(&self) -> bool {
        self.disk.is_at_its_path()
    }
}

/// A file that is nowhere else yet.
struct Made(Arc<Vec<u8>>);

impl Bytes for Made {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let length = buffer.len().min(self.0.len() - start);
        buffer[..length].copy_from_slice(&self.0[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_at_its_name(&self) -> bool {
        true
    }
}
