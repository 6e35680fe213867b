//! Asks the probe listener all the time, as a kubelet does, each question on a connection of its own,
//! and keeps the answers' times. What they should be is for the caller to judge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::durations::Durations;
use crate::raw::exchange_within;

pub const PROBE_PATHS: [&str; 3] = ["/health", "/ready", "/metrics"];

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);

/// A probe that takes longer than any goal allows is broken off.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks from a thread of its own, until it is dropped.
pub struct Probes {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

#[derive(Default)]
pub struct Seen {
    /// How long the answers to each of `PROBE_PATHS` took.
    pub latencies: [Durations; PROBE_PATHS.len()],
    /// When `/ready` answered 503, and with which reason.
    pub not_ready: Vec<(Instant, String)>,
    /// All other answers than 200, and questions without an answer.
    pub failures: Vec<String>,
}

impl Probes {
    pub fn start(probe: SocketAddr) -> Probes {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::SeqCst) {
                for at in 0..PROBE_PATHS.len() {
                    seen.ask(probe, at);
                    std::thread::sleep(PAUSE);
                }
            }
            seen
        });
        Probes { stop, thread: Some(thread) }
    }

    /// Ends the probing; before the daemon is stopped, or its end counts as a failure.
    pub fn finish(mut self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("only the end takes the thread")?;
        thread.join().map_err(|_| anyhow::anyhow!("the probes' thread panicked"))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    /// How long the answers to all paths took.
    pub fn all_latencies(&self) -> Durations {
        let mut all = Durations::default();
        self.latencies.iter().for_each(|of_path| all.extend(of_path));
        all
    }

    fn ask(&mut self, probe: SocketAddr, at: usize) {
        let path = PROBE_PATHS[at];
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let asked = Instant::now();
        let answer = exchange_within(DEADLINE, probe, request.as_bytes());
        self.latencies[at].add(asked.elapsed());
        match answer {
            Err(error) => self.failures.push(format!("{path}: {error}")),
            Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {}
            Ok(answer) if path == "/ready" && answer.starts_with("HTTP/1.1 503 ") => {
                self.not_ready.push((asked, reason(&answer)));
            }
            Ok(answer) => self.failures.push(format!("{path}: {answer:?}")),
        }
    }
}

/// Why `/ready` says no; empty if its answer does not tell.
fn reason(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    json["reason"].as_str().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A listener that gives every path this answer.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        addr
    }

    fn seen_of(answer: &'static str) -> Seen {
        let mut seen = Seen::default();
        let probe = answering(answer);
        (0..PROBE_PATHS.len()).for_each(|at| seen.ask(probe, at));
        assert_eq!(seen.all_latencies().len(), PROBE_PATHS.len());
        seen
    }

    #[test]
    fn only_200_is_good_and_only_ready_may_answer_503() {
        let good = seen_of("HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!((good.failures.len(), good.not_ready.len()), (0, 0));
        let shut = seen_of("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reason\":\"draining\"}");
        assert_eq!((shut.failures.len(), shut.not_ready.len()), (2, 1));
        assert_eq!(shut.not_ready[0].1, "draining");
        assert_eq!(seen_of("").failures.len(), PROBE_PATHS.len());
        let mut none = Seen::default();
        none.ask(SocketAddr::from(([127, 0, 0, 1], 1)), 0);
        assert_eq!(none.failures.len(), 1);
    }
}
