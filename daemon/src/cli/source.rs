//! The source that `picket log` reads from: the store itself, or the daemon that owns it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use picket_models::Listed;
use picket_records::{
    self as prediction_log, Limits, LogError, PAGE_RECORDS_MAX, Query, Removal, Retention,
    StoppedLog, VerifyReport, Witness,
};
use serde::Deserialize;
use serde_json::Value;

use super::error::CliError;
use crate::os::{self, NearPath};

/// The largest answer that is read, bytes: a page of the largest records.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A running daemon has so long for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// It reads the whole log to verify it, which may be gigabytes on a slow card.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A change of the model takes as long as its trial and a slow card.
const WISH_TIMEOUT: Duration = Duration::from_secs(310);

/// One record as `GET /predictions` shows it, or why it can't be read.
pub type Item = (u64, Result<Value, String>);

pub enum Source {
    Store(Box<StoppedLog>),
    Daemon(Daemon),
}

impl Source {
    /// The store in `dir`, through its daemon where one answers.
    pub fn open(dir: &Path) -> Result<Source, CliError> {
        if let Some(daemon) = Daemon::that_answers(dir)? {
            return Ok(Source::Daemon(daemon));
        }
        match StoppedLog::open(dir) {
            Ok(store) => Ok(Source::Store(Box::new(store))),
            Err(LogError::Locked { .. }) => Ok(Source::Daemon(Daemon::of(dir)?)),
            Err(error) => Err(error.into()),
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self, Source::Daemon(_))
    }

    /// Up to `PAGE_RECORDS_MAX` records from a number on, oldest first; empty at the end.
    pub fn step(&self, from: u64) -> Result<Vec<Item>, CliError> {
        match self {
            Source::Store(store) => {
                let step = store.step(from)?.into_iter();
                Ok(step
                    .map(|(id, record)| (id, record.map(to_json).map_err(|e| e.to_string())))
                    .collect())
            }
            Source::Daemon(daemon) => daemon.step(from),
        }
    }

    /// The same, or none while the daemon is away, as in a restart.
    pub fn step_if_there(&self, from: u64) -> Result<Option<Vec<Item>>, CliError> {
        match self.step(from) {
            Err(CliError::Io { source, .. }) if is_away(&source) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The newest `count` records, oldest first.
    pub fn newest(&self, count: usize) -> Result<Vec<Value>, CliError> {
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let limit = (count - records.len()).min(PAGE_RECORDS_MAX);
            if limit == 0 {
                break;
            }
            let (page, next) = self.page(limit, after)?;
            records.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        records.reverse();
        Ok(records)
    }

    fn page(
        &self,
        limit: usize,
        after: Option<u64>,
    ) -> Result<(Vec<Value>, Option<u64>), CliError> {
        match self {
            Source::Store(store) => {
                let page = store.query(&Query { limit, after, ..Query::default() })?;
                Ok((page.records.into_iter().map(to_json).collect(), page.next))
            }
            Source::Daemon(daemon) => daemon.page(limit, after),
        }
    }
}

/// Goes by way of text: a 32-bit float keeps its short form, as in the daemon's answers.
fn to_json(record: prediction_log::LogRecord) -> Value {
    let text = serde_json::to_string(&record).expect("a record has no value that JSON lacks");
    serde_json::from_str(&text).expect("what was JSON a moment ago still is")
}

/// The report on the store in `dir`, from its daemon where one answers.
pub fn verify(dir: &Path, witness: Option<&Witness>) -> Result<VerifyReport, CliError> {
    let asked = witness.map_or_else(String::new, |witness| {
        let Witness { id, head } = witness;
        format!("?witness={id}:{head}")
    });
    let path = format!("/verify{asked}");
    if let Some(daemon) = Daemon::that_answers(dir)? {
        return daemon.ask(&Method::GET, &path, VERIFY_TIMEOUT);
    }
    match prediction_log::verify_stopped(dir, witness) {
        Err(LogError::Locked { .. }) => Daemon::of(dir)?.ask(&Method::GET, &path, VERIFY_TIMEOUT),
        other => Ok(other?),
    }
}

/// What these limits would take from the log in `dir`, from its daemon where one runs. None where there is
/// no log, or it can't be read.
pub fn removal(dir: &Path, retention: &Retention) -> Option<Removal> {
    let Limits { max_records, max_bytes, max_age } = retention.own;
    let (reported_records, reported_bytes) =
        (retention.reported.max_records, retention.reported.max_bytes);
    let age = max_age.map_or_else(String::new, |age| format!("&max_age_secs={}", age.as_secs()));
    let path = format!(
        "/removal?max_records={max_records}&max_bytes={max_bytes}{age}\
         &reported_max_records={reported_records}&reported_max_bytes={reported_bytes}"
    );
    if let Ok(removal) = Daemon::of(dir).and_then(|daemon| daemon.get(&path)) {
        return Some(removal);
    }
    StoppedLog::open(dir).ok()?.removal(retention).ok()
}

/// Has the daemon of the log in `dir` read its configuration again. Returns what it says of it.
pub fn reload(dir: &Path, query: &str) -> Result<Vec<String>, CliError> {
    let told = Daemon::of(dir)?.ask(&Method::POST, &format!("/reload{query}"), ANSWER_TIMEOUT);
    match told {
        Ok(Told { lines }) => Ok(lines),
        // The command has no data of its own that could be at fault.
        Err(CliError::Refused(why)) => Err(CliError::Unsound(why)),
        Err(other) => Err(other),
    }
}

/// Whether waiting for the daemon may help; another user's socket stays what it is.
fn is_away(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::PermissionDenied
}

/// Whether an error of connecting says that no daemon has the socket.
fn nobody_is_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A running daemon, over its control socket.
pub struct Daemon {
    runtime: tokio::runtime::Runtime,
    socket: PathBuf,
    /// The user that the log belongs to.
    owner: u32,
}

#[derive(Deserialize)]
struct Step {
    records: Vec<StepItem>,
}

#[derive(Deserialize)]
struct StepItem {
    id: u64,
    record: Option<Value>,
    damage: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

#[derive(Deserialize)]
struct Page {
    predictions: Vec<Value>,
    next: Option<u64>,
}

impl Daemon {
    /// The daemon of the log in `dir`; none where nobody takes a call.
    fn that_answers(dir: &Path) -> Result<Option<Daemon>, CliError> {
        let Ok(daemon) = Daemon::of(dir) else { return Ok(None) };
        match daemon.runtime.block_on(daemon.connect()) {
            Ok(_) => Ok(Some(daemon)),
            Err(error) if nobody_is_there(&error) => Ok(None),
            Err(error) => Err(daemon.cannot_ask(error)),
        }
    }

    pub fn of(dir: &Path) -> Result<Daemon, CliError> {
        // The socket lies beside the directory itself, by whatever name that was given.
        let dir = &std::fs::canonicalize(dir).map_err(CliError::io("cannot find the daemon"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(CliError::io("cannot start a runtime"))?;
        let metadata = std::fs::metadata(dir).map_err(CliError::io("cannot find the daemon"))?;
        Ok(Daemon { runtime, socket: prediction_log::socket_path(dir), owner: metadata.uid() })
    }

    fn step(&self, from: u64) -> Result<Vec<Item>, CliError> {
        let step: Step = self.get(&format!("/records?from={from}"))?;
        let items = step.records.into_iter();
        Ok(items
            .map(|StepItem { id, record, damage }| {
                (id, record.ok_or_else(|| damage.unwrap_or_default()))
            })
            .collect())
    }

    fn page(
        &self,
        limit: usize,
        after: Option<u64>,
    ) -> Result<(Vec<Value>, Option<u64>), CliError> {
        let after = after.map_or_else(String::new, |after| after.to_string());
        let page: Page = self.get(&format!("/predictions?limit={limit}&after={after}"))?;
        Ok((page.predictions, page.next))
    }

    /// What the daemon says of its models.
    pub fn list_of_models(&self) -> Result<Vec<Listed>, CliError> {
        self.get("/models")
    }

    /// Has the daemon do something with its models. Returns what it says of it.
    pub fn wish_of_models(&self, path: &str) -> Result<Vec<String>, CliError> {
        let Told { lines } = self.ask(&Method::POST, path, WISH_TIMEOUT)?;
        Ok(lines)
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, CliError> {
        self.ask(&Method::GET, path, ANSWER_TIMEOUT)
    }

    fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        method: &Method,
        path: &str,
        longest: Duration,
    ) -> Result<T, CliError> {
        let fetched = self.runtime.block_on(async {
            let fetched = tokio::time::timeout(longest, self.fetch(method, path)).await;
            fetched.unwrap_or_else(|_| {
                let text = format!("it has not answered within {} s", longest.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            })
        });
        let (status, body) = fetched.map_err(|error| self.cannot_ask(error))?;
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            let error = serde_json::from_slice::<Refusal>(&body);
            return Err(CliError::Refused(
                error.map_or_else(|_| status.to_string(), |it| it.error),
            ));
        }
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body).into_owned();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                let text = format!("it answers {status}: {text}");
                return Err(self.cannot_ask(io::Error::new(io::ErrorKind::WouldBlock, text)));
            }
            return Err(CliError::Unsound(format!("the daemon answers {status}: {text}")));
        }
        serde_json::from_slice(&body).map_err(|error| self.cannot_ask(io::Error::other(error)))
    }

    fn cannot_ask(&self, error: io::Error) -> CliError {
        CliError::io(format!("cannot ask the daemon at {}", self.socket.display()))(error)
    }

    async fn connect(&self) -> io::Result<tokio::net::UnixStream> {
        let near = NearPath::of(&self.socket)?;
        let stream = tokio::net::UnixStream::connect(near.path()).await?;
        // Whoever else may have put a socket there is not believed.
        let peer = stream.peer_cred()?.uid();
        if peer != 0 && peer != self.owner && peer != os::effective_user() {
            let owner = self.owner;
            let text = format!("user {peer} answers there, not {owner} or root");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(stream)
    }

    async fn fetch(&self, method: &Method, path: &str) -> io::Result<(StatusCode, Bytes)> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "picket")
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(io::Error::other)?.to_bytes()))
        };
        // The connection is driven until the answer is whole; how it ends then is of no interest.
        tokio::pin!(connection);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(io::Error::other(error)),
            },
        }
    }
}
