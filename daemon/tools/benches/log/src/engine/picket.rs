//! Picket's own log, as its writer's thread uses it.

use std::ops::Range;
use std::path::Path;

use picket_records::{Climb, Entry, LogReader, PredictionLog, Retention};

use super::Engine;
use crate::records::Records;

/// Nothing is removed during a measurement, as by the others.
pub const RETENTION: Retention =
    Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };

pub struct Picket {
    log: PredictionLog,
}

impl Picket {
    pub fn open(dir: &Path) -> anyhow::Result<Picket> {
        let reader = LogReader::default();
        let log = PredictionLog::open(&dir.join("log"), RETENTION, &reader, Climb::Quarantine)?;
        Ok(Picket { log })
    }
}

impl Engine for Picket {
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()> {
        self.log.check_room()?;
        // Predictions come one by one: each is a group of its own, and the commit covers them all.
        let groups: Vec<&[Entry]> = ids.map(|id| std::slice::from_ref(records.entry(id))).collect();
        self.log.append(&groups)?;
        Ok(self.log.commit()?)
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.log.checkpoint()?)
    }
}
