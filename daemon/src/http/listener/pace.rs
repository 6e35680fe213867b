//! Where a connection is in the life of a request, and until when it may stay there. Told by what
//! passes over the socket (`Paced`) and by the routes; the connection's task asks for the deadline.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use super::fixed::Fixed;
use crate::http::metrics::HttpMetrics;

/// An idle connection is kept for longer than its client is told by so much: a request that is sent at
/// the last moment still finds it open.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// A client may have to make room for others when a body or an answer has taken so long,
const SLOW_AFTER: Duration = Duration::from_secs(2);

/// or has not moved for so long.
const STALLED_AFTER: Duration = Duration::from_millis(250);

/// A client that takes nothing of its answer for this long has gone.
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that takes its answer slowly gets so long for all of it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// After the stop, a connection that was accepted before it has so long for its request.
pub(super) const DRAIN_HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a listener's clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A head must be there whole so long after the connection's or the request's first moment.
    pub head: Duration,
    /// The next request must begin so long after an answer, as clients are told.
    pub idle: Duration,
    /// A client that has not taken its answer after so long has no better claim than one that says
    /// nothing.
    pub answer: Duration,
}

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head did not come within this time.
    Head(Duration),
    /// The head did not come after the stop.
    Stopping,
    /// It had lost its place, and keeps the daemon waiting.
    Displaced,
    Idle,
    Write,
}

/// What a connection waits for that its client could do, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// A request: there is none, or a part of its head.
    Silent(Instant),
    /// The rest of a body, or that its answer is taken, and not for the first moment.
    Slow(Instant),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Before or in a request's head, or in the handshake before it.
    Head { since: Instant },
    /// The request is with its route, which has limits of its own.
    Route,
    /// Its answer is given; the next request has not begun.
    Idle { since: Instant },
}

/// Bytes that come or go at the client's pace.
#[derive(Clone, Copy, Debug)]
struct Passage {
    since: Instant,
    /// When any last passed.
    moved: Instant,
}

impl Passage {
    fn start() -> Passage {
        let now = Instant::now();
        Passage { since: now, moved: now }
    }

    fn slow(self) -> Option<Waiting> {
        (self.slow_from() < Instant::now()).then_some(Waiting::Slow(self.since))
    }

    fn slow_from(self) -> Instant {
        (self.since + SLOW_AFTER).min(self.moved + STALLED_AFTER)
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Bytes that the client does not take.
    blocked: Option<Passage>,
    /// The body that has not arrived whole.
    body: Option<Passage>,
    /// A route's answer is not wholly written yet.
    answering: bool,
    /// The last of that answer is in hyper's hands.
    handed_over: bool,
    stopping: Option<Instant>,
    /// Its place has been given to another connection.
    displaced: bool,
}

impl State {
    fn waiting(&self, patience: Patience) -> Option<Waiting> {
        match (self.blocked, self.phase, self.body) {
            (Some(Passage { since, .. }), ..) if since.elapsed() > patience.answer => {
                Some(Waiting::Silent(since))
            }
            (Some(blocked), ..) => blocked.slow(),
            (None, Phase::Route, body) => body.and_then(Passage::slow),
            (None, Phase::Head { since } | Phase::Idle { since }, _) => {
                (!self.answering).then_some(Waiting::Silent(since))
            }
        }
    }

    /// Gives the time from which a connection without a place is closed. None while only the daemon is to
    /// act.
    fn leaves_at(&self) -> Option<Instant> {
        match (self.blocked, self.phase, self.body) {
            (Some(passage), ..) | (None, Phase::Route, Some(passage)) => Some(passage.slow_from()),
            (None, Phase::Route, None) => None,
            (None, Phase::Head { since } | Phase::Idle { since }, _) => {
                (!self.answering).then_some(since)
            }
        }
    }
}

/// Shared by a connection's task, its socket, its routes, and the list of those that have a place.
#[derive(Clone)]
pub(super) struct Pace(Arc<Shared>);

struct Shared {
    patience: Patience,
    state: Mutex<State>,
    displaced: Notify,
}

impl Pace {
    pub fn start(patience: Patience) -> Pace {
        let state = State {
            phase: Phase::Head { since: Instant::now() },
            blocked: None,
            body: None,
            answering: false,
            handed_over: false,
            stopping: None,
            displaced: false,
        };
        Pace(Arc::new(Shared { patience, state: Mutex::new(state), displaced: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nothing panics while it notes a time")
    }

    pub fn is_of(&self, other: &Pace) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Gives the seconds that a client is told it may be idle.
    pub fn idle_secs(&self) -> u64 {
        self.0.patience.idle.as_secs()
    }

    pub fn secured(&self) {
        self.lock().phase = Phase::Head { since: Instant::now() };
    }

    pub fn request_arrived(&self, with_body: bool) {
        let mut state = self.lock();
        state.phase = Phase::Route;
        state.body = with_body.then(Passage::start);
    }

    /// Notes a piece of a body.
    pub fn body_moved(&self) {
        if let Some(body) = &mut self.lock().body {
            body.moved = Instant::now();
        }
    }

    pub fn body_arrived(&self) {
        self.lock().body = None;
    }

    /// Tells whether the connection goes on behind the answer: what is left of a body ends it.
    pub fn request_answered(&self) -> bool {
        let mut state = self.lock();
        state.phase = Phase::Idle { since: Instant::now() };
        (state.answering, state.handed_over) = (true, false);
        state.body.take().is_none() && state.stopping.is_none() && !state.displaced
    }

    /// Notes that hyper has all of the answer: the next flush is its end.
    pub fn handed_over(&self) {
        self.lock().handed_over = true;
    }

    /// Gives what the client could do for the connection to go on. None while the daemon is to act.
    pub fn waiting(&self) -> Option<Waiting> {
        self.lock().waiting(self.0.patience)
    }

    /// Takes the connection's place away; its task is told.
    pub fn displace(&self) {
        self.lock().displaced = true;
        self.0.displaced.notify_one();
    }

    /// Comes once the place has been taken away, and only once.
    pub async fn displaced(&self) {
        self.0.displaced.notified().await;
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

    /// Tells whether the client has begun a request's head, or could be about to.
    pub fn expects_an_answer(&self) -> bool {
        !matches!(self.lock().phase, Phase::Idle { .. })
    }

    /// Tells whether every request has its whole answer.
    pub fn owes_nothing(&self) -> bool {
        let state = self.lock();
        !state.answering && !matches!(state.phase, Phase::Route)
    }

    fn wrote(&self, moved: bool) {
        let mut state = self.lock();
        match &mut state.blocked {
            Some(blocked) if moved => blocked.moved = Instant::now(),
            None if !moved => state.blocked = Some(Passage::start()),
            _ => {}
        }
    }

    fn flushed(&self) {
        let mut state = self.lock();
        if state.answering && !state.handed_over {
            // A piece of the answer. Who takes each of them slowly is slow all the same.
            if let Some(blocked) = &mut state.blocked {
                blocked.moved = Instant::now();
            }
            return;
        }
        state.answering = false;
        // Idle time counts from when the client could have the whole answer.
        if state.blocked.take().is_some()
            && let Phase::Idle { since } = &mut state.phase
        {
            *since = Instant::now();
        }
    }

    /// Goes off at the deadline that holds now.
    pub fn alarm(&self) -> Sleep {
        sleep_until(self.deadline().0)
    }

    /// Comes once the connection has stayed where it is for too long. To be polled after the connection,
    /// which may have moved to where a nearer deadline holds.
    pub fn poll_overdue(&self, mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let (deadline, overdue) = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(overdue);
            }
            // A later deadline is left for when the alarm goes off: most requests move it.
            if deadline < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(deadline);
            }
            ready!(alarm.as_mut().poll(cx));
        }
    }

    /// Gives the time to look again, and what it will mean if nothing has moved by then.
    fn deadline(&self) -> (Instant, Overdue) {
        let Patience { head, idle, .. } = self.0.patience;
        let state = self.lock();
        if let Some(at) = state.leaves_at().filter(|_| state.displaced) {
            return (at, Overdue::Displaced);
        }
        if let Some(Passage { since, moved }) = state.blocked {
            return ((moved + WRITE_STALL_TIMEOUT).min(since + WRITE_TIMEOUT), Overdue::Write);
        }
        match (state.phase, state.stopping) {
            (Phase::Head { .. }, Some(stop)) => (stop + DRAIN_HEAD_TIMEOUT, Overdue::Stopping),
            (Phase::Head { since }, None) => (since + head, Overdue::Head(head)),
            (Phase::Idle { since }, _) => (since + idle + IDLE_GRACE, Overdue::Idle),
            // Not overdue when that time comes, for it moves along.
            (Phase::Route, _) => (Instant::now() + idle, Overdue::Idle),
        }
    }
}

/// A socket that notes when it moves, and gives hyper's bare refusals a reason.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    metrics: Arc<HttpMetrics>,
    fixed: Fixed,
    refusal: Option<Refusal>,
}

/// A refusal on its way out.
struct Refusal {
    text: Vec<u8>,
    written: usize,
}

impl<S> Paced<S> {
    pub fn new(stream: S, pace: Pace, metrics: Arc<HttpMetrics>, fixed: Fixed) -> Paced<S> {
        Paced { stream, pace, metrics, fixed, refusal: None }
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
            && let Some((status, text)) = self.fixed.refusal(buf)
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    /// Why a connection is given up within a second.
    async fn overdue(pace: &Pace) -> Option<Overdue> {
        let mut alarm = pin!(pace.alarm());
        let overdue = poll_fn(|cx| pace.poll_overdue(alarm.as_mut(), cx));
        tokio::time::timeout(Duration::from_secs(1), overdue).await.ok()
    }

    fn pace() -> Pace {
        let minute = Duration::from_secs(60);
        Pace::start(Patience { head: minute, idle: minute, answer: minute })
    }

    #[tokio::test]
    async fn who_has_lost_its_place_goes_once_it_keeps_the_daemon_waiting_and_not_before() {
        let pace = pace();
        pace.request_arrived(true);
        assert_eq!(overdue(&pace).await, None, "it has its place");
        pace.displace();
        assert_eq!(overdue(&pace).await, Some(Overdue::Displaced), "its body does not come");
        pace.body_arrived();
        assert_eq!(overdue(&pace).await, None, "the daemon is to act");
        pace.request_answered();
        assert_eq!(overdue(&pace).await, None, "the daemon writes");
        pace.wrote(false);
        assert_eq!(overdue(&pace).await, Some(Overdue::Displaced), "its answer is not taken");
    }
}
