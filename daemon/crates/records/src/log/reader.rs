//! Reading the records of a log from its own files, oldest first. What can't be read there is taken from the
//! view, where there is one. It takes no lock and writes nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::healing::{Hole, Mark, fill};
use super::item::{Item, Piece};
use super::medium::{Access, Bytes};
use super::pieces::{Step, read_at};
use super::position::Stream;
use super::segment::Segment;
use super::snapshot::{Alone, Beside, Snapshot};
use super::summary::Spot;
use crate::format::Damage;
use crate::query::{PAGE_RECORDS_MAX, Sink};

/// Goes along one stream.
struct StreamReader<'a> {
    log: &'a Snapshot,
    stream: Stream,
    /// Which of the files, and which of its pieces comes next.
    file: usize,
    spot: usize,
    open: Option<Box<dyn Bytes>>,
    /// Which of the recent items comes next.
    recent: usize,
    /// Behind which record it stands, where that is known.
    at: Option<Mark>,
}

impl<'a> StreamReader<'a> {
    /// Begins with the piece before the one that may hold a number: behind it the chain is known.
    fn new(log: &'a Snapshot, stream: Stream, from: u64) -> Self {
        let lane = log.position.lane(stream);
        let files = &log.files[stream as usize];
        let begins_before =
            |file: &Arc<Segment>| file.summary.spots.first().is_some_and(|spot| spot.first <= from);
        let mut file = files.iter().rposition(begins_before).unwrap_or(0);
        let before = |file: usize| {
            let spots = &files[file].summary.spots;
            spots.partition_point(|spot| spot.first <= from).checked_sub(2)
        };
        let mut spot = files.get(file).and_then(|_| before(file)).unwrap_or(0);
        if spot == 0 && file > 0 {
            file -= 1;
            spot = files[file].summary.spots.len().saturating_sub(1);
        }
        let (ordinal, number, link) = (lane.kept_from, lane.first - 1, lane.anchor);
        let start = files.get(file).and_then(|file| file.summary.spots.get(spot));
        // Before the first piece of all there may be a hole as well.
        let is_first =
            (file, spot) == (0, 0) || start.is_some_and(|start| start.ordinal <= ordinal);
        let at = is_first.then_some(Mark { ordinal, number, link });
        StreamReader { log, stream, file, spot, open: None, recent: 0, at }
    }

    /// Returns the next piece; none behind the newest.
    fn next(&mut self) -> io::Result<Option<Step>> {
        let kept_from = self.log.position.lane(self.stream).kept_from;
        let files = &self.log.files[self.stream as usize];
        while let Some(segment) = files.get(self.file) {
            let Some(spot) = segment.summary.spots.get(self.spot) else {
                (self.file, self.spot, self.open) = (self.file + 1, 0, None);
                continue;
            };
            self.spot += 1;
            if spot.ordinal + u64::from(spot.count) <= kept_from {
                continue;
            }
            if self.open.is_none() {
                match self.log.medium.open(&segment.name, Access::Read) {
                    Ok(file) => self.open = Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(Some(Step::Damaged(*spot)));
                    }
                    Err(error) => return Err(error),
                }
            }
            let file = self.open.as_ref().expect("it was opened just now");
            return Ok(Some(read_at(&**file, spot)?));
        }
        while let Some(item) = self.log.recent.get(self.recent) {
            self.recent += 1;
            if let Item::Records(piece) = &**item
                && piece.stream == self.stream
            {
                return Ok(Some(Step::Piece(piece.clone())));
            }
        }
        Ok(None)
    }

    /// Goes on to a piece, or to the end. Returns the hole before it, if there is one that can be told.
    fn go(&mut self, piece: Option<&Piece>) -> Option<Hole> {
        let lane = self.log.position.lane(self.stream);
        let (ordinal, before, next) = match piece {
            Some(piece) => (piece.ordinal, piece.first, piece.previous),
            None => (lane.next, self.log.position.next, lane.head),
        };
        let at = match piece {
            Some(piece) => Mark { ordinal: piece.end(), number: piece.last, link: piece.head },
            None => Mark { ordinal, number: before - 1, link: next },
        };
        let was = self.at.replace(at)?;
        let (from, after, previous) = (was.ordinal, was.number, was.link);
        (ordinal > from).then_some(Hole { from, to: ordinal, after, before, previous, next })
    }
}

/// A record as it is read.
pub(crate) struct Numbered {
    pub(crate) id: u64,
    pub(crate) stream: Stream,
    /// How many records its stream had before it.
    pub(crate) ordinal: u64,
    pub(crate) value: Vec<u8>,
}

/// Goes along both streams in the order of their numbers.
pub(crate) struct Reader<'a> {
    log: &'a Snapshot,
    from: u64,
    beside: &'a dyn Beside,
    streams: [StreamReader<'a>; 2],
    ahead: [VecDeque<Numbered>; 2],
    ended: [bool; 2],
    /// What could not be read so far.
    pub(crate) damaged: Vec<(Stream, Spot)>,
}

impl<'a> Reader<'a> {
    /// Begins with the oldest record that is kept.
    pub(crate) fn new(log: &'a Snapshot) -> Reader<'a> {
        Reader::from(log, 0, &Alone)
    }

    /// Begins with a number.
    pub(crate) fn from(log: &'a Snapshot, from: u64, beside: &'a dyn Beside) -> Reader<'a> {
        let streams = Stream::ALL.map(|stream| StreamReader::new(log, stream, from));
        let (ahead, ended) = ([VecDeque::new(), VecDeque::new()], [false; 2]);
        Reader { log, from, beside, streams, ahead, ended, damaged: Vec::new() }
    }

    /// Returns the record of the next number that can be read.
    ///
    /// # Errors
    /// When the disk can't open a file.
    pub(crate) fn next(&mut self) -> io::Result<Option<Numbered>> {
        for stream in Stream::ALL {
            self.fill(stream)?;
        }
        let [own, reported] = self.ahead.each_ref().map(|ahead| ahead.front().map(|next| next.id));
        let stream = match (own, reported) {
            (Some(own), Some(reported)) if reported < own => Stream::Reported,
            (None, _) => Stream::Reported,
            _ => Stream::Own,
        };
        Ok(self.ahead[stream as usize].pop_front())
    }

    fn fill(&mut self, stream: Stream) -> io::Result<()> {
        let at = stream as usize;
        while self.ahead[at].is_empty() && !self.ended[at] {
            let piece = match self.streams[at].next()? {
                Some(Step::Damaged(spot)) => {
                    self.damaged.push((stream, spot));
                    continue;
                }
                Some(Step::Piece(piece)) => Some(piece),
                None => None,
            };
            self.ended[at] = piece.is_none();
            let hole = self.streams[at].go(piece.as_ref());
            for piece in hole.and_then(|hole| self.viewed(stream, &hole)).unwrap_or_default() {
                self.take(stream, &piece);
            }
            if let Some(piece) = piece {
                self.take(stream, &piece);
            }
        }
        Ok(())
    }

    /// What the view has in place of a hole.
    fn viewed(&mut self, stream: Stream, hole: &Hole) -> Option<Vec<Piece>> {
        let filled = fill(hole, stream, &self.beside.view()?, &self.log.known).ok()??;
        let inside = |spot: &Spot| spot.ordinal >= hole.from && spot.ordinal < hole.to;
        self.damaged.retain(|(of, spot)| *of != stream || !inside(spot));
        Some(filled)
    }

    fn take(&mut self, stream: Stream, piece: &Piece) {
        let kept_from = self.log.position.lane(stream).kept_from;
        let numbered = (piece.ordinal..).zip(piece.records());
        let kept = numbered.filter(|(ordinal, (id, _))| *ordinal >= kept_from && *id >= self.from);
        self.ahead[stream as usize].extend(kept.map(|(ordinal, (id, value))| Numbered {
            id,
            stream,
            ordinal,
            value,
        }));
    }
}

impl Snapshot {
    /// Gives at most `PAGE_RECORDS_MAX` records from `from` on to `sink`, oldest first, until it is full.
    ///
    /// # Errors
    /// When the disk can't open a file.
    pub(crate) fn step(
        &self,
        from: u64,
        beside: &dyn Beside,
        sink: &mut impl Sink,
    ) -> io::Result<()> {
        let mut reader = Reader::from(self, from, beside);
        let (mut given, mut next) = (0, from);
        loop {
            let record = reader.next()?;
            let end = record.as_ref().map_or(u64::MAX, |record| record.id);
            // What can't be read is named in its place.
            let mut damaged: Vec<u64> =
                reader.damaged.iter().flat_map(|(_, spot)| spot.first..=spot.last).collect();
            damaged.retain(|id| (next..end).contains(id));
            damaged.sort_unstable();
            damaged.dedup();
            let damaged = damaged.into_iter().map(|id| (id, Err(Damage::Checksum)));
            let read =
                record.map(|Numbered { id, value, .. }| (id, self.known.to_record(id, &value)));
            let ended = read.is_none();
            for (id, read) in damaged.chain(read) {
                let full = given == PAGE_RECORDS_MAX || given > 0 && !sink.goes_on();
                if full || !sink.take(id, read) {
                    return Ok(());
                }
                (given, next) = (given + 1, id + 1);
            }
            if ended {
                return Ok(());
            }
            reader.damaged.retain(|(_, spot)| spot.last >= next);
        }
    }
}
