//! One listener on a thread and runtime of its own: accept loop, connection limit, header
//! deadline, drain. Serves any warp routes; knows none of them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::health::Heartbeat;
use crate::os;

/// Time for a request's head to arrive whole, an idle keep-alive connection included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Request head: header count and bytes.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Pause after a failed accept, as when file descriptors run out: the next would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The runtime beats this often.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Threads for work that may block (parsing batches, reading pages).
const BLOCKING_THREADS: usize = 2;

/// How long they are kept when idle.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(10);

pub struct Server {
    /// `api` or `probe`: the thread's name and the log's `listener`.
    pub name: &'static str,
    pub connections_max: usize,
    /// Longest wait for open requests after `stop`.
    pub drain_timeout: Duration,
    pub heartbeat: Arc<Heartbeat>,
}

/// A running listener.
pub struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Stops accepting, lets open requests finish, waits for the thread to end.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("a listener's thread panicked");
        }
    }
}

/// Where a server listens.
pub enum Listener {
    Tcp(TcpListener),
    Local(UnixListener),
}

impl Listener {
    /// # Errors
    /// When the address is taken or not ours; the address is in the error, which the system's own
    /// text lacks.
    pub fn tcp(addr: SocketAddr) -> Result<Listener, BindError> {
        let listener = TcpListener::bind(addr);
        listener
            .map(Listener::Tcp)
            .map_err(|source| BindError { address: addr.to_string(), source })
    }

    /// A socket without a file, which answers only this user and root. It holds no disk, and none
    /// is left behind by a killed daemon.
    ///
    /// # Errors
    /// When another process has the name.
    pub fn local(name: &str) -> Result<Listener, BindError> {
        let bind = || UnixListener::bind_addr(&unix::SocketAddr::from_abstract_name(name)?);
        bind()
            .map(Listener::Local)
            .map_err(|source| BindError { address: format!("@{name}"), source })
    }

    fn address(&self) -> io::Result<String> {
        match self {
            Listener::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Listener::Local(listener) => {
                let addr = listener.local_addr()?;
                let name = addr.as_abstract_name().unwrap_or_default();
                Ok(format!("@{}", String::from_utf8_lossy(name)))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: String,
    source: io::Error,
}

/// The same, registered with a runtime.
enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    Local(tokio::net::UnixListener),
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl AsyncListener {
    fn register(listener: Listener) -> io::Result<AsyncListener> {
        Ok(match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                AsyncListener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            Listener::Local(listener) => {
                listener.set_nonblocking(true)?;
                AsyncListener::Local(tokio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        match self {
            AsyncListener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            AsyncListener::Local(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?.uid();
                if peer != 0 && peer != os::effective_user() {
                    return Err(io::Error::other(format!("user {peer} may not ask")));
                }
                Ok(Box::new(stream))
            }
        }
    }
}

impl Server {
    /// # Errors
    /// When the runtime can't be built or the listener not be registered with it.
    pub fn start(
        self,
        listener: Listener,
        routes: BoxedFilter<(Response,)>,
    ) -> io::Result<Running> {
        let addr = listener.address()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(BLOCKING_KEEP_ALIVE)
            .thread_name(format!("{}-blocking", self.name))
            .build()?;
        let listener = {
            let _guard = runtime.enter();
            AsyncListener::register(listener)?
        };
        let (stop, stopped) = watch::channel(false);
        let name = self.name;
        tracing::info!(listener = name, %addr, "listening");
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(self.serve(listener, routes, stopped));
            // A page being read is not worth waiting for.
            runtime.shutdown_background();
        })?;
        Ok(Running { stop, thread })
    }

    async fn serve(
        self,
        listener: AsyncListener,
        routes: BoxedFilter<(Response,)>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let permits = Arc::new(Semaphore::new(self.connections_max));
        let graceful = GracefulShutdown::new();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let mut beat = tokio::time::interval(BEAT_INTERVAL);
        loop {
            let accepted = tokio::select! {
                _ = stopped.changed() => break,
                _ = beat.tick() => {
                    self.heartbeat.beat();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // At the limit a connection is shed at once, never queued.
            let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
            let service = TowerToHyperService::new(warp::service(routes.clone()));
            let connection =
                graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // A client that breaks off is its own business.
                let _ = connection.await;
                drop(permit);
            });
        }
        drop(listener);
        self.heartbeat.retire();
        if tokio::time::timeout(self.drain_timeout, graceful.shutdown()).await.is_err() {
            tracing::warn!(listener = self.name, "requests were still open at the drain deadline");
        }
    }
}
