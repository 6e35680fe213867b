//! Pages of records, newest first, of both streams together: what is not in the view yet comes from memory
//! and sealed files, and all of it while there is no view. It takes no lock and writes nothing.

use super::item::Item;
use super::known::Known;
use super::lookup::{Lookup, Wanted};
use super::medium::{Access, Medium};
use super::pieces::{Step, read_at};
use super::position::{Position, Stream};
use super::segment::Segment;
use super::survey::{Survey, Trouble};
use super::terms::Term;
use crate::error::StoreError;
use crate::query::{Page, Query};

/// Chunks looked at for one page at most: a filter that matches nothing must not read a whole log in one go.
const CHUNKS_MAX: usize = 400;

/// A log at some moment.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot<'a> {
    pub(crate) medium: &'a dyn Medium,
    pub(crate) known: &'a Known,
    pub(crate) position: &'a Position,
    pub(crate) files: [&'a [Segment]; 2],
    /// What is in no sealed file.
    pub(crate) recent: &'a [Item],
    pub(crate) view: Option<&'a Lookup>,
}

/// Why a page can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPage {
    #[error(transparent)]
    Files(#[from] Trouble),
    /// Without the view it can be had still.
    #[error(transparent)]
    View(StoreError),
}

impl<'a> Snapshot<'a> {
    /// Returns a stopped log as it was found.
    pub(crate) fn of(survey: &'a Survey, medium: &'a dyn Medium) -> Snapshot<'a> {
        let [own, reported] = &survey.files;
        Snapshot {
            medium,
            known: &survey.known,
            position: &survey.position,
            files: [own, reported],
            recent: &survey.recent,
            view: None,
        }
    }

    /// Returns a page of the records that `query` asks for.
    ///
    /// # Errors
    /// When the disk or the view fails.
    pub(crate) fn page(&self, query: &Query) -> Result<Page, NoPage> {
        let wanted = Wanted { terms: wanted_terms(query), since: query.since, until: query.until };
        let before = query.after.unwrap_or(u64::MAX).min(self.position.next);
        let mut lanes = Stream::ALL.map(|stream| Lane::new(*self, stream, before));
        let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
        let mut chunks = 0;
        while page.records.len() < query.limit {
            for lane in &mut lanes {
                while lane.found.is_empty() && !lane.ended && chunks < CHUNKS_MAX {
                    chunks += 1;
                    lane.look(&wanted, query, &mut page.damaged)?;
                }
            }
            // Above this all that matches is in hand.
            let looked = lanes.iter().filter(|lane| !lane.ended && lane.found.is_empty());
            let sure = looked.map(|lane| lane.before).max().unwrap_or(0);
            let newest = lanes.iter_mut().max_by_key(|lane| lane.newest()).expect("there are two");
            match newest.newest() {
                Some(id) if id >= sure => page.records.extend(newest.found.pop()),
                None if sure == 0 => return Ok(page),
                _ => {
                    page.next = Some(sure);
                    return Ok(page);
                }
            }
        }
        let more = lanes.iter().any(|lane| !lane.ended || !lane.found.is_empty());
        let last = page.records.last().map(|record| record.id);
        page.next = last.filter(|_| more);
        Ok(page)
    }
}

fn wanted_terms(query: &Query) -> Vec<Term> {
    let device = query.edge_device_id.clone().map(Term::Device);
    let label = query.label.clone().map(Term::Label);
    let defect = query.defect_only.then_some(Term::Defect);
    device.into_iter().chain(label).chain(defect).collect()
}

/// One stream, from the newest record to the oldest.
struct Lane<'a> {
    log: Snapshot<'a>,
    stream: Stream,
    /// What matches and is not in the page yet, the newest last.
    found: Vec<crate::record::LogRecord>,
    /// All records from here on were looked at.
    before: u64,
    ended: bool,
    /// How much of what is recent, of the files and of the last of these is still to be looked at.
    recent: usize,
    files: usize,
    spots: Option<usize>,
    /// The same of the view's chunks.
    chunks: Option<u64>,
}

impl<'a> Lane<'a> {
    fn new(log: Snapshot<'a>, stream: Stream, before: u64) -> Lane<'a> {
        let (recent, files) = (log.recent.len(), log.files[stream as usize].len());
        let (found, ended) = (Vec::new(), false);
        Lane { log, stream, found, before, ended, recent, files, spots: None, chunks: None }
    }

    fn newest(&self) -> Option<u64> {
        self.found.last().map(|record| record.id)
    }

    /// Looks at the next older chunk.
    fn look(
        &mut self,
        wanted: &Wanted,
        query: &Query,
        damaged: &mut Vec<u64>,
    ) -> Result<(), NoPage> {
        while self.recent > 0 {
            self.recent -= 1;
            if let Item::Records(piece) = &self.log.recent[self.recent]
                && piece.stream == self.stream
                && piece.first < self.before
            {
                self.take(piece.records(), query);
                return Ok(());
            }
        }
        let viewed = self.log.view.map_or(0, |view| view.fed(self.stream).ordinal);
        if let Some(step) = self.next_spot(viewed, wanted).map_err(Trouble::Io)? {
            match step {
                Step::Piece(piece) => self.take(piece.records(), query),
                Step::Damaged(spot) => {
                    damaged.extend((spot.first..=spot.last).rev());
                    self.before = self.before.min(spot.first);
                }
            }
            return Ok(());
        }
        let Some(view) = self.log.view else {
            self.ended = true;
            return Ok(());
        };
        let end = match self.chunks {
            Some(end) => end,
            None => view.end_before(self.stream, self.before).map_err(NoPage::View)?,
        };
        let found = view.candidate(self.stream, wanted, end).map_err(NoPage::View)?;
        let Some(chunk) = found else {
            self.ended = true;
            return Ok(());
        };
        self.chunks = Some(chunk);
        let records = view.records(self.stream, chunk).map_err(NoPage::View)?;
        self.take(records.unwrap_or_default(), query);
        Ok(())
    }

    /// Keeps those of a chunk's records that match.
    fn take(&mut self, records: Vec<(u64, Vec<u8>)>, query: &Query) {
        let first = self.log.position.lane(self.stream).first;
        let Some(oldest) = records.first().map(|(id, _)| *id) else { return };
        let ids = first..self.before;
        let kept = records.into_iter().filter(|(id, _)| ids.contains(id));
        let read = kept.filter_map(|(id, value)| self.log.known.to_record(id, &value));
        self.found.extend(read.filter(|record| query.matches(record)));
        self.before = self.before.min(oldest);
        self.ended |= oldest <= first;
    }

    /// Reads the next older piece of the sealed files that the view does not hold; none when it holds the
    /// rest. Files without the device are passed over.
    fn next_spot(&mut self, viewed: u64, wanted: &Wanted) -> std::io::Result<Option<Step>> {
        let files = self.log.files[self.stream as usize];
        while let Some(segment) = self.files.checked_sub(1).map(|last| &files[last]) {
            let spots = &segment.summary.spots;
            let has = self.spots.unwrap_or_else(|| {
                let may = self.may_hold(segment, wanted);
                if may { spots.partition_point(|spot| spot.first < self.before) } else { 0 }
            });
            let next = has.checked_sub(1).map(|last| spots[last]);
            let next = next.filter(|spot| spot.ordinal + u64::from(spot.count) > viewed);
            let Some(spot) = next else {
                if segment.summary.ordinal <= viewed && viewed > 0 {
                    (self.files, self.spots) = (0, None);
                    return Ok(None);
                }
                (self.files, self.spots) = (self.files - 1, None);
                continue;
            };
            self.spots = Some(has - 1);
            let file = self.log.medium.open(&segment.name, Access::Read)?;
            return read_at(&*file, &spot).map(Some);
        }
        Ok(None)
    }

    fn may_hold(&self, segment: &Segment, wanted: &Wanted) -> bool {
        let Some(Term::Device(device)) = wanted.terms.first() else { return true };
        let mut makers = segment.summary.tallies.keys().filter_map(|n| self.log.known.maker(*n));
        makers.any(|maker| maker.origin.device_id.as_ref() == Some(device))
    }
}
