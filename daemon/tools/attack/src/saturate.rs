//! More predictions than the daemon can make, while the probes are measured.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use picket_testkit::{GREY_PIXELS, Probes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::verdict::Verdict;
use crate::{Size, probes, target};

/// Connections that ask without a pause.
const CONNECTIONS: usize = 16;

const P50_GOAL: Duration = Duration::from_millis(1);
const P99_GOAL: Duration = Duration::from_millis(10);

pub fn run(picket: &Path, size: Size, verdict: &mut Verdict) -> anyhow::Result<()> {
    let lasting = Duration::from_secs(if size == Size::Full { 60 } else { 10 });
    let (_state, daemon) = target::start(picket)?;
    let text = format!("saturate: {CONNECTIONS} connections for {} s", lasting.as_secs());
    verdict.title(&text);
    let prober = Probes::start(daemon.probe);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(load(daemon.api, lasting))?;
    let seen = prober.finish()?;
    verdict.fact("predictions/s", format!("{:.0}", answered as f64 / lasting.as_secs_f64()));
    probes::judge(&seen, verdict, Some(P50_GOAL), P99_GOAL);
    let rss = daemon.memory()?;
    let (now, peak) = (rss.now_mib(), rss.peak_mib());
    verdict.fact("RSS now / peak", format!("{now:.1} / {peak:.1} MiB"));
    target::stop(daemon)?.judge(verdict);
    Ok(())
}

async fn load(api: std::net::SocketAddr, lasting: Duration) -> anyhow::Result<u64> {
    let answered = Rc::new(Cell::new(0));
    let end = Instant::now() + lasting;
    let local = tokio::task::LocalSet::new();
    let client = |answered: Rc<Cell<u64>>| async move {
        let head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\n\
                    Content-Type: application/octet-stream\r\n\r\n";
        let request = [head.as_bytes(), &GREY_PIXELS].concat();
        let mut stream = TcpStream::connect(api).await?;
        stream.set_nodelay(true)?;
        let mut answer = vec![0; 4 << 10];
        while Instant::now() < end {
            stream.write_all(&request).await?;
            // An answer is smaller than a segment of the loopback and comes in one piece.
            let length = stream.read(&mut answer).await?;
            anyhow::ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "a prediction failed");
            answered.set(answered.get() + 1);
        }
        Ok::<(), anyhow::Error>(())
    };
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|_| local.spawn_local(client(answered.clone()))).collect();
    local
        .run_until(async {
            for client in clients {
                client.await??;
            }
            Ok::<(), anyhow::Error>(())
        })
        .await?;
    Ok(answered.get())
}
