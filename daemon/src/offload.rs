//! Work that is too heavy for a runtime's thread: named threads with heartbeats take it in turn between
//! its senders. It knows nothing of the work, and starts no thread itself.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use picket_base::budget::{Budget, Class};
use tokio::sync::oneshot;

use crate::health::{Heartbeat, Work};
use crate::metrics::Counter;
use crate::peer::Peer;
use crate::queue::{Full, Limits, Pending, Popped, QUEUE_WAIT_MAX, Queue};

/// A thread beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// While work progresses, it says so no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A handle on threads that do one kind of work.
#[derive(Clone)]
pub struct Offload {
    queue: Arc<Queue<Box<dyn Errand>>>,
    kind: Work,
    reserve: Reserve,
    turned_away: Counter,
    stopping: Arc<AtomicBool>,
}

/// What the memory of work is taken from.
#[derive(Clone)]
pub struct Reserve {
    pub budget: Budget,
    pub class: Class,
}

/// What work needs.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Whose turn it takes.
    pub peer: Peer,
    /// What it is expected to take of a thread's time.
    pub time: Duration,
    /// The memory that it takes at most: it begins when there is so much.
    pub bytes: usize,
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    #[error("{0} requests of this kind are waiting already")]
    Full(usize),
    /// It had a place, which went to a sender that held fewer.
    #[error("{0} requests of this kind are waiting already, most of them from this address")]
    Evicted(usize),
    #[error("no thread was free for it within {} s", QUEUE_WAIT_MAX.as_secs())]
    Late,
    #[error("the request panicked")]
    Panicked,
}

/// The thread's sign of life while it works.
pub struct Progress<'a> {
    heartbeat: &'a Heartbeat,
    kind: Work,
    stopping: &'a AtomicBool,
    beaten: Cell<Instant>,
}

impl Progress<'_> {
    /// Whether the daemon stops: long work ends early then.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Says that the work goes on. Returns the time.
    pub fn beat(&self) -> Instant {
        let now = Instant::now();
        if now - self.beaten.get() >= PROGRESS_INTERVAL {
            self.heartbeat.busy(self.kind);
            self.beaten.set(now);
        }
        now
    }
}

impl Offload {
    /// Work of one kind; it is done by each thread that calls `work`.
    pub fn new(kind: Work, limits: Limits, reserve: Reserve, turned_away: Counter) -> Offload {
        let (queue, stopping) = (Arc::new(Queue::new(limits)), Arc::default());
        Offload { queue, kind, reserve, turned_away, stopping }
    }

    /// The most memory that work ever gets, bytes.
    pub fn largest(&self) -> usize {
        self.reserve.budget.largest(self.reserve.class)
    }

    /// Has work done. What would need more memory than there ever is gets that much.
    ///
    /// # Errors
    /// Whatever kept it from being done.
    pub async fn run<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl FnOnce(&Progress) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let (reply, done) = oneshot::channel();
        let bytes = needs.bytes.min(self.largest());
        let errand = Box::new(Asked { work, bytes, reply });
        match self.queue.push(errand, needs.peer, needs.time) {
            Ok(None) => {}
            Ok(Some(evicted)) => self.turn_away(evicted, Undone::Evicted(self.queue.capacity())),
            Err(Full(_)) => {
                self.turned_away.inc();
                return Err(Undone::Full(self.queue.capacity()));
            }
        }
        done.await.unwrap_or(Err(Undone::Panicked))
    }

    /// Lets the threads finish what waits and end; what takes long is cut short.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.queue.close();
    }

    /// One thread's life: it works until the queue is closed and empty.
    pub fn work(&self, heartbeat: &Heartbeat) {
        loop {
            heartbeat.beat();
            let Reserve { budget, class } = &self.reserve;
            let taken =
                self.queue.pop(BEAT_INTERVAL, |errand| budget.take(*class, errand.bytes()).ok());
            match taken {
                Popped::Work(errand, memory, turn) => {
                    heartbeat.busy(self.kind);
                    let beaten = Cell::new(Instant::now());
                    let (kind, stopping) = (self.kind, &*self.stopping);
                    let progress = Progress { heartbeat, kind, stopping, beaten };
                    // Whoever asked is told by its reply, which is dropped.
                    if catch_unwind(AssertUnwindSafe(|| errand.run(&progress))).is_err() {
                        tracing::error!(thread = heartbeat.name(), "a request panicked");
                    }
                    // The memory before the turn, whose end wakes those who wait for memory.
                    drop(memory);
                    drop(turn);
                }
                Popped::Late(errand) => self.turn_away(errand, Undone::Late),
                Popped::Idle => {}
                Popped::Closed => break,
            }
        }
    }

    fn turn_away(&self, errand: Box<dyn Errand>, why: Undone) {
        self.turned_away.inc();
        errand.turn_away(why);
    }
}

/// Work of any result, with whoever waits for that.
trait Errand: Send {
    fn is_abandoned(&self) -> bool;
    fn bytes(&self) -> usize;
    fn run(self: Box<Self>, progress: &Progress);
    fn turn_away(self: Box<Self>, why: Undone);
}

impl Pending for Box<dyn Errand> {
    fn is_abandoned(&self) -> bool {
        self.as_ref().is_abandoned()
    }
}

struct Asked<T, F> {
    work: F,
    bytes: usize,
    reply: oneshot::Sender<Result<T, Undone>>,
}

impl<T: Send, F: FnOnce(&Progress) -> T + Send> Errand for Asked<T, F> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(self: Box<Self>, progress: &Progress) {
        let Asked { work, reply, .. } = *self;
        // Its client may have gone meanwhile.
        let _ = reply.send(Ok(work(progress)));
    }

    fn turn_away(self: Box<Self>, why: Undone) {
        let _ = self.reply.send(Err(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use crate::metrics::Registry;

    fn offload(capacity: usize) -> Offload {
        let turned_away = Registry::new().counter("turned_away", "Turned away.", &[]);
        let reserve = Reserve { budget: Budget::new(1 << 20), class: Class::Answer };
        Offload::new(Work::Page, Limits { capacity, threads: 1 }, reserve, turned_away)
    }

    fn needs(peer: Peer) -> Needs {
        Needs { peer, time: Duration::ZERO, bytes: usize::MAX }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn work_is_done_on_the_thread_and_one_that_panics_ends_itself_only() {
        let (offload, health) = (offload(4), Health::new());
        let heartbeat = health.heartbeat("reader-0", Duration::from_secs(60));
        let thread = std::thread::Builder::new().name("reader-0".into());
        let working = offload.clone();
        let thread = thread.spawn(move || working.work(&heartbeat)).unwrap();
        let run = |work: fn(&Progress) -> String| block_on(offload.run(needs(Peer::Local), work));
        assert_eq!(run(|_| panic!("as it must not")), Err(Undone::Panicked));
        let name = run(|progress| {
            progress.beat();
            std::thread::current().name().unwrap_or_default().to_string()
        });
        assert_eq!(name.as_deref(), Ok("reader-0"));
        offload.close();
        thread.join().unwrap();
    }

    #[test]
    fn whoever_is_turned_away_is_told_why_and_counted() {
        let (offload, health) = (offload(2), Health::new());
        let other = Peer::at(std::net::Ipv4Addr::LOCALHOST.into());
        block_on(async {
            let ask = |peer| {
                let offload = offload.clone();
                tokio::spawn(async move { offload.run(needs(peer), |_| ()).await })
            };
            let asked = [Peer::Local, Peer::Local, Peer::Local, other].map(ask);
            tokio::task::yield_now().await;
            offload.close();
            offload.work(&health.heartbeat("reader-0", Duration::from_secs(60)));
            let mut ends = Vec::new();
            for asked in asked {
                ends.push(asked.await.unwrap());
            }
            assert_eq!(ends, [Ok(()), Err(Undone::Evicted(2)), Err(Undone::Full(2)), Ok(())]);
        });
        assert_eq!(offload.turned_away.get(), 2);
    }
}
