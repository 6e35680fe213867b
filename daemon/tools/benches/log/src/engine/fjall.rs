//! fjall with its journal synced at every commit.

use std::ops::Range;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{CACHE_BYTES, Engine};
use crate::records::Records;

/// As much memory as its cache: on a small box nobody gives it the default's 64 MiB, and with
/// less than that its tables are written within a measurement, not after it.
const MEMTABLE_BYTES: u64 = CACHE_BYTES;

pub struct Fjall {
    database: Database,
    records: Keyspace,
}

impl Fjall {
    pub fn open(dir: &Path) -> anyhow::Result<Fjall> {
        let database = Database::builder(dir.join("records")).cache_size(CACHE_BYTES).open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        Ok(Fjall { records: database.keyspace("records", options)?, database })
    }
}

impl Engine for Fjall {
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()> {
        let mut batch = self.database.batch();
        for id in ids {
            batch.insert(&self.records, id.to_be_bytes(), records.value(id));
        }
        batch.commit()?;
        // As Picket's own sync: content and size, no timestamps.
        Ok(self.database.persist(PersistMode::SyncData)?)
    }
}
