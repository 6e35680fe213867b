//! Work that is too heavy for a runtime's thread: named threads with heartbeats take it in turn between
//! its senders. It knows nothing of the work, and starts no thread itself.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use picket_base::budget::{Budget, Claim, Class, Taken};
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
    /// Whoever asks for short work waits no longer than this.
    patience: Duration,
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
    #[error("no thread was done with it within {} s", .0.as_secs_f64())]
    Stuck(Duration),
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
    /// Work of one kind; it is done by each thread that calls `work`. Whoever asks for short work is told
    /// after `patience` that it was not done: longer than work waits for a thread, and than one may be
    /// silent.
    pub fn new(
        kind: Work,
        limits: Limits,
        reserve: Reserve,
        patience: Duration,
        turned_away: Counter,
    ) -> Offload {
        let (queue, stopping) = (Arc::new(Queue::new(limits)), Arc::default());
        Offload { queue, kind, reserve, patience, turned_away, stopping }
    }

    /// The most memory that work ever gets, bytes.
    pub fn largest(&self) -> usize {
        self.reserve.budget.largest(self.reserve.class)
    }

    /// Has short work done, with the memory that it needs. What would need more than there ever is gets
    /// that much.
    ///
    /// # Errors
    /// Whatever kept it from being done, in time.
    pub async fn run<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl FnOnce(&Progress, Taken) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        // The threads say what waits for too long, as long as any of them goes on.
        let limit = self.patience;
        match tokio::time::timeout(limit, self.run_long(needs, work)).await {
            Ok(done) => done,
            Err(_) => {
                self.turned_away.inc();
                Err(Undone::Stuck(limit))
            }
        }
    }

    /// Has work done that may take as long as it progresses.
    ///
    /// # Errors
    /// As [`Offload::run`].
    pub async fn run_long<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl FnOnce(&Progress, Taken) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let (reply, done) = oneshot::channel();
        let bytes = needs.bytes.min(self.largest());
        let errand = Box::new(Asked { work, bytes, claim: None, reply });
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
            let taken = self.queue.pop(BEAT_INTERVAL, |errand: &mut Box<dyn Errand>, may_claim| {
                errand.reserve(&self.reserve, may_claim)
            });
            match taken {
                Popped::Work(errand, memory, turn) => {
                    heartbeat.busy(self.kind);
                    let beaten = Cell::new(Instant::now());
                    let (kind, stopping) = (self.kind, &*self.stopping);
                    let progress = Progress { heartbeat, kind, stopping, beaten };
                    // Whoever asked is told by its reply, which is dropped.
                    if catch_unwind(AssertUnwindSafe(|| errand.run(&progress, memory))).is_err() {
                        tracing::error!(thread = heartbeat.name(), "a request panicked");
                    }
                    // Behind the memory: its end wakes those who wait for some.
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
    fn reserve(&mut self, reserve: &Reserve, may_claim: bool) -> Option<Taken>;
    fn run(self: Box<Self>, progress: &Progress, memory: Taken);
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
    claim: Option<Claim>,
    reply: oneshot::Sender<Result<T, Undone>>,
}

impl<T: Send, F: FnOnce(&Progress, Taken) -> T + Send> Errand for Asked<T, F> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn reserve(&mut self, reserve: &Reserve, may_claim: bool) -> Option<Taken> {
        let Reserve { budget, class } = reserve;
        budget.try_take_claimed(*class, self.bytes, &mut self.claim, may_claim)
    }

    fn run(self: Box<Self>, progress: &Progress, memory: Taken) {
        let Asked { work, reply, .. } = *self;
        // Its client may have gone meanwhile.
        let _ = reply.send(Ok(work(progress, memory)));
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
        let limits = Limits { capacity, threads: 1 };
        Offload::new(Work::Page, limits, reserve, Duration::from_millis(500), turned_away)
    }

    fn needs(peer: Peer) -> Needs {
        Needs { peer, time: Duration::ZERO, bytes: usize::MAX }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn work_is_done_on_the_thread_and_one_that_panics_ends_itself_only() {
        let (offload, health) = (offload(4), Health::new());
        let heartbeat = health.heartbeat("reader-0", Duration::from_secs(60));
        let thread = std::thread::Builder::new().name("reader-0".into());
        let working = offload.clone();
        let thread = thread.spawn(move || working.work(&heartbeat)).unwrap();
        let run =
            |work: fn(&Progress, Taken) -> String| block_on(offload.run(needs(Peer::Local), work));
        assert_eq!(run(|_, _| panic!("as it must not")), Err(Undone::Panicked));
        let name = run(|progress, memory| {
            progress.beat();
            assert_eq!(memory.bytes(), 3 << 14, "all that there ever is");
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
                tokio::spawn(async move { offload.run(needs(peer), |_, _| ()).await })
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

    #[test]
    fn whoever_waits_for_threads_that_all_hang_is_told_so() {
        let offload = offload(2);
        let undone = block_on(offload.run(needs(Peer::Local), |_, _| ()));
        let said = undone.unwrap_err().to_string();
        assert_eq!(said, "no thread was done with it within 0.5 s");
        assert_eq!(offload.turned_away.get(), 1);
    }
}
