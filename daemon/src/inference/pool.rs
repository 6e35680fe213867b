//! OS threads that share one queue of pictures and walk the pipeline each. It starts no thread itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Answer, Failure, Job};
use super::metrics::InferenceMetrics;
use super::pipeline::Pipeline;
use super::proof;
use super::queue::{Popped, Queue};
use super::verdict::Prediction;
use crate::health::{Heartbeat, Work};
use crate::metrics::gauge_value;
use crate::recording::LogWriter;
use picket_base::clock::{Stamp, micros};
use picket_records::{Body, Entry, Origin, Predicted, top};

/// A worker beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A handle on the pool.
#[derive(Clone)]
pub struct Workers {
    queue: Arc<Queue<Job>>,
    metrics: Arc<InferenceMetrics>,
}

/// What every worker needs; cloned for each.
#[derive(Clone)]
pub struct WorkerSetup {
    pub pipeline: Pipeline,
    pub origin: Arc<Origin>,
    pub writer: LogWriter,
    /// The pause between two runs of the golden sample.
    pub sample_interval: Duration,
}

impl Workers {
    /// A queue of `capacity` pictures; it is worked on by each thread that calls `work`.
    pub fn new(capacity: usize, metrics: Arc<InferenceMetrics>) -> Workers {
        metrics.queue_capacity.set(gauge_value(capacity as u64));
        Workers { queue: Arc::new(Queue::new(capacity)), metrics }
    }

    /// # Errors
    /// Gives the job back when the queue is full or closed; that is counted.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let submitted = self.queue.push(job);
        self.metrics.show_depth(self.queue.depth());
        if submitted.is_err() {
            self.metrics.turned_away.inc();
        }
        submitted
    }

    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    pub fn metrics(&self) -> &InferenceMetrics {
        &self.metrics
    }

    /// Lets the workers finish what is queued and end.
    pub fn close(&self) {
        self.queue.close();
    }

    /// One worker's life: it answers what is queued until the queue is closed and empty.
    pub fn work(&self, setup: &WorkerSetup, heartbeat: &Heartbeat) {
        // The model was proven when it was loaded.
        let mut proven = Instant::now();
        loop {
            if proven.elapsed() >= setup.sample_interval {
                heartbeat.busy(Work::GoldenSample);
                proof::prove(&setup.pipeline.model, heartbeat);
                proven = Instant::now();
            }
            heartbeat.beat();
            match self.queue.pop(BEAT_INTERVAL.min(setup.sample_interval)) {
                Popped::Item(job) => {
                    self.metrics.show_depth(self.queue.depth());
                    // Nobody waits any more: the client went away while its image was queued.
                    if job.reply.is_closed() {
                        continue;
                    }
                    heartbeat.busy(Work::Image);
                    let answer = match heartbeat.fault() {
                        None => setup.answer(&job, &self.metrics),
                        Some(why) => Err(Failure::Distrusted(why.to_string())),
                    };
                    let _ = job.reply.send(answer);
                }
                Popped::Idle => {}
                Popped::Closed => break,
            }
        }
    }
}

impl WorkerSetup {
    fn answer(&self, job: &Job, metrics: &InferenceMetrics) -> Result<Answer, Failure> {
        let waited = job.queued.elapsed();
        let predicted =
            catch_unwind(AssertUnwindSafe(|| self.pipeline.predict(&job.body, job.media)));
        let (prediction, times) = predicted.map_err(|_| Failure::Panicked)??;
        metrics.observe(waited, times);
        let entry = self.entry(&prediction, times.inference);
        let appended = self.writer.append(vec![entry], None, job.promise).ok();
        Ok(Answer { prediction, appended, times, waited })
    }

    fn entry(&self, prediction: &Prediction, inference: Duration) -> Entry {
        let count = |count| u16::try_from(count).expect("a model has at most 10,000 classes");
        let probabilities = &prediction.probabilities[..];
        // Thousands of records may wait for the disk: where they can, they share their labels.
        let (labels, shared) = (&prediction.labels[..], self.origin.labels.names());
        let top = if shared.iter().map(|label| &**label).eq(labels) {
            top(probabilities, shared)
        } else {
            top(probabilities, labels)
        };
        Entry {
            origin: self.origin.clone(),
            at: Stamp::now(),
            inference_us: micros(inference),
            defect: prediction.defect,
            body: Body::Predicted(Predicted {
                class: count(prediction.class),
                label: prediction.label().to_string(),
                uncertain: prediction.uncertain,
                classes: count(probabilities.len()),
                top,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use crate::inference::{Rules, Verdict, VerdictOverrides};
    use crate::metrics::Registry;
    use crate::recording::{LogMetrics, Promise, WriterConfig, open_log};
    use bytes::Bytes;
    use picket_base::Live;
    use picket_classifier::{Model, VerdictDefaults};
    use picket_picture::{JsonRange, MediaType};
    use picket_records::{Labels, LogReader, Retention};
    use tokio::sync::oneshot;

    /// The real pool on a model whose answer has changed since it was loaded.
    #[test]
    fn a_worker_whose_golden_sample_comes_out_wrong_fails_liveness_and_answers_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let health = Health::new();
        let registry = Registry::new();
        let metrics = Arc::new(InferenceMetrics::new(&registry, "cifar10-model", "Production"));
        let config = WriterConfig {
            dir: dir.path().join("log"),
            commit_interval: Duration::from_millis(1),
            retention: Retention { max_records: 10, max_bytes: 1 << 20, max_age: None },
        };
        let log_metrics = Arc::new(LogMetrics::new(&registry));
        let (writer, _owner) =
            open_log(config, health.clone(), log_metrics, LogReader::new()).unwrap();
        let model = Model::damaged().unwrap();
        let output = model.info().output.clone();
        let verdict = Verdict::new(output, VerdictDefaults::default(), VerdictOverrides::default());
        let verdict = verdict.unwrap();
        let rules = Live::new(Rules { verdict, json_range: JsonRange::default() });
        let origin = Origin {
            boot_id: "boot".into(),
            model_name: "cifar10-model".into(),
            model_version: "1".into(),
            device_id: None,
            labels: Labels::default(),
        };
        let setup = WorkerSetup {
            pipeline: Pipeline { model: Arc::new(model), rules },
            origin: Arc::new(origin),
            writer,
            sample_interval: Duration::from_millis(20),
        };
        let workers = Workers::new(1, metrics);
        let heartbeat = health.heartbeat("worker-0", Duration::from_secs(30));
        let worker = std::thread::spawn({
            let workers = workers.clone();
            move || workers.work(&setup, &heartbeat)
        });
        let damaged = "the golden sample's logits differ by 0.75 from those at load: memory or \
                       model is damaged";
        while health.liveness().is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(health.liveness(), Err(format!("worker-0: {damaged}")));

        let (reply, answer) = oneshot::channel();
        let body = Bytes::from(vec![121; 3072]);
        let (media, promise) = (Some(MediaType::Raw), Promise::Unneeded);
        let job = Job { body, media, promise, queued: Instant::now(), reply };
        assert!(workers.submit(job).is_ok());
        let failure = answer.blocking_recv().unwrap().err().unwrap();
        let expected = format!("this worker's answers can't be trusted: {damaged}");
        assert_eq!(failure.to_string(), expected);

        workers.close();
        worker.join().unwrap();
    }
}
