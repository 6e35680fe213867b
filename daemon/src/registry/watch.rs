//! Asks the registry now and then which version this box is to have, brings a new one here and offers it.
//! Whether the registry is accessible is what the very question that matters has shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::download::Between;
use super::mlflow::{Mlflow, Named, NoVersion};
use super::version::{Arriving, NotFetched, fetch};
use super::wanted::Wanted;
use crate::health::{Health, Heartbeat, RegistryState, Work};
use crate::metrics::{RealGauge, Registry};

/// A resolver whose name servers are gone may try for minutes, which no restart cures.
pub const STUCK_AFTER: Duration = Duration::from_secs(10 * 60);

/// The registry is asked at least this often while it does not answer, and for a version that could not be
/// brought here.
const BACKOFF_MAX: Duration = Duration::from_secs(10 * 60);

/// Where the daemon is not ready without it, it is asked at least this often: recovery must show.
const REQUIRED_INTERVAL_MAX: Duration = Duration::from_secs(25);

/// Waits are doubled so often at most.
const DOUBLINGS_MAX: u32 = 16;

/// Questions of a fleet are spread over this part of the interval, so that they don't come at once.
const JITTER_PART: u32 = 5;

/// The thread beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Whoever keeps the models, as the watch sees them.
pub trait Offers: Send {
    /// Whether a version is wanted: it does not serve, is not refused, and none is pinned. One that is
    /// installed already takes over by this.
    fn is_wanted(&self, identity: &str) -> bool;
    /// Says why there is no room for a version of so many bytes.
    fn room(&self, bytes: u64) -> Result<(), String>;
    /// Offers a version that lies at this path, and waits for what comes of it; false if nothing could, by no
    /// fault of the version.
    fn offer(&self, path: PathBuf, named: &Named) -> bool;
    /// Has a version refused that could not be brought here.
    fn refuse(&self, named: &Named, reason: &str);
}

/// Asks the registry now and then.
pub struct RegistryWatch {
    mlflow: Mlflow,
    /// Whether the daemon is not ready without it.
    required: bool,
    interval: Duration,
    /// A version on its way.
    arriving: Arriving,
    /// One that could not be brought here.
    late: Option<Late>,
    offers: Option<Box<dyn Offers>>,
    health: Arc<Health>,
    last_contact: RealGauge,
    /// What was said last, so that it is said once.
    said: Option<String>,
}

/// A version that is not asked for before its time.
struct Late {
    identity: String,
    failures: u32,
    until: Instant,
}

/// How a registry is watched.
pub struct Terms {
    pub required: bool,
    pub interval: Duration,
    /// Where a version is put on its way.
    pub dir: PathBuf,
}

impl RegistryWatch {
    /// `offers` is none where nothing can be installed: then the registry is only asked.
    pub fn new(
        wanted: Wanted,
        terms: Terms,
        offers: Option<Box<dyn Offers>>,
        health: Arc<Health>,
        metrics: &Registry,
    ) -> RegistryWatch {
        let Terms { required, interval, dir } = terms;
        health.set_registry(RegistryState { required, accessible: false });
        let last_contact = metrics.real_gauge(
            "picket_registry_last_contact_timestamp_seconds",
            "When the model registry last answered, 0 if it has not since the start.",
        );
        let (mlflow, said) = (Mlflow::new(wanted), None);
        RegistryWatch {
            mlflow,
            required,
            interval,
            arriving: Arriving::new(dir),
            late: None,
            offers,
            health,
            last_contact,
            said,
        }
    }

    /// Runs until the other end of `stopped` is gone.
    pub fn run(mut self, heartbeat: &Heartbeat, stopped: &Receiver<()>) {
        let pauses = Pauses { heartbeat, stopped };
        let mut failures = 0;
        loop {
            heartbeat.busy(Work::Registry);
            let answered = self.look(&pauses);
            heartbeat.beat();
            failures = if answered { 0 } else { (failures + 1).min(DOUBLINGS_MAX) };
            let wait = self.backoff(failures);
            let wait = if self.required { wait.min(REQUIRED_INTERVAL_MAX) } else { wait };
            if !pauses.pause(jittered(wait)) {
                break;
            }
        }
    }

    fn backoff(&self, failures: u32) -> Duration {
        self.interval.saturating_mul(1 << failures).min(BACKOFF_MAX.max(self.interval))
    }

    /// Asks once. Returns whether the registry has answered.
    fn look(&mut self, pauses: &Pauses<'_>) -> bool {
        let named = self.mlflow.named();
        let accessible = !matches!(named, Err(NoVersion::Unanswered(_)));
        self.health.set_registry(RegistryState { required: self.required, accessible });
        if accessible {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            self.last_contact.set(now.unwrap_or_default().as_secs_f64());
        }
        match named {
            Ok(named) => self.bring(&named, pauses),
            Err(NoVersion::Nothing(text)) => self.say(format!("nothing to install: {text}")),
            Err(NoVersion::Unanswered(text)) => self.say(text),
        }
        accessible
    }

    /// Brings a version here and offers it, if it is wanted.
    fn bring(&mut self, named: &Named, pauses: &Pauses<'_>) {
        let (Some(offers), identity) = (&self.offers, named.identity()) else { return };
        let is_late = |late: &Late| late.identity == identity && Instant::now() < late.until;
        if self.late.as_ref().is_some_and(is_late) {
            return;
        }
        if !offers.is_wanted(&identity) {
            (self.said, self.late) = (None, None);
            return;
        }
        tracing::info!(name = named.name, version = named.version, "fetching a model");
        let room = |bytes| offers.room(bytes);
        match fetch(&self.mlflow, named, &mut self.arriving, &room, pauses) {
            Ok(path) => {
                pauses.heartbeat.busy(Work::LoadModel);
                let is_settled = offers.offer(path, named);
                self.arriving.clear();
                self.said = None;
                if is_settled { self.late = None } else { self.put_off(identity) }
            }
            Err(NotFetched::Unfit(text)) => {
                offers.refuse(named, &text);
                self.late = None;
            }
            Err(NotFetched::Later(text)) => {
                self.put_off(identity);
                self.say(format!("version {} of {:?}: {text}", named.version, named.name));
            }
            Err(NotFetched::Stopped) => {}
        }
    }

    /// Has a version asked for again after a while, longer each time.
    fn put_off(&mut self, identity: String) {
        let before = self.late.as_ref().filter(|late| late.identity == identity);
        let failures = before.map_or(0, |late| (late.failures + 1).min(DOUBLINGS_MAX));
        let until = Instant::now() + self.backoff(failures);
        self.late = Some(Late { identity, failures, until });
    }

    fn say(&mut self, text: String) {
        if self.said.as_ref() != Some(&text) {
            tracing::warn!("model registry: {text}");
            self.said = Some(text);
        }
    }
}

/// The waits of a watch, which end with the daemon.
struct Pauses<'a> {
    heartbeat: &'a Heartbeat,
    stopped: &'a Receiver<()>,
}

impl Between for Pauses<'_> {
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            self.heartbeat.beat();
            let left = until.saturating_duration_since(Instant::now()).min(BEAT_INTERVAL);
            match self.stopped.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return true,
                Err(RecvTimeoutError::Timeout) => {}
                _ => return false,
            }
        }
    }

    fn beat(&self) {
        self.heartbeat.busy(Work::Registry);
    }
}

/// A wait that differs a little from box to box.
fn jittered(wait: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Nothing depends on how random it is.
    let spread = wait / JITTER_PART;
    wait - spread / 2 + spread * (now.subsec_micros() % 1_000) / 1_000
}
