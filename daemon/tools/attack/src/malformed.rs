//! Malformed requests, several on a connection: every one is refused with a 4xx and a reason; the
//! daemon neither dies nor grows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::mutate;
use crate::verdict::Verdict;
use crate::{Size, target};

/// Connections at a time, fewer than the daemon parses batches at once: who is turned away for now
/// (503) has not been looked at. Each comes from an address of its own choice, for the ports of one
/// would run out.
const CLIENTS: usize = 12;

/// Requests on a connection, all but the last well-formed HTTP.
const PIPELINED_MAX: usize = 16;

/// A daemon that says nothing for this long is told that nothing more will come.
const SILENCE: Duration = Duration::from_millis(100);

/// And then has to close within this.
const HANG: Duration = Duration::from_secs(15);

/// Of growth of the resident memory, once the first tenth has warmed it up.
const GROWTH_GOAL_MIB: f64 = 4.0;

#[derive(Default)]
struct Tally {
    answers: RefCell<BTreeMap<u16, u64>>,
    requests: Cell<u64>,
    /// Of these requests nothing was heard.
    unanswered: Cell<u64>,
    /// Answers that are not as they should be; the first few.
    wrong: RefCell<Vec<String>>,
}

pub fn run(
    picket: &Path,
    size: Size,
    seed: Option<u64>,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let goal = if size == Size::Full { 1_000_000 } else { 50_000 };
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let (_state, daemon) = target::start(picket)?;
    verdict.title(&format!("malformed: {goal} requests, seed {seed}"));
    let tally = Rc::new(Tally::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    attack(&runtime, daemon.api, seed, goal / 10, &tally);
    let warm = daemon.memory()?.now_mib();
    attack(&runtime, daemon.api, seed.wrapping_add(1), goal, &tally);
    let rss = daemon.memory()?;
    let (now, peak) = (rss.now_mib(), rss.peak_mib());
    let rate = tally.requests.get() as f64 / started.elapsed().as_secs_f64();

    for (status, count) in tally.answers.borrow().iter() {
        verdict.fact(&format!("answered {status}"), count);
    }
    verdict.fact("requests/s", format!("{rate:.0}"));
    let unanswered = tally.unanswered.get();
    verdict.goal("requests without an answer", unanswered, "none", unanswered == 0);
    let wrong = tally.wrong.borrow();
    verdict.goal("answers out of line", wrong.len(), "none", wrong.is_empty());
    for text in wrong.iter().take(5) {
        verdict.fact("  for one", text);
    }
    let memory = format!("{warm:.1} / {now:.1} / {peak:.1} MiB");
    let limit = format!("grown <= {GROWTH_GOAL_MIB} MiB");
    verdict.goal("RSS warm / now / peak", memory, limit, now - warm <= GROWTH_GOAL_MIB);
    let errors = daemon.metric("inference_errors_total{model=\"cifar10-model\"}")?;
    verdict.goal("faults of the daemon", errors, "none", errors == 0.0);
    let alive = daemon.is_ready() && daemon.predicts();
    verdict.goal("ready and predicts", alive, "true", alive);
    target::stop(daemon)?.judge(verdict);
    Ok(())
}

fn attack(
    runtime: &tokio::runtime::Runtime,
    api: SocketAddr,
    seed: u64,
    goal: u64,
    tally: &Rc<Tally>,
) {
    let local = tokio::task::LocalSet::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (mut rng, tally) = (Rng::with_seed(seed ^ (number as u64) << 32), tally.clone());
            local.spawn_local(async move {
                while tally.requests.get() < goal {
                    if let Err(wrong) = connection(api, &mut rng, &tally).await {
                        tally.wrong.borrow_mut().push(wrong);
                    }
                }
            })
        })
        .collect();
    local.block_on(runtime, async {
        for client in clients {
            if client.await.is_err() {
                tally.wrong.borrow_mut().push("a client panicked".into());
            }
        }
    });
}

/// One connection's requests and answers; an error is something that must not be.
async fn connection(api: SocketAddr, rng: &mut Rng, tally: &Tally) -> Result<(), String> {
    let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
    let source = Ipv4Addr::new(127, rng.u8(1..=250), rng.u8(..), rng.u8(1..=254));
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).map_err(|error| error.to_string())?;
    let mut stream = socket.connect(api).await.map_err(|error| format!("connect: {error}"))?;
    let (mut requests, mut sent) = (Vec::new(), 0);
    for _ in 1..rng.usize(1..=PIPELINED_MAX) {
        requests.extend(mutate::refused(rng));
        sent += 1;
    }
    let last = mutate::broken(rng);
    // Cut off before its first byte, it asks for nothing.
    sent += u64::from(!last.is_empty());
    requests.extend(last);
    // Closed in the middle, as may be; what it has answered by then counts.
    let _ = stream.write_all(&requests).await;
    let mut answers = Vec::new();
    let mut patience = SILENCE;
    loop {
        match timeout(patience, stream.read_buf(&mut answers)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) if patience == SILENCE => {
                let _ = stream.shutdown().await;
                patience = HANG;
            }
            Err(_) => return Err(format!("open after {HANG:?}: {requests:?}")),
        }
    }
    tally.requests.set(tally.requests.get() + sent);
    let answered = count(&answers, tally)?;
    if answered < sent {
        tally.unanswered.set(tally.unanswered.get() + sent - answered);
    }
    Ok(())
}

/// How many answers there are. Each has a length that holds, and each refusal is a 4xx with a reason.
fn count(mut answers: &[u8], tally: &Tally) -> Result<u64, String> {
    let mut counted = 0;
    while !answers.is_empty() {
        let shown = || String::from_utf8_lossy(&answers[..answers.len().min(300)]).into_owned();
        let end = answers
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .ok_or_else(|| format!("half a head: {}", shown()))?;
        let head = String::from_utf8_lossy(&answers[..end]).to_ascii_lowercase();
        // A flipped bit makes HTTP/1.0 of a request's version, and the answer then has it too.
        let status: u16 = ["http/1.1 ", "http/1.0 "]
            .iter()
            .find_map(|version| head.strip_prefix(version))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| format!("no status: {}", shown()))?;
        let mut rest = &answers[end + 4..];
        if status != 100 {
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .ok_or_else(|| format!("no length: {}", shown()))?;
            let body = rest.get(..length).ok_or_else(|| format!("half a body: {}", shown()))?;
            let explained = body.starts_with(b"{\"error\":\"");
            if status >= 500 || (status >= 400 && !explained) {
                return Err(format!("{status}: {}", shown()));
            }
            rest = &rest[length..];
            counted += 1;
        }
        *tally.answers.borrow_mut().entry(status).or_default() += 1;
        answers = rest;
    }
    Ok(counted)
}
