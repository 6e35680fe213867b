//! The engines that are compared, each as a log of records that are durable when a commit returns.

mod fjall;
mod picket;
mod redb;
pub mod sqlite;

use std::ops::Range;
use std::path::Path;

use picket::{Picket, View};

use crate::records::Records;

/// Page cache of each engine, bytes: what the daemon gives sled.
const CACHE_BYTES: u64 = 8 << 20;

/// An open store.
pub trait Engine {
    /// Adds the records of these numbers and returns when they are on the medium.
    fn commit(&mut self, ids: Range<u64>, records: &Records) -> anyhow::Result<()>;

    /// Writes what was put off, where that is much: a short measurement must neither pay for what
    /// was before it nor leave its own to what comes after.
    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Picket,
    /// Journal and sealed files alone.
    PicketFiles,
    #[value(name = "sqlite")]
    Sqlite,
    Redb,
    Fjall,
}

impl Kind {
    pub const ALL: [Kind; 5] =
        [Kind::Picket, Kind::PicketFiles, Kind::Sqlite, Kind::Redb, Kind::Fjall];

    pub fn is_picket(self) -> bool {
        matches!(self, Kind::Picket | Kind::PicketFiles)
    }

    /// A fresh store in `dir`, which is not there yet.
    pub fn open(self, dir: &Path) -> anyhow::Result<Box<dyn Engine>> {
        std::fs::create_dir(dir)?;
        Ok(match self {
            Kind::Picket => Box::new(Picket::open(dir, View::With)?),
            Kind::PicketFiles => Box::new(Picket::open(dir, View::Without)?),
            Kind::Sqlite => Box::new(sqlite::Sqlite::open(dir)?),
            Kind::Redb => Box::new(redb::Redb::open(dir)?),
            Kind::Fjall => Box::new(fjall::Fjall::open(dir)?),
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Picket => "picket",
            Kind::PicketFiles => "without view",
            Kind::Sqlite => "SQLite",
            Kind::Redb => "redb",
            Kind::Fjall => "fjall",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
