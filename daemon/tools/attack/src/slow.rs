//! Clients that hold what they get: heads and bodies that come a byte a second, answers that nobody
//! reads. Each comes back as soon as it is closed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use picket_testkit::Probes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::verdict::Verdict;
use crate::{Size, probes, target};

/// Addresses that they come from: enough that the limit per address is not what stops them.
const ADDRESSES: usize = 200;

/// Between two bytes of a slow client, and before one comes back.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers that a client asks for and does not read.
const UNREAD_ANSWERS: usize = 200;

const P99_GOAL: Duration = Duration::from_millis(50);
const EXIT_GOAL: Duration = Duration::from_secs(12);
const MEMORY_GOAL_MIB: f64 = 96.0;

#[derive(Clone, Copy)]
enum Kind {
    Head,
    Body,
    Unread,
}

/// How connections began and ended, counted.
type Counts = Rc<RefCell<BTreeMap<&'static str, u64>>>;

pub fn run(picket: &Path, size: Size, verdict: &mut Verdict) -> anyhow::Result<()> {
    let (clients, lasting) = match size {
        Size::Full => (10_000, Duration::from_secs(60)),
        Size::Ci => (1_000, Duration::from_secs(15)),
    };
    // A socket each, and the probes' and the daemon's beside them.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let (_state, daemon) = target::start(picket)?;
    verdict.title(&format!("slow: {clients} clients for {} s", lasting.as_secs()));
    let before = daemon.memory()?.now_mib();

    let counts = Counts::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    for number in 0..clients {
        let kind = [Kind::Head, Kind::Body, Kind::Unread][number % 3];
        local.spawn_local(client(daemon.api, number, kind, counts.clone()));
    }
    let prober = Probes::start(daemon.probe);
    local.block_on(&runtime, async { sleep(lasting).await });
    let seen = prober.finish()?;
    let rss = daemon.memory()?;
    let (now, peak) = (rss.now_mib(), rss.peak_mib());
    for why in ["limit", "address_limit", "displaced", "head", "write"] {
        let sample =
            format!("picket_http_dropped_connections_total{{listener=\"api\",why=\"{why}\"}}");
        verdict.fact(&format!("dropped by the daemon: {why}"), daemon.metric(&sample)?);
    }
    let slow_bodies = daemon.metric("picket_http_rejected_requests_total{status=\"408\"}")?;
    verdict.fact("slow bodies answered 408", slow_bodies);
    let open = daemon.metric("picket_http_connections{listener=\"api\"}")?;
    verdict.fact("connections open at the end", open);
    for (what, count) in counts.borrow().iter() {
        verdict.fact(&format!("clients: {what}"), count);
    }
    probes::judge(&seen, verdict, None, P99_GOAL);
    let memory = format!("{before:.1} / {now:.1} / {peak:.1} MiB");
    let goal = format!("<= {MEMORY_GOAL_MIB} MiB");
    verdict.goal("RSS before / now / peak", memory, goal, peak <= MEMORY_GOAL_MIB);

    // They go on while it ends.
    let ending = std::thread::spawn(move || target::stop(daemon));
    local.block_on(&runtime, async {
        while !ending.is_finished() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    let end = ending.join().map_err(|_| anyhow::anyhow!("the stop's thread panicked"))??;
    let goal = format!("<= {} s", EXIT_GOAL.as_secs());
    verdict.goal(
        "SIGTERM to exit",
        format!("{:.2} s", end.took.as_secs_f64()),
        goal,
        end.took <= EXIT_GOAL,
    );
    end.judge(verdict);
    Ok(())
}

async fn client(api: SocketAddr, number: usize, kind: Kind, counts: Counts) {
    let host = u8::try_from(number % ADDRESSES).unwrap_or(0) + 1;
    let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, host)), 0);
    // Not all at the same moment, as no attacker could.
    sleep(PAUSE.mul_f64(fastrand::f64())).await;
    loop {
        let ended = match connect(source, api).await {
            Ok(stream) => {
                *counts.borrow_mut().entry("connected").or_default() += 1;
                hold(stream, kind).await
            }
            Err(_) => Some("could not connect"),
        };
        if let Some(why) = ended {
            *counts.borrow_mut().entry(why).or_default() += 1;
        }
        sleep(PAUSE).await;
    }
}

async fn connect(source: SocketAddr, api: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(source)?;
    socket.connect(api).await
}

/// Until the daemon closes.
async fn hold(mut stream: TcpStream, kind: Kind) -> Option<&'static str> {
    let (first, then): (Vec<u8>, &[u8]) = match kind {
        Kind::Head => (b"GET /health HTTP/1.1\r\n".to_vec(), b"a"),
        Kind::Body => {
            (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\n\r\n".to_vec(), b"a")
        }
        Kind::Unread => {
            let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
            (request.repeat(UNREAD_ANSWERS), b"")
        }
    };
    if stream.write_all(&first).await.is_err() {
        return Some("closed at once");
    }
    let mut answer = [0; 12];
    loop {
        sleep(PAUSE).await;
        if let Kind::Unread = kind {
            // Whether it is closed shows without taking any of what has come.
            match stream.try_write(b"G") {
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                    return Some("closed unread");
                }
                _ => continue,
            }
        }
        match stream.try_read(&mut answer) {
            Ok(12) if &answer == b"HTTP/1.1 503" => return Some("answered 503"),
            Ok(12) if &answer == b"HTTP/1.1 408" => return Some("answered 408"),
            Ok(_) => return Some("closed"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Some("reset"),
        }
        if stream.write_all(then).await.is_err() {
            return Some("reset");
        }
    }
}
