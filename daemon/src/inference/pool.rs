//! OS threads that own a Pipeline each, and the bounded queue that feeds them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::health::{Health, Heartbeat, Work};
use crate::inference::Prediction;
use crate::inference::queue::{Popped, Queue};
use crate::inference::{Pipeline, PredictError, StageTimes};
use crate::metrics::Metrics;
use crate::recording::{Appended, LogWriter, Promise};
use picket_base::clock::{Stamp, micros};
use picket_classifier::ModelError;
use picket_picture::{DecodeError, MediaType};
use picket_records::{Body, Entry, Origin, Predicted};

/// A worker beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

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
    /// A wrong answer is worse than none.
    #[error("this worker's answers can't be trusted: {0}")]
    Distrusted(String),
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
    /// Longest silence of a worker, one image included.
    pub deadline: Duration,
    /// Between two runs of the golden sample.
    pub sample_interval: Duration,
}

impl Workers {
    /// Starts `count` threads on one queue of `capacity` images.
    pub fn start(
        count: usize,
        capacity: usize,
        setup: &WorkerSetup,
    ) -> (Workers, Vec<JoinHandle<()>>) {
        let queue = Arc::new(Queue::new(capacity));
        setup.metrics.queue_capacity.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        let threads = (0..count)
            .map(|index| {
                let name = format!("worker-{index}");
                let heartbeat = setup.health.heartbeat(&name, setup.deadline);
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
    // The model was proven when it was loaded.
    let mut proven = Instant::now();
    loop {
        if proven.elapsed() >= setup.sample_interval {
            heartbeat.busy(Work::GoldenSample);
            setup.prove(heartbeat);
            proven = Instant::now();
        }
        heartbeat.beat();
        match queue.pop(BEAT_INTERVAL.min(setup.sample_interval)) {
            Popped::Item(job) => {
                setup.metrics.queue_depth.set(queue.depth() as i64);
                // Nobody waits any more: the client went away while its image was queued.
                if job.reply.is_closed() {
                    continue;
                }
                heartbeat.busy(Work::Image);
                let answer = match heartbeat.fault() {
                    None => setup.answer(&job),
                    Some(why) => Err(Failure::Distrusted(why.to_string())),
                };
                let _ = job.reply.send(answer);
            }
            Popped::Idle => {}
            Popped::Closed => break,
        }
    }
    heartbeat.retire();
}

impl WorkerSetup {
    /// Proof of work: this thread still gives the answer that the model gave when it was loaded.
    fn prove(&self, heartbeat: &Heartbeat) {
        let proof = catch_unwind(AssertUnwindSafe(|| self.pipeline.model.prove()));
        let fault = match proof {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the golden sample panicked".to_string(),
        };
        heartbeat.fail(fault);
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Rules;
    use crate::inference::Verdict;
    use crate::recording::WriterConfig;
    use picket_base::Live;
    use picket_classifier::Model;
    use picket_picture::JsonRange;
    use picket_records::{LogReader, Retention};

    /// The real pool on a model whose answer has changed since it was loaded.
    #[test]
    fn a_worker_whose_golden_sample_comes_out_wrong_fails_liveness_and_answers_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let health = Health::new();
        let metrics = Arc::new(Metrics::new("cifar10-model", "Production"));
        let config = WriterConfig {
            dir: dir.path().join("log"),
            deadline: Duration::from_secs(120),
            commit_interval: Duration::from_millis(1),
            retention: Retention { max_records: 10, max_bytes: 1 << 20, max_age: None },
        };
        let (writer, writer_thread) =
            LogWriter::start(config, health.clone(), metrics.clone(), LogReader::new()).unwrap();
        let model = Model::damaged().unwrap();
        let labels = model.info().labels.clone();
        let verdict = Verdict::new(labels, &[], (0.4, 0.7)).unwrap();
        let rules = Live::new(Rules { verdict, json_range: JsonRange::default() });
        let origin = Origin {
            boot_id: "boot".into(),
            model_name: "cifar10-model".into(),
            model_version: "1".into(),
            device_id: None,
        };
        let setup = WorkerSetup {
            pipeline: Pipeline { model: Arc::new(model), rules },
            origin: Arc::new(origin),
            writer: writer.clone(),
            health: health.clone(),
            metrics,
            deadline: Duration::from_secs(30),
            sample_interval: Duration::from_millis(20),
        };
        let (workers, threads) = Workers::start(1, 1, &setup);
        let damaged = "the golden sample's logits differ by 0.75 from those at load: memory or \
                       model is damaged";
        while health.liveness().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(health.liveness(), Err(format!("worker-0: {damaged}")));

        let (reply, answer) = oneshot::channel();
        let body = Bytes::from(vec![121; picket_picture::IMAGE_BYTES]);
        let (media, promise) = (Some(MediaType::Rgb8), Promise::Unneeded);
        let job = Job { body, media, promise, queued: Instant::now(), reply };
        assert!(workers.submit(job).is_ok());
        let failure = answer.blocking_recv().unwrap().err().unwrap();
        let expected = format!("this worker's answers can't be trusted: {damaged}");
        assert_eq!(failure.to_string(), expected);

        workers.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        writer.close();
        writer_thread.join().unwrap();
    }
}
