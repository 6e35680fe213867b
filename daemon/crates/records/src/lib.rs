//! Numbered, chained records on disk. It knows no model and no HTTP: a record is what a box saw, or what
//! another device reported to it, and the log keeps it through power cuts. The only crate that names
//! sled.
//!
//! - `record` is what is kept of a prediction, `top` its most probable classes, `detections` what another
//!   device saw, `origin` who made it.
//!   `format` is a record's bytes and its link in the chain, `body` what of them the model decides, `packed`
//!   those of a commit in one value.
//! - `marks` are the batches that were stored under a name of their sender's, `stats` the counters, some of
//!   them by `names`, `query` what is asked of a log, `removal` what limits would take.
//! - `log` is the log itself, with or without an owner, `before` the store of 0.1, `handle` opens sled,
//!   `report` is what a check of the whole log found.
//! - `headroom` is the room on the disk, `suspicion` whether the disk is believed, `paths` the names
//!   beside the directory.

#![deny(unsafe_code)]

mod before;
mod body;
mod detections;
mod error;
mod format;
mod handle;
mod headroom;
mod log;
mod marks;
mod names;
mod origin;
mod packed;
mod paths;
mod query;
mod record;
mod removal;
mod report;
mod stats;
mod suspicion;
mod tally;
mod top;

pub use detections::{Detection, Detections};
pub use error::{LogError, StoreError, StoreFault};
pub use format::{Damage, Stored, decode as decode_record, encode_alone, is_storable};
pub use headroom::NoRoom;
pub use log::{
    Backup, Found, Group, Inheritance, Limits, LogReader, PredictionLog, Retention, Standing,
    StoppedLog, Stream, Testimony, Witness, back_up,
};
pub use marks::{BatchName, SENDER_BATCHES_MAX, StoredBatch};
pub use names::Names;
pub use origin::{Labels, Origin};
pub use packed::read_chunk;
pub use paths::socket_path;
pub use query::{Item, PAGE_RECORDS_MAX, Page, Query, Sink};
pub use record::{Body, Entry, LogRecord, NAME_BYTES_MAX, Predicted, Reported};
pub use removal::Removal;
pub use report::{VerifyReport, verify_stopped};
pub use stats::Stats;
pub use suspicion::Suspicion;
pub use top::{TOP_MAX, Top, ranked, top};
