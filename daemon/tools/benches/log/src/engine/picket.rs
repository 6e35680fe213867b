//! Picket's own log, as its writer's thread uses it, with its view or with journal and sealed files alone.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use picket_records::{Group, LogReader, PredictionLog, Retention, Stream};

use super::Engine;
use crate::records::Records;

/// The view has this long to take in a whole measurement.
const VIEW_TIME: Duration = Duration::from_secs(600);

pub struct Picket {
    dir: PathBuf,
    view: View,
    /// None while it is closed.
    log: Option<PredictionLog>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum View {
    With,
    Without,
}

impl Picket {
    pub fn open(dir: &Path, view: View) -> anyhow::Result<Picket> {
        let dir = dir.join("log");
        Ok(Picket { log: Some(open(&dir, view)?), dir, view })
    }
}

/// Nothing is removed during a measurement, as by the others.
fn open(dir: &Path, view: View) -> anyhow::Result<PredictionLog> {
    let mut log = PredictionLog::open(dir, Retention::NONE, &LogReader::new(), None)?;
    if view == View::Without {
        log.end_view();
    }
    Ok(log)
}

impl Engine for Picket {
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()> {
        let log = self.log.as_mut().context("the log is closed")?;
        log.check()?;
        // Predictions come one by one: each is a group of its own, and the commit covers them all.
        let entries = ids.map(|id| std::slice::from_ref(records.entry(id)));
        let groups = entries.map(|entries| Group { stream: Stream::Own, entries, name: None });
        log.commit(&groups.collect::<Vec<_>>())?;
        Ok(())
    }

    /// Closing it waits for the checkpoint and for the view.
    fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(log) = self.log.take() {
            log.close(VIEW_TIME)?;
        }
        self.log = Some(open(&self.dir, self.view)?);
        Ok(())
    }
}
