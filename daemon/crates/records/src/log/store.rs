//! The log, open for its owner: commits, checkpoints, and what is told of them. One thread owns it. After an
//! error it is dropped and opened again, which finds all that was acknowledged.

use std::sync::{Arc, Mutex};

use super::age::AgeGuard;
use super::frame::Author;
use super::item::{Item, Retired, StoredOrigins, Void};
use super::journal::Journal;
use super::known::Known;
use super::medium::Medium;
use super::position::{Position, Stream};
use super::sealed::{Appending, Sealed};
use super::sizes::{Limits, Sizes};
use super::snapshot::Snapshot;
use super::staged::{Encoded, Group, Staged, to_commit};
use super::survey::{Loss, Survey};
use super::takeover::Inheritance;
use super::trouble::Trouble;
use super::witness::{Statement, Witness};
use crate::marks::{BatchName, Marks, StoredBatch};

/// A stream is far over its limit once it exceeds that by this share.
const FAR_SHARE: u64 = 16;

/// The log.
pub(crate) struct Log {
    sizes: Sizes,
    pub(super) limits: [Limits; 2],
    pub(super) medium: Arc<dyn Medium>,
    pub(super) author: Author,
    turn: u64,
    journal: Journal,
    witness: Witness,
    pub(super) sealed: [Sealed; 2],
    pub(super) known: Known,
    pub(super) position: Position,
    /// What retention has removed of each stream, and what it remembers of the clock.
    pub(super) retired: [Retired; 2],
    /// What should be there and is not, as far as the opening has seen.
    pub(super) losses: Vec<Loss>,
    pub(super) ages: [AgeGuard; 2],
    /// The number and the predecessor of the journal's first frame.
    round: (u64, u32),
    /// The checksum of the journal's last frame.
    tail: u32,
    /// What the journal holds, and which origins come with it.
    pub(super) recent: Vec<Arc<Item>>,
    journaled: StoredOrigins,
    /// The named batches that are remembered.
    pub(super) marks: Arc<Mutex<Marks>>,
}

/// What opening a log has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// There was none, and it was made.
    pub(crate) made: bool,
    pub(crate) losses: Vec<Loss>,
    pub(crate) taken_back: u64,
    /// What it goes on from.
    pub(crate) inheritance: Option<Inheritance>,
}

impl Log {
    /// Opens the log in a directory that is locked, or makes one there, named by `drawn`. Where `expected` is
    /// given it has to be that one.
    ///
    /// # Errors
    /// `Newer` and `Gone` before anything is changed, `Io` when the disk refuses.
    pub(crate) fn open(
        medium: Arc<dyn Medium>,
        (drawn, expected): (u64, Option<u64>),
        sizes: Sizes,
    ) -> Result<(Log, Opened), Trouble> {
        let survey = Survey::take(&*medium)?;
        if expected.is_some() && expected != survey.author.map(|author| author.store) {
            return Err(Trouble::Gone);
        }
        let made = survey.author.is_none();
        let author = survey.author.unwrap_or(Author { store: drawn, epoch: 0 });
        let Survey {
            author: _,
            turn,
            position,
            known,
            files,
            recent,
            losses,
            leftovers,
            taken_back,
            retired,
        } = survey;
        for name in leftovers {
            medium.remove(&name)?;
        }
        let [own, reported] = files;
        let mut sealed = [Sealed::new(Stream::Own, own), Sealed::new(Stream::Reported, reported)];
        sealed.iter_mut().try_for_each(|sealed| sealed.trim(&*medium))?;
        // The older file is copied first by `cp`, and the witness must not claim more than the copy holds.
        let witness = Witness::open(&*medium)?;
        let journal = Journal::open(&*medium)?;
        medium.sync_names()?;
        let author = Author { epoch: author.epoch + 1, ..author };
        let mut log = Log {
            sizes,
            limits: [Limits::NONE; 2],
            medium,
            author,
            turn,
            journal,
            witness,
            sealed,
            known,
            position,
            retired,
            losses: losses.clone(),
            ages: Default::default(),
            round: (position.next, 0),
            tail: 0,
            recent,
            journaled: StoredOrigins::default(),
            marks: Arc::default(),
        };
        log.find_marks();
        log.settle()?;
        Ok((log, Opened { made, losses, taken_back, inheritance: None }))
    }

    /// Remembers the batches that the files name, in the order in which they came.
    fn find_marks(&self) {
        let files = self.sealed.iter().flat_map(|sealed| &sealed.files);
        let sealed = files.flat_map(|file| &file.summary.named);
        let recent = self.recent.iter().filter_map(|item| match &**item {
            Item::Batches { named, .. } => Some(named),
            _ => None,
        });
        let mut named: Vec<_> = sealed.chain(recent.flatten()).copied().collect();
        named.sort_by_key(|(_, stored)| stored.first_id);
        self.remember(&named);
    }

    /// Sets other limits, which hold from the next call of `retire` on.
    pub(crate) fn set_limits(&mut self, limits: [Limits; 2]) {
        self.limits = limits;
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Returns once these groups are on the medium, each all or none, under the next numbers; gives the first
    /// numbers of those that can't be encoded, which are void.
    ///
    /// # Errors
    /// `Io` and `Gone`; none of these groups is promised then, and the log is to be dropped.
    #[cfg(test)]
    pub(crate) fn commit(&mut self, groups: &[Group]) -> Result<Vec<u64>, Trouble> {
        self.commit_in_steps(groups, &mut || ())
    }

    /// Does the same, and calls `progress` after each step: a large batch on a slow disk takes long.
    ///
    /// # Errors
    /// As `commit`.
    pub(crate) fn commit_in_steps(
        &mut self,
        groups: &[Group],
        progress: &mut dyn FnMut(),
    ) -> Result<Vec<u64>, Trouble> {
        let mut refused = Vec::new();
        let mut position = self.position;
        let mut staged = Staged::new(&position);
        let (mut bytes, mut empty) = (0, true);
        for group in groups {
            let before = position;
            let encoded = Encoded::new(*group, &mut position, &mut self.known);
            if encoded.is_void() {
                refused.push(before.next);
            }
            let more = encoded.bytes(&self.known);
            if bytes + more > self.sizes.commit_bytes {
                if !empty {
                    self.write(staged.into_items(&before), before)?;
                    progress();
                }
                (staged, bytes, empty) = (Staged::new(&before), 0, true);
            }
            if more > self.sizes.commit_bytes {
                let batch = encoded.into_batch(&position);
                self.write_batch((group.stream, batch), position, progress)?;
                staged = Staged::new(&position);
                continue;
            }
            staged.add(encoded);
            (bytes, empty) = (bytes + more, false);
        }
        if !empty {
            self.write(staged.into_items(&position), position)?;
        }
        Ok(refused)
    }

    /// Says of the numbers up to `until` that they will never be records.
    ///
    /// # Errors
    /// As `commit`.
    pub(crate) fn leave_out(&mut self, until: u64, why: Void) -> Result<(), Trouble> {
        let first = self.position.next;
        let count = until.saturating_sub(first);
        let Ok(count @ 1..) = u32::try_from(count) else { return Ok(()) };
        let lane = self.position.lane(Stream::Own);
        let void = Item::Void { first, count, why, ordinal: lane.next, previous: lane.head };
        let mut position = self.position;
        position.next = until;
        self.write(vec![void], position)
    }

    /// Writes a commit into the journal, after which the log stands at `position`.
    pub(super) fn write(&mut self, items: Vec<Item>, position: Position) -> Result<(), Trouble> {
        let mut stored = self.journaled.clone();
        let from = (self.author, self.tail);
        let (mut bytes, mut tail) = to_commit(&items, &self.known, &mut stored, from);
        if !self.journal.has_room(bytes.len()) {
            self.settle()?;
            // The journal starts again, and with it what is known of origins there.
            stored = StoredOrigins::default();
            (bytes, tail) = to_commit(&items, &self.known, &mut stored, from);
        }
        self.journal.write(&bytes)?;
        (self.tail, self.journaled) = (tail, stored);
        self.count(&items);
        self.recent.extend(items.into_iter().map(Arc::new));
        self.position = position;
        self.witness.mark(&self.statement(position))?;
        self.check_place()
    }

    /// Writes a batch that has no room in the journal into a sealed file, after which the log stands at
    /// `position`. A part of it that a power cut leaves there is taken back by the next opening.
    fn write_batch(
        &mut self,
        (stream, items): (Stream, Vec<Item>),
        position: Position,
        progress: &mut dyn FnMut(),
    ) -> Result<(), Trouble> {
        self.settle()?;
        progress();
        self.append(stream, &items.iter().collect::<Vec<_>>(), progress)?;
        self.count(&items);
        self.position = position;
        self.settle()
    }

    /// Puts what the journal holds into sealed files; the journal starts again.
    ///
    /// # Errors
    /// As `commit`; what was acknowledged is in the journal still.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Trouble> {
        if self.journal.is_empty() { Ok(()) } else { self.settle() }
    }

    fn settle(&mut self) -> Result<(), Trouble> {
        for stream in Stream::ALL {
            let recent = self.recent.clone();
            let items = recent.iter().map(|item| &**item).filter(|item| item.stream() == stream);
            self.append(stream, &items.collect::<Vec<_>>(), &mut || ())?;
        }
        self.check_place()?;
        self.turn += 1;
        self.round = (self.position.next, self.tail);
        self.witness.state(&self.statement(self.position))?;
        self.journal.restart();
        self.recent.clear();
        self.journaled = StoredOrigins::default();
        self.check_place()
    }

    fn append(
        &mut self,
        stream: Stream,
        items: &[&Item],
        progress: &mut dyn FnMut(),
    ) -> Result<(), Trouble> {
        let with = Appending {
            medium: &*self.medium,
            limits: (self.sizes, self.limits[stream as usize]),
            known: &self.known,
            author: self.author,
            progress,
        };
        Ok(self.sealed[stream as usize].append(items, with)?)
    }

    fn statement(&self, position: Position) -> Statement {
        let (round, tail) = self.round;
        Statement { turn: self.turn, author: self.author, tail, round, position }
    }

    fn count(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Records(piece) => piece
                    .tallies
                    .iter()
                    .for_each(|(origin, tally)| self.known.count((piece.stream, *origin), *tally)),
                Item::Batches { named, .. } => self.remember(named),
                Item::Void { .. } | Item::Retired { .. } => {}
            }
        }
    }

    fn remember(&self, named: &[(BatchName, StoredBatch)]) {
        let mut marks = self.marks.lock().expect("no holder of the marks panics");
        for (name, stored) in named {
            marks.remember(*name, *stored);
        }
    }

    /// Whether what was written is what the next start will find.
    pub(crate) fn check_place(&self) -> Result<(), Trouble> {
        let there = self.medium.is_at_its_path()
            && self.journal.is_at_its_name()
            && self.witness.is_at_its_name()
            && self.sealed.iter().all(Sealed::is_at_its_name);
        if there { Ok(()) } else { Err(Trouble::Gone) }
    }

    /// Returns the log as it is now, for readers.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            medium: self.medium.clone(),
            author: Some(self.author),
            known: self.known.clone(),
            position: self.position,
            files: self.sealed.each_ref().map(|sealed| sealed.files.clone()),
            recent: self.recent.clone(),
            losses: self.losses.clone().into(),
            retired: self.retired,
        }
    }

    /// Which log this is, and which opening of it.
    pub(crate) fn author(&self) -> Author {
        self.author
    }

    pub(crate) fn marks(&self) -> &Arc<Mutex<Marks>> {
        &self.marks
    }

    /// Whether a stream has more records than it may.
    pub(crate) fn is_over_count(&self) -> bool {
        Stream::ALL.iter().any(|stream| {
            let lane = self.position.lane(*stream);
            lane.next - lane.kept_from > self.limits[*stream as usize].max_records
        })
    }

    /// Whether a stream has so much that what is sealed of it is not all that has to go.
    pub(crate) fn is_far_over(&self) -> bool {
        Stream::ALL.iter().any(|stream| {
            let lane = self.position.lane(*stream);
            let limits = &self.limits[*stream as usize];
            let far = |most: u64| most.saturating_add(most / FAR_SHARE);
            let recent = self.recent.iter().map(|item| match &**item {
                Item::Records(piece) if piece.stream == *stream => piece.chunk.len() as u64,
                _ => 0,
            });
            let bytes = self.sealed[*stream as usize].bytes() + recent.sum::<u64>();
            lane.next - lane.kept_from > far(limits.max_records) || bytes > far(limits.max_bytes)
        })
    }

    /// Whether nothing was committed since the last checkpoint.
    pub(crate) fn is_sealed(&self) -> bool {
        self.journal.is_empty()
    }

    /// Returns what the records of the log come to.
    #[cfg(test)]
    pub(crate) fn tally(&self) -> crate::tally::Tally {
        let stats = self.known.stats();
        let (records, defects) = (stats.total, stats.defects);
        crate::tally::Tally { records, defects, inference_us: stats.inference_us }
    }
}
