//! One listener on a runtime of its own: accept loop, connection limits, drain. Serves any routes;
//! knows none of them, and starts no thread.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_base::budget::Budget;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};

use super::connection::{Counted, Serving};
use super::fixed::Fixed;
use super::limits::{CONNECTION_BYTES, TLS_BYTES, TURNED_AWAY_MAX};
use super::listen::{Accepted, AsyncListener, Connected, Listener};
use super::pace::{Pace, Patience};
use super::permits::{Full, Permits, PlaceMemory, Places};
use super::routes::Routes;
use super::tls::Tls;
use super::turns::Turns;
use crate::health::Heartbeat;
use crate::http::metrics::{Dropped, HttpMetrics};
use crate::memory::Shares;

/// Pause after an accept that fails for want of something, as of file descriptors: the next would
/// fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that the kernel may keep for us to accept: what std asks for.
const BACKLOG_MAX: usize = 128;

/// If none comes for so long, the kernel keeps none.
const BACKLOG_PAUSE: Duration = Duration::from_millis(10);

/// Failed accepts are told no more often than this, however many there are.
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The runtime beats this often.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A listener before its start.
pub struct Server {
    /// `api` or `probe`: the thread's name and the log's `listener`.
    pub name: &'static str,
    pub connections_max: usize,
    /// Connections from one address, of these. It never has all.
    pub per_address_max: usize,
    pub patience: Patience,
    /// Longest wait for open requests after `stop`.
    pub drain_timeout: Duration,
    pub heartbeat: Arc<Heartbeat>,
    pub metrics: Arc<HttpMetrics>,
    pub tls: Option<Arc<Tls>>,
    /// What connections are taken from; none where they are part of the daemon's own memory.
    pub budget: Option<Budget>,
    /// What answers are taken from; none where they are short.
    pub answers: Option<Arc<Shares>>,
}

/// A listener that accepts as soon as it is served.
pub struct Opened {
    runtime: Runtime,
    server: Server,
    listener: AsyncListener,
    routes: Routes,
    stopped: watch::Receiver<bool>,
}

/// Ends a listener: it stops accepting and lets open requests finish.
pub struct Stop(watch::Sender<bool>);

impl Stop {
    pub fn stop(&self) {
        let _ = self.0.send(true);
    }
}

impl Opened {
    /// Serves in the calling thread until the listener is stopped.
    pub fn serve(self) {
        let Opened { runtime, server, listener, routes, stopped } = self;
        runtime.block_on(server.serve(listener, routes, stopped));
    }
}

impl Server {
    /// Starts the thread that serves.
    ///
    /// # Errors
    /// When the runtime can't be built or the listener not be registered with it.
    pub fn open(self, listener: Listener, routes: Routes) -> io::Result<(Opened, Stop)> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = watch::channel(false);
        let (asked, share) = (self.per_address_max, self.places().share());
        if share < asked {
            tracing::info!(
                listener = self.name,
                asked,
                share,
                "one address gets fewer connections"
            );
        }
        tracing::info!(listener = self.name, addr = %listener.address(), "listening");
        let listener = {
            let _guard = runtime.enter();
            listener.register()?
        };
        Ok((Opened { runtime, server: self, listener, routes, stopped }, Stop(stop)))
    }

    fn places(&self) -> Places {
        let tls = if self.tls.is_some() { TLS_BYTES } else { 0 };
        let memory = |budget| PlaceMemory { budget, bytes: CONNECTION_BYTES + tls };
        Places {
            connections_max: self.connections_max,
            per_address_max: self.per_address_max,
            memory: self.budget.clone().map(memory),
        }
    }

    async fn serve(
        self,
        listener: AsyncListener,
        routes: Routes,
        mut stopped: watch::Receiver<bool>,
    ) {
        let permits = Permits::new(self.places());
        let serving = Arc::new(Serving {
            name: self.name,
            fixed: Fixed::new(&routes.signature(None)),
            routes,
            tls: self.tls.clone(),
            metrics: self.metrics.clone(),
            stopped: stopped.clone(),
            turning_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            turns: Turns::default(),
            answers: self.answers.clone(),
        });
        // Each connection holds a sender: the receiver is told when the last has gone.
        let (open, mut all_closed) = mpsc::channel::<()>(1);
        let door = Door { permits, serving, open, patience: self.patience };
        let mut beat = tokio::time::interval(BEAT_INTERVAL);
        let mut complaints = Complaints { listener: self.name, last: None };
        let mut paused_until = None;
        // After the stop whoever had connected before is let in: the kernel would reset them.
        let mut backlog = None;
        while backlog != Some(0) {
            let accepted = tokio::select! {
                _ = stopped.changed(), if backlog.is_none() => {
                    backlog = Some(BACKLOG_MAX);
                    paused_until = None;
                    continue;
                }
                () = tokio::time::sleep(BACKLOG_PAUSE), if backlog.is_some() => break,
                _ = beat.tick() => {
                    self.heartbeat.beat();
                    continue;
                }
                () = until(paused_until), if paused_until.is_some() => {
                    paused_until = None;
                    continue;
                }
                accepted = listener.accept(), if paused_until.is_none() => accepted,
            };
            backlog = backlog.map(|left| left - 1);
            match accepted {
                Ok(Accepted::Connection(connected)) => door.admit(connected),
                Ok(Accepted::Stranger(user)) => {
                    door.serving.metrics.dropped(self.name, Dropped::Stranger);
                    complaints.warn(&format!("user {user} may not ask"));
                }
                Err(error) => {
                    if is_of_one_connection(&error) {
                        continue;
                    }
                    complaints.warn(&error.to_string());
                    if backlog.is_none() {
                        paused_until = Some(tokio::time::Instant::now() + ACCEPT_PAUSE);
                    }
                }
            }
            // Those that are open get their turn: who has sent a request is not taken for silent.
            tokio::task::yield_now().await;
        }
        drop(door);
        drop(listener);
        self.heartbeat.retire();
        if tokio::time::timeout(self.drain_timeout, all_closed.recv()).await.is_err() {
            tracing::warn!(listener = self.name, "requests were still open at the drain deadline");
        }
    }
}

/// Comes at that time.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Tells a failure that concerns the connection that was to be accepted, and none behind it
/// (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, PermissionDenied,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
    )
}

/// Warns of what is refused before it is a connection, now and then.
struct Complaints {
    listener: &'static str,
    last: Option<Instant>,
}

impl Complaints {
    fn warn(&mut self, error: &str) {
        if self.last.is_none_or(|at| at.elapsed() > ACCEPT_WARNING_INTERVAL) {
            tracing::warn!(listener = self.listener, error, "accept failed");
            self.last = Some(Instant::now());
        }
    }
}

/// Where connections come in.
struct Door {
    permits: Arc<Permits>,
    serving: Arc<Serving>,
    open: mpsc::Sender<()>,
    patience: Patience,
}

impl Door {
    /// Serves a connection on a task of its own. Where there is no place it is turned away at once,
    /// never queued.
    fn admit(&self, connected: Connected) {
        let (serving, open) = (self.serving.clone(), self.open.clone());
        let pace = Pace::start(self.patience);
        match self.permits.take(connected.peer, &pace).map_err(refusal) {
            Ok(permit) => {
                let counted = Counted::new(serving.clone());
                tokio::spawn(async move {
                    serving.connection(connected, pace).await;
                    drop((counted, permit, open));
                });
            }
            Err((why, text)) => {
                serving.metrics.dropped(serving.name, why);
                tokio::spawn(async move {
                    serving.turn_away(connected.stream, &text).await;
                    drop(open);
                });
            }
        }
    }
}

/// Gives the reason as the metrics and as the client are told.
fn refusal(full: Full) -> (Dropped, String) {
    match full {
        Full::Listener(max) => (Dropped::Limit, format!("{max} connections are open already")),
        Full::Address(max) => {
            (Dropped::AddressLimit, format!("{max} connections are open from this address already"))
        }
        Full::Memory(full) => (Dropped::Memory, full.to_string()),
    }
}
