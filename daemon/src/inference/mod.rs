//! From a request's body to a prediction: workers that take what waits in turn and walk a pipeline each,
//! and the straight line that every picture walks. It knows no HTTP.

mod answer;
mod beside;
mod comparison;
mod job;
mod metrics;
mod pipeline;
mod pool;
mod proof;
mod rate;
mod serving;
mod verdict;

pub use answer::{
    Judged, JudgedView, ModelView, PredictionView, ServedView, Shown, TOP_MAX, TimingView, ms,
};
pub use beside::{Beside, Purpose, Second};
pub use comparison::{Fault, Pace};
pub use job::{Answer, Failure, Job, TurnedAway};
pub use metrics::InferenceMetrics;
pub use pipeline::{Pipeline, PredictError, Rules, StageTimes};
pub use pool::{Refusal, WorkerSetup, Workers};
pub use serving::Serving;
pub use verdict::{Prediction, UnknownLabel, Verdict, VerdictOverrides};
