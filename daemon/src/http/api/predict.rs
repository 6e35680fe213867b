//! POST /predict: body → worker → log → answer.

use std::sync::Arc;
use std::time::Instant;

use picket_base::Live;
use picket_classifier::ModelInfo;
use picket_picture::{DecodeFault, MediaType};
use tokio::sync::oneshot;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};

use super::body::Bodies;
use super::log::is_committed;
use super::query::durability;
use super::rejected::Rejected;
use super::request::Request;
use crate::health::{Health, Outcome};
use crate::inference::{
    Answer, Failure, InferenceMetrics, Job, ModelView, PredictionView, TimingView, Workers, ms,
};
use crate::recording::{Durability, Promise};

/// What a prediction needs.
pub struct PredictApi {
    pub workers: Workers,
    pub model_name: String,
    pub model: ModelInfo,
    pub durability: Arc<Live<Durability>>,
    pub bodies: Arc<Bodies>,
    pub health: Arc<Health>,
}

impl PredictApi {
    pub(super) async fn answer(&self, mut request: Request) -> Result<Response, Rejected> {
        let PredictApi { workers, health, .. } = self;
        let arrived = Instant::now();
        let durability = durability(request.query(), *self.durability.get())?;
        let media = media_type(request.headers())?;
        let body = self.bodies.read(&mut request).await?;
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
        Ok(self.respond(answer, arrived).await)
    }

    async fn respond(&self, answer: Answer, arrived: Instant) -> Response {
        let Answer { prediction, appended, times, waited } = answer;
        let id = appended.as_ref().map(|appended| appended.first_id);
        let mut commit = None;
        let mut durable = false;
        if let Some(committed) = appended.and_then(|appended| appended.committed) {
            let started = Instant::now();
            durable = is_committed(Some(committed)).await;
            commit = Some(ms(started.elapsed()));
        }
        let label = prediction.label();
        tracing::debug!(prediction_id = id, label, durable, "predicted");
        let PredictApi { model_name, model, .. } = self;
        let model = ModelView { name: model_name, version: &model.version, digest: &model.digest };
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
}

/// Gives what the header says; nothing when there is no header, as tritonclient sends none.
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
