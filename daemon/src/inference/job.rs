//! What goes into the pool of workers and what comes out of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::pipeline::{PredictError, StageTimes};
use super::verdict::Prediction;
use crate::recording::{Appended, Promise};
use picket_classifier::ModelError;
use picket_picture::{DecodeError, MediaType};

/// An image on its way to a prediction.
pub struct Job {
    pub body: Bytes,
    /// The type that the sender stated; without it, the type is guessed from the bytes.
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
    /// The time from its arrival to the moment when a worker took it.
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
    /// Nothing is answered: a wrong answer is worse than none.
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
