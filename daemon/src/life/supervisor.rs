//! The daemon from its start to its end: it waits for signals, reads the configuration again when one
//! asks for that, and drains when one asks it to stop.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::error::RunError;
use super::model;
use super::part::Part;
use super::planned_stop::PlannedStop;
use super::request::{REQUESTS_MAX, Request};
use super::signals::Obedience;
use super::start::{self, Beginning, Started};
use super::systemd::{Notifier, Sockets, watchdog_period};
use crate::config::{Config, Sources};
use crate::diagnostics::Lines;
use crate::health::{Deadlines, Health, Heartbeat, START_STEP_MAX, Work};
use crate::http::api::Lowering;
use crate::os::{self, Signals};

/// The main thread beats this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What a burst of records or a large picture leaves of the heap is given back this often.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until a stop signal, then drains. `signals` must have been blocked, and `sockets` taken,
/// before any thread was started; `sources` are read again whenever SIGHUP comes. What is said goes
/// through `lines`.
///
/// # Errors
/// Whatever keeps the daemon from starting; what had been started is taken down again. Once it serves,
/// Health reports what goes wrong.
pub fn run(
    config: Config,
    sources: &Sources,
    signals: Signals,
    sockets: Sockets,
    lines: Lines,
) -> Result<(), RunError> {
    let health = Health::new();
    let deadlines = Deadlines {
        watchdog_period: watchdog_period(),
        runtime: config.health.runtime_deadline.0,
        worker: config.health.worker_deadline.0,
        log: config.health.log_deadline.0,
    }
    .within_the_watchdogs();
    let (send, requests) = mpsc::sync_channel(REQUESTS_MAX);
    let drain_timeout = config.api.drain_timeout.0;
    let planned = PlannedStop::default();
    let obedience = Obedience {
        signals,
        health: health.clone(),
        drain_timeout,
        requests: send.clone(),
        lines: lines.clone(),
        planned: planned.clone(),
    };
    // No part of the list: it ends a drain that hangs, and with the process.
    let beat = health.heartbeat("signals", deadlines.runtime);
    let _signals = Part::start(beat, move |heartbeat| obedience.run(heartbeat), || {})?;
    let heartbeat = health.heartbeat("supervisor", START_STEP_MAX);
    let beginning = Beginning {
        config: &config,
        deadlines,
        health: &health,
        heartbeat: &heartbeat,
        requests: send,
        planned: planned.clone(),
    };
    let started = start::start(&beginning, sockets, lines)?;
    heartbeat.set_deadline(deadlines.runtime);
    os::trim_heap();
    os::unmap_code_of_start();
    let announced = Notifier.ready();
    let mut supervisor = Supervisor { config, started, health, announced };
    let signal = supervisor.serve(sources, &heartbeat, &requests);
    heartbeat.retire();
    tracing::info!(signal, "stopping");
    supervisor.drain();
    planned.write();
    tracing::info!("stopped");
    Ok(())
}

struct Supervisor {
    /// The configuration that the daemon runs with: after a reload not all that the sources say.
    config: Config,
    started: Started,
    health: Arc<Health>,
    /// The service manager has been told that the daemon is ready, or reloaded.
    announced: bool,
}

impl Supervisor {
    /// Waits for the signal to stop, and gives its name.
    fn serve(
        &mut self,
        sources: &Sources,
        heartbeat: &Heartbeat,
        requests: &Receiver<Request>,
    ) -> &'static str {
        let mut trimmed = Instant::now();
        loop {
            heartbeat.beat();
            if !self.announced {
                self.announced = Notifier.ready();
            }
            if trimmed.elapsed() >= TRIM_INTERVAL {
                os::trim_heap();
                trimmed = Instant::now();
            }
            match requests.recv_timeout(BEAT_INTERVAL) {
                Ok(Request::Stop(signal)) => return signal,
                Ok(Request::Reload(wish)) => {
                    heartbeat.busy(Work::Reload);
                    let lowering = wish.as_ref().map_or(Lowering::Waits, |wish| wish.lowering);
                    let outcome = self.reload(sources, lowering);
                    // Whoever asked may have given up.
                    wish.map(|wish| wish.told.send(outcome));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the signals' thread never ends")
                }
            }
        }
    }

    /// Reads the configuration again and takes over what can change while running. An invalid one
    /// changes nothing. Returns what changed and what did not, or why nothing did.
    fn reload(&mut self, sources: &Sources, lowering: Lowering) -> Result<Vec<String>, String> {
        Notifier.reloading();
        let Started { live, secrets, .. } = &self.started;
        let serving = live.serving.get();
        let rules = serving.pipeline.rules.get();
        let (output, defaults) = (rules.verdict.output().clone(), rules.verdict.defaults().clone());
        let read = sources.load().map_err(|error| picket_base::chain(&error)).and_then(|wanted| {
            let rules = model::rules(&wanted, output, defaults);
            rules.map(|rules| (wanted, rules)).map_err(|error| error.to_string())
        });
        let outcome = match read {
            Ok((wanted, rules)) => {
                let reloaded = live.take_over(&self.config, wanted, (&serving, rules), lowering);
                self.config = reloaded.config;
                secrets.renew(&self.config.api);
                Ok(reloaded.told)
            }
            Err(error) => {
                tracing::error!(error, "configuration not reloaded, nothing changed");
                Err(error)
            }
        };
        self.announced = Notifier.ready();
        outcome
    }

    /// Answers what is queued, logs what is answered, and brings what is logged to the medium.
    fn drain(self) {
        Notifier.stopping();
        self.health.draining();
        drop(self.started.parts);
    }
}
