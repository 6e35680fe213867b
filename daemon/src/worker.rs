//! OS threads that own a Pipeline each, and the bounded queue that feeds them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::health::{Health, Heartbeat};
use crate::image::{DecodeError, MediaType};
use crate::metrics::Metrics;
use crate::model::ModelError;
use crate::os::{Stamp, micros};
use crate::pipeline::{Pipeline, PredictError, StageTimes};
use crate::prediction::Prediction;
use crate::prediction_log::{Body, Entry, Origin, Predicted};
use crate::queue::{Popped, Queue};
use crate::writer::{Appended, LogWriter, Promise};

/// A worker beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// The largest picture accepted takes about 2 s on the slowest board; a worker that is silent for
/// this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// An image on its way to a prediction.
pub struct Job {
    pub body: Bytes,
    /// What the sender said it is; guessed from the bytes when it said nothing.
    pub media: Option<MediaType>,
    pub promise: Promise,
    pub queued: Instant,
    pub reply: oneshot::Sender<Result<Answer, Failure>>,
}

/// A prediction and where it went.
pub struct Answer {
    pub prediction: Prediction,
    /// Its place in the log; none when the log could not take it.
    pub appended: Option<Appended>,
    pub times: StageTimes,
    /// From arrival to the moment a worker took it.
    pub waited: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the prediction panicked")]
    Panicked,
}

impl From<PredictError> for Failure {
    fn from(error: PredictError) -> Failure {
        match error {
            PredictError::Decode(error) => Failure::Decode(error),
            PredictError::Model(error) => Failure::Model(error),
        }
    }
}

/// Handle on the pool.
#[derive(Clone)]
pub struct Workers {
    queue: Arc<Queue<Job>>,
    metrics: Arc<Metrics>,
}

/// What every worker needs; cloned for each.
#[derive(Clone)]
pub struct WorkerSetup {
    pub pipeline: Pipeline,
    pub origin: Arc<Origin>,
    pub writer: LogWriter,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
}

impl Workers {
    /// Starts `count` threads on one queue of `capacity` images.
    pub fn start(
        count: usize,
        capacity: usize,
        setup: &WorkerSetup,
    ) -> (Workers, Vec<JoinHandle<()>>) {
        let queue = Arc::new(Queue::new(capacity));
        let threads = (0..count)
            .map(|index| {
                let name = format!("worker-{index}");
                let heartbeat = setup.health.heartbeat(&name, STUCK_AFTER);
                let (queue, setup) = (queue.clone(), setup.clone());
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || run(&queue, &setup, &heartbeat))
                    .expect("the kernel has room for one more thread at start")
            })
            .collect();
        (Workers { queue, metrics: setup.metrics.clone() }, threads)
    }

    /// # Errors
    /// Gives the job back when the queue is full or closed.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let submitted = self.queue.push(job);
        self.metrics.queue_depth.set(self.queue.depth() as i64);
        submitted
    }

    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Lets the workers finish what is queued and end.
    pub fn close(&self) {
        self.queue.close();
    }
}

fn run(queue: &Queue<Job>, setup: &WorkerSetup, heartbeat: &Heartbeat) {
    loop {
        heartbeat.beat();
        match queue.pop(BEAT_INTERVAL) {
            Popped::Item(job) => {
                setup.metrics.queue_depth.set(queue.depth() as i64);
                // Nobody waits any more: the client went away while its image was queued.
                if job.reply.is_closed() {
                    continue;
                }
                let answer = setup.answer(&job);
                let _ = job.reply.send(answer);
            }
            Popped::Idle => {}
            Popped::Closed => break,
        }
    }
    heartbeat.retire();
}

impl WorkerSetup {
    fn answer(&self, job: &Job) -> Result<Answer, Failure> {
        let waited = job.queued.elapsed();
        let predicted = catch_unwind(AssertUnwindSafe(|| {
            let media = match job.media {
                Some(media) => media,
                None => MediaType::sniff(&job.body)?,
            };
            self.pipeline.predict(&job.body, media)
        }));
        let (prediction, times) = predicted.map_err(|_| Failure::Panicked)??;
        self.metrics.queue.observe(waited.as_secs_f64());
        self.metrics.decode.observe(times.decode.as_secs_f64());
        self.metrics.inference.observe(times.inference.as_secs_f64());
        let entry = self.entry(&prediction, times.inference);
        let appended = self.writer.append(vec![entry], job.promise).ok();
        Ok(Answer { prediction, appended, times, waited })
    }

    fn entry(&self, prediction: &Prediction, inference: Duration) -> Entry {
        Entry {
            origin: self.origin.clone(),
            at: Stamp::now(),
            inference_us: micros(inference),
            defect: prediction.defect,
            body: Body::Predicted(Predicted {
                class: u8::try_from(prediction.class).expect("there are 10 classes"),
                label: prediction.label.clone(),
                uncertain: prediction.uncertain,
                probabilities: prediction.probabilities,
            }),
        }
    }
}
