//! POST /log, GET /predictions, GET /stats: the prediction log over HTTP. Batches are parsed, and pages
//! and counters made, on threads of their own: ingest, reads and the command line have different ones, so
//! that none of them waits for another.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_base::Live;
use picket_base::budget::Taken;
use picket_base::clock::Stamp;
use picket_base::rfc3339::{self, Precision};
use picket_picture::MediaType;
use picket_records::{LogError, LogReader, Names, Query, StoredBatch, VerifyReport};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use warp::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
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
use crate::recording::{BatchKey, Durability, LogWriter, Promise, Source, Unlogged};

/// A strict answer waits this long for its commit: an SD card's usual stall is a few seconds, and most
/// clients give up after 30 s. Then the answer is 503 though the batch stays queued and may still be
/// stored; whoever sends it again, under its name or byte for byte, is told of the one that is stored.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Devices and models that are named in the counters, the ones with the most records.
const NAMES_SHOWN_MAX: usize = 100;

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
    /// Where the log lives.
    pub dir: PathBuf,
    pub durability: Arc<Live<Durability>>,
    pub boot_id: String,
    pub bodies: Arc<Bodies>,
    /// Records that one batch may hold.
    pub batch_max: usize,
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
        // Its memory is held until the records are in the queue, which has a share of its own.
        let append = move |_: &Progress, taken| {
            let bytes_max = writer.largest_batch_bytes();
            let terms = Terms { records_max, bytes_max, boot_id: &boot_id, at: Stamp::now() };
            let mut room = Room { taken, most };
            let parsed = batch::parse(&body.bytes, terms, &mut room);
            let appended = parsed.map_err(rejection).and_then(|Batch { entries, name }| {
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
        let (reader, dir) = (self.setup.reader.clone(), self.setup.dir.clone());
        let health = self.setup.health.clone();
        let verify = move |_, progress: &Progress| {
            let goes_on = || {
                progress.beat();
                !progress.is_stopping()
            };
            let report = reader.verify_in_steps(&dir, goes_on)?;
            let report = VerifyReport { recovered: health.log_history(), ..report };
            Ok(serde_json::to_vec(&report).expect("a report has no value that JSON lacks"))
        };
        self.read(request, None, verify).await
    }

    pub(super) async fn stats(&self, request: Request) -> Result<Response, Rejected> {
        let reader = self.setup.reader.clone();
        let stats = move |_, _: &Progress| {
            let stats = reader.stats();
            let shown = json!({
                "total_predictions": stats.total,
                "defects_detected": stats.defects,
                "normal_detections": stats.total - stats.defects,
                "average_inference_time_ms": stats.average_inference_ms(),
                "by_edge_device": by_name(&stats.by_device),
                "by_model": by_name(&stats.by_model),
                "complete": stats.complete,
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
        let threads = match request.asker() {
            Asker::Client => &self.setup.threads.reads,
            Asker::Operator => &self.setup.threads.control,
        };
        let size = PageSize::within(threads.largest());
        let (peer, bytes) = (request.peer(), size.memory());
        let needs = Needs { peer, time: time.unwrap_or(SEARCH_TIME), bytes };
        let make = move |progress: &Progress, mut memory: Taken| {
            let made = make(size, progress)?;
            memory.shrink_to(made.len());
            Ok((made, memory))
        };
        let made = match time {
            Some(_) => threads.run(needs, make).await?,
            None => threads.run_long(needs, make).await?,
        };
        let unavailable = |error: LogError| Rejected::unavailable(picket_base::chain(&error));
        let (json, memory) = made.map_err(unavailable)?;
        let mut answer = json_response(json);
        leave_memory(&mut answer, memory);
        Ok(answer)
    }
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
