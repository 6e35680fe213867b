//! Where a connection is in the life of a request, and until when it may stay there. Told by what
//! passes over the socket (`Paced`) and by the routes; the connection's task asks for the deadline.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::fixed;
use crate::http::metrics::HttpMetrics;

/// A head must be there whole so long after the connection's or the request's first moment.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The next request must begin so long after an answer. A proxy must be the first to close a connection that it
/// keeps, or it sends a request into a closed one: nginx and the balancers of clouds keep theirs for 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// A client that takes nothing of its answer for this long has gone.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that takes its answer slowly gets so long for all of it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// After the stop, a connection that was accepted before it has so long for its request.
pub(super) const DRAIN_HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head did not come within this time.
    Head(Duration),
    /// The head did not come after the stop.
    Stopping,
    Idle,
    Write,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Before or in a request's head.
    Head { since: Instant },
    /// The request is with its route, which has limits of its own.
    Route,
    /// Its answer is given; the next request has not begun.
    Idle { since: Instant },
}

/// Bytes that the client does not take.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    since: Instant,
    /// When it last took any.
    moved: Instant,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    blocked: Option<Blocked>,
    /// A route's answer is not wholly written yet.
    answering: bool,
    stopping: Option<Instant>,
}

/// Shared by a connection's task, its socket and its routes.
#[derive(Clone)]
pub(super) struct Pace(Arc<Mutex<State>>);

impl Pace {
    pub fn start() -> Pace {
        let phase = Phase::Head { since: Instant::now() };
        let state = State { phase, blocked: None, answering: false, stopping: None };
        Pace(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it notes a time")
    }

    pub fn request_arrived(&self) {
        self.lock().phase = Phase::Route;
    }

    pub fn request_answered(&self) {
        let mut state = self.lock();
        state.phase = Phase::Idle { since: Instant::now() };
        state.answering = true;
    }

    pub fn stopping(&self) {
        self.lock().stopping = Some(Instant::now());
    }

    pub fn is_stopping(&self) -> bool {
        self.lock().stopping.is_some()
    }

    /// Tells whether a request may still come that the client could not know to be unwelcome.
    pub fn is_before_a_head(&self) -> bool {
        matches!(self.lock().phase, Phase::Head { .. })
    }

    /// Tells whether every request has its whole answer.
    pub fn owes_nothing(&self) -> bool {
        let state = self.lock();
        !state.answering && !matches!(state.phase, Phase::Route)
    }

    fn wrote(&self, moved: bool) {
        let mut state = self.lock();
        let now = Instant::now();
        match &mut state.blocked {
            Some(blocked) if moved => blocked.moved = now,
            None if !moved => state.blocked = Some(Blocked { since: now, moved: now }),
            _ => {}
        }
    }

    fn flushed(&self) {
        let mut state = self.lock();
        state.answering = false;
        // Idle time counts from when the client could have the whole answer.
        if state.blocked.take().is_some()
            && let Phase::Idle { since } = &mut state.phase
        {
            *since = Instant::now();
        }
    }

    /// Gives the time to look again, and what it will mean if nothing has moved by then.
    pub fn deadline(&self) -> (Instant, Overdue) {
        let state = self.lock();
        if let Some(Blocked { since, moved }) = state.blocked {
            return ((moved + WRITE_STALL_TIMEOUT).min(since + WRITE_TIMEOUT), Overdue::Write);
        }
        match (state.phase, state.stopping) {
            (Phase::Head { .. }, Some(stop)) => (stop + DRAIN_HEAD_TIMEOUT, Overdue::Stopping),
            (Phase::Head { since }, None) => (since + HEAD_TIMEOUT, Overdue::Head(HEAD_TIMEOUT)),
            (Phase::Idle { since }, _) => (since + IDLE_TIMEOUT, Overdue::Idle),
            // Not overdue when that time comes, for it moves along.
            (Phase::Route, _) => (Instant::now() + IDLE_TIMEOUT, Overdue::Idle),
        }
    }
}

/// A socket that notes when it moves, and gives hyper's bare refusals a reason.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    metrics: Arc<HttpMetrics>,
    refusal: Option<Refusal>,
}

/// A refusal on its way out.
struct Refusal {
    text: Vec<u8>,
    written: usize,
}

impl<S> Paced<S> {
    pub fn new(stream: S, pace: Pace, metrics: Arc<HttpMetrics>) -> Paced<S> {
        Paced { stream, pace, metrics, refusal: None }
    }

    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    fn poll_refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(Refusal { text, written }) = &mut self.refusal {
            let more = ready!(Pin::new(&mut self.stream).poll_write(cx, &text[*written..]))?;
            *written += more;
            if more == 0 || *written == text.len() {
                self.refusal = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            let mut state = self.pace.lock();
            if let Phase::Idle { .. } = state.phase {
                state.phase = Phase::Head { since: Instant::now() };
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // No request is with its route and no answer is owed: hyper speaks for itself, and it
        // says a status only.
        if self.refusal.is_none()
            && self.pace.owes_nothing()
            && let Some((status, text)) = fixed::refusal(buf)
        {
            self.metrics.rejected(status);
            self.refusal = Some(Refusal { text, written: 0 });
        }
        let moved = if self.refusal.is_some() {
            self.poll_refuse(cx).map_ok(|()| buf.len())
        } else {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        };
        self.pace.wrote(moved.is_ready());
        moved
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.pace.flushed();
        } else {
            self.pace.wrote(false);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
