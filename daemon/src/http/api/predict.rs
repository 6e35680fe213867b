//! POST /predict: body → worker → log → answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_base::Live;
use picket_picture::{self as picture, Cost, DecodeError, MediaType, RawForm};
use serde::Deserialize;
use tokio::sync::oneshot;
use warp::http::StatusCode;
use warp::reply::Response;

use super::body::{Bodies, Body};
use super::content::{Content, refusal};
use super::json::json_response;
use super::log::is_committed;
use super::query::{bad_parameter, durable, parse};
use super::rejected::Rejected;
use super::request::Request;
use crate::health::{Health, Outcome};
use crate::http::listener::leave_memory;
use crate::inference::{
    Answer, Failure, Job, ModelView, Refusal, ServedView, Serving, Shown, TOP_MAX, TimingView,
    TurnedAway, Workers, ms,
};
use crate::offload::{Offload, Progress};
use crate::peer::Peer;
use crate::recording::{Durability, Promise};

/// The header of a larger body may take long to read: that of a JPEG is all over the file. It is read on
/// a thread of its own.
const HEADER_BYTES_MAX: usize = 256 << 10;

/// What a prediction needs.
pub struct PredictApi {
    pub workers: Workers,
    pub serving: Arc<Live<Serving>>,
    pub durability: Arc<Live<Durability>>,
    pub bodies: Arc<Bodies>,
    /// What is too heavy for the listener's thread goes here.
    pub ingest: Offload,
    /// Whoever asks is told after so long that no worker was done: longer than a picture waits for one,
    /// and than one may be silent.
    pub patience: Duration,
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
        let (arrived, sender) = (Instant::now(), request.peer());
        let parameters: Parameters = parse(request.query())?;
        let durability = durable(parameters.durable.as_deref(), *self.durability.get())?;
        let shown = parameters.shown()?;
        let content = Content::stated(request.headers(), parameters.raw_form()?)?;
        let serving = self.serving.get();
        let read = self.body(&serving, content, &mut request).await;
        let (cost, media, body) = read.inspect_err(|rejected| self.shed(rejected, sender))?;
        let cost = cost.map_err(|error| refusal(&error))?;
        let (reply, answer) = oneshot::channel();
        let queued = Instant::now();
        let promise = match durability {
            Durability::Strict => Promise::Preferred,
            Durability::Relaxed => Promise::Unneeded,
        };
        let (body, held) = body.split();
        let judge = serving.clone();
        let job = Job {
            body,
            held,
            media,
            serving: judge,
            cost,
            claim: None,
            promise,
            shown,
            queued,
            reply,
        };
        workers.submit(job, sender).map_err(|refused| self.refused(refused, sender))?;
        let answer = match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => answer.unwrap_or(Err(Failure::Panicked)),
            Err(_) => Err(Failure::TurnedAway(workers.stuck(self.patience))),
        };
        let answer = answer.map_err(|failure| self.failed(&failure, sender))?;
        workers.metrics().predicted();
        health.record(sender, Outcome::Served);
        Ok(self.respond(&serving, answer, arrived).await)
    }

    /// Reads the body, and what its header says.
    async fn body(
        &self,
        serving: &Serving,
        content: Content,
        request: &mut Request,
    ) -> Result<(Result<Cost, DecodeError>, Option<MediaType>, Body), Rejected> {
        let (body, media) = content.read(&self.bodies, &self.ingest, request).await?;
        let (cost, body) = self.cost(serving, body, media).await?;
        Ok((cost, media, body))
    }

    /// Counts a request for which there was no room before it came to the workers.
    fn shed(&self, rejected: &Rejected, sender: Peer) {
        if rejected.status == StatusCode::SERVICE_UNAVAILABLE {
            self.health.record(sender, Outcome::Shed);
        }
    }

    /// Reads what the header of a body says of the work that is in it.
    async fn cost(
        &self,
        serving: &Serving,
        body: Body,
        media: Option<MediaType>,
    ) -> Result<(Result<Cost, DecodeError>, Body), Rejected> {
        let spec = serving.pipeline.model.info().input;
        if body.bytes.len() <= HEADER_BYTES_MAX {
            return Ok((picture::cost(&body.bytes, media, &spec), body));
        }
        let needs = body.needs();
        let read = move |_: &Progress, _| (picture::cost(&body.bytes, media, &spec), body);
        Ok(self.ingest.run(needs, read).await?)
    }

    async fn respond(&self, serving: &Serving, answer: Answer, arrived: Instant) -> Response {
        let Answer { judged, memory, appended, times, waited } = answer;
        let mut commit = None;
        let mut durable = false;
        if let Some(committed) = appended.and_then(|appended| appended.committed) {
            let started = Instant::now();
            durable = is_committed(Some(committed)).await;
            commit = Some(ms(started.elapsed()));
        }
        let model = serving.pipeline.model.info();
        let model =
            ModelView { name: &serving.name, version: &model.version, digest: &model.digest };
        let timing_ms = TimingView {
            queue: ms(waited),
            decode: ms(times.decode),
            inference: ms(times.inference),
            commit,
            total: ms(arrived.elapsed()),
        };
        let mut answer = json_response(judged.with(&ServedView { durable, model, timing_ms }));
        leave_memory(&mut answer, memory);
        answer
    }

    fn refused(&self, refused: Refusal, sender: Peer) -> Rejected {
        match refused {
            Refusal::TurnedAway(why) => self.turned_away(why, sender),
            Refusal::Memory(error) => refusal(&error),
            Refusal::Work { .. } => {
                Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, refused.to_string())
            }
        }
    }

    fn turned_away(&self, why: TurnedAway, sender: Peer) -> Rejected {
        self.health.record(sender, Outcome::Shed);
        Rejected::unavailable(why.to_string())
    }

    fn failed(&self, failure: &Failure, sender: Peer) -> Rejected {
        match failure {
            Failure::Decode(error) => return refusal(error),
            Failure::TurnedAway(why) => return self.turned_away(*why, sender),
            Failure::Model(_) | Failure::Panicked | Failure::Distrusted(_) => {}
        }
        self.health.record(sender, Outcome::ServerError);
        self.workers.metrics().errors.inc();
        let text = picket_base::chain(failure);
        tracing::error!(error = %text, "prediction failed");
        Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, text)
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
