//! POST /predict: body → worker → log → answer.

use std::sync::Arc;
use std::time::Instant;

use picket_base::Live;
use picket_classifier::ModelInfo;
use picket_picture::{DecodeError, RawForm};
use serde::Deserialize;
use tokio::sync::oneshot;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::body::Bodies;
use super::content::{Content, refusal};
use super::log::is_committed;
use super::query::{bad_parameter, durable, parse};
use super::rejected::Rejected;
use super::request::Request;
use crate::health::{Health, Outcome};
use crate::inference::{
    Answer, Failure, InferenceMetrics, Job, ModelView, PredictionView, Shown, TOP_MAX, TimingView,
    Workers, ms,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    durable: Option<String>,
    /// Of raw pixels, as the height and the format.
    width: Option<String>,
    height: Option<String>,
    format: Option<String>,
    top: Option<String>,
    probabilities: Option<String>,
}

impl PredictApi {
    pub(super) async fn answer(&self, mut request: Request) -> Result<Response, Rejected> {
        let PredictApi { workers, health, .. } = self;
        let arrived = Instant::now();
        let parameters: Parameters = parse(request.query())?;
        let durability = durable(parameters.durable.as_deref(), *self.durability.get())?;
        let shown = parameters.shown()?;
        let content = Content::stated(request.headers(), parameters.raw_form()?)?;
        let (body, media) = content.read(&self.bodies, &mut request).await?;
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
        Ok(self.respond(answer, arrived, shown).await)
    }

    async fn respond(&self, answer: Answer, arrived: Instant, shown: Shown) -> Response {
        let Answer { prediction, appended, times, waited } = answer;
        let id = appended.as_ref().map(|appended| appended.batch.first_id);
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
        let unlogged = PredictionView::unlogged(&prediction, model, timing_ms, shown);
        let view = PredictionView { id, logged: id.is_some(), durable, ..unlogged };
        warp::reply::json(&view).into_response()
    }
}

impl Parameters {
    /// Returns how much of the prediction is asked for.
    fn shown(&self) -> Result<Shown, Rejected> {
        let mut shown = Shown::default();
        if let Some(text) = self.top.as_deref().filter(|text| !text.is_empty()) {
            shown.top = match text.parse() {
                Ok(count) if (1..=TOP_MAX).contains(&count) => count,
                _ => return Err(bad_parameter("top", text, &format!("1 to {TOP_MAX} is needed"))),
            };
        }
        match self.probabilities.as_deref() {
            None | Some("") => {}
            Some("all") => shown.all = true,
            Some(other) => return Err(bad_parameter("probabilities", other, "all is needed")),
        }
        Ok(shown)
    }

    /// Gives what the query says of raw pixels; a parameter that is empty counts as absent.
    fn raw_form(&self) -> Result<Option<RawForm>, Rejected> {
        let present = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        let all = [&self.width, &self.height, &self.format].map(present);
        let [Some(width), Some(height), Some(format)] = &all else {
            if all.iter().all(Option::is_none) {
                return Ok(None);
            }
            let text = "query: raw pixels need all of width, height and format";
            return Err(Rejected::new(StatusCode::BAD_REQUEST, text));
        };
        let side = |name: &str, text: &str| {
            text.parse().map_err(|_| bad_parameter(name, text, "a number of pixels is needed"))
        };
        let (width, height) = (side("width", width)?, side("height", height)?);
        let known = format.parse().map_err(|error: DecodeError| {
            Rejected::new(StatusCode::BAD_REQUEST, format!("query: {error}"))
        })?;
        Ok(Some(RawForm { width, height, format: known }))
    }
}

fn rejection(failure: &Failure, health: &Health, metrics: &InferenceMetrics) -> Rejected {
    if let Failure::Decode(error) = failure {
        return refusal(error);
    }
    health.record(Outcome::ServerError);
    metrics.errors.inc();
    let text = picket_base::chain(failure);
    tracing::error!(error = %text, "prediction failed");
    Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}
