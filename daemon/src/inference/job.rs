//! What goes into the pool of workers and what comes out of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use picket_base::budget::{Claim, Taken};
use tokio::sync::oneshot;

use super::answer::{Judged, Shown};
use super::pipeline::{PredictError, StageTimes};
use super::serving::Serving;
use crate::memory::Share;
use crate::queue::{Pending, QUEUE_WAIT_MAX};
use crate::recording::{Appended, Promise};
use picket_classifier::ModelError;
use picket_picture::{Cost, DecodeError, MediaType};

/// An image on its way to a prediction.
pub struct Job {
    pub body: Bytes,
    /// The memory of its body.
    pub held: Share,
    /// The type that the sender stated; without it, the type is guessed from the bytes.
    pub media: Option<MediaType>,
    /// The model that served when it came, and that predicts it.
    pub serving: Arc<Serving>,
    /// What its header says of the work and the memory that it needs.
    pub cost: Cost,
    /// To the memory that it needs, once it has waited for long.
    pub claim: Option<Claim>,
    pub promise: Promise,
    /// How much of the prediction is asked for.
    pub shown: Shown,
    pub queued: Instant,
    pub reply: oneshot::Sender<Result<Answer, Failure>>,
}

impl Pending for Job {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// A prediction and where it went.
pub struct Answer {
    pub judged: Judged,
    /// What it takes until its client has read it.
    pub memory: Taken,
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
    #[error(transparent)]
    TurnedAway(#[from] TurnedAway),
}

/// Why a picture was not worked on though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    #[error("{0} images are waiting already")]
    Full(usize),
    /// It had a place, which went to a sender that held fewer.
    #[error("{0} images are waiting already, most of them from this address")]
    Evicted(usize),
    #[error("no worker was free for it within {} s", QUEUE_WAIT_MAX.as_secs())]
    Late,
    #[error("no worker was done with it within {} s", .0.as_secs_f64())]
    Stuck(Duration),
}

impl From<PredictError> for Failure {
    fn from(error: PredictError) -> Failure {
        match error {
            PredictError::Decode(error) => Failure::Decode(error),
            PredictError::Model(error) => Failure::Model(error),
        }
    }
}
