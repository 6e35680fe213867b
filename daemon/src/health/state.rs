//! The one truth about this daemon's health: what /health, /ready, the watchdog's ping and the
//! metrics all read. Heartbeats say whether a subsystem still moves, latches what it has reached.

use std::cell::LazyCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::heartbeat::Heartbeat;
use super::log_state::LogState;
use super::outcomes::{Fared, Outcome, Outcomes};
use super::registry_state::RegistryState;
use super::starvation::Machine;
use super::subsystem::Subsystem;
use crate::peer::Peer;

/// The last recoveries of the log, so many of them, are remembered for /ready?verbose.
const HISTORY_MAX: usize = 10;

#[derive(Debug)]
pub struct Health {
    started: Instant,
    machine: Machine,
    heartbeats: Mutex<Vec<Arc<Heartbeat>>>,
    model_loaded: AtomicBool,
    serving: AtomicBool,
    draining_since: OnceLock<Instant>,
    log: Mutex<LogState>,
    /// What recovery of the log had to do since the start.
    log_history: Mutex<Vec<String>>,
    registry: Mutex<Option<RegistryState>>,
    outcomes: Mutex<Outcomes>,
}

impl Health {
    pub fn new() -> Arc<Health> {
        Health::on(Machine::here())
    }

    fn on(machine: Machine) -> Arc<Health> {
        Arc::new(Health {
            started: Instant::now(),
            machine,
            heartbeats: Mutex::default(),
            model_loaded: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            draining_since: OnceLock::new(),
            log: Mutex::new(LogState::Opening),
            log_history: Mutex::default(),
            registry: Mutex::new(None),
            outcomes: Mutex::new(Outcomes::default()),
        })
    }

    /// Starts watching a subsystem; counts as its first beat.
    pub fn heartbeat(&self, name: &str, deadline: Duration) -> Arc<Heartbeat> {
        let heartbeat = Arc::new(Heartbeat::new(name, deadline));
        lock(&self.heartbeats).push(heartbeat.clone());
        heartbeat
    }

    pub fn model_loaded(&self) {
        self.model_loaded.store(true, Ordering::Relaxed);
    }

    pub fn is_model_loaded(&self) -> bool {
        self.model_loaded.load(Ordering::Relaxed)
    }

    /// Notes that everything is up; from here on readiness depends on the checks alone.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    pub fn draining(&self) {
        self.draining_since.get_or_init(Instant::now);
    }

    pub fn is_draining(&self) -> bool {
        self.draining_since.get().is_some()
    }

    /// For how long the daemon has been shutting down.
    pub fn drained_for(&self) -> Duration {
        self.draining_since.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    pub fn set_log(&self, state: LogState) {
        *lock(&self.log) = state;
    }

    pub fn log(&self) -> LogState {
        lock(&self.log).clone()
    }

    /// Adds what recovery of the log had to do; the oldest entries go.
    pub fn note_recovery(&self, steps: impl IntoIterator<Item = String>) {
        let mut history = lock(&self.log_history);
        history.extend(steps);
        let excess = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..excess);
    }

    /// What recovery had to do since the start, oldest first; the last `HISTORY_MAX` steps.
    pub fn log_history(&self) -> Vec<String> {
        lock(&self.log_history).clone()
    }

    pub fn set_registry(&self, registry: RegistryState) {
        *lock(&self.registry) = Some(registry);
    }

    pub fn registry(&self) -> Option<RegistryState> {
        *lock(&self.registry)
    }

    pub fn record(&self, sender: Peer, outcome: Outcome) {
        lock(&self.outcomes).record(self.started.elapsed().as_secs(), sender, outcome);
    }

    /// The share of requests that failed lately.
    pub(super) fn error_rate(&self) -> f64 {
        lock(&self.outcomes).error_rate(self.started.elapsed().as_secs())
    }

    /// How many senders were turned away lately.
    pub(super) fn fared(&self) -> Fared {
        lock(&self.outcomes).fared(self.started.elapsed().as_secs())
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The machine under the daemon, which may starve it.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Liveness fails for what a restart can cure, and for nothing else.
    ///
    /// # Errors
    /// Names the first subsystem that is stuck or at fault.
    pub fn liveness(&self) -> Result<(), String> {
        let failed = |subsystem: Subsystem| subsystem.standing.failure().map(str::to_string);
        self.subsystems().into_iter().find_map(failed).map_or(Ok(()), Err)
    }

    /// Every subsystem that is watched, and how it stands.
    pub fn subsystems(&self) -> Vec<Subsystem> {
        // Asked of the kernel only when somebody is overdue, and then once.
        let shortage = LazyCell::new(|| self.machine.shortage());
        let device = LazyCell::new(|| self.machine.held_by_device());
        let judged = |heartbeat: &Arc<Heartbeat>| {
            let beat = heartbeat.last();
            let device = beat.may_wait_for_disk().then(|| device.as_ref()).flatten();
            let shortage =
                beat.is_overdue().then(|| device.or_else(|| shortage.as_ref())).flatten();
            Subsystem::judge(heartbeat, beat, shortage)
        };
        let heartbeats = lock(&self.heartbeats).clone();
        heartbeats.iter().filter(|heartbeat| heartbeat.is_watched()).map(judged).collect()
    }

    /// What subsystems found wrong with themselves.
    pub(super) fn faults(&self) -> Vec<String> {
        let fault = |heartbeat: &Arc<Heartbeat>| {
            heartbeat.fault().map(|fault| format!("{}: {fault}", heartbeat.name()))
        };
        lock(&self.heartbeats).iter().filter_map(fault).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing that holds a lock of Health panics")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::heartbeat::{STARVED_DEADLINES, Work};
    use crate::health::outcomes::RATE_REQUESTS_MIN;
    use crate::health::readiness::Reason;
    use crate::health::subsystem::Standing;

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

    /// A machine whose files of PSI are the test's.
    fn on_a_machine() -> (tempfile::TempDir, Arc<Health>) {
        let dir = tempfile::tempdir().unwrap();
        let health = Health::on(Machine::of(dir.path(), None));
        (dir, health)
    }

    fn pass(time: Duration, heartbeat: &Heartbeat) {
        while heartbeat.last().silence <= time {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_missed_deadline_fails_liveness_and_names_the_subsystem() {
        let (_dir, health) = on_a_machine();
        let heartbeat = health.heartbeat("worker-0", Duration::ZERO);
        pass(Duration::ZERO, &heartbeat);
        let stuck = health.liveness().unwrap_err();
        assert!(stuck.starts_with("worker-0 gave no sign of life for 0.0 s"), "{stuck}");
        heartbeat.busy(Work::Image);
        pass(Duration::ZERO, &heartbeat);
        let stuck = health.liveness().unwrap_err();
        assert!(stuck.starts_with("worker-0 has been busy with one image for 0.0 s"), "{stuck}");
        heartbeat.retire();
        assert_eq!(health.liveness(), Ok(()));
    }

    #[test]
    fn who_is_overdue_on_a_starving_machine_is_waited_for_and_then_fails() {
        let (dir, health) = on_a_machine();
        let deadline = Duration::from_millis(20);
        let heartbeat = health.heartbeat("worker-0", deadline);
        pass(deadline, &heartbeat);
        let stuck = health.liveness().unwrap_err();
        assert!(stuck.ends_with("at most 0.02 s"), "{stuck}");

        let starving = "some avg10=97.60 avg60=50.00 avg300=9.00 total=1\n";
        std::fs::write(dir.path().join("cpu"), starving).unwrap();
        let deadline = Duration::from_secs(1);
        heartbeat.set_deadline(deadline);
        pass(deadline, &heartbeat);
        assert_eq!(health.liveness(), Ok(()));
        let standing = health.subsystems().remove(0).standing;
        let Standing::Starved(why) = standing else { panic!("{standing:?}") };
        let expected = "at most 1 s; machine short of cpu (some avg10=98 %), waiting until 4 s";
        assert!(why.ends_with(expected), "{why}");
        heartbeat.set_deadline(Duration::from_millis(5));
        pass(Duration::from_millis(5) * STARVED_DEADLINES, &heartbeat);
        let stuck = health.liveness().unwrap_err();
        assert!(stuck.ends_with("at most 0.02 s"), "{stuck}");
    }

    #[test]
    fn a_fault_fails_liveness_and_readiness_for_good() {
        let health = ready();
        let heartbeat = health.heartbeat("worker-0", Duration::from_secs(30));
        heartbeat.fail("the golden sample came out wrong".into());
        heartbeat.beat();
        let fault = "worker-0: the golden sample came out wrong";
        assert_eq!(health.liveness(), Err(fault.into()));
        assert_eq!(reasons(&health), ["model_not_loaded"]);
    }

    #[test]
    fn failing_most_requests_is_a_high_error_rate() {
        let health = ready();
        for _ in 0..RATE_REQUESTS_MIN {
            health.record(Peer::Local, Outcome::ServerError);
        }
        assert_eq!(reasons(&health), ["high_error_rate"]);
    }

    #[test]
    fn turning_most_requests_of_several_senders_away_is_overload() {
        let health = ready();
        let sender = |host| Peer::at(std::net::Ipv4Addr::new(192, 0, 2, host).into());
        for _ in 0..RATE_REQUESTS_MIN {
            health.record(sender(1), Outcome::Shed);
            health.record(sender(2), Outcome::Shed);
        }
        assert_eq!(reasons(&health), Vec::<&str>::new());
        health.record(sender(3), Outcome::Shed);
        assert_eq!(reasons(&health), ["overloaded"]);
    }

    #[test]
    fn an_unreachable_registry_counts_only_where_it_is_required() {
        let health = ready();
        health.set_registry(RegistryState { required: false, accessible: false });
        assert_eq!(reasons(&health), Vec::<&str>::new());
        health.set_registry(RegistryState { required: true, accessible: false });
        assert_eq!(reasons(&health), ["mlflow_not_accessible"]);
    }
}
