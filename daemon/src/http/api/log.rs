//! POST /log, GET /predictions, GET /stats: the prediction log over HTTP. Batches are parsed, and pages
//! and counters made, on threads of their own: ingest, reads and the command line have different ones, so
//! that none of them waits for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_base::Live;
use picket_base::budget::Taken;
use picket_base::clock::Stamp;
use picket_base::rfc3339::{self, Precision};
use picket_picture::MediaType;
use picket_records::{
    LogError, LogReader, Names, Query, Stats, StoredBatch, VerifyReport, Witness,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use warp::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};

use super::body::Bodies;
use super::json::json_response;
use super::page::{PageJson, PageParameters, PageSize, StepJson};
use super::query::{self, durability};
use super::rejected::Rejected;
use super::request::{Asker, Request};
use crate::health::Health;
use crate::http::listener::leave_memory;
use crate::offload::{Needs, Offload, Progress};
use crate::os::SmallPieces;
use crate::recording::batch::{self, Batch, BatchError, Room, Terms};
use crate::recording::{
    BatchKey, Durability, LogWriter, Promise, Rates, Source, TooFast, Unlogged,
};

/// A strict answer waits this long for its commit: an SD card's usual stall is a few seconds, and most
/// clients give up after 30 s. Then the answer is 503 though the batch stays queued and may still be
/// stored; whoever sends it again, under its name or byte for byte, is told of the one that is stored.
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

/// A batch is parsed once there is so much memory for each byte of its body, and so much more, bytes. Few
/// records take more than their JSON; only what they do is taken as they are read, where nobody waits for it
/// to be free.
const PARSING_FACTOR: usize = 2;
const PARSING_BYTES: usize = 256 << 10;

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
        require_unpacked(request.headers())?;
        let body = self.setup.bodies.read(&mut request).await?;
        let boot_id = self.setup.boot_id.clone();
        let records_max = self.setup.batch_max;
        let ingest = &self.setup.threads.ingest;
        let durable = durability == Durability::Strict;
        // The sender deletes its copy: better refused now than taken without a promise.
        let promise = if durable { Promise::Required } else { Promise::Unneeded };
        let bytes = body.bytes.len() * PARSING_FACTOR + PARSING_BYTES;
        let needs = Needs { bytes, ..body.needs() };
        let (writer, most) = (self.setup.writer.clone(), ingest.largest());
        let sender = body.peer();
        let rates = self.setup.rates.clone();
        // Its memory is held until the records are in the queue, which has a share of its own.
        let append = move |_: &Progress, taken| {
            let bytes_max = writer.largest_batch_bytes();
            let terms = Terms { records_max, bytes_max, boot_id: &boot_id, at: Stamp::now() };
            let mut room = Room { taken, most };
            let parsed = batch::parse(&body.bytes, terms, &mut room);
            let appended = parsed.map_err(rejection).and_then(|Batch { entries, name }| {
                let device = entries.first().and_then(|first| first.origin.device_id.clone());
                let device = device.unwrap_or_else(|| format!("{sender:?}"));
                rates.take(&device, entries.len(), Instant::now()).map_err(too_fast)?;
                let key = match name {
                    Some(name) => Some(BatchKey::Named(name)),
                    // Who is answered at once has no reason to send it again.
                    None => durable.then(|| BatchKey::unnamed(sender, &body.bytes)),
                };
                writer.append(entries, Source::Batch { sender, key }, promise).map_err(unlogged)
            });
            if appended.is_err() {
                SmallPieces::default().freed(room.taken.bytes());
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

    pub(super) async fn predictions(&self, request: Request) -> Result<Response, Rejected> {
        let query = query::parse::<PageParameters>(request.query())?.query()?;
        let time = if is_search(&query) { SEARCH_TIME } else { PAGE_TIME };
        let reader = self.setup.reader.clone();
        let page = move |size, progress: &Progress| {
            let mut page = PageJson::new(size, progress);
            let next = reader.query_into(&query, &mut page)?;
            Ok(page.finish(next))
        };
        self.read(request, Some(time), page).await
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
        let record = move |_, _: &Progress| {
            let record = reader.record(number)?;
            Ok(record.map(|record| {
                serde_json::to_vec(&record).expect("a record has no value that JSON lacks")
            }))
        };
        let (record, memory) = self.ask(request, Some(PAGE_TIME), record).await?;
        record.map(|json| kept(json, memory)).ok_or_else(|| not_found(&id))
    }

    /// Answers with records from a number on, oldest first: what `picket log export` and `tail` read.
    pub(super) async fn records(&self, request: Request) -> Result<Response, Rejected> {
        let StepParameters { from } = query::parse(request.query())?;
        let reader = self.setup.reader.clone();
        let step = move |size, progress: &Progress| {
            let mut step = StepJson::new(size, progress);
            reader.step_into(from, &mut step)?;
            Ok(step.finish())
        };
        self.read(request, Some(PAGE_TIME), step).await
    }

    pub(super) async fn verify(&self, request: Request) -> Result<Response, Rejected> {
        let VerifyParameters { witness } = query::parse(request.query())?;
        let witness = witness.map(|text| parse_witness(&text)).transpose()?;
        let reader = self.setup.reader.clone();
        let health = self.setup.health.clone();
        let verify = move |_, progress: &Progress| {
            let goes_on = || {
                progress.beat();
                !progress.is_stopping()
            };
            let report = reader.verify(witness.as_ref(), goes_on)?;
            let report = VerifyReport { recovered: health.log_history(), ..report };
            Ok(serde_json::to_vec(&report).expect("a report has no value that JSON lacks"))
        };
        self.read(request, None, verify).await
    }

    pub(super) async fn stats(&self, request: Request) -> Result<Response, Rejected> {
        let reader = self.setup.reader.clone();
        let device_id = self.setup.device_id.clone();
        let stats = move |_, _: &Progress| {
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
        self.read(request, Some(PAGE_TIME), stats).await
    }

    /// Answers with the JSON that is made of the log. What takes no time that is known may take as long as
    /// it progresses.
    async fn read(
        &self,
        request: Request,
        time: Option<Duration>,
        make: impl FnOnce(PageSize, &Progress) -> Result<Vec<u8>, LogError> + Send + 'static,
    ) -> Result<Response, Rejected> {
        let (json, memory) = self.ask(request, time, make).await?;
        Ok(kept(json, memory))
    }

    /// Has something made of the log, in the memory of a page.
    async fn ask<T: Send + 'static>(
        &self,
        request: Request,
        time: Option<Duration>,
        make: impl FnOnce(PageSize, &Progress) -> Result<T, LogError> + Send + 'static,
    ) -> Result<(T, Taken), Rejected> {
        let threads = match request.asker() {
            Asker::Client => &self.setup.threads.reads,
            Asker::Operator => &self.setup.threads.control,
        };
        let size = PageSize::within(threads.largest());
        let (peer, bytes) = (request.peer(), size.memory());
        let needs = Needs { peer, time: time.unwrap_or(SEARCH_TIME), bytes };
        let make = move |progress: &Progress, memory: Taken| Ok((make(size, progress)?, memory));
        let made = match time {
            Some(_) => threads.run(needs, make).await?,
            None => threads.run_long(needs, make).await?,
        };
        made.map_err(|error: LogError| Rejected::unavailable(picket_base::chain(&error)))
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

/// An answer that keeps the memory of what it says until its client has it.
fn kept(json: Vec<u8>, mut memory: Taken) -> Response {
    memory.shrink_to(json.len());
    let mut answer = json_response(json);
    leave_memory(&mut answer, memory);
    answer
}

fn rejection(error: BatchError) -> Rejected {
    let status = match error {
        BatchError::Syntax(_) => StatusCode::BAD_REQUEST,
        BatchError::Content(_) => StatusCode::UNPROCESSABLE_ENTITY,
        BatchError::TooMany { .. } | BatchError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BatchError::Memory(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Rejected::new(status, error.to_string())
}

/// Refuses a batch that says that it is packed.
fn require_unpacked(headers: &HeaderMap) -> Result<(), Rejected> {
    for value in headers.get_all(CONTENT_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            let coding = String::from_utf8_lossy(value.as_bytes());
            let coding: String = coding.chars().take(100).collect();
            let text = format!("Content-Encoding is {coding}, none is taken here");
            return Err(Rejected::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
    }
    Ok(())
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
