//! POST /log, GET /predictions, GET /stats: the prediction log over HTTP. Parsing batches and
//! reading pages happens on the blocking threads, never on the async runtime.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_base::clock::Stamp;
use picket_base::{Live, rfc3339};
use picket_picture::MediaType;
use picket_records::{Damage, LogReader, LogRecord, PAGE_RECORDS_MAX, Query, VerifyReport};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};

use super::admin;
use super::body::Bodies;
use super::query::{self, bad_parameter, durability, flag};
use super::rejected::Rejected;
use super::request::Request;
use crate::health::Health;
use crate::recording::batch::{self, BatchError};
use crate::recording::{Durability, LogWriter, Promise, Unlogged};

/// A strict answer waits this long for its commit, an SD card's usual stall included.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Batches being parsed and pages being read at the same time, running or waiting for a thread.
const BLOCKING_MAX: usize = 16;

/// Records in a page when the request doesn't say.
const PAGE_RECORDS_DEFAULT: usize = 100;

/// Whoever answers for the log.
pub struct LogApi {
    setup: LogSetup,
    blocking: Arc<Semaphore>,
}

/// Parameters of `GET /predictions`; one that is there but empty counts as absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    limit: Option<String>,
    edge_device_id: Option<String>,
    defect_only: Option<String>,
    since: Option<String>,
    until: Option<String>,
    label: Option<String>,
    after: Option<String>,
}

#[derive(Serialize)]
struct PageView<'a> {
    count: usize,
    next: Option<u64>,
    damaged: &'a [u64],
    predictions: &'a [LogRecord],
}

#[derive(Serialize)]
struct StepView {
    records: Vec<StepItemView>,
}

#[derive(Serialize)]
struct StepItemView {
    id: u64,
    record: Option<LogRecord>,
    damage: Option<String>,
}

/// What the log's routes need.
pub struct LogSetup {
    pub writer: LogWriter,
    pub reader: LogReader,
    /// Where the log lives.
    pub dir: PathBuf,
    pub durability: Arc<Live<Durability>>,
    pub boot_id: String,
    pub bodies: Arc<Bodies>,
    pub health: Arc<Health>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepParameters {
    from: u64,
}

impl LogApi {
    pub fn new(setup: LogSetup) -> LogApi {
        LogApi { setup, blocking: Arc::new(Semaphore::new(BLOCKING_MAX)) }
    }

    pub(super) async fn store(&self, mut request: Request) -> Result<Response, Rejected> {
        let durability = durability(request.query(), *self.setup.durability.get())?;
        require_json(request.headers())?;
        let body = self.setup.bodies.read(&mut request).await?;
        let boot_id = self.setup.boot_id.clone();
        let entries = self
            .blocking(move || batch::parse(&body.bytes, &boot_id, Stamp::now()))
            .await?
            .map_err(rejection)?;
        let stored = entries.len();
        let unlogged = |error: Unlogged| Rejected::unavailable(error.to_string());
        let durable = durability == Durability::Strict;
        // The sender deletes its copy: better refused now than taken without a promise.
        let promise = if durable { Promise::Required } else { Promise::Unneeded };
        let appended = self.setup.writer.append(entries, promise).map_err(unlogged)?;
        if durable && !is_committed(appended.committed).await {
            let text = "the batch is not known to be on the medium; it may still get there";
            return Err(Rejected::unavailable(text));
        }
        Ok(warp::reply::json(&json!({
            "status": "success",
            "predictions_stored": stored,
            "batch_size": stored,
            "first_id": (stored > 0).then_some(appended.first_id),
            "durable": durable,
            "timestamp": admin::now(),
        }))
        .into_response())
    }

    pub(super) async fn predictions(&self, query: &str) -> Result<Response, Rejected> {
        let query = page_query(query::parse(query)?)?;
        let reader = self.setup.reader.clone();
        let page = self.blocking(move || reader.query(&query)).await?;
        let page = page.map_err(|error| Rejected::unavailable(picket_base::chain(&error)))?;
        let answer = PageView {
            count: page.records.len(),
            next: page.next,
            damaged: &page.damaged,
            predictions: &page.records,
        };
        Ok(warp::reply::json(&answer).into_response())
    }

    /// Answers with records from a number on, oldest first: what `picket log export` and `tail` read.
    pub(super) async fn records(&self, query: &str) -> Result<Response, Rejected> {
        let StepParameters { from } = query::parse(query)?;
        let reader = self.setup.reader.clone();
        let step = self.blocking(move || reader.step(from)).await?;
        let step = step.map_err(|error| Rejected::unavailable(picket_base::chain(&error)))?;
        let view = |(id, record): (u64, Result<LogRecord, Damage>)| match record {
            Ok(record) => StepItemView { id, record: Some(record), damage: None },
            Err(damage) => StepItemView { id, record: None, damage: Some(damage.to_string()) },
        };
        let records = step.into_iter().map(view).collect();
        Ok(warp::reply::json(&StepView { records }).into_response())
    }

    pub(super) async fn verify(&self) -> Result<Response, Rejected> {
        let (reader, dir) = (self.setup.reader.clone(), self.setup.dir.clone());
        let report = self.blocking(move || reader.verify(&dir)).await?;
        let report = report.map_err(|error| Rejected::unavailable(picket_base::chain(&error)))?;
        let report = VerifyReport { recovered: self.setup.health.log_history(), ..report };
        Ok(warp::reply::json(&report).into_response())
    }

    pub(super) fn stats(&self) -> Response {
        let stats = self.setup.reader.stats();
        warp::reply::json(&json!({
            "total_predictions": stats.total,
            "defects_detected": stats.defects,
            "normal_detections": stats.total - stats.defects,
            "average_inference_time_ms": stats.average_inference_ms(),
            "by_edge_device": stats.by_device,
            "by_model": stats.by_model,
            "complete": stats.complete,
        }))
        .into_response()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Rejected> {
        let Ok(permit) = self.blocking.clone().try_acquire_owned() else {
            let text = format!("{BLOCKING_MAX} log requests are being worked on already");
            return Err(Rejected::unavailable(text));
        };
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "a log request panicked");
            Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, "the request panicked")
        })
    }
}

/// Tells whether the record reached the medium in time; false where no word of it can be given.
pub(super) async fn is_committed(committed: Option<oneshot::Receiver<()>>) -> bool {
    let Some(committed) = committed else { return false };
    matches!(tokio::time::timeout(COMMIT_WAIT_MAX, committed).await, Ok(Ok(())))
}

fn rejection(error: BatchError) -> Rejected {
    let status = match error {
        BatchError::Syntax(_) => StatusCode::BAD_REQUEST,
        BatchError::Content(_) => StatusCode::UNPROCESSABLE_ENTITY,
        BatchError::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Rejected::new(status, error.to_string())
}

/// Refuses a batch that does not say that it is JSON: what a web page may send to any host without
/// asking it first says something else.
fn require_json(headers: &HeaderMap) -> Result<(), Rejected> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let stated = match (values.next(), values.next()) {
        (None, _) => "missing".to_string(),
        (Some(_), Some(_)) => "there twice".to_string(),
        (Some(value), None) => {
            let value = String::from_utf8_lossy(value.as_bytes());
            if matches!(MediaType::from_content_type(&value), Ok(Some(MediaType::Json))) {
                return Ok(());
            }
            value.chars().take(100).collect()
        }
    };
    let text = format!("Content-Type is {stated}, only application/json is taken here");
    Err(Rejected::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

fn page_query(parameters: PageParameters) -> Result<Query, Rejected> {
    let present = |text: Option<String>| text.filter(|text| !text.is_empty());
    let limit = number("limit", present(parameters.limit))?.unwrap_or(PAGE_RECORDS_DEFAULT as u64);
    if limit == 0 || limit > PAGE_RECORDS_MAX as u64 {
        return Err(bad_parameter("limit", &limit.to_string(), "1 to 1000 are possible"));
    }
    let defect_only = flag("defect_only", parameters.defect_only.as_deref())?.unwrap_or(false);
    Ok(Query {
        limit: limit as usize,
        after: number("after", present(parameters.after))?,
        edge_device_id: present(parameters.edge_device_id),
        defect_only,
        since: moment("since", present(parameters.since))?,
        until: moment("until", present(parameters.until))?,
        label: present(parameters.label),
    })
}

fn number(name: &str, text: Option<String>) -> Result<Option<u64>, Rejected> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| bad_parameter(name, &text, "a whole number is needed"))
}

/// Reads epoch seconds or RFC 3339 as epoch seconds.
fn moment(name: &str, text: Option<String>) -> Result<Option<f64>, Rejected> {
    let Some(text) = text else { return Ok(None) };
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()) {
        return Ok(Some(seconds));
    }
    // A plus sign that nobody escaped arrives as a space.
    let unescaped = || {
        let (local, offset) = text.rsplit_once(' ')?;
        rfc3339::parse(&format!("{local}+{offset}"))
    };
    rfc3339::parse(&text)
        .or_else(unescaped)
        .map(Some)
        .ok_or_else(|| bad_parameter(name, &text, "epoch seconds or RFC 3339 is needed"))
}
