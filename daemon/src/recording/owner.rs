//! The owner of the prediction log: what the one thread that has it knows. What it does, `turns` says, and how it
//! changes with the log's condition, `condition`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_base::budget::Budget;

use super::handle::{Bundle, Shared};
use crate::health::Health;
use crate::os::SmallPieces;
use picket_records::{LogReader, PredictionLog, Retention, Suspicion};

#[derive(Clone, Debug)]
pub struct WriterConfig {
    pub dir: PathBuf,
    pub commit_interval: Duration,
    pub retention: Retention,
    /// Whether a log that is gone while the daemon runs is made anew.
    pub recreate: bool,
    /// How long the daemon may take to end.
    pub drain_timeout: Duration,
    /// What the records that wait are taken from.
    pub budget: Budget,
}

/// The log and all that its thread knows of it.
pub struct Owner {
    pub(super) shared: Arc<Shared>,
    pub(super) config: WriterConfig,
    pub(super) health: Arc<Health>,
    pub(super) reader: LogReader,
    pub(super) log: Option<PredictionLog>,
    /// Bundles that were taken from the queue and are not known to be on the medium yet.
    pub(super) unacknowledged: VecDeque<Bundle>,
    pub(super) suspicion: Suspicion,
    /// Whether the disk was read-only when the log was last tried.
    pub(super) was_read_only: bool,
    /// The log that was open: no other takes its place unless that was asked for.
    pub(super) store: Option<u64>,
    /// How long the last commit took: a relaxed one starts that much before it is due.
    pub(super) commit_took: Duration,
    /// What the heap holds of records that are committed.
    pub(super) pieces: SmallPieces,
}
