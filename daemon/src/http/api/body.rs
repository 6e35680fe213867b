//! Request bodies: read whole, within a size, a time and the budget of memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use picket_base::budget::{Budget, Class};
use tokio::time::{Instant, timeout_at};
use warp::http::StatusCode;
use warp::http::header::{CONTENT_LENGTH, EXPECT};

use super::gzip;
use super::rejected::Rejected;
use super::request::Request;
use crate::http::listener::BodyStream;
use crate::memory::{NoShare, Share, Shares};
use crate::offload::{Needs, Progress};
use crate::peer::Peer;

/// A body that takes longer than this is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// While a body arrives, so much of it must come in so much time: who trickles holds a connection for
/// no longer than who sends nothing.
const PROGRESS_BYTES_MIN: usize = 1 << 10;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// So much of a body that is too large is read and thrown away. Its sender may only look for an answer
/// after sending; so it sees the refusal instead of a reset connection.
const DISCARD_BYTES_MAX: usize = 128 << 20;

/// Room that a body begins with, bytes; what a client declares is only believed as it arrives.
const FIRST_BYTES: usize = 16 << 10;

/// What working through a body is expected to take, nanoseconds for each byte: parsing or unpacking on a
/// slow board.
const BYTE_NS: u64 = 20;

/// Throwing away ends after this time.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads bodies for all routes of a listener.
pub struct Bodies {
    shares: Arc<Shares>,
    bytes_max: usize,
}

/// A body in memory. It gives its share of the budget back when dropped.
pub struct Body {
    pub bytes: Bytes,
    share: Share,
}

impl Body {
    /// Takes the body apart: its bytes, and what holds their memory.
    pub fn split(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }

    /// Returns a part of the body as the body. All of it stays in memory.
    pub(super) fn reduced_to(self, part: Bytes) -> Body {
        Body { bytes: part, ..self }
    }

    /// Tells whose body it is.
    pub(super) fn peer(&self) -> Peer {
        self.share.peer()
    }

    /// Tells what working through the body is expected to take. What it leads to has its own memory.
    pub(super) fn needs(&self) -> Needs {
        let time = Duration::from_nanos(self.bytes.len() as u64 * BYTE_NS);
        Needs { peer: self.peer(), time, bytes: 0 }
    }
}

/// A body that grows: its memory is taken from the budget before it is there.
pub(super) struct Growing {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// What it will be in all, if its sender is right.
    expected: usize,
    share: Share,
    /// Bytes of the share that are another's: of the body that this is made of.
    others: usize,
}

impl Growing {
    /// Takes another piece.
    ///
    /// # Errors
    /// 413 over the limits of a body, 503 when others use the budget up.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Rejected> {
        let length = self.bytes.len() + piece.len();
        if length > self.bytes_max {
            return Err(too_large(self.bytes_max));
        }
        if length > self.bytes.capacity() {
            let doubled = (2 * self.bytes.capacity()).max(FIRST_BYTES);
            let most = if length > self.expected { self.bytes_max } else { self.expected };
            let capacity = doubled.min(most).max(length);
            let held = self.share.bytes() - self.others;
            self.share.grow(capacity - held).map_err(|full| refusal(&full))?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub fn finish(mut self) -> Body {
        self.share.shrink_by(self.others);
        Body { bytes: self.bytes.into(), share: self.share }
    }
}

impl Bodies {
    /// A body may have `bytes_max` bytes, and no more than the budget ever gives one.
    pub fn new(bytes_max: u64, budget: Budget) -> Bodies {
        let shares = Shares::new(budget, Class::Body);
        let most = shares.largest_of_one();
        let bytes_max = usize::try_from(bytes_max).unwrap_or(most).min(most);
        Bodies { shares, bytes_max }
    }

    /// Starts a peer's body of so many bytes, as far as is known.
    ///
    /// # Errors
    /// 503 when others use the budget up.
    pub(super) fn start(&self, peer: Peer, expected: usize) -> Result<Growing, Rejected> {
        let share = self.shares.take(peer, 0).map_err(|full| refusal(&full))?;
        Ok(Growing { bytes: Vec::new(), bytes_max: self.bytes_max, expected, share, others: 0 })
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
        let peer = request.peer();
        let pieces = request.body();
        if declared.is_some_and(|declared| declared > self.bytes_max) {
            // Who asks first has sent nothing yet.
            if !asks_first {
                discard(pieces).await;
            }
            return Err(too_large(self.bytes_max));
        }
        let mut body = self.start(peer, declared.unwrap_or(0))?;
        while let Some(piece) = next(pieces, &mut arrival).await? {
            if let Err(refusal) = body.push(&piece) {
                drop(body);
                discard(pieces).await;
                return Err(refusal);
            }
        }
        Ok(body.finish())
    }

    /// Unpacks a body that is in gzip, on a thread for that. What comes out counts against the limits as if
    /// it had been sent, and what goes in is there until it is done: both are one holder's.
    ///
    /// # Errors
    /// 413 over a limit, 503 when other bodies use up the budget, 400 when it is cut or damaged.
    pub fn unzip(&self, body: Body, progress: &Progress) -> Result<Body, Rejected> {
        let Body { bytes, share } = body;
        let others = share.bytes();
        let (bytes_max, expected) = (self.bytes_max, 0);
        let mut unpacked = Growing { bytes: Vec::new(), bytes_max, expected, share, others };
        gzip::unpack(&bytes, progress, |piece| unpacked.push(piece))?;
        // Its bytes before their share.
        drop(bytes);
        Ok(unpacked.finish())
    }
}

fn refusal(full: &NoShare) -> Rejected {
    match full {
        NoShare::Never { .. } => Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, full.to_string()),
        _ => Rejected::unavailable(full.to_string()),
    }
}

fn too_large(bytes_max: usize) -> Rejected {
    let text = format!("body is larger than {bytes_max} bytes, the limit");
    Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, text)
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
