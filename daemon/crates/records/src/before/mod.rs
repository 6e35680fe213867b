//! The log of 0.1, on sled and a journal: what `open` leads to is read once more and taken over. It knows
//! nothing of the log that came behind it.
//!
//! - `position` is where the log stands; `journal` and `high_water` keep it through a power cut.
//! - `store` is the open log, which `append` and `retire` change within the limits of `retention`;
//!   `removal` is what limits would take, `scan` what it knows of its store.
//! - `open` leads from a directory to an open log, by `recovery`, the ladder that `climb` limits:
//!   `quarantine` sets a store aside, `salvage` reads raw bytes, `restore` puts them back.
//! - `heritage` is what it leaves to the log of today.
//! - `chunk` are records in the store, `keys` their names; `reader` gives pages, `verify` the proof.

mod append;
mod chunk;
mod climb;
mod heritage;
mod high_water;
mod journal;
mod keys;
mod open;
mod position;
mod quarantine;
mod reader;
mod recovery;
mod removal;
mod restore;
mod retention;
mod retire;
mod salvage;
mod scan;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod verify;
#[cfg(test)]
mod versions;

pub use append::Group;
pub use climb::{Climb, RecoveryStep};
pub(crate) use heritage::Heritage;
pub(crate) use quarantine::names as quarantined;
pub use reader::LogReader;
pub use retention::Retention;
pub use store::PredictionLog;
pub(crate) use verify::AnchorReport;
pub use verify::{Store, VerifyReport, verify};

#[cfg(test)]
use crate::top;
use crate::{error, format, handle, headroom, marks, origin, packed, paths, query, record, stats};
