//! POST /log, GET /predictions, GET /stats: the prediction log over HTTP. Batches are parsed, and pages
//! and counters made, on threads of their own: ingest, reads and the command line have different ones, so
//! that none of them waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_base::Live;
use picket_base::clock::Stamp;
use picket_base::rfc3339::{self, Precision};
use picket_picture::MediaType;
use picket_records::{
    LogError, LogReader, Names, Query, Stats, StoredBatch, VerifyReport, Witness,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use warp::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};

use super::body::{Bodies, Body};
use super::json::json_response;
use super::page::{PAGE_MEMORY_BYTES, PageJson, PageParameters, StepJson};
use super::query::{self, durability};
use super::rejected::Rejected;
use super::request::{Asker, Request};
use crate::health::Health;
use crate::offload::{Needs, Offload, Progress};
use crate::os::SmallPieces;
use crate::recording::batch::{self, Batch, BatchError};
use crate::recording::{Durability, LogWriter, Promise, Rates, TooFast, Unlogged, parsing_bytes};

/// A strict answer waits this long for its commit, an SD card's usual stall included.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Devices and models that are named in the counters, the ones with the most records.
const NAMES_SHOWN_MAX: usize = 100;

/// Characters of a number's text that are repeated to its sender.
const ID_CHARS_MAX: usize = 20;

/// Behind this box's own name where others have reported under it.
const CLAIMED: &str = " (reported)";

/// What the records of all others are counted under.
const OTHERS: &str = "other";

/// What a page is expected to take of a thread's time: one of the newest records, and one that may have
/// to look at many before it finds any.
const PAGE_TIME: Duration = Duration::from_millis(5);
const SEARCH_TIME: Duration = Duration::from_millis(200);

/// What parsing a larger batch will take is found out on a thread of its own, too.
const WEIGHED_BYTES_MAX: usize = 64 << 10;

/// Whoever answers for the log.
pub struct LogApi {
    setup: LogSetup,
}

/// What the log's routes need.
pub struct LogSetup {
    pub writer: LogWriter,
    pub reader: LogReader,
    pub durability: Arc<Live<Durability>>,
    pub boot_id: String,
    /// The name of this box.
    pub device_id: String,
    pub bodies: Arc<Bodies>,
    /// Records that one batch may hold.
    pub batch_max: usize,
    /// How much one sender may report.
    pub rates: Arc<Rates>,
    pub health: Arc<Health>,
    pub threads: LogThreads,
}

/// Where the log's work is done.
pub struct LogThreads {
    /// Batches are parsed here.
    pub ingest: Offload,
    /// Pages and counters are made here.
    pub reads: Offload,
    /// This is for the command line.
    pub control: Offload,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyParameters {
    witness: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepParameters {
    from: u64,
}

impl LogApi {
    pub fn new(setup: LogSetup) -> LogApi {
        LogApi { setup }
    }

    pub(super) async fn store(&self, mut request: Request) -> Result<Response, Rejected> {
        let durability = durability(request.query(), *self.setup.durability.get())?;
        require_json(request.headers())?;
        let body = self.setup.bodies.read(&mut request).await?;
        let boot_id = self.setup.boot_id.clone();
        let records_max = self.setup.batch_max;
        let ingest = &self.setup.threads.ingest;
        let (bytes, body) = self.weigh(body).await?;
        if bytes > ingest.largest() {
            let most = ingest.largest();
            let text = format!("the batch needs {bytes} bytes of memory, at most {most} are there");
            return Err(Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        let durable = durability == Durability::Strict;
        // The sender deletes its copy: better refused now than taken without a promise.
        let promise = if durable { Promise::Required } else { Promise::Unneeded };
        let (needs, writer) = (Needs { bytes, ..body.needs() }, self.setup.writer.clone());
        let (rates, peer) = (self.setup.rates.clone(), request.peer());
        // Its memory is held until the records are in the queue, which has a share of its own.
        let append = move |_: &Progress| {
            let parsed = batch::parse(&body.bytes, records_max, &boot_id, Stamp::now());
            let appended = parsed.map_err(rejection).and_then(|Batch { entries, name }| {
                let device = entries.first().and_then(|first| first.origin.device_id.clone());
                let sender = device.unwrap_or_else(|| format!("{peer:?}"));
                rates.take(&sender, entries.len(), Instant::now()).map_err(too_fast)?;
                writer.append(entries, name, promise).map_err(unlogged)
            });
            if appended.is_err() {
                SmallPieces::default().freed(bytes);
            }
            appended
        };
        let appended = ingest.run(needs, append).await??;
        if durable && !is_committed(appended.committed).await {
            let text = "the batch is not known to be on the medium; it may still get there";
            return Err(Rejected::unavailable(text));
        }
        let StoredBatch { first_id, records, taken_at_us } = appended.batch;
        let taken_at = rfc3339::from_epoch_seconds(taken_at_us as f64 / 1e6);
        Ok(warp::reply::json(&json!({
            "status": "success",
            "predictions_stored": records,
            "batch_size": records,
            "first_id": (records > 0).then_some(first_id),
            "durable": durable,
            "timestamp": rfc3339::format(taken_at, Precision::Micros),
        }))
        .into_response())
    }

    /// Finds out what memory parsing a batch will take, bytes.
    async fn weigh(&self, body: Body) -> Result<(usize, Body), Rejected> {
        if body.bytes.len() <= WEIGHED_BYTES_MAX {
            return Ok((parsing_bytes(&body.bytes), body));
        }
        let needs = body.needs();
        let weigh = move |_: &Progress| (parsing_bytes(&body.bytes), body);
        Ok(self.setup.threads.ingest.run(needs, weigh).await?)
    }

    pub(super) async fn predictions(&self, request: Request) -> Result<Response, Rejected> {
        let query = query::parse::<PageParameters>(request.query())?.query()?;
        let time = if is_search(&query) { SEARCH_TIME } else { PAGE_TIME };
        let reader = self.setup.reader.clone();
        let page = move |progress: &Progress| {
            let mut page = PageJson::new(progress);
            let next = reader.query_into(&query, &mut page)?;
            Ok(page.finish(next))
        };
        self.read(request, time, page).await
    }

    /// Answers with the record of one number.
    pub(super) async fn record(&self, request: Request) -> Result<Response, Rejected> {
        let NoParameters {} = query::parse(request.query())?;
        let id = request.segment("id").to_string();
        let not_found = |id: &str| {
            let id: String = id.chars().take(ID_CHARS_MAX).collect();
            Rejected::new(StatusCode::NOT_FOUND, format!("there is no record {id}"))
        };
        let Ok(number) = id.parse() else { return Err(not_found(&id)) };
        let reader = self.setup.reader.clone();
        let record = move |_: &Progress| {
            let record = reader.record(number)?;
            Ok(record.map(|record| {
                serde_json::to_vec(&record).expect("a record has no value that JSON lacks")
            }))
        };
        let record = self.ask(request, PAGE_TIME, record).await?;
        record.map(json_response).ok_or_else(|| not_found(&id))
    }

    /// Answers with records from a number on, oldest first: what `picket log export` and `tail` read.
    pub(super) async fn records(&self, request: Request) -> Result<Response, Rejected> {
        let StepParameters { from } = query::parse(request.query())?;
        let reader = self.setup.reader.clone();
        let step = move |progress: &Progress| {
            let mut step = StepJson::new(progress);
            reader.step_into(from, &mut step)?;
            Ok(step.finish())
        };
        self.read(request, PAGE_TIME, step).await
    }

    pub(super) async fn verify(&self, request: Request) -> Result<Response, Rejected> {
        let VerifyParameters { witness } = query::parse(request.query())?;
        let witness = witness.map(|text| parse_witness(&text)).transpose()?;
        let reader = self.setup.reader.clone();
        let health = self.setup.health.clone();
        let verify = move |progress: &Progress| {
            let goes_on = || {
                progress.beat();
                !progress.is_stopping()
            };
            let report = reader.verify(witness.as_ref(), goes_on)?;
            let report = VerifyReport { recovered: health.log_history(), ..report };
            Ok(serde_json::to_vec(&report).expect("a report has no value that JSON lacks"))
        };
        self.read(request, SEARCH_TIME, verify).await
    }

    pub(super) async fn stats(&self, request: Request) -> Result<Response, Rejected> {
        let reader = self.setup.reader.clone();
        let device_id = self.setup.device_id.clone();
        let stats = move |_: &Progress| {
            let (stats, standing) = (reader.stats(), reader.standing()?);
            let shown = json!({
                "total_predictions": stats.total,
                "defects_detected": stats.defects,
                "normal_detections": stats.total - stats.defects,
                "average_inference_time_ms": stats.average_inference_ms(),
                "by_edge_device": by_device(&stats, &device_id),
                "by_model": by_name(&stats.by_model),
                "complete": stats.complete,
                "head": standing.head,
                "next_id": standing.next_id,
                "first_id": standing.first_id,
                "oldest": standing.oldest,
            });
            Ok(shown.to_string().into_bytes())
        };
        self.read(request, PAGE_TIME, stats).await
    }

    /// Answers with the JSON that is made of the log.
    async fn read(
        &self,
        request: Request,
        time: Duration,
        make: impl FnOnce(&Progress) -> Result<Vec<u8>, LogError> + Send + 'static,
    ) -> Result<Response, Rejected> {
        self.ask(request, time, make).await.map(json_response)
    }

    /// Has something made of the log.
    async fn ask<T: Send + 'static>(
        &self,
        request: Request,
        time: Duration,
        make: impl FnOnce(&Progress) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Rejected> {
        let threads = match request.asker() {
            Asker::Client => &self.setup.threads.reads,
            Asker::Operator => &self.setup.threads.control,
        };
        let needs = Needs { peer: request.peer(), time, bytes: PAGE_MEMORY_BYTES };
        let made = threads.run(needs, make).await?;
        made.map_err(|error| Rejected::unavailable(picket_base::chain(&error)))
    }
}

fn parse_witness(text: &str) -> Result<Witness, Rejected> {
    let witness = text
        .split_once(':')
        .and_then(|(id, head)| Some(Witness { id: id.parse().ok()?, head: head.to_string() }));
    witness.ok_or_else(|| query::bad_parameter("witness", text, "ID:HEAD is needed"))
}

fn too_fast(error: TooFast) -> Rejected {
    let secs = HeaderValue::from(error.wait.as_secs() + 1);
    let rejected = Rejected::new(StatusCode::TOO_MANY_REQUESTS, error.to_string());
    rejected.with_header(RETRY_AFTER, secs)
}

fn unlogged(error: Unlogged) -> Rejected {
    match error {
        Unlogged::TooLarge { .. } => {
            Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        _ => Rejected::unavailable(error.to_string()),
    }
}

/// Whether records may have to be looked at that are not in the page.
fn is_search(query: &Query) -> bool {
    query.defect_only
        || query.edge_device_id.is_some()
        || query.label.is_some()
        || query.since.is_some()
        || query.until.is_some()
}

/// Own records and reported ones together, under the names of their devices; whoever reports under this box's
/// own name is named so that nobody takes it for the box.
fn by_device(stats: &Stats, own: &str) -> Value {
    let (made, others) = stats.by_device.most(NAMES_SHOWN_MAX);
    let (reported, more) = stats.by_reported_device.most(NAMES_SHOWN_MAX);
    let mut others = others + more;
    let claimed = format!("{own}{CLAIMED}");
    let mut all: BTreeMap<String, u64> =
        made.into_iter().map(|(name, records)| (name.to_string(), records)).collect();
    for (name, records) in reported {
        let name = if name == own { &claimed } else { name };
        *all.entry(name.to_string()).or_default() += records;
    }
    let mut most: Vec<(String, u64)> = all.into_iter().collect();
    most.sort_by_key(|(_, records)| std::cmp::Reverse(*records));
    let rest = most.split_off(NAMES_SHOWN_MAX.min(most.len()));
    others += rest.iter().map(|(_, records)| records).sum::<u64>();
    let mut shown: BTreeMap<String, u64> = most.into_iter().collect();
    if others > 0 {
        *shown.entry(OTHERS.into()).or_default() += others;
    }
    json!(shown)
}

fn by_name(names: &Names) -> Value {
    let (mut shown, others) = names.most(NAMES_SHOWN_MAX);
    if others > 0 {
        *shown.entry(OTHERS).or_default() += others;
    }
    json!(shown)
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
