//! Sealed files: the records of one stream, in order, as dense frames, with a footer behind the last. A file
//! is appended to until it is large enough, and never changed behind its end. It knows one file at a time.

use std::io;

use super::frame::{Author, Frame, NoFrame, PAYLOAD_BYTES_MAX, next_magic};
use super::item::Item;
use super::known::Known;
use super::medium::{Access, Bytes, Medium, read_what_can_be_read};
use super::position::Stream;
use super::summary::{Summary, TRAILER_BYTES, footer_length};
use crate::format::{GENESIS, Link};

pub(crate) const SUFFIX: &str = ".seg";

/// A file that is being written in place of another; the next opening removes what is left of one.
pub(crate) const NEW_SUFFIX: &str = ".new";

/// Read at once while a file is looked through: the longest frame has room in it.
const WINDOW_BYTES: usize = 2 * PAYLOAD_BYTES_MAX;

/// A sealed file, as far as it is known without reading its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) stream: Stream,
    pub(crate) name: String,
    pub(crate) summary: Summary,
    /// It has its footer.
    pub(crate) closed: bool,
    /// Where its last frame ends, footer aside, and the checksum of that frame.
    pub(crate) end: u64,
    pub(crate) tail: u32,
    /// Something in it can't be read, with a whole frame behind it; before that it was this.
    pub(crate) damaged: Option<Box<Segment>>,
    /// Something behind its last frame can't be read.
    pub(crate) torn: bool,
    /// It ends within a batch, before which it was this.
    pub(crate) unfinished: Option<Box<Segment>>,
}

/// Returns the name of the file of a stream whose first number is this one.
pub(crate) fn name(stream: Stream, first: u64) -> String {
    format!("{}-{first:020}{SUFFIX}", stream.name())
}

/// Returns the files of a stream among these names, oldest first.
pub(crate) fn of_stream(stream: Stream, names: &[String]) -> Vec<String> {
    let mine = |name: &&String| {
        let number = name.strip_prefix(stream.name()).and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|rest| rest.strip_suffix(SUFFIX));
        number.is_some_and(|number| number.len() == 20 && number.parse::<u64>().is_ok())
    };
    let mut files: Vec<String> = names.iter().filter(mine).cloned().collect();
    files.sort();
    files
}

/// Returns who wrote the first frame of a file, if it has one.
///
/// # Errors
/// When the disk can't open it.
pub(crate) fn author(medium: &dyn Medium, name: &str) -> io::Result<Option<Author>> {
    let file = medium.open(name, Access::Read)?;
    let bytes = read_what_can_be_read(&*file, 0, WINDOW_BYTES)?;
    Ok(Frame::at_start(&bytes).ok().map(|frame| frame.head.author))
}

/// What is found in a file while it is looked through.
pub(crate) enum Found<'a> {
    Item {
        at: u64,
        frame: Frame<'a>,
        item: Box<Item>,
        values: &'a [u8],
    },
    /// Something that can't be read, with a whole frame behind it or none.
    Broken {
        followed: bool,
    },
}

/// Goes through a file frame by frame up to its footer. Returns the version of a newer writer where one is
/// met.
///
/// # Errors
/// When the disk can't say how long the file is.
pub(crate) fn each(
    file: &dyn Bytes,
    store: u64,
    mut take: impl FnMut(Found),
) -> io::Result<Option<u8>> {
    let length = file.length()?;
    let mut at = 0;
    let (mut window, mut start) = (Vec::new(), 0);
    while at < length {
        let ahead = (length - at).min(WINDOW_BYTES as u64 / 2);
        if at + ahead > start + window.len() as u64 {
            (window, start) = (read_what_can_be_read(file, at, WINDOW_BYTES)?, at);
        }
        match item_at(&window[(at - start) as usize..], store) {
            Ok(Some((frame, values, item))) => {
                take(Found::Item { at, frame, item: Box::new(item), values });
                at += frame.length() as u64;
            }
            Ok(None) => return Ok(None),
            Err(NoFrame::Newer(version)) => return Ok(Some(version)),
            Err(NoFrame::Broken) => {
                let next = next_item(file, at, store)?;
                take(Found::Broken { followed: next.is_some() });
                let Some(next) = next else { return Ok(None) };
                at = next;
            }
        }
    }
    Ok(None)
}

type Whole<'a> = (Frame<'a>, &'a [u8], Item);

/// Returns the frame at the start of these bytes and what it holds; none for a footer.
fn item_at(bytes: &[u8], store: u64) -> Result<Option<Whole<'_>>, NoFrame> {
    let frame = Frame::at_start(bytes)?;
    if frame.head.author.store != store {
        return Err(NoFrame::Broken);
    }
    if Summary::read(&frame).is_some() {
        return Ok(None);
    }
    let (values, item) = Item::read(&frame).map_err(|_| NoFrame::Broken)?;
    Ok(Some((frame, values, item)))
}

/// Returns where behind `at` the next whole frame is.
fn next_item(file: &dyn Bytes, at: u64, store: u64) -> io::Result<Option<u64>> {
    let length = file.length()?;
    let mut start = at + 1;
    while start < length {
        let window = read_what_can_be_read(file, start, WINDOW_BYTES)?;
        // A frame that begins in the first half is whole in the window.
        let half = if window.len() < WINDOW_BYTES { window.len() } else { WINDOW_BYTES / 2 };
        let mut from = 0;
        while let Some(found) = next_magic(&window, from).filter(|found| *found < half) {
            if item_at(&window[found..], store).is_ok() {
                return Ok(Some(start + found as u64));
            }
            from = found + 1;
        }
        start += half as u64;
    }
    Ok(None)
}

impl Segment {
    /// Begins a file where a stream stands.
    pub(crate) fn new(stream: Stream, name: String, ordinal: u64, previous: Link) -> Segment {
        Segment {
            stream,
            name,
            summary: Summary::new(ordinal, previous),
            closed: false,
            end: 0,
            tail: 0,
            damaged: None,
            torn: false,
            unfinished: None,
        }
    }

    /// Counts in a frame that is there, of this length and checksum.
    pub(crate) fn take(&mut self, length: usize, checksum: u32, item: &Item) {
        let more_follow = matches!(item, Item::Records(piece) if piece.more_follow);
        if !more_follow {
            self.unfinished = None;
        } else if self.unfinished.is_none() {
            self.unfinished = Some(Box::new(self.clone()));
        }
        self.summary.add(self.end, length, item);
        self.end += length as u64;
        self.tail = checksum;
    }

    /// Appends its end to bytes that are to be written behind its last frame.
    pub(crate) fn end_with_footer(&mut self, known: &Known, author: Author, bytes: &mut Vec<u8>) {
        let origins = self.summary.tallies.keys();
        self.summary.values = origins.flat_map(|number| known.values(*number)).collect();
        bytes.extend(self.summary.to_footer(self.stream, author, self.tail));
        self.closed = true;
    }

    fn note_damage(&mut self) {
        if self.damaged.is_none() {
            self.damaged = Some(Box::new(self.clone()));
        }
    }

    /// Reads a file: its footer, or where that is not there, all of it; `known` takes over origins and
    /// clocks. Returns the version of a newer writer instead where one has written to it.
    ///
    /// # Errors
    /// When the disk can't open it.
    pub(crate) fn read(
        medium: &dyn Medium,
        (stream, name): (Stream, &str),
        store: u64,
        known: &mut Known,
    ) -> io::Result<Result<Segment, u8>> {
        let file = medium.open(name, Access::Read)?;
        let mut segment = Segment::new(stream, name.to_string(), 0, GENESIS);
        if let Some((tail, summary, end)) = read_footer(&*file, store)? {
            known.adopt(&summary.values);
            return Ok(Ok(Segment { summary, closed: true, end, tail, ..segment }));
        }
        let mut empty = true;
        let newer = each(&*file, store, |found| match found {
            // A count that the file has passed is none of this stream.
            Found::Item { frame, .. } if frame.head.ordinal < segment.summary.end => {
                segment.note_damage();
            }
            Found::Item { at, frame, item, values } => {
                known.adopt(values);
                if std::mem::take(&mut empty) {
                    segment.summary = Summary::new(frame.head.ordinal, frame.head.previous);
                }
                segment.end = at;
                segment.take(frame.length(), frame.checksum, &item);
            }
            Found::Broken { followed: true } => segment.note_damage(),
            Found::Broken { followed: false } => segment.torn = true,
        })?;
        Ok(newer.map_or(Ok(segment), Err))
    }
}

/// Returns what the footer of a file says, its predecessor's checksum first and where it begins last.
fn read_footer(file: &dyn Bytes, store: u64) -> io::Result<Option<(u32, Summary, u64)>> {
    let length = file.length()?;
    let mut trailer = [0; TRAILER_BYTES];
    let Some(at) = length.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    if file.read_at(&mut trailer, at).is_err() {
        return Ok(None);
    }
    let Some(footer) = footer_length(&trailer) else { return Ok(None) };
    let Some(start) = at.checked_sub(footer as u64) else { return Ok(None) };
    let bytes = read_what_can_be_read(file, start, footer)?;
    let frame = Frame::at_start(&bytes).ok().filter(|frame| frame.head.author.store == store);
    Ok(frame.and_then(|frame| Some((frame.head.predecessor, Summary::read(&frame)?, start))))
}
