//! Asks the probe listener all the time, as a kubelet would, and keeps the answers' times.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::outcome::{Durations, Outcome, ms};

/// Between two rounds of probes.
const INTERVAL: Duration = Duration::from_millis(20);

/// A probe that takes longer than any check allows is broken off.
const DEADLINE: Duration = Duration::from_secs(5);

/// What else runs on the machine may hold up one answer of a hundred for this many limits.
const BUSY_FACTOR: u32 = 5;

const PATHS: [&str; 3] = ["/health", "/ready", "/metrics"];

pub struct Probes {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
pub struct Seen {
    pub latencies: Durations,
    /// Liveness answers other than 200, and probes without an answer.
    pub failures: Vec<String>,
    /// When `/ready` first gave a reason, and which.
    pub first_not_ready: Option<(Instant, String)>,
}

impl Probes {
    pub fn start(probe: SocketAddr) -> Probes {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (stopped, to_fill) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let client = Client::new(DEADLINE);
            while !stopped.load(Ordering::SeqCst) {
                for path in PATHS {
                    ask(&client, probe, path, &to_fill);
                }
                std::thread::sleep(INTERVAL);
            }
        });
        Probes { stop, seen, thread: Some(thread) }
    }

    /// Ends the probing; before the daemon is stopped, or its end counts as a failure.
    pub fn finish(mut self) -> Seen {
        self.join();
        std::mem::take(&mut self.seen.lock().expect("the prober does not panic"))
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.join();
    }
}

impl Seen {
    /// Every liveness answer was 200, 99 of 100 answers came within `limit`, and none took longer
    /// than a busy machine explains.
    pub fn judge(&self, limit: Duration, outcome: &mut Outcome) {
        let failed = self.failures.len() as u64;
        let example = self.failures.first().map_or("", String::as_str);
        outcome.fail_many("probe_failures", failed, format!("{failed} probes, first: {example}"));
        outcome.add("slow_probes", 0);
        let (p99, max) = (self.latencies.quantile(0.99), self.latencies.max());
        if p99 > limit || max > limit * BUSY_FACTOR {
            let text = format!("p99 {} ms, max {} ms, limit {} ms", ms(p99), ms(max), ms(limit));
            outcome.fail("slow_probes", text);
        }
    }
}

fn ask(client: &Client, probe: SocketAddr, path: &str, seen: &Mutex<Seen>) {
    let started = Instant::now();
    let answer = client.get(probe, path);
    let took = started.elapsed();
    let mut seen = seen.lock().expect("no holder of the answers panics");
    match answer {
        Err(error) => seen.failures.push(format!("{path}: {error:#}")),
        Ok(answer) if path == "/ready" && answer.status == 503 => {
            let reason = answer.json()["reason"].as_str().unwrap_or_default().to_string();
            seen.first_not_ready.get_or_insert((started, reason));
        }
        Ok(answer) if answer.status != 200 => {
            seen.failures.push(format!("{path}: {} {}", answer.status, answer.text));
        }
        Ok(_) => {}
    }
    seen.latencies.add(took);
}
