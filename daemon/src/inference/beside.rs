//! A second model that sees pictures after the one that serves has answered them: the one before it, in a
//! probation, or one that is to be tried. It answers nobody, and runs on a thread of its own that everybody
//! else goes before, when it has time for a picture. Only at the beginning of a probation workers run it, on
//! some of their pictures: however busy the box is, a bad model must be known soon.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::comparison::{Answer, Comparison, Fault, Pace, Pair};
use super::pipeline::{PredictError, StageTimes};
use super::serving::Serving;
use super::verdict::Prediction;
use crate::health::{Heartbeat, Work};
use crate::memory::Share;
use crate::os;
use picket_base::budget::{Budget, Class};
use picket_picture::{Cost, MediaType};

/// The thread beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// So many pictures are the beginning of a probation; of them a worker has the other see one of so many, and
/// the thread any that it has time for. Later it sees one of so many.
const FIRST_PICTURES: u64 = 500;
const AT_ONCE_PART: u64 = 4;
const LATER_PART: u64 = 20;

/// After a picture the thread rests so many times as long as that took, at most for a second: a sandbox may
/// forbid to let others go first.
const REST: u32 = 3;

/// That a model which is tried disagrees is said at most this often.
const SAY_INTERVAL: Duration = Duration::from_secs(1);

/// A picture that the serving model has answered.
pub struct Seen {
    /// The model that has answered it.
    pub by: Arc<Serving>,
    pub body: Bytes,
    /// The memory of its body.
    pub held: Share,
    pub media: Option<MediaType>,
    pub cost: Cost,
    /// What the serving model said; none where it failed.
    pub judged: Option<Answer>,
}

/// What a second model is there for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The one that serves is judged by it, in its probation.
    Judge(Pace),
    /// It is tried itself, on whatever it has time for.
    Shadow,
}

/// A second model.
#[derive(Clone)]
pub struct Second {
    pub serving: Arc<Serving>,
    pub purpose: Purpose,
}

/// A handle on the second model.
#[derive(Clone)]
pub struct Beside(Arc<Shared>);

struct Shared {
    budget: Budget,
    /// Whether there is a second model whose thread has time for a picture.
    is_free: AtomicBool,
    /// Whether a probation begins.
    is_beginning: AtomicBool,
    /// Called when a fault is found.
    alarm: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Pictures that were offered to it.
    offered: AtomicU64,
    work: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Default)]
struct Desk {
    other: Option<Second>,
    picture: Option<Seen>,
    comparison: Comparison,
    fault: Option<Fault>,
    said: Option<Instant>,
    closed: bool,
}

impl Beside {
    pub fn new(budget: Budget) -> Beside {
        Beside(Arc::new(Shared {
            budget,
            is_free: AtomicBool::new(false),
            is_beginning: AtomicBool::new(false),
            alarm: OnceLock::new(),
            offered: AtomicU64::new(0),
            work: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Has a second model see what the first answers from now on; none ends it.
    pub fn set(&self, other: Option<Second>) {
        let is_judge =
            other.as_ref().is_some_and(|second| matches!(second.purpose, Purpose::Judge(_)));
        let mut desk = self.desk();
        self.0.is_beginning.store(is_judge, Ordering::Relaxed);
        self.0.is_free.store(other.is_some(), Ordering::Relaxed);
        self.0.offered.store(0, Ordering::Relaxed);
        *desk = Desk { other, closed: desk.closed, ..Desk::default() };
    }

    /// Has this called whenever the serving model is found to be worse.
    pub fn on_fault(&self, alarm: impl Fn() + Send + Sync + 'static) {
        // It has one owner, who says so once.
        let _ = self.0.alarm.set(Box::new(alarm));
    }

    /// Says why the serving model is worse, if it has been found to be.
    pub fn fault(&self) -> Option<Fault> {
        self.desk().fault.clone()
    }

    /// Returns how many pictures both have answered, and of how many they said the same.
    pub fn agreement(&self) -> (u64, u64) {
        self.desk().comparison.agreement()
    }

    /// Whether the next picture is wanted. It costs nothing where there is no second model.
    pub fn wants(&self) -> bool {
        self.0.is_free.load(Ordering::Relaxed) || self.0.is_beginning.load(Ordering::Relaxed)
    }

    /// Gives it a picture. It may pass it over, or look at it on the thread of the caller.
    pub fn see(&self, seen: Seen) {
        let offered = self.0.offered.fetch_add(1, Ordering::Relaxed);
        let mut desk = self.desk();
        // What the second has answered itself, before it was the second, says nothing.
        let Some(second) = desk.other.clone().filter(|it| !Arc::ptr_eq(&it.serving, &seen.by))
        else {
            return;
        };
        let is_shadow = matches!(second.purpose, Purpose::Shadow);
        if !is_shadow && offered < FIRST_PICTURES && offered.is_multiple_of(AT_ONCE_PART) {
            drop(desk);
            self.compare(&second, seen);
            return;
        }
        if offered >= FIRST_PICTURES {
            self.0.is_beginning.store(false, Ordering::Relaxed);
        }
        let is_due = is_shadow || offered < FIRST_PICTURES || offered.is_multiple_of(LATER_PART);
        if desk.picture.is_none() && is_due {
            self.0.is_free.store(false, Ordering::Relaxed);
            desk.picture = Some(seen);
            self.0.changed.notify_one();
        }
    }

    /// Lets the thread end.
    pub fn close(&self) {
        self.desk().closed = true;
        self.0.changed.notify_one();
    }

    /// The thread's life.
    pub fn run(&self, heartbeat: &Heartbeat) {
        os::step_back();
        loop {
            heartbeat.beat();
            let (other, seen) = {
                let desk = self.desk();
                let waiting = |desk: &mut Desk| desk.picture.is_none() && !desk.closed;
                let (mut desk, _) = self
                    .0
                    .changed
                    .wait_timeout_while(desk, BEAT_INTERVAL, waiting)
                    .expect("nothing that holds the desk panics");
                if desk.closed {
                    break;
                }
                let Some(seen) = desk.picture.take() else { continue };
                let Some(other) = desk.other.clone() else { continue };
                (other, seen)
            };
            heartbeat.busy(Work::Image);
            let began = Instant::now();
            self.compare(&other, seen);
            heartbeat.beat();
            std::thread::sleep((began.elapsed() * REST).min(BEAT_INTERVAL));
            let has_other = self.desk().other.is_some();
            self.0.is_free.store(has_other, Ordering::Relaxed);
        }
    }

    /// Has the second model look at a picture, and draws what there is to be drawn from it.
    fn compare(&self, second: &Second, seen: Seen) {
        let Some(pair) = self.pair(&second.serving, seen) else { return };
        let mut desk = self.desk();
        // Meanwhile another may have taken its place.
        let is_current = |now: &Second| Arc::ptr_eq(&now.serving, &second.serving);
        if !desk.other.as_ref().is_some_and(is_current) {
            return;
        }
        desk.comparison.add(&pair);
        match second.purpose {
            Purpose::Shadow => desk.say(&pair),
            Purpose::Judge(pace) if desk.fault.is_none() => {
                desk.fault = desk.comparison.look(pace);
                let is_found = desk.fault.is_some();
                drop(desk);
                if let (true, Some(alarm)) = (is_found, self.0.alarm.get()) {
                    alarm();
                }
            }
            Purpose::Judge(_) => {}
        }
    }

    /// Runs the second model on a picture; none where there is no memory for it, or it is no picture to it.
    fn pair(&self, other: &Serving, seen: Seen) -> Option<Pair> {
        let memory = self.0.budget.try_take(Class::Decode, seen.cost.bytes).ok()?;
        let predicted =
            catch_unwind(AssertUnwindSafe(|| other.pipeline.predict(&seen.body, seen.media)));
        drop((seen.body, seen.held, memory));
        let said = match predicted {
            Ok(Ok((prediction, times))) => Some(Answer::of(&prediction, times)),
            Ok(Err(PredictError::Decode(_))) => return None,
            Ok(Err(PredictError::Model(_))) | Err(_) => None,
        };
        Some(Pair { judged: seen.judged, other: said })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.work.lock().expect("nothing that holds the desk panics")
    }
}

impl Desk {
    /// Says that the model which is tried disagrees.
    fn say(&mut self, pair: &Pair) {
        let (Some(serving), Some(shadow)) = (&pair.judged, &pair.other) else { return };
        let is_time = self.said.is_none_or(|said| said.elapsed() >= SAY_INTERVAL);
        if serving.label != shadow.label && is_time {
            self.said = Some(Instant::now());
            let (confidence, other) = (serving.confidence, shadow.confidence);
            tracing::info!(
                label = serving.label,
                confidence,
                shadow = shadow.label,
                shadow_confidence = other,
                "the shadow model disagrees"
            );
        }
    }
}

impl Answer {
    pub fn of(prediction: &Prediction, times: StageTimes) -> Answer {
        Answer {
            label: prediction.label().to_string(),
            confidence: prediction.confidence,
            time: times.inference,
        }
    }
}
