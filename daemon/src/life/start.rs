//! The start: everything that the daemon consists of, in its order. It is the reverse of the drain's:
//! each part may use those above it, and the probe answers from the first moment to the last.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::announce;
use super::certificate;
use super::control::{Control, ControlSetup};
use super::error::RunError;
use super::file_modes;
use super::model::Makings;
use super::models::{self as installed, Chosen, Given};
use super::part::Parts;
use super::planned_stop::PlannedStop;
use super::reload::LiveSettings;
use super::request::{Request, Requests};
use super::room::{PROBE_CONNECTIONS_MAX, room_for_connections};
use super::secrets::Secrets;
use super::systemd::{Notifier, Sockets};
use super::token_memory;
use super::watchdog::Watchdog;
use crate::config::{ApiConfig, Config};
use crate::diagnostics::{self, Lines};
use crate::endpoint::Endpoint;
use crate::health::{Deadlines, Health, HealthMetrics, Heartbeat, Work};
use crate::http::HttpMetrics;
use crate::http::api::{
    self, Admin, Api, Bodies, Doors, LogApi, LogSetup, LogThreads, ModelsApi, PredictApi, ReloadApi,
};
use crate::http::listener::{Listener, Opened, Patience, Server, Stop};
use crate::inference::{Beside, InferenceMetrics, Serving, WorkerSetup, Workers};
use crate::memory::{self, Needs, Shares};
use crate::metrics::{Registry, register_process};
use crate::models::{self, ModelMetrics, Wishes};
use crate::offload::{Offload, Reserve};
use crate::os::Inherited;
use crate::queue::{Limits, QUEUE_WAIT_MAX};
use crate::recording::{LogMetrics, LogWriter, WriterConfig, open_log, watch_wear};
use crate::registry;
use picket_base::Live;
use picket_base::budget::{Budget, Class};
use picket_base::clock;
use picket_classifier::ModelInfo;
use picket_models::Store;
use picket_records::{self as prediction_log, LogReader};

/// Threads of each kind that take what is too heavy for a listener's: while one reads a long page of
/// somebody's, the other is there for everybody else.
const OFFLOAD_THREADS: usize = 2;

/// Requests that may wait for each kind of them.
const OFFLOAD_WAITING_MAX: usize = 64;

/// Connections to the probes from one address. A scraper, a kubelet and a balancer keep a few.
const PROBE_CONNECTIONS_PER_ADDRESS_MAX: usize = 16;

/// A request's head must be there so long after its beginning. The probes' clients are near, and
/// their questions short.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Who reads an answer slowly keeps its place for so long while others want it. A probe's answer fits
/// into the socket.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
const PROBE_ANSWER_PATIENCE: Duration = Duration::ZERO;

/// This much of the drain's time is kept for the queue and the log once the listener is closed.
const DRAIN_RESERVE: Duration = Duration::from_millis(500);

/// A daemon that serves. It is taken down when its parts are dropped.
pub struct Started {
    pub live: LiveSettings,
    pub secrets: Secrets,
    pub parts: Parts,
}

/// What a start begins with.
pub struct Beginning<'a> {
    pub config: &'a Config,
    pub deadlines: Deadlines,
    pub health: &'a Arc<Health>,
    /// The sign of life of the thread that starts all of it.
    pub heartbeat: &'a Heartbeat,
    /// Where the control socket's wishes go.
    pub requests: Requests,
    /// Where it is noted that the daemon was asked to stop.
    pub planned: PlannedStop,
}

/// Starts part after part.
///
/// # Errors
/// Whatever keeps one of them from starting; those before it are taken down again.
pub fn start(
    beginning: &Beginning<'_>,
    sockets: Sockets,
    lines: Lines,
) -> Result<Started, RunError> {
    let &Beginning { config, deadlines, health, heartbeat, .. } = beginning;
    let started = Instant::now();
    announce::what_starts(config);
    let admin = admin(config, health);
    diagnostics::count_lost(&admin.registry, lines);
    let secrets = Secrets::load(&config.api, &admin.registry)?;
    token_memory::check(&config.state_dir, secrets.token.is_some())?;
    let api_connections_max = room_for_connections(&config.api);
    let boot_id = clock::boot_id();
    let (planned, parts) = (&beginning.planned, Parts::default());
    let mut start = Start { config, deadlines, health, heartbeat, admin, planned, parts };
    start.probe(sockets.probe)?;
    start.watchdog()?;
    let budget = start.budget();
    let (writer, reader) = start.log(&budget)?;
    let makings = Makings { config: Live::new(config.clone()), boot_id: boot_id.clone() };
    let Chosen { serving, store } = start.model(&makings)?;
    start.leave_room(serving.pipeline.model.info(), &budget);
    let serving = Live::new(serving);
    let live = start.live(serving.clone(), makings.config.clone(), &writer, &reader);
    announce::removal(config, &live);
    let beside = start.beside(&budget)?;
    let workers = start.workers(serving.clone(), beside.clone(), writer.clone(), &budget)?;
    let models = start.keeper(store, makings, beside, (&serving, &budget))?;
    start.registry(models.wishes.clone())?;
    let bodies = Arc::new(Bodies::new(config.api.max_body.as_u64(), budget.clone()));
    let threads = start.log_threads(&budget)?;
    let ingest = threads.ingest.clone();
    let log = LogSetup {
        writer,
        reader,
        dir: config.log_dir(),
        durability: live.reported_durability.clone(),
        boot_id,
        bodies: bodies.clone(),
        batch_max: config.api.batch_max,
        health: health.clone(),
        threads,
    };
    let predict = PredictApi {
        workers,
        serving,
        durability: live.predict_durability.clone(),
        bodies,
        ingest,
        patience: QUEUE_WAIT_MAX + deadlines.worker,
        health: health.clone(),
    };
    let api = Arc::new(Api {
        admin: start.admin.clone(),
        predict,
        log: LogApi::new(log),
        reload: reload(beginning, &live),
        models,
        doors: Arc::new(doors(&config.api)),
        token: secrets.token.clone(),
    });
    start.control(&api, live.reader.clone(), &budget)?;
    start.certificate(&secrets)?;
    start.api(sockets.api, api, &secrets, Room { connections: api_connections_max, budget })?;
    health.serving();
    Notifier.status("serving predictions");
    tracing::info!(start_ms = started.elapsed().as_millis(), "ready");
    Ok(Started { live, secrets, parts: start.parts })
}

/// Whose requests are let in.
fn doors(api: &ApiConfig) -> Doors {
    Doors { allow_origins: api.allow_origins.clone().unwrap_or_default(), hosts: api.hosts.clone() }
}

/// The probes' answers, and with them the registry on which every room declares what it counts.
fn admin(config: &Config, health: &Arc<Health>) -> Arc<Admin> {
    let registry = Arc::new(Registry::new());
    register_process(&registry);
    let log = Arc::new(LogMetrics::new(&registry));
    watch_wear(&registry, log.logged.clone());
    let (model, stage) = (&config.model.name, &config.model.stage);
    Arc::new(Admin {
        health: health.clone(),
        metrics: Arc::new(HttpMetrics::new(&registry)),
        inference: Arc::new(InferenceMetrics::new(&registry, model, stage)),
        log,
        registry,
    })
}

/// What the API's connections may take.
struct Room {
    connections: usize,
    budget: Budget,
}

struct Start<'a> {
    config: &'a Config,
    deadlines: Deadlines,
    health: &'a Arc<Health>,
    /// The sign of life of the thread that starts all of it.
    heartbeat: &'a Heartbeat,
    admin: Arc<Admin>,
    planned: &'a PlannedStop,
    parts: Parts,
}

impl Start<'_> {
    fn probe(&mut self, inherited: Option<Inherited>) -> Result<(), RunError> {
        let server = Server {
            per_address_max: PROBE_CONNECTIONS_PER_ADDRESS_MAX,
            patience: Patience {
                head: PROBE_HEAD_TIMEOUT,
                answer: PROBE_ANSWER_PATIENCE,
                ..self.patience()
            },
            ..self.server("probe", PROBE_CONNECTIONS_MAX)
        };
        let listener = listener("probe", inherited, &self.config.probe.listen)?;
        let routes = api::probe_routes(self.admin.clone());
        self.serve(server.heartbeat.clone(), server.open(listener, routes))
    }

    fn watchdog(&mut self) -> Result<(), RunError> {
        let metrics = HealthMetrics::new(&self.admin.registry, self.health.clone());
        let inference = self.admin.inference.clone();
        let watchdog = Watchdog::new(self.health.clone(), metrics, inference, &self.deadlines);
        let (stop, stopped) = mpsc::channel();
        let heartbeat = self.health.heartbeat("watchdog", self.deadlines.runtime);
        let work = move |heartbeat: &Heartbeat| watchdog.run(heartbeat, &stopped);
        Ok(self.parts.start(heartbeat, work, move || drop(stop))?)
    }

    fn registry(&mut self, wishes: Option<Wishes>) -> Result<(), RunError> {
        let (health, metrics) = (self.health.clone(), &self.admin.registry);
        let Some(watch) = installed::registry(self.config, wishes, health, metrics) else {
            return Ok(());
        };
        let (stop, stopped) = mpsc::channel();
        let heartbeat = self.health.heartbeat("registry", registry::STUCK_AFTER);
        let work = move |heartbeat: &Heartbeat| watch.run(heartbeat, &stopped);
        Ok(self.parts.start(heartbeat, work, move || drop(stop))?)
    }

    /// Plans the memory of requests before the model is known.
    fn budget(&self) -> Budget {
        let needs = Needs { workers: self.config.api.workers, input_values: 0, model_bytes: 0 };
        let stated = self.config.memory.budget.map(|size| size.as_u64());
        let plan = memory::plan(memory::Given::here(), needs, stated);
        let budget = Budget::new(plan.budget_size());
        memory::register_budget(&self.admin.registry, budget.clone());
        budget
    }

    /// Leaves the memory that the model needs out of that of requests.
    fn leave_room(&self, model: &ModelInfo, budget: &Budget) {
        let plan = installed::memory_of(self.config, model, None);
        budget.resize(plan.budget_size());
        tracing::info!(budget = plan.budget, margin = plan.margin, "memory of requests");
        if plan.is_too_large() {
            tracing::warn!("{plan}");
        }
    }

    fn log(&mut self, budget: &Budget) -> Result<(LogWriter, LogReader), RunError> {
        Notifier.status("opening the log");
        self.heartbeat.busy(Work::OpenLog);
        file_modes::keep_private(&self.config.state_dir);
        let reader = LogReader::new();
        let config = WriterConfig {
            dir: self.config.log_dir(),
            commit_interval: self.config.log.commit_interval.0,
            retention: self.config.log.retention(),
            budget: budget.clone(),
        };
        let metrics = self.admin.log.clone();
        let (writer, owner) = open_log(config, self.health.clone(), metrics, reader.clone())?;
        let heartbeat = self.health.heartbeat("log-writer", self.deadlines.log);
        let closed = writer.clone();
        self.parts.start(heartbeat, |heartbeat| owner.run(heartbeat), move || closed.close())?;
        Ok((writer, reader))
    }

    fn model(&self, makings: &Makings) -> Result<Chosen, RunError> {
        Notifier.status("loading the model");
        self.heartbeat.busy(Work::LoadModel);
        let chosen = installed::choose(self.config, makings)?;
        if let Some(store) = &chosen.store {
            self.planned.leave_with(store.stop_note());
        }
        self.heartbeat.beat();
        let info = chosen.serving.pipeline.model.info();
        let load_ms = info.load_time.as_millis();
        tracing::info!(version = %info.version, digest = %info.digest, load_ms, "model loaded");
        for warning in info.stock_warning().iter().chain(&info.card_warnings) {
            tracing::warn!("model {}: {warning}", info.version);
        }
        self.admin.inference.model_loaded(&info.version, &info.digest);
        self.health.model_loaded();
        Ok(chosen)
    }

    /// Starts the thread of a second model; there is none at first.
    fn beside(&mut self, budget: &Budget) -> Result<Beside, RunError> {
        let beside = Beside::new(budget.clone());
        let heartbeat = self.health.heartbeat("second-model", self.deadlines.worker);
        let (working, closed) = (beside.clone(), beside.clone());
        let work = move |heartbeat: &Heartbeat| working.run(heartbeat);
        self.parts.start(heartbeat, work, move || closed.close())?;
        Ok(beside)
    }

    /// Starts the keeper of the models, where there is a store for it.
    fn keeper(
        &mut self,
        store: Option<Store>,
        makings: Makings,
        beside: Beside,
        (serving, budget): (&Arc<Live<Serving>>, &Budget),
    ) -> Result<ModelsApi, RunError> {
        let inference = self.admin.inference.clone();
        let (serving, budget) = (serving.clone(), budget.clone());
        let list = Live::new(Vec::new());
        let given = Given { serving, makings, beside, budget, inference, list: list.clone() };
        let metrics = ModelMetrics::new(&self.admin.registry);
        let Some(store) = store else {
            return Ok(ModelsApi { wishes: None, list });
        };
        let (keeper, wishes) = installed::keeper(self.config, store, given, metrics)?;
        let heartbeat = self.health.heartbeat("models", models::STUCK_AFTER);
        self.planned.ends_trials_of(wishes.clone());
        let ended = wishes.clone();
        self.parts.start(heartbeat, |heartbeat| keeper.run(heartbeat), move || ended.end())?;
        Ok(ModelsApi { wishes: Some(wishes), list })
    }

    fn workers(
        &mut self,
        serving: Arc<Live<Serving>>,
        beside: Beside,
        writer: LogWriter,
        budget: &Budget,
    ) -> Result<Workers, RunError> {
        let Config { api, health, .. } = self.config;
        let sample_interval = health.sample_interval.0;
        let setup = WorkerSetup { serving, beside, writer, sample_interval };
        let limits = Limits { capacity: api.queue, threads: api.workers };
        let workers = Workers::new(limits, budget.clone(), self.admin.inference.clone());
        for index in 0..api.workers {
            let heartbeat =
                self.health.heartbeat(&format!("worker-{index}"), self.deadlines.worker);
            let (setup, worker, closed) = (setup.clone(), workers.clone(), workers.clone());
            let work = move |heartbeat: &Heartbeat| worker.work(&setup, heartbeat);
            self.parts.start(heartbeat, work, move || closed.close())?;
        }
        Ok(workers)
    }

    /// What a reload may change.
    fn live(
        &self,
        serving: Arc<Live<Serving>>,
        config: Arc<Live<Config>>,
        writer: &LogWriter,
        reader: &LogReader,
    ) -> LiveSettings {
        let log = &self.config.log;
        LiveSettings {
            serving,
            config,
            predict_durability: Live::new(log.predict_durability),
            reported_durability: Live::new(log.reported_durability),
            writer: writer.clone(),
            reader: reader.clone(),
            metrics: self.admin.log.clone(),
        }
    }

    /// Starts threads for what is too heavy for a listener's.
    fn log_threads(&mut self, budget: &Budget) -> Result<LogThreads, RunError> {
        let from = |class| Reserve { budget: budget.clone(), class };
        Ok(LogThreads {
            ingest: self.offload("ingest", Work::Body, from(Class::Decode))?,
            reads: self.offload("reader", Work::Page, from(Class::Answer))?,
            control: self.offload("ctl-reader", Work::Page, from(Class::Maintenance))?,
        })
    }

    fn offload(
        &mut self,
        threads: &str,
        kind: Work,
        reserve: Reserve,
    ) -> Result<Offload, RunError> {
        let limits = Limits { capacity: OFFLOAD_WAITING_MAX, threads: OFFLOAD_THREADS };
        let turned_away = self.admin.metrics.turned_away(threads);
        let patience = QUEUE_WAIT_MAX + self.deadlines.runtime;
        let offload = Offload::new(kind, limits, reserve, patience, turned_away);
        for index in 0..OFFLOAD_THREADS {
            let name = format!("{threads}-{index}");
            let heartbeat = self.health.heartbeat(&name, self.deadlines.runtime);
            let (working, closed) = (offload.clone(), offload.clone());
            let work = move |heartbeat: &Heartbeat| working.work(heartbeat);
            self.parts.start(heartbeat, work, move || closed.close())?;
        }
        Ok(offload)
    }

    fn control(
        &mut self,
        api: &Arc<Api>,
        reader: LogReader,
        budget: &Budget,
    ) -> Result<(), RunError> {
        let mut control = Control::new(ControlSetup {
            path: prediction_log::socket_path(&self.config.log_dir()),
            api: api.clone(),
            health: self.health.clone(),
            metrics: self.admin.metrics.clone(),
            reader,
            budget: budget.clone(),
            patience: self.patience(),
            deadline: self.deadlines.runtime,
        });
        self.heartbeat.busy(Work::ControlSocket);
        control.tend()?;
        self.heartbeat.beat();
        let (stop, stopped) = mpsc::channel();
        let heartbeat = self.health.heartbeat("control-keeper", self.deadlines.runtime);
        let work = move |heartbeat: &Heartbeat| control.run(heartbeat, &stopped);
        Ok(self.parts.start(heartbeat, work, move || drop(stop))?)
    }

    fn certificate(&mut self, secrets: &Secrets) -> Result<(), RunError> {
        let Some(certificate) = secrets.certificate.clone() else { return Ok(()) };
        let (stop, stopped) = mpsc::channel();
        let heartbeat = self.health.heartbeat("certificate", certificate::STUCK_AFTER);
        let work = move |heartbeat: &Heartbeat| certificate.run(heartbeat, &stopped);
        Ok(self.parts.start(heartbeat, work, move || drop(stop))?)
    }

    fn api(
        &mut self,
        inherited: Option<Inherited>,
        api: Arc<Api>,
        secrets: &Secrets,
        room: Room,
    ) -> Result<(), RunError> {
        let server = Server {
            per_address_max: self.config.api.max_connections_per_address,
            tls: secrets.certificate.as_ref().map(|certificate| certificate.tls.clone()),
            answers: Some(Shares::new(room.budget.clone(), Class::Answer)),
            budget: Some(room.budget),
            ..self.server("api", room.connections)
        };
        let listener = listener("api", inherited, &self.config.api.listen)?;
        announce::openness(&self.config.api, &listener, secrets);
        self.serve(server.heartbeat.clone(), server.open(listener, api::api_routes(api)))
    }

    fn server(&self, name: &'static str, connections_max: usize) -> Server {
        Server {
            name,
            connections_max,
            // Who comes by the control socket has no address, and no share.
            per_address_max: 1,
            patience: self.patience(),
            drain_timeout: self.config.api.drain_timeout.0.saturating_sub(DRAIN_RESERVE),
            heartbeat: self.health.heartbeat(name, self.deadlines.runtime),
            metrics: self.admin.metrics.clone(),
            tls: None,
            budget: None,
            answers: None,
        }
    }

    fn patience(&self) -> Patience {
        let idle = self.config.api.idle_timeout.0;
        Patience { head: HEAD_TIMEOUT, idle, answer: ANSWER_PATIENCE }
    }

    /// Serves a listener in a part of its own.
    fn serve(
        &mut self,
        heartbeat: Arc<Heartbeat>,
        opened: io::Result<(Opened, Stop)>,
    ) -> Result<(), RunError> {
        let name = || heartbeat.name().to_string();
        let (opened, stop) =
            opened.map_err(|source| RunError::Listener { name: name(), source })?;
        Ok(self.parts.start(heartbeat, |_| opened.serve(), move || stop.stop())?)
    }
}

/// What answers a reload on the control socket.
fn reload(beginning: &Beginning<'_>, live: &LiveSettings) -> ReloadApi {
    let requests = beginning.requests.clone();
    ReloadApi {
        wish: Box::new(move |wish| requests.try_send(Request::Reload(Some(wish))).is_ok()),
        reader: live.reader.clone(),
        metrics: live.metrics.clone(),
    }
}

/// The service manager's socket where it hands one over, else one of our own.
fn listener(
    name: &str,
    inherited: Option<Inherited>,
    endpoint: &Endpoint,
) -> Result<Listener, RunError> {
    match inherited {
        Some(socket) => Listener::inherited(socket)
            .map_err(|source| RunError::Listener { name: name.to_string(), source }),
        None => Ok(Listener::bind(endpoint)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Surroundings};

    #[test]
    fn every_family_of_the_contract_is_there_from_the_first_scrape() {
        let surroundings =
            Surroundings { hostname: "box".into(), cores: 2, ..Surroundings::default() };
        let config = Config::load(Settings::default(), None, &surroundings).unwrap().0;
        let health = Health::new();
        let admin = admin(&config, &health);
        let _shown = HealthMetrics::new(&admin.registry, health);
        let text = admin.registry.render();
        for line in [
            "inference_model_loaded{model=\"cifar10-model\",stage=\"Production\"} 0",
            "inference_predictions_total{model=\"cifar10-model\"} 0",
            "inference_errors_total{model=\"cifar10-model\"} 0",
            "inference_mlflow_accessible 0",
            "logging_db_initialized{service=\"cloud-logging-api\"} 0",
            "logging_predictions_total{service=\"cloud-logging-api\"} 0",
            "logging_defects_total{service=\"cloud-logging-api\"} 0",
            "logging_errors_total{service=\"cloud-logging-api\"} 0",
            "# TYPE inference_predictions_total counter",
            "# TYPE inference_model_loaded gauge",
            "picket_stage_duration_seconds_count{stage=\"commit\"} 0",
            "picket_predictions_turned_away_total 0",
            "picket_not_ready{reason=\"starting\"} 1",
            "picket_not_ready{reason=\"overloaded\"} 0",
            "picket_registry_configured 0",
        ] {
            assert!(text.lines().any(|found| found == line), "missing: {line}\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
