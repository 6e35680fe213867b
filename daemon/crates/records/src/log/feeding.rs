//! Feeding the view with what is sealed, and telling whether it is a view of this log. It changes no sealed
//! file.

use std::io;
use std::sync::Arc;

use super::known::Known;
use super::medium::Medium;
use super::pieces::each_piece;
use super::position::{Lane, Stream};
use super::segment::Segment;
use super::view::View;
use crate::error::StoreError;
use crate::format::{self, Link};

/// Why the view could not be fed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFed {
    #[error(transparent)]
    Files(#[from] io::Error),
    /// The view is to be thrown away.
    #[error(transparent)]
    View(StoreError),
}

/// One stream's sealed files.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) medium: &'a dyn Medium,
    pub(crate) known: &'a Known,
    pub(crate) stream: Stream,
    pub(crate) lane: &'a Lane,
    pub(crate) files: &'a [Arc<Segment>],
}

impl Source<'_> {
    /// Gives the view the next records of the stream, so many at most. Returns whether it has all of them.
    ///
    /// # Errors
    /// When the disk can't open a file, or the view fails.
    pub(crate) fn feed(&self, view: &mut View, records: u64) -> Result<bool, NotFed> {
        let from = view.fed(self.stream).ordinal.max(self.lane.kept_from);
        let mut left = records;
        let mut failed = None;
        each_piece(self.medium, self.files, (from, u64::MAX), |piece| {
            for (ordinal, (id, value)) in (piece.ordinal..).zip(piece.records()) {
                if ordinal < from || failed.is_some() {
                    continue;
                }
                failed = view.feed((self.stream, ordinal), (id, &value), self.known).err();
                left = left.saturating_sub(1);
            }
            left > 0 && failed.is_none()
        })?;
        failed.map_or(Ok(left > 0), |error| Err(NotFed::View(error)))
    }

    /// Whether what the view has of the stream is a part of it: its newest record has the same link here.
    ///
    /// # Errors
    /// When the disk can't open a file.
    pub(crate) fn is_seen_by(&self, view: &View) -> io::Result<bool> {
        let fed = view.fed(self.stream);
        if fed.ordinal <= self.lane.kept_from {
            return Ok(true);
        }
        let link = self.link_at(fed.ordinal - 1)?;
        // One that can't be read here says nothing.
        Ok(fed.ordinal <= self.lane.next && link.is_none_or(|link| link == fed.link))
    }

    fn link_at(&self, ordinal: u64) -> io::Result<Option<Link>> {
        let mut link = None;
        each_piece(self.medium, self.files, (ordinal, ordinal + 1), |piece| {
            let at = ordinal.checked_sub(piece.ordinal).and_then(|at| usize::try_from(at).ok());
            let records = piece.records();
            let record = at.and_then(|at| records.get(at));
            link = record.and_then(|(_, value)| format::identify(value).ok().map(|r| r.1));
            false
        })?;
        Ok(link)
    }
}
