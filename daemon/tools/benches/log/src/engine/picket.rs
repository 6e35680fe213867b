//! Picket's own log, as its writer's thread uses it.

use std::ops::Range;
use std::path::Path;

use picket_records::{Group, LogReader, PredictionLog, Retention, Stream};

use super::Engine;
use crate::records::Records;

pub struct Picket {
    log: PredictionLog,
}

impl Picket {
    pub fn open(dir: &Path) -> anyhow::Result<Picket> {
        let reader = LogReader::default();
        // Nothing is removed during a measurement, as by the others.
        let log = PredictionLog::open(&dir.join("log"), Retention::NONE, &reader, None)?;
        Ok(Picket { log })
    }
}

impl Engine for Picket {
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()> {
        self.log.check()?;
        // Predictions come one by one: each is a group of its own, and the commit covers them all.
        let groups = ids.map(|id| Group {
            stream: Stream::Own,
            entries: std::slice::from_ref(records.entry(id)),
            name: None,
        });
        self.log.commit(&groups.collect::<Vec<Group>>())?;
        Ok(())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.log.checkpoint()?)
    }
}
