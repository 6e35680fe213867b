//! Reading the records of a log from its own files, oldest first, as a survey has found them. It takes no
//! lock and writes nothing.

use std::collections::VecDeque;
use std::io;

use super::item::Item;
use super::medium::{Access, Bytes, Medium};
use super::pieces::{Step, read_at};
use super::position::Stream;
use super::segment::Segment;
use super::summary::Spot;
use super::survey::Survey;

/// Goes along one stream.
pub(crate) struct StreamReader<'a> {
    medium: &'a dyn Medium,
    survey: &'a Survey,
    stream: Stream,
    /// Which of the files, and which of its pieces comes next.
    file: usize,
    spot: usize,
    open: Option<Box<dyn Bytes>>,
    /// Which of the recent items comes next.
    recent: usize,
}

impl<'a> StreamReader<'a> {
    /// Begins with the piece that the record of this number is in, or the one behind it.
    pub(crate) fn new(
        medium: &'a dyn Medium,
        survey: &'a Survey,
        stream: Stream,
        from: u64,
    ) -> Self {
        let files = &survey.files[stream as usize];
        let before = |file: &&Segment| file.summary.numbers.is_none_or(|[_, last]| last < from);
        let file = files.iter().take_while(before).count();
        let spots = files.get(file).map(|file| &file.summary.spots[..]).unwrap_or_default();
        let spot = spots.partition_point(|spot| spot.last < from);
        StreamReader { medium, survey, stream, file, spot, open: None, recent: 0 }
    }

    /// Returns the next piece; none behind the newest.
    ///
    /// # Errors
    /// When the disk can't open a file.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        let kept_from = self.survey.position.lane(self.stream).kept_from;
        let files = &self.survey.files[self.stream as usize];
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
                self.open = Some(self.medium.open(&segment.name, Access::Read)?);
            }
            let file = self.open.as_ref().expect("it was opened just now");
            return Ok(Some(read_at(&**file, spot)?));
        }
        while let Some(item) = self.survey.recent.get(self.recent) {
            self.recent += 1;
            if let Item::Records(piece) = item
                && piece.stream == self.stream
            {
                return Ok(Some(Step::Piece(piece.clone())));
            }
        }
        Ok(None)
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
    from: u64,
    streams: [StreamReader<'a>; 2],
    ahead: [VecDeque<Numbered>; 2],
    ended: [bool; 2],
    /// What could not be read so far.
    pub(crate) damaged: Vec<(Stream, Spot)>,
}

impl<'a> Reader<'a> {
    /// Begins at the oldest record that is kept.
    pub(crate) fn new(medium: &'a dyn Medium, survey: &'a Survey) -> Reader<'a> {
        Reader::starting_at(medium, survey, 0)
    }

    /// Begins at this number.
    pub(crate) fn starting_at(medium: &'a dyn Medium, survey: &'a Survey, from: u64) -> Reader<'a> {
        Reader {
            from,
            streams: Stream::ALL.map(|stream| StreamReader::new(medium, survey, stream, from)),
            ahead: [VecDeque::new(), VecDeque::new()],
            ended: [false; 2],
            damaged: Vec::new(),
        }
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
        let (at, from) = (stream as usize, self.from);
        let lane = *self.streams[at].survey.position.lane(stream);
        while self.ahead[at].is_empty() && !self.ended[at] {
            match self.streams[at].next()? {
                None => self.ended[at] = true,
                Some(Step::Damaged(spot)) => self.damaged.push((stream, spot)),
                Some(Step::Piece(piece)) => {
                    let numbered = (piece.ordinal..).zip(piece.records());
                    let kept = numbered
                        .filter(|(ordinal, (id, _))| *ordinal >= lane.kept_from && *id >= from);
                    self.ahead[at].extend(kept.map(|(ordinal, (id, value))| Numbered {
                        id,
                        stream,
                        ordinal,
                        value,
                    }));
                }
            }
        }
        Ok(())
    }
}
