//! The straight line from bytes to a prediction, as one worker thread walks it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::verdict::{Prediction, Verdict};
use picket_base::Live;
use picket_classifier::{Model, ModelError};
use picket_picture::{DecodeError, JsonRange, MediaType, Picture, Tensor};

#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The caller is at fault.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The daemon is at fault.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// How long each stage took, monotonic time.
#[derive(Clone, Copy, Debug)]
pub struct StageTimes {
    /// From bytes to the input tensor.
    pub decode: Duration,
    /// From the input tensor to the prediction.
    pub inference: Duration,
}

/// What the configuration says about images and predictions; a reload may change it.
#[derive(Clone, Debug)]
pub struct Rules {
    pub verdict: Verdict,
    pub json_range: JsonRange,
}

#[derive(Clone)]
pub struct Pipeline {
    pub model: Arc<Model>,
    pub rules: Arc<Live<Rules>>,
}

impl Pipeline {
    /// `media` is the type that the sender stated; without it, the type is guessed from the bytes.
    ///
    /// # Errors
    /// `Decode` for a body that is no usable image, `Model` when inference itself fails.
    pub fn predict(
        &self,
        body: &[u8],
        media: Option<MediaType>,
    ) -> Result<(Prediction, StageTimes), PredictError> {
        let started = Instant::now();
        let rules = self.rules.get();
        let spec = &self.model.info().input;
        let media = media.map_or_else(|| MediaType::sniff(body, spec), Ok)?;
        let picture = Picture::decode(body, media, spec, rules.json_range)?;
        let input = Tensor::new(&picture, spec);
        let decoded = Instant::now();
        let scores = self.model.run(&input)?;
        let prediction = Prediction::new(&scores, &rules.verdict);
        let times = StageTimes { decode: decoded - started, inference: decoded.elapsed() };
        Ok((prediction, times))
    }
}
