//! SQLite with a write-ahead log that is synced at every commit.

use std::ops::Range;
use std::path::Path;

use rusqlite::{Connection, params};

use super::{CACHE_BYTES, Engine};
use crate::records::Records;

/// The bundled SQLite syncs by fsync unless it is told at build time that there is fdatasync, which
/// distributions' builds find out by themselves; fsync costs it a journal commit each time.
pub fn sync_call() -> &'static str {
    match option_env!("LIBSQLITE3_FLAGS") {
        Some(flags) if flags.contains("HAVE_FDATASYNC") => "fdatasync",
        _ => "fsync (LIBSQLITE3_FLAGS=-DHAVE_FDATASYNC=1 at build makes it fdatasync)",
    }
}

pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    pub fn open(dir: &Path) -> anyhow::Result<Sqlite> {
        let connection = Connection::open(dir.join("records.db"))?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA cache_size = -{};
             CREATE TABLE records (id INTEGER PRIMARY KEY, value BLOB NOT NULL);",
            CACHE_BYTES >> 10
        ))?;
        Ok(Sqlite { connection })
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO records VALUES (?1, ?2)")?;
            for id in ids {
                insert.execute(params![id.cast_signed(), records.value(id)])?;
            }
        }
        Ok(transaction.commit()?)
    }
}
