//! Numbered, chained records on disk. It knows no model and no HTTP: a record is what a box saw, or what
//! another device reported to it, and the log keeps it through power cuts. The only crate that names
//! sled.
//!
//! - `record` is what is kept of a prediction, `top` its most probable classes, `detections` what another
//!   device saw, `origin` who made it.
//!   `format` is a record's bytes and its link in the chain, `body` what of them the model decides, `packed`
//!   those of a commit in one value, `chunk` such values in the store, `keys` their names.
//! - `marks` are the batches that were stored under a name of their sender's.
//! - `position` is where the log stands; `journal` and `high_water` keep it through a power cut.
//! - `store` is the open log, which `append` and `retire` change within the limits of `retention`;
//!   `removal` is what limits would take, `scan` what it knows of its store, `stats` the counters, some of
//!   them by `names`.
//! - `open` leads from a directory to an open log, by `recovery`, the ladder that `climb` limits:
//!   `handle` opens sled, `quarantine` sets a store aside, `salvage` reads raw bytes, `restore` puts them back.
//! - `headroom` is the room on the disk, `suspicion` whether the disk is believed, `paths` the names
//!   beside the directory.
//! - `reader` gives pages beside the owner, `verify` the proof.

#![deny(unsafe_code)]

mod append;
mod body;
mod chunk;
mod climb;
mod detections;
mod error;
mod format;
mod handle;
mod headroom;
mod high_water;
mod journal;
mod keys;
mod marks;
mod names;
mod open;
mod origin;
mod packed;
mod paths;
mod position;
mod quarantine;
mod reader;
mod record;
mod recovery;
mod removal;
mod restore;
mod retention;
mod retire;
mod salvage;
mod scan;
mod segment;
mod stats;
mod store;
mod suspicion;
#[cfg(test)]
mod tests;
mod top;
mod verify;
#[cfg(test)]
mod versions;

pub use append::Group;
pub use climb::{Climb, RecoveryStep};
pub use detections::{Detection, Detections};
pub use error::{LogError, StoreError, StoreFault};
pub use format::{Damage, Stored, decode as decode_record, is_storable};
pub use headroom::NoRoom;
pub use marks::{BatchName, SENDER_BATCHES_MAX, StoredBatch};
pub use names::Names;
pub use origin::{Labels, Origin};
pub use packed::read_chunk;
pub use paths::socket_path;
pub use reader::{Item, LogReader, PAGE_RECORDS_MAX, Page, Query, Sink};
pub use record::{Body, Entry, LogRecord, NAME_BYTES_MAX, Predicted, Reported};
pub use removal::Removal;
pub use retention::Retention;
pub use stats::Stats;
pub use store::PredictionLog;
pub use suspicion::Suspicion;
pub use top::{TOP_MAX, Top, ranked, top};
pub use verify::{Store, VerifyReport, verify};
