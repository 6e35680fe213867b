//! The sealed files of one stream, as the owner of the log appends to them. It knows nothing of the other
//! stream and of the journal.

use std::io;
use std::sync::Arc;

use super::frame::Author;
use super::item::{Item, Packing, Piece, StoredOrigins};
use super::known::Known;
use super::medium::{Access, Bytes, Medium};
use super::position::Stream;
use super::segment::{self, Segment};
use super::sizes::{Limits, Sizes};
use crate::format::Damage;

/// A long batch is written in steps of so many bytes, or one frame more.
const STEP_BYTES: usize = 256 << 10;

/// Pieces with as many records are sealed as they are; smaller ones are packed together.
const FULL_RECORDS: u32 = 32;

/// The files of a stream, oldest first.
pub(crate) struct Sealed {
    stream: Stream,
    pub(crate) files: Vec<Arc<Segment>>,
    /// The last of them, while it is appended to.
    open: Option<Open>,
}

/// What a stream is appended to with.
pub(crate) struct Appending<'a> {
    pub(crate) medium: &'a dyn Medium,
    pub(crate) limits: (Sizes, Limits),
    pub(crate) known: &'a Known,
    pub(crate) author: Author,
    /// Called after each step.
    pub(crate) progress: &'a mut dyn FnMut(),
}

struct Open {
    file: Box<dyn Bytes>,
    stored: StoredOrigins,
}

impl Sealed {
    /// Takes over the files that were found.
    pub(crate) fn new(stream: Stream, files: Vec<Arc<Segment>>) -> Sealed {
        Sealed { stream, files, open: None }
    }

    /// Cuts off what is behind the last frame that counts, and makes sure that all before it is on the
    /// medium.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn trim(&mut self, medium: &dyn Medium) -> io::Result<()> {
        let Some(last) = self.files.last() else { return Ok(()) };
        let file = medium.open(&last.name, Access::Write)?;
        if !last.closed && file.length()? > last.end {
            file.truncate(last.end)?;
        }
        file.sync()?;
        if !last.closed {
            self.open = Some(Open { file, stored: StoredOrigins::default() });
        }
        Ok(())
    }

    /// Returns once these items of the stream are on the medium, packed together where they are small. A file
    /// ends once it is large enough, though never within a batch.
    ///
    /// # Errors
    /// When the disk refuses; then the files are as the next opening finds them.
    pub(crate) fn append(&mut self, items: &[&Item], with: Appending) -> io::Result<()> {
        let Appending { medium, limits: (sizes, limits), known, author, progress } = with;
        let items = packed_together(items).expect("they were read or made by this log");
        let full = |file: &Segment| {
            file.end >= sizes.segment_bytes || limits.fills(file.end, file.summary.records())
        };
        let mut rest = &items[..];
        while let Some(first) = rest.first() {
            let created = self.open.is_none();
            if created {
                self.begin(medium, first, author)?;
            }
            let open = self.open.as_mut().expect("it was opened just now");
            let segment = Arc::make_mut(self.files.last_mut().expect("it has the open one"));
            let (mut bytes, mut written) = (Vec::new(), segment.end);
            while let Some((item, behind)) = rest.split_first() {
                let payload = item.payload(known, &mut open.stored);
                let head = item.head(author, segment.tail);
                let before = bytes.len();
                let checksum = head.seal(&payload, &mut bytes);
                segment.take(bytes.len() - before, checksum, item);
                rest = behind;
                let ends = segment.unfinished.is_none() && full(segment);
                if ends || rest.is_empty() || bytes.len() >= STEP_BYTES {
                    open.file.write_at(&bytes, written)?;
                    written = segment.end;
                    bytes.clear();
                    progress();
                }
                if ends {
                    break;
                }
            }
            let full = full(segment);
            open.file.sync()?;
            progress();
            if created {
                medium.sync_names()?;
            }
            if full {
                self.close(known, author)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, medium: &dyn Medium, first: &Item, author: Author) -> io::Result<()> {
        let head = first.head(author, 0);
        let name = segment::name(self.stream, head.first);
        let file = medium.open(&name, Access::Create)?;
        let segment = Segment::new(self.stream, name, head.ordinal, head.previous);
        self.files.push(Arc::new(segment));
        self.open = Some(Open { file, stored: StoredOrigins::default() });
        Ok(())
    }

    /// Ends the open file with its footer, if it has any records.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn close(&mut self, known: &Known, author: Author) -> io::Result<()> {
        let Some(segment) = self.files.last_mut().filter(|last| last.summary.numbers.is_some())
        else {
            return Ok(());
        };
        let Some(open) = &self.open else { return Ok(()) };
        let (mut bytes, start) = (Vec::new(), segment.end);
        Arc::make_mut(segment).end_with_footer(known, author, &mut bytes);
        open.file.write_at(&bytes, start)?;
        open.file.sync()?;
        self.open = None;
        Ok(())
    }

    /// Puts a file that was written anew in its place.
    pub(crate) fn replace(&mut self, new: Segment) {
        self.files.retain(|file| file.name != new.name);
        let at = self.files.partition_point(|file| file.name < new.name);
        self.files.insert(at, Arc::new(new));
    }

    /// How many records of the stream are sealed.
    pub(crate) fn end(&self) -> u64 {
        self.files.last().map_or(0, |last| last.summary.end)
    }

    /// The bytes of its files, footers aside.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.end).sum()
    }

    /// Removes the files whose records all come before this count; the last one stays.
    ///
    /// # Errors
    /// When the disk refuses; the next opening removes what is left.
    pub(crate) fn remove_before(&mut self, medium: &dyn Medium, ordinal: u64) -> io::Result<()> {
        while let [oldest, _, ..] = &self.files[..]
            && oldest.summary.end <= ordinal
        {
            medium.remove(&oldest.name)?;
            self.files.remove(0);
        }
        Ok(())
    }

    /// Whether the next start would find what was written last.
    pub(crate) fn is_at_its_name(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.file.is_at_its_name())
    }
}

/// Packs the records of small pieces together. A batch that has files of its own stays as it is.
fn packed_together(items: &[&Item]) -> Result<Vec<Item>, Damage> {
    let mut together = Vec::with_capacity(items.len());
    let mut packing: Option<Packing> = None;
    for &item in items {
        let piece = match item {
            Item::Records(piece) if piece.count < FULL_RECORDS && !piece.more_follow => piece,
            // What is in hand comes before it: files are named by what they begin with.
            other => {
                together.extend(
                    packing.take().and_then(|mut packing| packing.take()).map(Item::Records),
                );
                together.push(other.clone());
                continue;
            }
        };
        if packing.as_ref().is_some_and(|packing| !packing.is_followed_by(piece)) {
            together
                .extend(packing.take().and_then(|mut packing| packing.take()).map(Item::Records));
        }
        let packing = packing
            .get_or_insert_with(|| Packing::new(piece.stream, piece.ordinal, piece.previous));
        for (id, value) in piece.records() {
            together.extend(packing.add(id, &value)?.map(Item::Records));
        }
    }
    together.extend(packing.and_then(|mut packing| packing.take()).map(Item::Records));
    Ok(together)
}

/// Returns the records of a piece from this count of the stream on.
pub(crate) fn rest_of(piece: &Piece, ordinal: u64) -> Result<Vec<Item>, Damage> {
    let mut packing = Packing::new(piece.stream, piece.ordinal, piece.previous);
    let mut rest = Vec::new();
    for (place, (id, value)) in (piece.ordinal..).zip(piece.records()) {
        if place == ordinal {
            packing.take();
        }
        rest.extend(packing.add(id, &value)?);
    }
    rest.extend(packing.take());
    Ok(rest.into_iter().filter(|piece| piece.ordinal >= ordinal).map(Item::Records).collect())
}
