//! redb with its default, immediate durability.

use std::ops::Range;
use std::path::Path;

use redb::{Database, Durability, TableDefinition};

use super::{CACHE_BYTES, Engine};
use crate::records::Records;

const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");

pub struct Redb {
    database: Database,
}

impl Redb {
    pub fn open(dir: &Path) -> anyhow::Result<Redb> {
        let cache_bytes = usize::try_from(CACHE_BYTES)?;
        let mut builder = Database::builder();
        Ok(Redb { database: builder.set_cache_size(cache_bytes).create(dir.join("records.redb"))? })
    }
}

impl Engine for Redb {
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for id in ids {
                table.insert(id, records.value(id))?;
            }
        }
        Ok(transaction.commit()?)
    }
}
