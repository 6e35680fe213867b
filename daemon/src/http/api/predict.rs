//! POST /predict: body → worker → log → answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use serde::Serialize;
use tokio::sync::oneshot;
use warp::Stream;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};

use super::log::is_committed;
use super::{Api, Rejected, durability};
use crate::health::{Health, Outcome};
use crate::inference::Prediction;
use crate::inference::{Answer, Failure, InferenceMetrics, Job, Workers};
use crate::recording::{Durability, Promise};
use picket_base::Live;
use picket_base::clock::micros;
use picket_classifier::{CLASSES, ModelInfo};
use picket_picture::{DecodeFault, MediaType};

pub struct PredictApi {
    pub workers: Workers,
    pub model_name: String,
    pub model: ModelInfo,
    pub durability: Arc<Live<Durability>>,
    pub health: Arc<Health>,
}

/// The answer's JSON, shared with `picket predict --json`.
#[derive(Serialize)]
pub struct PredictionView<'a> {
    pub class: usize,
    pub label: &'a str,
    pub confidence: f32,
    pub probabilities: &'a [f32; CLASSES],
    pub defect: bool,
    pub uncertain: bool,
    /// Sequence number in the log, null when it was not logged.
    pub id: Option<u64>,
    pub logged: bool,
    /// The record is on the medium.
    pub durable: bool,
    pub model: ModelView<'a>,
    pub timing_ms: TimingView,
}

impl<'a> PredictionView<'a> {
    /// As it is where there is no log, or none that takes records.
    pub fn unlogged(
        prediction: &'a Prediction,
        model: ModelView<'a>,
        timing_ms: TimingView,
    ) -> PredictionView<'a> {
        PredictionView {
            class: prediction.class,
            label: &prediction.label,
            confidence: prediction.confidence,
            probabilities: &prediction.probabilities,
            defect: prediction.defect,
            uncertain: prediction.uncertain,
            id: None,
            logged: false,
            durable: false,
            model,
            timing_ms,
        }
    }
}

#[derive(Serialize)]
pub struct ModelView<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub digest: &'a str,
}

/// Milliseconds spent in each stage.
#[derive(Serialize)]
pub struct TimingView {
    pub queue: f64,
    pub decode: f64,
    pub inference: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<f64>,
    pub total: f64,
}

pub(super) async fn predict<S, B>(
    api: &Api,
    query: &str,
    headers: &HeaderMap,
    stream: S,
) -> Result<Response, Rejected>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let PredictApi { workers, health, .. } = &api.predict;
    let arrived = Instant::now();
    let durability = durability(query, *api.predict.durability.get())?;
    let media = media_type(headers)?;
    let body = api.bodies.read(headers, stream).await?;
    let (reply, answer) = oneshot::channel();
    let queued = Instant::now();
    let promise = match durability {
        Durability::Strict => Promise::Preferred,
        Durability::Relaxed => Promise::Unneeded,
    };
    let job = Job { body: body.bytes.clone(), media, promise, queued, reply };
    if workers.submit(job).is_err() {
        health.record(Outcome::Shed);
        let capacity = workers.capacity();
        return Err(Rejected::unavailable(format!("{capacity} images are waiting already")));
    }
    let answer = answer.await.unwrap_or(Err(Failure::Panicked));
    drop(body);
    let answer = answer.map_err(|failure| rejection(&failure, health, workers.metrics()))?;
    workers.metrics().predicted();
    health.record(Outcome::Served);
    Ok(respond(api, answer, arrived).await)
}

/// What the header says; none when there is no header, as tritonclient sends none.
fn media_type(headers: &HeaderMap) -> Result<Option<MediaType>, Rejected> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let value = String::from_utf8_lossy(value.as_bytes());
    let media = MediaType::from_content_type(&value);
    media.map(Some).map_err(|error| Rejected::new(status(error.fault()), error.to_string()))
}

fn status(fault: DecodeFault) -> StatusCode {
    match fault {
        DecodeFault::Malformed => StatusCode::BAD_REQUEST,
        DecodeFault::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DecodeFault::UnknownType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DecodeFault::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn rejection(failure: &Failure, health: &Health, metrics: &InferenceMetrics) -> Rejected {
    if let Failure::Decode(error) = failure {
        return Rejected::new(status(error.fault()), picket_base::chain(error));
    }
    health.record(Outcome::ServerError);
    metrics.errors.inc();
    let text = picket_base::chain(failure);
    tracing::error!(error = %text, "prediction failed");
    Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}

async fn respond(api: &Api, answer: Answer, arrived: Instant) -> Response {
    let Answer { prediction, appended, times, waited } = answer;
    let id = appended.as_ref().map(|appended| appended.first_id);
    let mut commit = None;
    let mut durable = false;
    if let Some(committed) = appended.and_then(|appended| appended.committed) {
        let started = Instant::now();
        durable = is_committed(Some(committed)).await;
        commit = Some(ms(started.elapsed()));
    }
    let label = prediction.label.as_str();
    tracing::debug!(prediction_id = id, label, durable, "predicted");
    let model = &api.predict.model;
    let model =
        ModelView { name: &api.predict.model_name, version: &model.version, digest: &model.digest };
    let timing_ms = TimingView {
        queue: ms(waited),
        decode: ms(times.decode),
        inference: ms(times.inference),
        commit,
        total: ms(arrived.elapsed()),
    };
    let unlogged = PredictionView::unlogged(&prediction, model, timing_ms);
    let view = PredictionView { id, logged: id.is_some(), durable, ..unlogged };
    warp::reply::json(&view).into_response()
}

/// Milliseconds to the microsecond: digits beyond that are noise.
pub fn ms(duration: Duration) -> f64 {
    micros(duration) as f64 / 1e3
}
