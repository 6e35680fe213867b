//! Latencies of the probes, asked as a kubelet asks: each on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::daemon::get;
use crate::verdict::Verdict;

const PATHS: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks from a thread of its own until stopped.
pub struct Probes {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Latencies>,
}

/// Of the answers to each path.
#[derive(Default)]
pub struct Latencies {
    of: [Vec<Duration>; PATHS.len()],
    failed: usize,
}

impl Probes {
    pub fn start(addr: SocketAddr) -> Probes {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut latencies = Latencies::default();
            while !stopped.load(Ordering::Relaxed) {
                for (path, of_path) in PATHS.iter().zip(&mut latencies.of) {
                    let asked = Instant::now();
                    let answer = get(addr, path);
                    of_path.push(asked.elapsed());
                    let good = answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
                    latencies.failed += usize::from(!good);
                    std::thread::sleep(PAUSE);
                }
            }
            latencies
        });
        Probes { stop, thread }
    }

    pub fn stop(self) -> anyhow::Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the probes' thread panicked"))
    }
}

impl Latencies {
    pub fn judge(mut self, verdict: &mut Verdict, p50: Option<Duration>, p99: Duration) {
        for (path, times) in PATHS.iter().zip(&mut self.of) {
            times.sort_unstable();
            let at = |share: f64| {
                let last = times.len().saturating_sub(1);
                times.get((share * last as f64).ceil() as usize).copied().unwrap_or(Duration::MAX)
            };
            let (half, most, all) = (at(0.5), at(0.99), at(1.0));
            let found = format!("{:.2} / {:.2} / {:.2} ms", ms(half), ms(most), ms(all));
            let name = format!("{path} p50 / p99 / max of {}", times.len());
            let (goal, met) = match p50 {
                Some(p50) => (
                    format!("p50 <= {} ms, p99 <= {} ms", ms(p50), ms(p99)),
                    half <= p50 && most <= p99,
                ),
                None => (format!("p99 <= {} ms", ms(p99)), most <= p99),
            };
            verdict.goal(&name, found, goal, met);
        }
        verdict.goal("probes without a 200", self.failed, "none", self.failed == 0);
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
