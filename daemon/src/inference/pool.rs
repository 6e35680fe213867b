//! OS threads that share one queue of pictures and walk the pipeline each: a picture goes to a worker when
//! its sender's turn has come and there is memory for it. It starts no thread itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Judged, JudgedView};
use super::beside::{Beside, Seen};
use super::comparison;
use super::job::{Answer, Failure, Job, TurnedAway};
use super::metrics::InferenceMetrics;
use super::pipeline::StageTimes;
use super::proof;
use super::rate::{EXCESSIVE_TIME_MAX, Rate};
use super::serving::Serving;
use super::verdict::Prediction;
use crate::health::{Heartbeat, Work};
use crate::metrics::gauge_value;
use crate::peer::Peer;
use crate::queue::{Full, Limits, Popped, Queue};
use crate::recording::{LogWriter, Source};
use picket_base::Live;
use picket_base::budget::{Budget, Class, Taken};
use picket_base::clock::{Stamp, micros};
use picket_picture::DecodeError;
use picket_records::{Body, Entry, Origin, Predicted, top};

/// A worker beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A handle on the pool.
#[derive(Clone)]
pub struct Workers {
    queue: Arc<Queue<Job>>,
    metrics: Arc<InferenceMetrics>,
    budget: Budget,
    rate: Arc<Rate>,
}

/// Why a picture is not queued.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Memory(DecodeError),
    #[error(
        "the picture is {} megapixels over all its scans, which takes about {:.1} s here, at most {} s \
         are there for one",
        work / 1_000_000,
        time.as_secs_f64(),
        EXCESSIVE_TIME_MAX.as_secs()
    )]
    Work { work: u64, time: Duration },
    #[error(transparent)]
    TurnedAway(TurnedAway),
}

/// What every worker needs; cloned for each.
#[derive(Clone)]
pub struct WorkerSetup {
    pub serving: Arc<Live<Serving>>,
    /// A second model that sees what the first has answered.
    pub beside: Beside,
    pub writer: LogWriter,
    /// The pause between two runs of the golden sample.
    pub sample_interval: Duration,
}

impl Workers {
    /// A queue of pictures; it is worked on by each thread that calls `work`. What a picture needs is taken
    /// from `budget`.
    pub fn new(limits: Limits, budget: Budget, metrics: Arc<InferenceMetrics>) -> Workers {
        metrics.queue_capacity.set(gauge_value(limits.capacity as u64));
        let (queue, rate) = (Arc::new(Queue::new(limits)), Arc::new(Rate::new()));
        Workers { queue, metrics, budget, rate }
    }

    /// Queues a picture. Where all places are taken, it may take that of a sender who holds more of them.
    ///
    /// # Errors
    /// A picture that there will never be room or time for, and a queue that is full or closed.
    pub fn submit(&self, job: Job, sender: Peer) -> Result<(), Refusal> {
        let (needed, largest) = (job.cost.bytes, self.budget.largest(Class::Decode));
        if needed > largest {
            let (needed, most) = (needed as u64, largest as u64);
            return Err(Refusal::Memory(DecodeError::Memory { needed, most }));
        }
        if let Some(time) = self.rate.excess(job.cost) {
            return Err(Refusal::Work { work: job.cost.work, time });
        }
        let time = self.rate.estimate(job.cost);
        let pushed = self.queue.push(job, sender, time);
        self.metrics.show_depth(self.queue.depth());
        match pushed {
            Ok(None) => Ok(()),
            Ok(Some(evicted)) => {
                self.turn_away(evicted, TurnedAway::Evicted(self.queue.capacity()));
                Ok(())
            }
            Err(Full(_)) => {
                self.metrics.turned_away.inc();
                Err(Refusal::TurnedAway(TurnedAway::Full(self.queue.capacity())))
            }
        }
    }

    fn turn_away(&self, job: Job, why: TurnedAway) {
        self.metrics.turned_away.inc();
        // Its client may have gone meanwhile.
        let _ = job.reply.send(Err(why.into()));
    }

    /// Counts a picture that no worker was done with after so long.
    pub fn stuck(&self, after: Duration) -> TurnedAway {
        self.metrics.turned_away.inc();
        TurnedAway::Stuck(after)
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
                proof::prove(&setup.serving.get().pipeline.model, heartbeat);
                proven = Instant::now();
            }
            heartbeat.beat();
            let reserve = |job: &mut Job, may_claim| {
                let (bytes, claim) = (job.cost.bytes, &mut job.claim);
                self.budget.try_take_claimed(Class::Decode, bytes, claim, may_claim)
            };
            match self.queue.pop(BEAT_INTERVAL.min(setup.sample_interval), reserve) {
                Popped::Work(job, memory, turn) => {
                    self.metrics.show_depth(self.queue.depth());
                    heartbeat.busy(Work::Image);
                    let (answer, judged) = match heartbeat.fault() {
                        None => self.answer(setup, &job, memory),
                        Some(why) => (Err(Failure::Distrusted(why.to_string())), None),
                    };
                    let Job { body, held, media, cost, serving: by, reply, .. } = job;
                    let seen = judged.map(|judged| Seen { by, body, held, media, cost, judged });
                    // Behind what the memory was for: its end wakes those who wait for some.
                    drop(turn);
                    let _ = reply.send(answer);
                    if let Some(seen) = seen {
                        setup.beside.see(seen);
                    }
                }
                Popped::Late(job) => self.turn_away(job, TurnedAway::Late),
                Popped::Idle => {}
                Popped::Closed => break,
            }
        }
    }

    /// Answers a picture. Returns with it what a second model is to be compared with, where there is one.
    fn answer(
        &self,
        setup: &WorkerSetup,
        job: &Job,
        memory: Taken,
    ) -> (Result<Answer, Failure>, Option<Judgement>) {
        let waited = job.queued.elapsed();
        let pipeline = &job.serving.pipeline;
        let predicted = catch_unwind(AssertUnwindSafe(|| pipeline.predict(&job.body, job.media)));
        let predicted = predicted.map_err(|_| Failure::Panicked).and_then(|it| Ok(it?));
        let judged = setup.beside.wants().then(|| match &predicted {
            Ok((prediction, times)) => Some(Some(comparison::Answer::of(prediction, *times))),
            Err(Failure::Decode(_)) => None,
            Err(_) => Some(None),
        });
        let answer = predicted.map(|(prediction, times)| {
            self.answered(setup, job, memory, &prediction, (times, waited))
        });
        (answer, judged.flatten())
    }

    fn answered(
        &self,
        setup: &WorkerSetup,
        job: &Job,
        mut memory: Taken,
        prediction: &Prediction,
        (times, waited): (StageTimes, Duration),
    ) -> Answer {
        self.metrics.observe(waited, times);
        self.rate.learn(job.cost, times);
        let entry = entry(&job.serving.origin, prediction, times.inference);
        let appended = setup.writer.append(vec![entry], Source::Own, job.promise).ok();
        let id = appended.as_ref().map(|appended| appended.batch.first_id);
        tracing::debug!(prediction_id = id, label = prediction.label(), "predicted");
        let judged = Judged::write(&JudgedView::of(prediction, id, job.shown));
        memory.shrink_to(judged.held_bytes());
        Answer { judged, memory, appended, times, waited }
    }
}

/// What the serving model said, for a second one to be compared with; none inside where it failed.
type Judgement = Option<comparison::Answer>;

fn entry(origin: &Arc<Origin>, prediction: &Prediction, inference: Duration) -> Entry {
    let count = |count| u16::try_from(count).expect("a model has at most 10,000 classes");
    let probabilities = &prediction.probabilities[..];
    // Thousands of records may wait for the disk: where they can, they share their labels.
    let (labels, shared) = (&prediction.labels[..], origin.labels.names());
    let top = if shared.iter().map(|label| &**label).eq(labels) {
        top(probabilities, shared)
    } else {
        top(probabilities, labels)
    };
    Entry {
        origin: origin.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use crate::inference::Shown;
    use crate::inference::{Pipeline, Rules, Verdict, VerdictOverrides};
    use crate::memory::Shares;
    use crate::metrics::Registry;
    use crate::recording::{LogMetrics, Promise, WriterConfig, open_log};
    use bytes::Bytes;
    use picket_classifier::{Model, VerdictDefaults};
    use picket_picture::{Cost, JsonRange, MediaType};
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
            retention: Retention::NONE,
            recreate: false,
            drain_timeout: Duration::from_secs(1),
            budget: Budget::new(1 << 20),
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
        let pipeline = Pipeline { model: Arc::new(model), rules };
        let serving = Serving { pipeline, name: "m".into(), origin: Arc::new(origin) };
        let serving = Live::new(serving);
        let setup = WorkerSetup {
            serving: serving.clone(),
            beside: Beside::new(Budget::new(1 << 20)),
            writer,
            sample_interval: Duration::from_millis(20),
        };
        let limits = Limits { capacity: 1, threads: 1 };
        let workers = Workers::new(limits, Budget::new(1 << 20), metrics);
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
        let shares = Shares::new(Budget::new(1 << 20), Class::Body);
        let held = shares.take(Peer::Local, body.len()).unwrap();
        let (media, promise) = (Some(MediaType::Raw), Promise::Unneeded);
        let (cost, shown) = (Cost { bytes: 0, work: 1024 }, Shown::default());
        let (serving, claim, queued) = (serving.get(), None, Instant::now());
        let job = Job { body, held, media, serving, cost, claim, promise, shown, queued, reply };
        workers.submit(job, Peer::Local).unwrap();
        let failure = answer.blocking_recv().unwrap().err().unwrap();
        let expected = format!("this worker's answers can't be trusted: {damaged}");
        assert_eq!(failure.to_string(), expected);

        workers.close();
        worker.join().unwrap();
    }
}
