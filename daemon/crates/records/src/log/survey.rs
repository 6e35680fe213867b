//! What a log's files hold together: journal, sealed files and witness, read without a lock and without a
//! write. From it the owner opens the log, and a reader looks at one that nobody has open.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::counting::count;
use super::frame::{Author, Frame};
use super::item::{Item, Retired};
use super::journal;
use super::known::Known;
use super::medium::Medium;
use super::position::{Lane, Position, Stream};

use super::sealed::rest_of;
use super::segment::{self, NEW_SUFFIX, Segment};
use super::trouble::Trouble;
use super::witness::{self, Statement};
use crate::format::Damage;

/// Records of a stream that should be there: as many, with numbers between these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) stream: Stream,
    pub(crate) records: u64,
    pub(crate) after: u64,
    pub(crate) before: u64,
}

/// What a log holds.
pub(crate) struct Survey {
    /// Which log, and the last opening of it; none where there is no log.
    pub(crate) author: Option<Author>,
    /// Of the newest slot of the witness.
    pub(crate) turn: u64,
    pub(crate) position: Position,
    pub(crate) known: Known,
    pub(crate) files: [Vec<Arc<Segment>>; 2],
    /// What the journal holds and the sealed files don't.
    pub(crate) recent: Vec<Arc<Item>>,
    /// What retention has removed of each stream.
    pub(crate) retired: [Retired; 2],
    pub(crate) losses: Vec<Loss>,
    /// Files that hold nothing that is kept.
    pub(crate) leftovers: Vec<String>,
    /// Records of batches that were never finished.
    pub(crate) taken_back: u64,
}

impl Survey {
    /// Reads the files.
    ///
    /// # Errors
    /// `Newer`, or when the disk can't open them.
    pub(crate) fn take(medium: &dyn Medium) -> Result<Survey, Trouble> {
        let names = medium.names()?;
        let stated = witness::read(medium);
        let journal = journal::read(medium)?;
        let statement = stated.as_ref().map(|(statement, _)| statement);
        let frames = journal::frames(&journal, statement).map_err(Trouble::Newer)?;
        let mut survey = Survey {
            author: author(medium, &names, statement, &frames)?,
            turn: statement.map_or(0, |statement| statement.turn),
            position: stated.map_or_else(Position::start, |(_, position)| position),
            known: Known::default(),
            files: [Vec::new(), Vec::new()],
            recent: Vec::new(),
            retired: [Retired::default(); 2],
            losses: Vec::new(),
            leftovers: Vec::new(),
            taken_back: 0,
        };
        let unfinished = names.iter().filter(|name| name.ends_with(NEW_SUFFIX));
        survey.leftovers.extend(unfinished.cloned());
        let Some(author) = survey.author else { return Ok(survey) };
        for stream in Stream::ALL {
            for name in segment::of_stream(stream, &names) {
                let read = Segment::read(medium, (stream, &name), author.store, &mut survey.known)?;
                let segment = Arc::new(read.map_err(Trouble::Newer)?);
                survey.files[stream as usize].push(segment);
            }
        }
        let mut items = Vec::new();
        for frame in &frames {
            // Its checksum is right: what does not decode was never a record.
            let Ok((values, item)) = Item::read(frame) else { continue };
            survey.known.adopt(values);
            items.push(Arc::new(item));
        }
        for stream in Stream::ALL {
            let sealed = statement.map(|statement| statement.position.lane(stream).next);
            let mine = items.iter().filter(|item| item.stream() == stream);
            let recent = survey.walk(stream, sealed, mine);
            survey
                .recent
                .extend(recent.map_err(|_| Trouble::Io(io::ErrorKind::InvalidData.into()))?);
        }
        survey.recent.sort_by_key(|item| item.head(author, 0).first);
        let files = [&survey.files[0][..], &survey.files[1][..]];
        count(medium, files, &survey.recent, &survey.position, &mut survey.known)?;
        Ok(survey)
    }

    /// Follows a stream from its oldest record to its newest, through sealed files and journal. Returns what
    /// only the journal has. `sealed` is how many records the stream had at the last checkpoint.
    fn walk<'a>(
        &mut self,
        stream: Stream,
        sealed: Option<u64>,
        items: impl Iterator<Item = &'a Arc<Item>> + Clone,
    ) -> Result<Vec<Arc<Item>>, Damage> {
        let stood = *self.position.lane(stream);
        self.take_back(stream, sealed);
        let (kept, retired) = self.beginning(stream, &stood, items.clone());
        self.retired[stream as usize] = retired;
        let mut files = std::mem::take(&mut self.files[stream as usize]);
        let mut path =
            Path { at: kept.kept_from, number: kept.first - 1, losses: Vec::new(), stream };
        let (mut head, mut next) = (kept.anchor, self.position.next);
        let last = files.len();
        let mut place = 0;
        files.retain(|file| {
            place += 1;
            let summary = &file.summary;
            // The last one may hold the word of retention itself.
            let gone = file.end == 0 || summary.end <= kept.kept_from && place < last;
            if gone {
                self.leftovers.push(file.name.clone());
                return false;
            }
            summary.spots.iter().for_each(|spot| {
                path.go(spot.ordinal, u64::from(spot.count), spot.first, spot.last);
            });
            let voids = summary.voids.iter().map(|(first, count, _)| first + u64::from(*count));
            next = voids.chain(summary.numbers.map(|[_, last]| last + 1)).fold(next, u64::max);
            if summary.end >= kept.kept_from {
                head = summary.head;
            }
            true
        });
        let told = Told::by(&files);
        self.files[stream as usize] = files;
        let mut recent = Vec::new();
        for item in items {
            next = next.max(item.end());
            match &**item {
                Item::Records(piece) if piece.end() > path.at => {
                    let from = path.at;
                    path.go(piece.ordinal, u64::from(piece.count), piece.first, piece.last);
                    head = piece.head;
                    if piece.ordinal >= from {
                        recent.push(item.clone());
                    } else {
                        recent.extend(rest_of(piece, from)?.into_iter().map(Arc::new));
                    }
                }
                other if !told.has(other) => recent.push(item.clone()),
                _ => {}
            }
        }
        if sealed.is_some() && stood.next > path.at {
            let records = stood.next - path.at;
            path.go(path.at + records, 0, self.position.next, path.number);
            head = stood.head;
        }
        self.losses.extend(path.losses);
        self.position.next = next;
        *self.position.lane_mut(stream) = Lane { next: path.at, head, ..kept };
        Ok(recent)
    }

    /// Takes back what is at the end of the stream's files and was never finished: a checkpoint of which
    /// parts are there, or a batch. Not so what the witness knows of: there it is damage that took the rest.
    fn take_back(&mut self, stream: Stream, sealed: Option<u64>) {
        let Some(sealed) = sealed else { return };
        let kept_from = self.position.lane(stream).kept_from;
        let Some((last, files)) = self.files[stream as usize].split_last_mut() else { return };
        let last = Arc::make_mut(last);
        let before_it = files.last().map_or(0, |file| file.summary.end).max(kept_from);
        // Of a file whose first frame is broken nobody knows by itself how many came before it.
        let end = |file: &Segment| if file.end == 0 { before_it } else { file.summary.end };
        if let Some(before) = last.damaged.take_if(|before| end(before) >= sealed) {
            *last = *before;
        }
        if let Some(before) = last.unfinished.take_if(|before| end(before) >= sealed) {
            self.taken_back += last.summary.end - before.summary.end;
            *last = *before;
        }
    }

    /// Returns where retention has moved the beginning of a stream, by whoever knows most of it.
    fn beginning<'a>(
        &self,
        stream: Stream,
        stood: &Lane,
        items: impl Iterator<Item = &'a Arc<Item>>,
    ) -> (Lane, Retired) {
        let journaled = items.filter_map(|item| match &**item {
            Item::Retired { lane, retired, .. } => Some((*lane, *retired)),
            _ => None,
        });
        let sealed = self.files[stream as usize].iter().filter_map(|file| file.summary.retired);
        let most = sealed.chain(journaled).max_by_key(|(lane, _)| lane.kept_from);
        match most {
            Some((lane, retired)) if lane.kept_from >= stood.kept_from => (lane, retired),
            // The frame that said so is lost: what went by which limit is not known.
            _ => (*stood, most.map(|(_, retired)| retired).unwrap_or_default()),
        }
    }
}

/// What a stream's files hold beside records.
struct Told {
    /// The first of the numbers that are void, and of those of named batches.
    voids: Vec<u64>,
    named: HashSet<u64>,
    /// Where retention has moved the stream's beginning.
    kept_from: u64,
}

impl Told {
    fn by(files: &[Arc<Segment>]) -> Told {
        let summaries = || files.iter().map(|file| &file.summary);
        let voids = summaries().flat_map(|summary| summary.voids.iter().map(|void| void.0));
        let named = summaries().flat_map(|summary| &summary.named);
        let retired = summaries().filter_map(|summary| summary.retired);
        Told {
            voids: voids.collect(),
            named: named.map(|(_, stored)| stored.first_id).collect(),
            kept_from: retired.map(|(lane, _)| lane.kept_from).max().unwrap_or(0),
        }
    }

    /// Whether an item of the journal is in the files already; of records the walk itself knows.
    fn has(&self, item: &Item) -> bool {
        match item {
            Item::Records(_) => true,
            Item::Void { first, .. } => self.voids.contains(first),
            Item::Retired { lane, .. } => lane.kept_from <= self.kept_from,
            Item::Batches { named, .. } => {
                named.iter().all(|(_, stored)| self.named.contains(&stored.first_id))
            }
        }
    }
}

/// A walk along a stream.
struct Path {
    stream: Stream,
    /// How many records the stream has had so far.
    at: u64,
    /// The number of the last of them.
    number: u64,
    losses: Vec<Loss>,
}

impl Path {
    /// Goes on to some records; what should be before them and is not is lost.
    fn go(&mut self, ordinal: u64, count: u64, first: u64, last: u64) {
        if ordinal > self.at {
            let records = ordinal - self.at;
            let (stream, after) = (self.stream, self.number);
            self.losses.push(Loss { stream, records, after, before: first });
        }
        if ordinal + count > self.at {
            self.at = ordinal + count;
            self.number = last;
        }
    }
}

/// Returns which log this is and its last known opening: by the witness, the journal or a sealed file.
fn author(
    medium: &dyn Medium,
    names: &[String],
    statement: Option<&Statement>,
    frames: &[Frame],
) -> Result<Option<Author>, Trouble> {
    let stated = statement.map(|statement| statement.author);
    let journaled = frames.iter().map(|frame| frame.head.author);
    let author = stated.into_iter().chain(journaled).max_by_key(|author| author.epoch);
    if author.is_some() {
        return Ok(author);
    }
    for name in Stream::ALL.iter().flat_map(|stream| segment::of_stream(*stream, names)) {
        if let Some(author) = segment::author(medium, &name)? {
            return Ok(Some(author));
        }
    }
    Ok(None)
}
