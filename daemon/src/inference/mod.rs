//! From a request's body to a prediction: a bounded queue, workers that walk a pipeline each, and the
//! straight line that every picture walks. It knows no HTTP.

mod answer;
mod job;
mod metrics;
mod pipeline;
mod pool;
mod proof;
mod queue;
mod verdict;

pub use answer::{ModelView, PredictionView, Shown, TOP_MAX, TimingView, ms};
pub use job::{Answer, Failure, Job};
pub use metrics::InferenceMetrics;
pub use pipeline::{Pipeline, PredictError, Rules, StageTimes};
pub use pool::{WorkerSetup, Workers};
pub use verdict::{Prediction, UnknownLabel, Verdict, VerdictOverrides};
