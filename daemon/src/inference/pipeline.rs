//! The straight line from bytes to a prediction, as one worker thread walks it.

use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::verdict::{Prediction, Verdict};
use picket_base::Live;
use picket_classifier::{Model, ModelError};
use picket_picture::{DecodeError, JsonRange, MediaType, Picture, Resize, Spec, Tensor};

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

impl Add for StageTimes {
    type Output = StageTimes;

    fn add(self, other: StageTimes) -> StageTimes {
        StageTimes {
            decode: self.decode + other.decode,
            inference: self.inference + other.inference,
        }
    }
}

/// A JPEG that was decoded at a part of its size is decoded whole where its two most probable classes are
/// closer than this. Of 10,000 photographs of 640×480 pixels, reduced to a quarter, 44 changed their
/// class without it (daemon/training/agreement.py).
const CLEAR_MARGIN: f32 = 0.2;

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
        let (prediction, times) = self.judge(&picture, started, &rules.verdict)?;
        if !picture.is_reduced() || prediction.margin() >= CLEAR_MARGIN {
            return Ok((prediction, times));
        }
        let again = Instant::now();
        let exact = Spec { resize: Resize { exact: true, ..spec.resize }, ..*spec };
        let picture = Picture::decode(body, media, &exact, rules.json_range)?;
        let (prediction, second) = self.judge(&picture, again, &rules.verdict)?;
        Ok((prediction, times + second))
    }

    /// Runs a picture through the model; its decoding began at `started`.
    fn judge(
        &self,
        picture: &Picture,
        started: Instant,
        verdict: &Verdict,
    ) -> Result<(Prediction, StageTimes), ModelError> {
        let input = Tensor::new(picture, &self.model.info().input);
        let decoded = Instant::now();
        let scores = self.model.run(&input)?;
        let prediction = Prediction::new(&scores, verdict);
        let times = StageTimes { decode: decoded - started, inference: decoded.elapsed() };
        Ok((prediction, times))
    }
}
