//! From a request's body to a prediction: a bounded queue, threads that own a pipeline each, and the
//! straight line that every picture walks. It knows no HTTP.

mod answer;
mod pipeline;
mod pool;
mod queue;
mod verdict;

pub use answer::{ModelView, PredictionView, TimingView, ms};
pub use pipeline::{Pipeline, PredictError, Rules, StageTimes};
pub use pool::{Answer, Failure, Job, WorkerSetup, Workers};
pub use verdict::{Prediction, UnknownLabel, Verdict};
