//! Builds the daemon in order, waits for the signal to stop, takes it down in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::config::{ApiConfig, Band, Config, Sources};
use crate::endpoint::Endpoint;
use crate::health::{Deadlines, Health, Heartbeat, START_STEP_MAX, Work};
use crate::http::api::{
    self as http, Admin, Api, Bodies, LogApi, LogSetup, PredictApi, Token, TokenError,
};
use crate::http::listener::{self as server, BindError, Listener, Running, Server, Tls, TlsError};
use crate::inference::{Pipeline, Rules};
use crate::inference::{UnknownLabel, Verdict};
use crate::inference::{WorkerSetup, Workers};
use crate::life::reload::LiveSettings;
use crate::life::systemd::{Notifier, Sockets, SocketsError, watchdog_period};
use crate::life::watchdog::Watchdog;
use crate::metrics::Metrics;
use crate::os::{self, Inherited, Request, Signals};
use crate::recording::{LogWriter, WriterConfig};
use crate::registry::RegistryWatch;
use picket_base::Live;
use picket_base::clock;
use picket_classifier::{CLASSES, Model, ModelError};
use picket_records::{self as prediction_log, LogError, LogReader, Origin};

/// Open connections of the probes and of `picket log`; the API's are a setting. Each listener has
/// its own, so that a flood on one never starves another.
const PROBE_CONNECTIONS_MAX: usize = 64;
const CONTROL_CONNECTIONS_MAX: usize = 8;

/// Open files beside connections: the log, listeners, runtimes, standard streams.
const OTHER_FILES_MAX: usize = 128;

/// Of the drain's time, what is kept for the queue and the log once the listener is closed.
const DRAIN_RESERVE: Duration = Duration::from_millis(500);

/// The main thread and the signals' thread beat this often while they wait.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What a burst of records or a large picture leaves of the heap is given back this often.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// Signals that wait for the main thread.
const REQUESTS_MAX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start a listener")]
    Listener(#[source] std::io::Error),
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Verdict(#[from] UnknownLabel),
}

/// Runs until a stop signal, then drains. `signals` must have been blocked, and `sockets` taken,
/// before any thread was started; `sources` are read again whenever SIGHUP comes.
///
/// # Errors
/// Whatever keeps the daemon from starting; once it serves, faults are for Health to tell.
pub fn run(
    config: Config,
    sources: &Sources,
    signals: Signals,
    sockets: Sockets,
) -> Result<(), RunError> {
    let health = Health::new();
    let (send, requests) = mpsc::sync_channel(REQUESTS_MAX);
    let deadlines = Deadlines {
        watchdog_period: watchdog_period(),
        runtime: config.health.runtime_deadline.0,
        worker: config.health.worker_deadline.0,
        log: config.health.log_deadline.0,
    }
    .within_the_watchdogs();
    spawn("signals", {
        let (health, heartbeat) = (health.clone(), health.heartbeat("signals", deadlines.runtime));
        move || obey(&signals, &health, &heartbeat, &send)
    });
    let heartbeat = health.heartbeat("supervisor", START_STEP_MAX);
    let mut daemon = Daemon::start(config, deadlines, health, &heartbeat, sockets)?;
    heartbeat.set_deadline(deadlines.runtime);
    os::trim_heap();
    os::unmap_code_of_start();
    let mut trimmed = Instant::now();
    let signal = loop {
        heartbeat.beat();
        if trimmed.elapsed() >= TRIM_INTERVAL {
            os::trim_heap();
            trimmed = Instant::now();
        }
        match requests.recv_timeout(BEAT_INTERVAL) {
            Ok(Request::Stop(signal)) => break signal,
            Ok(Request::Reload) => {
                heartbeat.busy(Work::Reload);
                daemon.reload(sources);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("the signals' thread never ends"),
        }
    };
    heartbeat.retire();
    tracing::info!(signal, "stopping");
    let drain_timeout = daemon.config.api.drain_timeout.0;
    spawn("drain-limit", move || {
        std::thread::sleep(drain_timeout);
        tracing::error!(limit_secs = drain_timeout.as_secs(), "not drained in time, ending");
        std::process::exit(1);
    });
    daemon.drain();
    tracing::info!("stopped");
    Ok(())
}

struct Daemon {
    /// As the daemon runs with it: after a reload not all that the sources say.
    config: Config,
    live: LiveSettings,
    health: Arc<Health>,
    probe: Running,
    api: Running,
    control: Option<Running>,
    workers: Workers,
    worker_threads: Vec<JoinHandle<()>>,
    writer: LogWriter,
    writer_thread: JoinHandle<()>,
    watchdog: Watchdog,
    registry: Option<RegistryWatch>,
    secrets: Secrets,
}

impl Daemon {
    fn start(
        config: Config,
        deadlines: Deadlines,
        health: Arc<Health>,
        heartbeat: &Heartbeat,
        sockets: Sockets,
    ) -> Result<Daemon, RunError> {
        let started = Instant::now();
        tracing::info!(
            version = crate::VERSION,
            state_dir = %config.state_dir.display(),
            workers = config.api.workers,
            "starting"
        );
        let metrics = Arc::new(Metrics::new(&config.model.name, &config.model.stage));
        let admin = Arc::new(Admin { health: health.clone(), metrics: metrics.clone() });
        let secrets = Secrets::load(&config.api)?;
        let api_connections_max = room_for_connections(&config.api);
        let server = |name, connections_max| Server {
            name,
            connections_max,
            per_address_max: connections_max,
            drain_timeout: config.api.drain_timeout.0.saturating_sub(DRAIN_RESERVE),
            heartbeat: health.heartbeat(name, deadlines.runtime),
            metrics: metrics.clone(),
            tls: None,
        };
        let probe_server = server("probe", PROBE_CONNECTIONS_MAX);
        let probe_listener = listener(sockets.probe, &config.probe.listen)?;
        let probe = open(probe_server, probe_listener, http::probe_routes(admin.clone()))?;
        let watchdog = Watchdog::start(health.clone(), metrics.clone(), &deadlines);

        Notifier.status("opening the log");
        heartbeat.busy(Work::OpenLog);
        let boot_id = clock::boot_id();
        let reader = LogReader::new();
        let writer_config = WriterConfig {
            dir: config.log_dir(),
            deadline: deadlines.log,
            commit_interval: config.log.commit_interval.0,
            retention: config.log.retention(),
        };
        let (writer, writer_thread) =
            LogWriter::start(writer_config, health.clone(), metrics.clone(), reader.clone())?;

        Notifier.status("loading the model");
        heartbeat.busy(Work::LoadModel);
        let pipeline = load_pipeline(&config)?;
        let live = LiveSettings {
            rules: pipeline.rules.clone(),
            predict_durability: Live::new(config.log.predict_durability),
            reported_durability: Live::new(config.log.reported_durability),
            writer: writer.clone(),
        };
        heartbeat.beat();
        let info = pipeline.model.info().clone();
        let load_ms = info.load_time.as_millis();
        tracing::info!(version = %info.version, digest = %info.digest, load_ms, "model loaded");
        if let Some(warning) = info.stock_warning() {
            tracing::warn!("model {}: {warning}", info.version);
        }
        metrics.set_model_loaded(&info.version, &info.digest);
        health.model_loaded();
        let origin = Arc::new(Origin {
            boot_id: boot_id.clone(),
            model_name: config.model.name.clone(),
            model_version: info.version.clone(),
            device_id: Some(config.device_id.clone()),
        });
        let setup = WorkerSetup {
            pipeline,
            origin,
            writer: writer.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            deadline: deadlines.worker,
            sample_interval: config.health.sample_interval.0,
        };
        let (workers, worker_threads) =
            Workers::start(config.api.workers, config.api.queue, &setup);
        let registry = config.model.registry.as_deref().and_then(|uri| {
            let required = config.model.registry_required;
            RegistryWatch::start(uri, required, health.clone(), metrics.clone())
        });

        let api = Arc::new(Api {
            admin,
            predict: PredictApi {
                workers: workers.clone(),
                model_name: config.model.name.clone(),
                model: info,
                durability: live.predict_durability.clone(),
                health: health.clone(),
            },
            log: LogApi::new(LogSetup {
                writer: writer.clone(),
                reader,
                dir: config.log_dir(),
                durability: live.reported_durability.clone(),
                boot_id,
            }),
            bodies: Bodies::new(config.api.max_body.as_u64()),
            metrics: metrics.clone(),
            token: secrets.token.clone(),
        });
        let control_server = server("control", CONTROL_CONNECTIONS_MAX);
        let control = open_control(control_server, &config.log_dir(), &api);
        let api_server = Server {
            per_address_max: config.api.max_connections_per_address,
            tls: secrets.tls.clone(),
            ..server("api", api_connections_max)
        };
        let api_listener = listener(sockets.api, &config.api.listen)?;
        let api = open(api_server, api_listener, http::api_routes(api))?;
        health.serving();
        Notifier.status("serving predictions");
        Notifier.ready();
        tracing::info!(start_ms = started.elapsed().as_millis(), "ready");
        Ok(Daemon {
            config,
            live,
            health,
            probe,
            api,
            control,
            workers,
            worker_threads,
            writer,
            writer_thread,
            watchdog,
            registry,
            secrets,
        })
    }

    /// Reads the configuration again and takes over what can change while running. An invalid one
    /// changes nothing.
    fn reload(&mut self, sources: &Sources) {
        Notifier.reloading();
        let labels = self.live.rules.get().verdict.labels.clone();
        let read = sources.load().map_err(|error| picket_base::chain(&error)).and_then(|wanted| {
            let rules = rules(&wanted, labels);
            rules.map(|rules| (wanted, rules)).map_err(|error| error.to_string())
        });
        match read {
            Ok((wanted, rules)) => {
                self.config = self.live.take_over(&self.config, wanted, rules);
                self.secrets.renew(&self.config.api);
            }
            Err(error) => tracing::error!(error, "configuration not reloaded, nothing changed"),
        }
        Notifier.ready();
    }

    /// What is queued is answered, what is answered is logged, what is logged is on the medium.
    fn drain(self) {
        Notifier.stopping();
        self.health.draining();
        self.api.stop();
        if let Some(control) = self.control {
            control.stop();
        }
        self.workers.close();
        for thread in self.worker_threads {
            join(thread);
        }
        self.writer.close();
        join(self.writer_thread);
        if let Some(registry) = self.registry {
            registry.stop();
        }
        self.watchdog.stop();
        // Last: a probe that asks meanwhile is told that we drain.
        self.probe.stop();
    }
}

/// Model and verdict as the configuration asks for them; `picket predict` uses the same.
///
/// # Errors
/// An unusable model, or a defect label that it does not know.
pub fn load_pipeline(config: &Config) -> Result<Pipeline, RunError> {
    let model = Model::load(&config.model.source())?;
    let rules = rules(config, model.info().labels.clone())?;
    Ok(Pipeline { model: Arc::new(model), rules: Live::new(rules) })
}

fn rules(config: &Config, labels: Arc<[String; CLASSES]>) -> Result<Rules, UnknownLabel> {
    let Band(low, high) = config.verdict.uncertain_between;
    let verdict = Verdict::new(labels, &config.verdict.defect_labels, (low, high))?;
    Ok(Rules { verdict, json_range: config.api.json_range })
}

/// The service manager's socket where it hands one over, else one of our own.
fn listener(inherited: Option<Inherited>, endpoint: &Endpoint) -> Result<Listener, RunError> {
    match inherited {
        Some(socket) => Listener::inherited(socket).map_err(RunError::Listener),
        None => Ok(Listener::bind(endpoint)?),
    }
}

fn open(
    server: Server,
    listener: Listener,
    routes: BoxedFilter<(Response,)>,
) -> Result<Running, RunError> {
    server.start(listener, routes).map_err(RunError::Listener)
}

/// What the API listener shows and asks for; its files are read again at a reload.
struct Secrets {
    token: Option<Arc<Live<Token>>>,
    tls: Option<Arc<Tls>>,
}

impl Secrets {
    fn load(api: &ApiConfig) -> Result<Secrets, RunError> {
        let token = api.token_file.as_deref().map(Token::load).transpose()?;
        let tls = match (&api.tls_cert, &api.tls_key) {
            (Some(cert), Some(key)) => Some(Tls::load(cert, key)?),
            _ => None,
        };
        Ok(Secrets { token: token.map(Live::new), tls })
    }

    /// Files that can't be used leave what was read before.
    fn renew(&self, api: &ApiConfig) {
        if let (Some(live), Some(path)) = (&self.token, &api.token_file) {
            match Token::load(path) {
                Ok(token) => live.set(token),
                Err(error) => {
                    let error = picket_base::chain(&error);
                    tracing::error!(error, "token not read again, the old one stays");
                }
            }
        }
        if let Some(Err(error)) = self.tls.as_ref().map(|tls| tls.reload()) {
            let error = picket_base::chain(&error);
            tracing::error!(error, "certificate not read again, the old one stays");
        }
    }
}

/// How many API connections there are files for, once as many are asked of the kernel as needed.
fn room_for_connections(api: &ApiConfig) -> usize {
    let turned_away = 3 * server::TURNED_AWAY_MAX;
    let others = OTHER_FILES_MAX + PROBE_CONNECTIONS_MAX + CONTROL_CONNECTIONS_MAX + turned_away;
    let files = os::raise_open_files(others + api.max_connections).unwrap_or(usize::MAX);
    let possible = files.saturating_sub(others).max(1);
    if possible < api.max_connections {
        let asked = api.max_connections;
        tracing::warn!(files, asked, possible, "the limit of open files allows fewer connections");
    }
    possible.min(api.max_connections)
}

/// Without its socket the daemon does all but answer `picket log`.
fn open_control(server: Server, log_dir: &Path, api: &Arc<Api>) -> Option<Running> {
    let heartbeat = server.heartbeat.clone();
    let start = || {
        let name = prediction_log::socket_name(log_dir).map_err(RunError::Listener)?;
        let routes = http::control_routes(api.clone());
        server.start(Listener::local(&name)?, routes).map_err(RunError::Listener)
    };
    match start() {
        Ok(running) => Some(running),
        Err(error) => {
            heartbeat.retire();
            let error = picket_base::chain(&error);
            tracing::warn!(error, "picket log can't ask this daemon");
            None
        }
    }
}

/// The first signal to stop asks for a drain, the second ends the process at once. While the daemon
/// is still starting nothing is owed to anyone, and the first one ends it; a reload waits until it
/// has started.
fn obey(
    signals: &Signals,
    health: &Health,
    heartbeat: &Heartbeat,
    requests: &mpsc::SyncSender<Request>,
) {
    let mut stopping = false;
    loop {
        heartbeat.beat();
        match signals.wait(BEAT_INTERVAL) {
            None => {}
            // One that finds the queue full is as good as one that waits there already.
            Some(Request::Reload) => drop(requests.try_send(Request::Reload)),
            Some(Request::Stop(signal)) if !health.is_serving() => {
                tracing::info!(signal, "stopped while starting");
                std::process::exit(0);
            }
            Some(Request::Stop(signal)) if stopping => {
                tracing::warn!(signal, "second signal, ending at once");
                std::process::exit(1);
            }
            Some(stop) => {
                stopping = true;
                // The receiver reads in `run` until it has this.
                let _ = requests.send(stop);
            }
        }
    }
}

/// A thread that ends with the process.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("the kernel has room for one more thread");
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or("unnamed").to_string();
    if thread.join().is_err() {
        tracing::error!(thread = name, "thread panicked");
    }
}
