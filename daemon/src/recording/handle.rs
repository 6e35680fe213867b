//! The side of the log that everybody holds: a bounded queue that numbers each record at once, under
//! a lock. It knows nothing of the disk; the thread that does takes the records from here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use picket_base::budget::{Budget, Class, Exhausted, Taken};
use tokio::sync::oneshot;

use super::batch_shares::{self, BatchShare, BatchShares, NoRoom};
use super::durability::Promise;
use super::metrics::LogMetrics;
use super::resent::{BatchKey, Unanswered};
use crate::health::LogState;
use crate::peer::Peer;
use picket_base::clock::Stamp;
use picket_records::{BatchName, Entry, LogReader, Retention, StoredBatch, is_storable};

/// The queue's share of memory is no more than this however large the machine is, bytes: what waits for
/// a stalled disk goes out of memory only when the disk comes back, and a power cut takes all of it.
const QUEUE_BYTES_MAX: usize = 24 << 20;

/// A record is written twice, to the journal and to the store, and is no larger there than in the queue.
const WRITTEN_COPIES: u64 = 2;

/// The most records in one commit, so that no commit takes long.
pub(super) const GROUP_RECORDS_MAX: usize = 2_048;

/// A sender may have given up on a batch that took longer than this, and send it again.
const SENDER_PATIENCE: Duration = Duration::from_secs(2);

/// Why records were not taken; each of them has been counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlogged {
    /// The queue's share of memory is used up.
    #[error("the log's queue is full: {0}")]
    Full(Exhausted),
    /// What batches may hold of it is used up.
    #[error("the log's queue is full: {0}")]
    NoShare(#[from] NoRoom),
    /// No queue of this size takes them, however empty it is.
    #[error("the records take {bytes} bytes of memory, the log's queue has {most} for them in all")]
    TooLarge { bytes: usize, most: usize },
    #[error("the log takes no records: {0}")]
    Unavailable(String),
    #[error("the log can promise no durability: {0}")]
    Suspect(String),
    #[error("a record is larger than the log's values may be")]
    Unstorable,
    /// The disk would be full before they are on it.
    #[error(
        "the disk has {free} bytes free, {needed} are needed to log these records and those that wait"
    )]
    NoRoom { free: u64, needed: u64 },
}

/// Where records come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// They are this box's own predictions.
    Own,
    /// They were reported; the key tells a batch that is sent again.
    Batch { sender: Peer, key: Option<BatchKey> },
}

/// The numbers that records were given.
pub struct Appended {
    /// Of a batch that was sent again, what was stored of it the first time.
    pub batch: StoredBatch,
    /// Nothing was queued: this batch is stored already, or about to be.
    pub sent_again: bool,
    /// Says when the records are on the medium; none where nobody asked, or where the disk is suspect
    /// and no such promise can be made.
    pub committed: Option<oneshot::Receiver<()>>,
}

/// A handle for anyone who has records to log.
#[derive(Clone)]
pub struct LogWriter {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    backlog: Mutex<Backlog>,
    /// Wakes the thread that owns the log.
    arrived: Condvar,
    budget: Budget,
    /// What batches hold of the budget's share of the queue.
    batches: Arc<BatchShares>,
    pub metrics: Arc<LogMetrics>,
    /// Knows the named batches that are stored.
    reader: LogReader,
}

/// What waits for the thread that owns the log.
pub(super) struct Backlog {
    pub bundles: VecDeque<Bundle>,
    /// The records in `bundles` and in the owner's hands together.
    pub records: usize,
    /// The bundles whose sender waits for the medium.
    pub strict: usize,
    pub next_id: u64,
    /// Batches with a key that are queued or in the owner's hands.
    pub pending: HashMap<BatchKey, Pending>,
    /// Batches without a name that were stored so late that they may be sent again.
    unanswered: Unanswered,
    pub state: LogState,
    /// What the disk had free at the owner's last look, bytes; the largest number before the first.
    pub disk_free: u64,
    /// What a reload asks for; the owner takes it before its next commit.
    pub tuning: Option<Tuning>,
    pub closing: bool,
}

/// Limits that a reload changes.
pub(super) struct Tuning {
    pub commit_interval: Duration,
    pub retention: Retention,
}

/// Records that are stored all or none.
pub(super) struct Bundle {
    pub first_id: u64,
    pub entries: Vec<Entry>,
    pub key: Option<BatchKey>,
    pub queued: Instant,
    pub committed: Option<oneshot::Sender<()>>,
    /// Their memory, which the budget gets back with them.
    pub taken: Taken,
    /// What a batch holds of its sender's share.
    pub share: Option<BatchShare>,
}

impl Bundle {
    /// Under which the log stores the batch.
    pub fn name(&self) -> Option<BatchName> {
        self.key.and_then(BatchKey::name)
    }

    /// Whether its sender may not know that it is stored.
    fn is_late(&self) -> bool {
        let nobody_waits = self.committed.as_ref().is_none_or(oneshot::Sender::is_closed);
        nobody_waits || self.queued.elapsed() > SENDER_PATIENCE
    }
}

/// A batch with a key on its way to the medium.
pub(super) struct Pending {
    batch: StoredBatch,
    /// Whoever has sent it again meanwhile and waits for the medium too.
    pub waiting: Vec<oneshot::Sender<()>>,
}

impl LogWriter {
    /// A handle on a log that is not open yet.
    pub(super) fn new(metrics: Arc<LogMetrics>, budget: Budget, reader: LogReader) -> LogWriter {
        let backlog = Backlog {
            bundles: VecDeque::new(),
            records: 0,
            strict: 0,
            next_id: 0,
            pending: HashMap::new(),
            unanswered: Unanswered::default(),
            state: LogState::Opening,
            disk_free: u64::MAX,
            tuning: None,
            closing: false,
        };
        let (backlog, arrived) = (Mutex::new(backlog), Condvar::new());
        let batches = Arc::default();
        LogWriter {
            shared: Arc::new(Shared { backlog, arrived, budget, batches, metrics, reader }),
        }
    }

    /// Gives the entries contiguous numbers and queues them, to be stored all or none.
    ///
    /// # Errors
    /// When the queue is full, the log not available, the promise impossible, or an entry larger than a
    /// record may be; nothing is queued then.
    pub fn append(
        &self,
        entries: Vec<Entry>,
        source: Source,
        promise: Promise,
    ) -> Result<Appended, Unlogged> {
        let count = entries.len();
        let defects = entries.iter().filter(|entry| entry.defect).count();
        // Before it has a number: what can't be written must not be tried again and again.
        let result = if entries.iter().all(is_storable) {
            self.enqueue(entries, source, promise)
        } else {
            Err(Unlogged::Unstorable)
        };
        let metrics = &self.shared.metrics;
        match &result {
            Ok(appended) if appended.sent_again => {}
            Ok(_) => {
                metrics.logged.inc_by(count as u64);
                metrics.defects.inc_by(defects as u64);
            }
            // Its sender is told, and has it still.
            Err(Unlogged::TooLarge { .. }) => {}
            Err(_) => metrics.errors.inc_by(count as u64),
        }
        result
    }

    fn enqueue(
        &self,
        entries: Vec<Entry>,
        source: Source,
        promise: Promise,
    ) -> Result<Appended, Unlogged> {
        let bytes = held_bytes(&entries);
        let key = match source {
            Source::Batch { key, .. } => key,
            Source::Own => None,
        };
        // Of nothing there is nothing to remember.
        let key = key.filter(|_| !entries.is_empty());
        let mut backlog = self.shared.lock();
        if let Some(why) = backlog.state.refusal() {
            return Err(Unlogged::Unavailable(why.to_string()));
        }
        if backlog.closing {
            return Err(Unlogged::Unavailable("the daemon is shutting down".into()));
        }
        // Before what is stored is asked: it may be stored where the disk has not got it.
        if let (LogState::Suspect(why), Promise::Required) = (&backlog.state, promise) {
            return Err(Unlogged::Suspect(why.clone()));
        }
        if let Some(again) = key.and_then(|key| self.sent_again(&mut backlog, &key, promise)) {
            return Ok(again);
        }
        let (taken, share) = self.room(bytes, source)?;
        // Else the owner would have numbers for a group that it can't write until somebody makes room, and
        // all behind it would wait.
        let waiting = self.shared.budget.taken(Class::LogQueue) as u64;
        let (free, needed) = (backlog.disk_free, waiting * WRITTEN_COPIES);
        if needed > free {
            return Err(Unlogged::NoRoom { free, needed });
        }
        let first_id = backlog.next_id;
        let promised = promise != Promise::Unneeded && backlog.state == LogState::Ok;
        let (sender, receiver) = promised.then(oneshot::channel).unzip();
        let taken_at_us = entries.last().map_or_else(Stamp::now, |last| last.at).wall_us;
        let batch = StoredBatch { first_id, records: entries.len() as u64, taken_at_us };
        if let Some(key) = key {
            backlog.pending.insert(key, Pending { batch, waiting: Vec::new() });
        }
        backlog.next_id += entries.len() as u64;
        backlog.records += entries.len();
        backlog.strict += usize::from(sender.is_some());
        // A relaxed record among others waits for the interval that the first one began.
        let wake =
            sender.is_some() || backlog.bundles.is_empty() || backlog.records >= GROUP_RECORDS_MAX;
        let (queued, committed) = (Instant::now(), sender);
        let bundle = Bundle { first_id, entries, key, queued, committed, taken, share };
        backlog.bundles.push_back(bundle);
        drop(backlog);
        if wake {
            self.shared.arrived.notify_one();
        }
        Ok(Appended { batch, sent_again: false, committed: receiver })
    }

    /// Takes the memory of records, and of a batch the sender's share too.
    fn room(&self, bytes: usize, source: Source) -> Result<(Taken, Option<BatchShare>), Unlogged> {
        let Shared { budget, batches, .. } = &*self.shared;
        let class = Class::LogQueue;
        let queue = self.queue_bytes();
        let most = match source {
            Source::Own => queue,
            Source::Batch { .. } => self.largest_batch_bytes(),
        };
        if bytes > most {
            return Err(Unlogged::TooLarge { bytes, most });
        }
        let share = match source {
            Source::Own => None,
            Source::Batch { sender, .. } => Some(batches.take(sender, bytes, queue)?),
        };
        let taken = budget.taken(class);
        if taken + bytes > queue {
            let (wanted, floor, budget) = (bytes, queue, budget.bytes());
            return Err(Unlogged::Full(Exhausted { class, wanted, taken, floor, budget }));
        }
        Ok((budget.take(class, bytes).map_err(Unlogged::Full)?, share))
    }

    /// What is known of the batch with this key, if anything is.
    fn sent_again(
        &self,
        backlog: &mut Backlog,
        key: &BatchKey,
        promise: Promise,
    ) -> Option<Appended> {
        let (sender, receiver) = oneshot::channel();
        let batch = if let Some(pending) = backlog.pending.get_mut(key) {
            // Without promises, as after an error, nobody waits; and who has gone waits no more.
            if backlog.state == LogState::Ok && promise != Promise::Unneeded {
                pending.waiting.retain(|waiting| !waiting.is_closed());
                pending.waiting.push(sender);
            }
            pending.batch
        } else {
            let stored = match key {
                BatchKey::Named(name) => self.shared.reader.stored_batch(name)?,
                BatchKey::Unnamed { .. } => backlog.unanswered.get(key)?,
            };
            // It is on the medium.
            let _ = sender.send(());
            stored
        };
        Some(Appended { batch, sent_again: true, committed: Some(receiver) })
    }

    /// Returns the most memory that one batch ever gets in the queue, bytes.
    pub fn largest_batch_bytes(&self) -> usize {
        batch_shares::largest(self.queue_bytes())
    }

    fn queue_bytes(&self) -> usize {
        self.shared.budget.largest(Class::LogQueue).min(QUEUE_BYTES_MAX)
    }

    /// Sets other limits, which hold from the next commit on.
    pub fn tune(&self, commit_interval: Duration, retention: Retention) {
        self.shared.lock().tuning = Some(Tuning { commit_interval, retention });
        self.shared.arrived.notify_one();
    }

    /// Lets the owner commit what is queued and end; later records are refused.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.arrived.notify_one();
    }
}

/// Returns the memory of entries in a queue, bytes. An origin that the one before has too is counted once.
fn held_bytes(entries: &[Entry]) -> usize {
    let mut last: Option<&Entry> = None;
    let mut bytes = size_of::<Bundle>();
    for entry in entries {
        bytes += entry.held_bytes();
        if last.is_none_or(|last| !Arc::ptr_eq(&last.origin, &entry.origin)) {
            bytes += entry.origin.held_bytes();
        }
        last = Some(entry);
    }
    bytes
}

impl Backlog {
    /// Notes that a bundle is on the medium, and tells those who sent it again meanwhile.
    pub fn stored(&mut self, bundle: &Bundle) {
        let Some((key, pending)) =
            bundle.key.and_then(|key| Some((key, self.pending.remove(&key)?)))
        else {
            return;
        };
        for waiting in pending.waiting {
            let _ = waiting.send(());
        }
        if key.name().is_none() && bundle.is_late() {
            self.unanswered.remember(key, pending.batch);
        }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().expect("nothing that holds the log's queue panics")
    }

    /// Waits until something arrives, for so long at most.
    pub fn wait<'a>(
        &self,
        backlog: MutexGuard<'a, Backlog>,
        timeout: Duration,
    ) -> MutexGuard<'a, Backlog> {
        let waited = self.arrived.wait_timeout(backlog, timeout);
        waited.expect("nothing that holds the log's queue panics").0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;
    use picket_records::{Body, Detections, Labels, Origin, Reported};

    fn writer(state: LogState) -> LogWriter {
        let metrics = Arc::new(LogMetrics::new(&Registry::new()));
        let writer = LogWriter::new(metrics, Budget::new(64 << 20), LogReader::new());
        writer.shared.lock().state = state;
        writer
    }

    fn named(id: &str) -> Source {
        let key = BatchKey::Named(BatchName::new(None, id));
        Source::Batch { sender: Peer::Local, key: Some(key) }
    }

    fn entry() -> Entry {
        let origin = Origin {
            boot_id: "boot".into(),
            model_name: "m".into(),
            model_version: "1".into(),
            device_id: Some("line-4".into()),
            labels: Labels::default(),
        };
        Entry {
            origin: Arc::new(origin),
            at: Stamp::now(),
            inference_us: 1,
            defect: false,
            body: Body::Reported(Box::new(Reported {
                image_id: "i".into(),
                timestamp: 1.0,
                inference_time_ms: 1.0,
                detections: Detections::default(),
                confidence_scores: Vec::new(),
                processing_notes: None,
            })),
        }
    }

    #[test]
    fn a_batch_that_is_sent_again_gets_no_promise_of_a_disk_that_can_keep_none() {
        let writer = writer(LogState::Suspect("a write failed".into()));
        let source = named("1");
        let send = |promise| writer.append(vec![entry()], source, promise);
        assert!(!send(Promise::Unneeded).unwrap().sent_again);
        assert!(send(Promise::Unneeded).unwrap().sent_again);
        let refused = send(Promise::Required).err();
        assert_eq!(refused, Some(Unlogged::Suspect("a write failed".into())));
    }

    #[test]
    fn only_who_waits_for_the_medium_is_remembered_with_a_batch_on_its_way() {
        let writer = writer(LogState::Ok);
        let source = named("1");
        let Source::Batch { key: Some(key), .. } = source else { panic!("it has a name") };
        let send = |promise| writer.append(vec![entry()], source, promise).unwrap();
        let waiting = || writer.shared.lock().pending[&key].waiting.len();
        drop(send(Promise::Required));
        for _ in 0..3 {
            drop(send(Promise::Unneeded));
            drop(send(Promise::Required));
        }
        assert_eq!(waiting(), 1, "the last, whose asker is not known to have gone");
        let _kept = [send(Promise::Required), send(Promise::Required)];
        assert_eq!(waiting(), 2);
    }

    #[test]
    fn records_that_the_disk_has_no_room_for_are_not_queued() {
        let writer = writer(LogState::Ok);
        let send = |records| writer.append(vec![entry(); records], Source::Own, Promise::Required);
        writer.shared.lock().disk_free = 4 << 20;
        drop(send(100).unwrap());
        let refused = send(10_000).err();
        assert!(matches!(refused, Some(Unlogged::NoRoom { free: 4_194_304, .. })), "{refused:?}");
        assert_eq!(writer.shared.lock().records, 100);
        writer.shared.lock().disk_free = 40 << 20;
        drop(send(10_000).unwrap());
    }

    #[test]
    fn an_empty_batch_leaves_the_name_to_the_one_with_records() {
        let writer = writer(LogState::Ok);
        let send = |entries| writer.append(entries, named("1"), Promise::Required).unwrap();
        assert!(!send(Vec::new()).sent_again);
        assert!(!send(vec![entry()]).sent_again);
        assert!(writer.shared.lock().bundles[0].name().is_none());
    }

    #[test]
    fn batches_that_fill_the_queue_leave_room_for_own_predictions_and_other_senders() {
        let writer = writer(LogState::Ok);
        let sent_by = |host| {
            let sender = Peer::at(std::net::Ipv4Addr::new(192, 0, 2, host).into());
            let send = || {
                let source = Source::Batch { sender, key: None };
                writer.append(vec![entry(); 500], source, Promise::Unneeded)
            };
            std::iter::repeat_with(send).take_while(Result::is_ok).count()
        };
        let (first, second) = (sent_by(1), sent_by(2));
        assert!(first > 4 && second.abs_diff(first) <= 1, "{first}, {second}");
        assert_eq!(sent_by(3), 0);
        let own = || writer.append(vec![entry(); 100], Source::Own, Promise::Unneeded);
        let count = std::iter::repeat_with(own).take_while(Result::is_ok).count();
        assert!(count >= (first + second) * 5 / 4, "a quarter of the queue: {count}");
    }

    #[test]
    fn a_batch_without_a_name_that_is_sent_again_while_it_waits_is_queued_once() {
        let writer = writer(LogState::Ok);
        let send = |body: &[u8], host| {
            let sender = Peer::at(std::net::Ipv4Addr::new(192, 0, 2, host).into());
            let source = Source::Batch { sender, key: Some(BatchKey::unnamed(sender, body)) };
            writer.append(vec![entry()], source, Promise::Required).unwrap()
        };
        let first = send(b"one", 1);
        let again = send(b"one", 1);
        assert!(again.sent_again && again.batch == first.batch);
        assert!(!send(b"two", 1).sent_again && !send(b"one", 2).sent_again);
        drop(first);
        let mut backlog = writer.shared.lock();
        let bundles = std::mem::take(&mut backlog.bundles);
        bundles.iter().for_each(|bundle| backlog.stored(bundle));
        drop(backlog);
        assert!(send(b"one", 1).sent_again, "its first sender was never told");
        assert!(again.committed.unwrap().try_recv().is_ok());
    }
}
