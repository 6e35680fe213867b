//! A second model that sees pictures after the one that serves has answered them: the one before it, in a
//! probation, or one that is to be tried. It runs on a thread of its own that everybody else goes before,
//! sees a picture only when it has time for one, and answers nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

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

/// In a probation the other sees every picture at first, then one of so many.
const FIRST_PICTURES: u64 = 500;
const LATER_PART: u64 = 20;

/// A picture that the serving model has answered.
pub struct Seen {
    pub body: Bytes,
    /// The memory of its body.
    pub held: Share,
    pub media: Option<MediaType>,
    pub cost: Cost,
    /// What the serving model said; none where it failed.
    pub judged: Option<Answer>,
}

/// How much the second model sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Every picture at first, later some.
    Some,
    /// Whatever it has time for.
    All,
}

/// A handle on the second model.
#[derive(Clone)]
pub struct Beside(Arc<Shared>);

struct Shared {
    budget: Budget,
    /// Whether there is a second model with time for a picture.
    is_free: AtomicBool,
    /// Pictures that were offered to it.
    offered: AtomicU64,
    work: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Default)]
struct Desk {
    other: Option<(Arc<Serving>, Sight)>,
    picture: Option<Seen>,
    comparison: Comparison,
    closed: bool,
}

impl Beside {
    pub fn new(budget: Budget) -> Beside {
        Beside(Arc::new(Shared {
            budget,
            is_free: AtomicBool::new(false),
            offered: AtomicU64::new(0),
            work: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Has a second model see what the first answers from now on; none ends it.
    pub fn set(&self, other: Option<(Arc<Serving>, Sight)>) {
        let mut desk = self.desk();
        self.0.is_free.store(other.is_some(), Ordering::Relaxed);
        self.0.offered.store(0, Ordering::Relaxed);
        *desk = Desk { other, closed: desk.closed, ..Desk::default() };
    }

    /// Says why the serving model is worse, if it is and if it is time to look.
    pub fn look(&self, pace: Pace) -> Option<Fault> {
        self.desk().comparison.look(pace)
    }

    /// Returns how many pictures both have answered, and of how many they said the same.
    pub fn agreement(&self) -> (u64, u64) {
        self.desk().comparison.agreement()
    }

    /// Whether the next picture is wanted. It costs nothing where there is no second model.
    pub fn wants(&self) -> bool {
        self.0.is_free.load(Ordering::Relaxed)
    }

    /// Gives it a picture. It may pass it over.
    pub fn see(&self, seen: Seen) {
        let offered = self.0.offered.fetch_add(1, Ordering::Relaxed);
        let mut desk = self.desk();
        let Some((_, sight)) = desk.other else { return };
        let is_due = offered < FIRST_PICTURES || offered.is_multiple_of(LATER_PART);
        if desk.picture.is_none() && (sight == Sight::All || is_due) {
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
                let Some((other, _)) = desk.other.clone() else { continue };
                (other, seen)
            };
            heartbeat.busy(Work::Image);
            let pair = self.pair(&other, seen);
            let mut desk = self.desk();
            // Meanwhile another may have taken its place.
            let is_current = desk.other.as_ref().is_some_and(|(now, _)| Arc::ptr_eq(now, &other));
            if let (Some(pair), true) = (pair, is_current) {
                desk.comparison.add(&pair);
            }
            self.0.is_free.store(desk.other.is_some(), Ordering::Relaxed);
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

impl Answer {
    pub fn of(prediction: &Prediction, times: StageTimes) -> Answer {
        Answer {
            label: prediction.label().to_string(),
            confidence: prediction.confidence,
            time: times.inference,
        }
    }
}
