//! Repairing a log that is open: its holes, the files that hold them, and what is counted anew.

use std::sync::Arc;

use super::counting::count;
use super::healing::{Hole, fill, rewrite};
use super::item::Piece;
use super::lookup::Lookup;
use super::position::Stream;
use super::segment::{self, Segment};
use super::store::Log;
use super::survey::Loss;
use super::trouble::Trouble;
use crate::error::StoreError;

/// What a repair has come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Records that were written anew.
    pub(crate) records: u64,
    /// What the view does not have either.
    pub(crate) left: Vec<(Stream, Hole)>,
}

/// Why a log could not be repaired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRepaired {
    #[error(transparent)]
    Files(#[from] Trouble),
    /// The view is to be thrown away.
    #[error(transparent)]
    View(#[from] StoreError),
}

impl Log {
    /// Reads all sealed records, and writes anew what the view has of those that can't be read.
    ///
    /// # Errors
    /// As `mend`.
    #[cfg(test)]
    pub(crate) fn repair(&mut self, view: &Lookup) -> Result<Repaired, NotRepaired> {
        self.checkpoint()?;
        let holes = super::healing::scrub(&self.snapshot(), || true).map_err(Trouble::Io)?;
        self.mend(holes, view)
    }

    /// Writes anew what the view has of what a scrub of this log could not read.
    ///
    /// # Errors
    /// When the disk or the view fails; the log is to be dropped where it was the disk.
    pub(crate) fn mend(
        &mut self,
        holes: Vec<(Stream, Hole)>,
        view: &Lookup,
    ) -> Result<Repaired, NotRepaired> {
        let mut repaired = Repaired::default();
        for (stream, hole) in holes {
            // Retention may have taken it meanwhile.
            if hole.to <= self.position.lane(stream).kept_from {
                continue;
            }
            let Some(pieces) = fill(&hole, stream, view, &self.known)? else {
                let (records, after, before) = (hole.to - hole.from, hole.after, hole.before);
                let loss = Loss { stream, records, after, before };
                if !self.losses.contains(&loss) {
                    self.losses.push(loss);
                }
                repaired.left.push((stream, hole));
                continue;
            };
            repaired.records += hole.to - hole.from;
            self.put_in(stream, &hole, pieces)?;
            self.losses.retain(|loss| (loss.stream, loss.after) != (stream, hole.after));
        }
        if repaired.records > 0 {
            let files = self.sealed.each_ref().map(|sealed| &sealed.files[..]);
            count(&*self.medium, files, &self.recent, &self.position, &mut self.known)
                .map_err(Trouble::Io)?;
        }
        Ok(repaired)
    }

    /// Puts the records of a hole into the file that it is in, or makes one where that is missing.
    fn put_in(&mut self, stream: Stream, hole: &Hole, pieces: Vec<Piece>) -> Result<(), Trouble> {
        let sealed = &mut self.sealed[stream as usize];
        sealed.close(&self.known, self.author)?;
        let holds = |file: &&Arc<Segment>| {
            file.summary.ordinal < hole.to.max(1) && file.summary.end > hole.from
        };
        // Of a file that has lost its first frames nobody knows by itself where it begins, but its name does.
        let first = pieces.first().map_or(0, |piece| piece.first);
        let name = segment::name(stream, first);
        let named = sealed.files.iter().find(|file| file.name == name);
        let old = named.or_else(|| sealed.files.iter().find(holds)).cloned();
        let old = (stream, old.as_deref());
        let new = rewrite(&*self.medium, old, pieces, &self.known, self.author)?;
        sealed.replace(new);
        Ok(())
    }
}
