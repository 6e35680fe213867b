//! The one truth about this daemon's health: what /health, /ready, the watchdog ping and the
//! metrics all read. Heartbeats say whether a subsystem still moves, latches what it has reached.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Requests of the last minute decide about `high_error_rate`, so that it recovers by itself.
const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// Requests of the last seconds decide about `overloaded`.
const SHED_WINDOW: Duration = Duration::from_secs(10);

/// Fewer requests than this in a window say nothing about a rate.
const RATE_REQUESTS_MIN: u64 = 20;

/// Share of server-side errors from which on traffic should go elsewhere.
const ERROR_RATE_MAX: f64 = 0.1;

/// Share of requests turned away from which on traffic should go elsewhere.
const SHED_RATE_MAX: f64 = 0.5;

/// Recoveries of the log that are remembered for /ready?verbose.
const HISTORY_MAX: usize = 10;

/// A subsystem's sign of life: it beats at least once within `deadline`, idle or busy.
#[derive(Debug)]
pub struct Heartbeat {
    name: String,
    deadline: Duration,
    origin: Instant,
    last_ms: AtomicU64,
    /// Ended on purpose, as at a drain: no longer watched.
    retired: AtomicBool,
}

impl Heartbeat {
    pub fn beat(&self) {
        self.last_ms.store(millis(self.origin.elapsed()), Ordering::Relaxed);
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.origin.elapsed().saturating_sub(last)
    }

    fn check(&self) -> Result<(), String> {
        let silence = self.silence();
        if self.retired.load(Ordering::Relaxed) || silence <= self.deadline {
            return Ok(());
        }
        let (silence, deadline) = (silence.as_secs_f64(), self.deadline.as_secs_f64());
        Err(format!(
            "{} gave no sign of life for {silence:.1} s, at most {deadline:.0} s",
            self.name
        ))
    }
}

/// Why the daemon is not ready; the texts are the contract's.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    Starting,
    Draining,
    ModelNotLoaded,
    DatabaseNotInitialized,
    DatabaseNotAccessible,
    HighErrorRate { error_rate: f64 },
    MlflowNotAccessible,
    Overloaded,
}

impl Reason {
    pub fn as_str(&self) -> &'static str {
        match self {
            Reason::Starting => "starting",
            Reason::Draining => "draining",
            Reason::ModelNotLoaded => "model_not_loaded",
            Reason::DatabaseNotInitialized => "database_not_initialized",
            Reason::DatabaseNotAccessible => "database_not_accessible",
            Reason::HighErrorRate { .. } => "high_error_rate",
            Reason::MlflowNotAccessible => "mlflow_not_accessible",
            Reason::Overloaded => "overloaded",
        }
    }
}

/// One line of `/ready?verbose`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub name: String,
    /// What is wrong, for a person.
    pub failure: Option<String>,
    /// Set when a failure makes the daemon not ready.
    pub reason: Option<Reason>,
}

/// How one request ended, as far as health is concerned. A client's error is not health's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Served,
    ServerError,
    Shed,
}

/// State of the prediction log as its writer sees it, each with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// Not opened yet.
    Opening,
    Ok,
    /// Takes records and promises nothing: the disk has failed a write since it was mounted.
    Suspect(String),
    /// Takes no records until there is room on the disk.
    Degraded(String),
    /// Takes no records until it can be opened again.
    Unavailable(String),
}

impl LogState {
    /// Label of the metric that shows the state.
    pub const LABELS: [&str; 5] = ["opening", "ok", "suspect", "degraded", "unavailable"];

    pub fn label(&self) -> &'static str {
        LogState::LABELS[match self {
            LogState::Opening => 0,
            LogState::Ok => 1,
            LogState::Suspect(_) => 2,
            LogState::Degraded(_) => 3,
            LogState::Unavailable(_) => 4,
        }]
    }

    /// Why no records are taken, or none yet; none when they are.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            LogState::Opening => Some("not open yet"),
            LogState::Ok | LogState::Suspect(_) => None,
            LogState::Degraded(why) | LogState::Unavailable(why) => Some(why),
        }
    }
}

/// State of the model registry, where one is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    pub required: bool,
    pub accessible: bool,
}

#[derive(Debug)]
pub struct Health {
    started: Instant,
    heartbeats: Mutex<Vec<Arc<Heartbeat>>>,
    model_loaded: AtomicBool,
    serving: AtomicBool,
    draining: AtomicBool,
    log: Mutex<LogState>,
    /// What recovery had to do since the start.
    log_history: Mutex<Vec<String>>,
    registry: Mutex<Option<Registry>>,
    outcomes: Mutex<Outcomes>,
}

impl Health {
    pub fn new() -> Arc<Health> {
        Arc::new(Health {
            started: Instant::now(),
            heartbeats: Mutex::default(),
            model_loaded: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            log: Mutex::new(LogState::Opening),
            log_history: Mutex::default(),
            registry: Mutex::new(None),
            outcomes: Mutex::new(Outcomes::default()),
        })
    }

    /// Starts watching a subsystem; counts as its first beat.
    pub fn heartbeat(&self, name: &str, deadline: Duration) -> Arc<Heartbeat> {
        let heartbeat = Arc::new(Heartbeat {
            name: name.to_string(),
            deadline,
            origin: Instant::now(),
            last_ms: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        });
        lock(&self.heartbeats).push(heartbeat.clone());
        heartbeat
    }

    pub fn model_loaded(&self) {
        self.model_loaded.store(true, Ordering::Relaxed);
    }

    pub fn is_model_loaded(&self) -> bool {
        self.model_loaded.load(Ordering::Relaxed)
    }

    /// Everything is up; from here on readiness depends on the checks alone.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub fn set_log(&self, state: LogState) {
        *lock(&self.log) = state;
    }

    pub fn log(&self) -> LogState {
        lock(&self.log).clone()
    }

    /// Adds what recovery had to do; the oldest entries go.
    pub fn note_recovery(&self, steps: impl IntoIterator<Item = String>) {
        let mut history = lock(&self.log_history);
        history.extend(steps);
        let excess = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..excess);
    }

    pub fn set_registry(&self, registry: Registry) {
        *lock(&self.registry) = Some(registry);
    }

    pub fn registry(&self) -> Option<Registry> {
        lock(&self.registry).clone()
    }

    pub fn record(&self, outcome: Outcome) {
        lock(&self.outcomes).record(self.started.elapsed().as_secs(), outcome);
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What a restart can cure, and nothing else.
    ///
    /// # Errors
    /// Names the first subsystem that missed its deadline.
    pub fn liveness(&self) -> Result<(), String> {
        lock(&self.heartbeats).iter().try_for_each(|heartbeat| heartbeat.check())
    }

    /// Every check, in the order in which a reason is picked: the first failing one names it.
    pub fn readiness(&self) -> Vec<Check> {
        let mut checks = vec![
            check("startup", Reason::Starting, self.check_serving()),
            check("draining", Reason::Draining, self.check_draining()),
            check("model", Reason::ModelNotLoaded, self.check_model()),
        ];
        checks.extend(self.check_log());
        checks.push(self.check_error_rate());
        checks.push(check("capacity", Reason::Overloaded, self.check_capacity()));
        if let Some(registry) = self.registry() {
            let failure = (!registry.accessible).then(|| "no answer".to_string());
            let mut mlflow = check("mlflow", Reason::MlflowNotAccessible, failure);
            mlflow.reason = mlflow.reason.filter(|_| registry.required);
            checks.push(mlflow);
        }
        for heartbeat in lock(&self.heartbeats).iter() {
            // A stuck subsystem fails liveness; here it is shown, and startup tells "not yet".
            let failure = heartbeat.check().err();
            checks.push(Check { name: heartbeat.name.clone(), failure, reason: None });
        }
        checks
    }

    fn check_serving(&self) -> Option<String> {
        let started = self.is_serving() || self.is_draining();
        (!started).then(|| "still starting".to_string())
    }

    fn check_draining(&self) -> Option<String> {
        self.is_draining().then(|| "shutting down".to_string())
    }

    fn check_model(&self) -> Option<String> {
        (!self.is_model_loaded()).then(|| "no model loaded".to_string())
    }

    /// The log itself, whether it may promise durability, and what it went through. The last two
    /// are told, not judged: records are taken all the same.
    fn check_log(&self) -> [Check; 3] {
        let state = self.log();
        let reason = match state {
            LogState::Opening => Reason::DatabaseNotInitialized,
            _ => Reason::DatabaseNotAccessible,
        };
        let doubt = match &state {
            LogState::Suspect(why) => Some(format!("no promises until a remount: {why}")),
            _ => None,
        };
        let history = lock(&self.log_history).join("; ");
        let told = |name: &str, failure| Check { name: name.to_string(), failure, reason: None };
        [
            check("log", reason, state.refusal().map(str::to_string)),
            told("log_durability", doubt),
            told("log_history", (!history.is_empty()).then_some(history)),
        ]
    }

    fn check_error_rate(&self) -> Check {
        let now = self.started.elapsed().as_secs();
        let counts = lock(&self.outcomes).over(now, ERROR_WINDOW);
        let error_rate = rate(counts.server_errors, counts.served + counts.server_errors);
        let failure = (error_rate > ERROR_RATE_MAX)
            .then(|| format!("{:.0} % of requests failed in the last minute", error_rate * 100.0));
        check("error_rate", Reason::HighErrorRate { error_rate }, failure)
    }

    fn check_capacity(&self) -> Option<String> {
        let now = self.started.elapsed().as_secs();
        let counts = lock(&self.outcomes).over(now, SHED_WINDOW);
        let shed = rate(counts.shed, counts.served + counts.server_errors + counts.shed);
        (shed > SHED_RATE_MAX)
            .then(|| format!("{:.0} % of requests were turned away lately", shed * 100.0))
    }
}

fn check(name: &str, reason: Reason, failure: Option<String>) -> Check {
    let reason = failure.is_some().then_some(reason);
    Check { name: name.to_string(), failure, reason }
}

/// 0 while there are too few requests to speak of a rate.
fn rate(part: u64, whole: u64) -> f64 {
    if whole < RATE_REQUESTS_MIN { 0.0 } else { part as f64 / whole as f64 }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    served: u64,
    server_errors: u64,
    shed: u64,
}

/// Counts of each of the last `ERROR_WINDOW` seconds that had any.
#[derive(Debug, Default)]
struct Outcomes(VecDeque<(u64, Counts)>);

impl Outcomes {
    fn record(&mut self, second: u64, outcome: Outcome) {
        if self.0.back().is_none_or(|(last, _)| *last != second) {
            self.0.push_back((second, Counts::default()));
            let oldest = second.saturating_sub(ERROR_WINDOW.as_secs());
            while self.0.front().is_some_and(|(first, _)| *first < oldest) {
                self.0.pop_front();
            }
        }
        let Some((_, counts)) = self.0.back_mut() else { return };
        match outcome {
            Outcome::Served => counts.served += 1,
            Outcome::ServerError => counts.server_errors += 1,
            Outcome::Shed => counts.shed += 1,
        }
    }

    fn over(&self, now: u64, window: Duration) -> Counts {
        let from = now.saturating_sub(window.as_secs());
        let mut sum = Counts::default();
        for (_, counts) in self.0.iter().filter(|(second, _)| *second >= from) {
            sum.served += counts.served;
            sum.server_errors += counts.server_errors;
            sum.shed += counts.shed;
        }
        sum
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing that holds a lock of Health panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(health: &Health) -> Vec<&'static str> {
        health.readiness().iter().filter_map(|c| c.reason.as_ref()).map(Reason::as_str).collect()
    }

    fn ready() -> Arc<Health> {
        let health = Health::new();
        health.set_log(LogState::Ok);
        health.model_loaded();
        health.serving();
        assert_eq!(reasons(&health), Vec::<&str>::new());
        health
    }

    #[test]
    fn starting_is_named_first_and_what_is_missing_after_it() {
        let health = Health::new();
        assert_eq!(reasons(&health), ["starting", "model_not_loaded", "database_not_initialized"]);
    }

    #[test]
    fn a_broken_log_fails_readiness_but_never_liveness() {
        let health = ready();
        for broken in [LogState::Unavailable, LogState::Degraded] {
            health.set_log(broken("no space left on device".into()));
            assert_eq!(reasons(&health), ["database_not_accessible"]);
            assert_eq!(health.liveness(), Ok(()));
        }
        health.set_log(LogState::Suspect("input/output error".into()));
        assert_eq!(reasons(&health), Vec::<&str>::new(), "records are still taken");
        let checks = health.readiness();
        let doubt = checks.iter().find(|check| check.name == "log_durability").unwrap();
        let doubt = doubt.failure.as_deref().unwrap();
        assert_eq!(doubt, "no promises until a remount: input/output error");
    }

    #[test]
    fn a_missed_deadline_fails_liveness_and_names_the_subsystem() {
        let health = ready();
        let heartbeat = health.heartbeat("worker 0", Duration::ZERO);
        while heartbeat.silence() == Duration::ZERO {}
        let stuck = health.liveness().unwrap_err();
        assert!(stuck.starts_with("worker 0 gave no sign of life"), "{stuck}");
        heartbeat.retire();
        assert_eq!(health.liveness(), Ok(()));
    }

    #[test]
    fn error_rate_needs_enough_requests_and_recovers_when_the_window_has_passed() {
        let mut outcomes = Outcomes::default();
        for _ in 0..RATE_REQUESTS_MIN {
            outcomes.record(100, Outcome::ServerError);
        }
        let counts = outcomes.over(100, ERROR_WINDOW);
        assert_eq!(rate(counts.server_errors, counts.served + counts.server_errors), 1.0);
        assert_eq!(rate(19, 19), 0.0, "19 requests are too few");
        let later = outcomes.over(161, ERROR_WINDOW);
        assert_eq!(later.server_errors, 0);

        let health = ready();
        for _ in 0..RATE_REQUESTS_MIN {
            health.record(Outcome::ServerError);
        }
        assert_eq!(reasons(&health), ["high_error_rate"]);
    }

    #[test]
    fn turning_most_requests_away_is_overload() {
        let health = ready();
        for _ in 0..RATE_REQUESTS_MIN {
            health.record(Outcome::Shed);
        }
        assert_eq!(reasons(&health), ["overloaded"]);
    }

    #[test]
    fn an_unreachable_registry_counts_only_where_it_is_required() {
        let health = ready();
        health.set_registry(Registry { required: false, accessible: false });
        assert_eq!(reasons(&health), Vec::<&str>::new());
        health.set_registry(Registry { required: true, accessible: false });
        assert_eq!(reasons(&health), ["mlflow_not_accessible"]);
    }
}
