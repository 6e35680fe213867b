//! Request bodies: read whole, within a size, a time and a common memory budget.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use warp::http::StatusCode;
use warp::http::header::{CONTENT_LENGTH, EXPECT};

use super::rejected::Rejected;
use super::request::Request;
use crate::http::listener::BodyStream;
use crate::offload::Progress;

/// Bodies in memory at the same time, over all connections, bytes.
const BUDGET_BYTES: usize = 64 << 20;

/// A body that takes longer than this is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// While a body arrives, so much of it must come in so much time: who trickles holds a connection for
/// no longer than who sends nothing.
const PROGRESS_BYTES_MIN: usize = 1 << 10;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// So much of a body that is too large is read and thrown away. Its sender may only look for an answer
/// after sending; so it sees the refusal instead of a reset connection.
const DISCARD_BYTES_MAX: usize = 128 << 20;

/// So much of a compressed body is unpacked at once.
const UNZIP_BYTES: usize = 64 << 10;

/// What working through a body is expected to take, nanoseconds for each byte: parsing or unpacking on a
/// slow board.
const BYTE_NS: u64 = 20;

/// Throwing away ends after this time.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads bodies for all routes of a listener.
pub struct Bodies {
    budget: Arc<Semaphore>,
    bytes_max: usize,
}

/// A body in memory. It gives its share of the budget back when dropped.
pub struct Body {
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// Tells what working through the body is expected to take.
    pub fn work(&self) -> Duration {
        Duration::from_nanos(self.bytes.len() as u64 * BYTE_NS)
    }

    /// Gives the body another content, a part of what it was.
    pub fn with(self, bytes: Bytes) -> Body {
        Body { bytes, ..self }
    }
}

impl Bodies {
    pub fn new(bytes_max: u64) -> Bodies {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(BUDGET_BYTES);
        Bodies { budget: Arc::new(Semaphore::new(BUDGET_BYTES)), bytes_max }
    }

    /// Reads the whole body of a request.
    ///
    /// # Errors
    /// 413 over the limit, 408 over the time, 503 when other bodies use up the budget, 400 when
    /// the connection breaks off.
    pub async fn read(&self, request: &mut Request) -> Result<Body, Rejected> {
        let mut arrival = Arrival::start(READ_TIMEOUT);
        let headers = request.headers();
        let declared = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let asks_first = headers.contains_key(EXPECT);
        let pieces = request.body();
        if declared.is_some_and(|declared| declared > self.bytes_max) {
            // Who asks first has sent nothing yet.
            if !asks_first {
                discard(pieces).await;
            }
            return Err(self.too_large());
        }
        // What the client declares is only believed as it arrives.
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0).min(64 << 10));
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(piece) = next(pieces, &mut arrival).await? {
            if bytes.len() + piece.len() > self.bytes_max {
                discard(pieces).await;
                return Err(self.too_large());
            }
            let more = self.share_of(piece.len())?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Body { bytes: bytes.freeze(), _share: share })
    }

    /// Unpacks a body that is in gzip, on a thread for that. What comes out counts against the limits as if
    /// it had been sent.
    ///
    /// # Errors
    /// 413 over the limit, 503 when other bodies use up the budget, 400 when it is cut or damaged.
    pub fn unzip(&self, body: Body, progress: &Progress) -> Result<Body, Rejected> {
        let mut zipped = MultiGzDecoder::new(&*body.bytes);
        let mut bytes = BytesMut::new();
        let mut share = self.share_of(0)?;
        let mut piece = vec![0; UNZIP_BYTES];
        loop {
            let read = zipped.read(&mut piece).map_err(|error| {
                Rejected::new(StatusCode::BAD_REQUEST, format!("gzip body: {error}"))
            })?;
            if read == 0 {
                return Ok(Body { bytes: bytes.freeze(), _share: Some(share) });
            }
            if bytes.len() + read > self.bytes_max {
                return Err(self.too_large());
            }
            share.merge(self.share_of(read)?);
            bytes.extend_from_slice(&piece[..read]);
            progress.beat();
        }
    }

    fn share_of(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Rejected> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.budget.clone().try_acquire_many_owned(permits).map_err(|_| {
            let budget = BUDGET_BYTES >> 20;
            Rejected::unavailable(format!("{budget} MiB of request bodies are in memory already"))
        })
    }

    fn too_large(&self) -> Rejected {
        let text = format!("body is larger than {} bytes, the limit", self.bytes_max);
        Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }
}

/// How far a body has come, and how long it may take.
struct Arrival {
    whole: Instant,
    whole_timeout: Duration,
    /// The next `PROGRESS_BYTES_MIN` must be there by then.
    progress: Instant,
    /// Of these bytes, so many are there.
    arrived: usize,
}

impl Arrival {
    fn start(whole_timeout: Duration) -> Arrival {
        let now = Instant::now();
        Arrival {
            whole: now + whole_timeout,
            whole_timeout,
            progress: now + PROGRESS_TIMEOUT,
            arrived: 0,
        }
    }

    fn arrived(&mut self, bytes: usize) {
        self.arrived += bytes;
        if self.arrived >= PROGRESS_BYTES_MIN {
            self.arrived = 0;
            self.progress = Instant::now() + PROGRESS_TIMEOUT;
        }
    }

    fn overdue(&self) -> Rejected {
        let text = if self.progress < self.whole {
            let timeout = PROGRESS_TIMEOUT.as_secs();
            format!("body came slower than {PROGRESS_BYTES_MIN} bytes in {timeout} s")
        } else {
            format!("body did not arrive within {} s", self.whole_timeout.as_secs())
        };
        Rejected::new(StatusCode::REQUEST_TIMEOUT, text)
    }
}

async fn next(pieces: &mut BodyStream, arrival: &mut Arrival) -> Result<Option<Bytes>, Rejected> {
    let next = std::future::poll_fn(|cx| pieces.as_mut().poll_piece(cx));
    match timeout_at(arrival.whole.min(arrival.progress), next).await {
        Err(_) => Err(arrival.overdue()),
        Ok(None) => Ok(None),
        Ok(Some(Ok(piece))) => {
            arrival.arrived(piece.len());
            Ok(Some(piece))
        }
        Ok(Some(Err(error))) => {
            let text = format!("body broke off: {error}");
            Err(Rejected::new(StatusCode::BAD_REQUEST, text))
        }
    }
}

async fn discard(pieces: &mut BodyStream) {
    let mut arrival = Arrival::start(DISCARD_TIMEOUT);
    let mut discarded = 0;
    while let Ok(Some(piece)) = next(pieces, &mut arrival).await {
        discarded += piece.len();
        if discarded > DISCARD_BYTES_MAX {
            return;
        }
    }
}
