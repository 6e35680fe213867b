//! Numbered, chained records on disk. It knows no model and no HTTP: a record is what a box saw, or what
//! another device reported to it, and the log keeps it through power cuts. The only crate that names
//! sled.
//!
//! - `record` is what is kept of a prediction, `format` its bytes and its link in the chain, `packed`
//!   those of a commit in one value, `chunk` such values in the store, `keys` their names.
//! - `open` leads from a directory to an open log; `retention` decides what goes when.
//! - `recovery` is the ladder from a damaged directory to an open store, `salvage` reads raw bytes.
//! - `scan` is what an open log knows of its store, `high_water` what it should hold.
//! - `headroom` is the room on the disk, `suspicion` whether the disk is believed.
//! - `reader` gives pages beside the owner, `verify` the proof, `stats` the counters.

#![deny(unsafe_code)]

mod chunk;
mod error;
mod format;
mod headroom;
mod high_water;
mod journal;
mod keys;
mod open;
mod packed;
mod reader;
mod record;
mod recovery;
mod retention;
mod salvage;
mod scan;
mod segment;
mod stats;
mod store;
mod suspicion;
#[cfg(test)]
mod tests;
mod verify;

pub use error::{Fault, LogError, StoreError};
pub use format::{Damage, Stored, decode as decode_record};
pub use headroom::NoRoom;
pub use packed::read_chunk;
pub use reader::{LogReader, PAGE_RECORDS_MAX, Page, Query};
pub use record::{
    Body, CLASSES, Detection, Entry, LogRecord, NAME_BYTES_MAX, Origin, Predicted, Reported,
};
pub use recovery::{Climb, Step};
pub use retention::Retention;
pub use stats::Stats;
pub use store::{PredictionLog, socket_name};
pub use suspicion::Suspicion;
pub use verify::{Store, VerifyReport, verify};
