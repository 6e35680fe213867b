//! A log at some moment, for whoever reads it beside its owner or while it is stopped. It changes nothing.

use std::sync::Arc;

use super::frame::Author;
use super::item::{Item, Retired};
use super::known::Known;
use super::lookup::Lookup;
use super::medium::Medium;
use super::position::{Position, Stream};
use super::segment::Segment;
use super::survey::{Loss, Survey};

/// A log at some moment. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) medium: Arc<dyn Medium>,
    /// Which log, and the last opening of it; none where there is no log.
    pub(crate) author: Option<Author>,
    pub(crate) known: Known,
    pub(crate) position: Position,
    pub(crate) files: [Vec<Arc<Segment>>; 2],
    /// What is in no sealed file.
    pub(crate) recent: Vec<Arc<Item>>,
    pub(crate) losses: Arc<[Loss]>,
    /// What retention has removed of each stream.
    pub(crate) retired: [Retired; 2],
}

/// What a reader may find beside a snapshot, as it is now.
pub(crate) trait Beside {
    /// Whether a file of the snapshot still belongs to the log.
    fn is_kept(&self, name: &str) -> bool;

    /// The view, for what the files lack.
    fn view(&self) -> Option<Lookup>;
}

/// Nothing but the files.
pub(crate) struct Alone;

impl Beside for Alone {
    fn is_kept(&self, _name: &str) -> bool {
        true
    }

    fn view(&self) -> Option<Lookup> {
        None
    }
}

impl Snapshot {
    /// Returns a stopped log as it was found.
    pub(crate) fn of(survey: &Survey, medium: Arc<dyn Medium>) -> Snapshot {
        Snapshot {
            medium,
            author: survey.author,
            known: survey.known.clone(),
            position: survey.position,
            files: survey.files.clone(),
            recent: survey.recent.clone(),
            losses: survey.losses.clone().into(),
            retired: survey.retired,
        }
    }

    /// Returns the numbers that will never be records.
    pub(crate) fn voids(&self) -> Vec<std::ops::Range<u64>> {
        let files = self.files.iter().flatten().flat_map(|file| &file.summary.voids);
        let recent = self.recent.iter().filter_map(|item| match &**item {
            Item::Void { first, count, .. } => Some((*first, *count)),
            _ => None,
        });
        let sealed = files.map(|(first, count, _)| (*first, *count));
        sealed.chain(recent).map(|(first, count)| first..first + u64::from(count)).collect()
    }

    /// The number of the oldest record that is kept, or the next one where there is none.
    pub(crate) fn first(&self) -> u64 {
        let lanes = Stream::ALL.map(|stream| *self.position.lane(stream));
        let kept = lanes.into_iter().filter(|lane| lane.next > lane.kept_from);
        kept.map(|lane| lane.first).min().unwrap_or(self.position.next)
    }

    /// How many records retention has removed.
    pub(crate) fn gone(&self) -> u64 {
        Stream::ALL.iter().map(|stream| self.position.lane(*stream).kept_from).sum()
    }
}
