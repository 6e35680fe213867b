//! A disk that holds every write for a minute, as a worn SD card does. Probes answer at once,
//! predictions go on, memory stays bounded, and afterwards everything drains.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use picket_testkit::{Daemon, PATIENCE, Probes, wait_for};

use super::enospc::{compare_counts, time_to_recover};
use crate::disk::Disk;
use crate::load::{Load, Plan, Tally};
use crate::mount::{Access, LoopDevice, Mount, make_ext4};
use crate::outcome::{Outcome, ms};
use crate::{Rig, sandbox, store};

const PROBE_MAX: Duration = Duration::from_millis(100);

/// The daemon's queue of records holds about 10 MB; the rest is allowance for its connections.
const RSS_GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Relaxed predictions that must be answered in each second of the stall.
const ANSWERS_PER_SEC_MIN: u64 = 5;

/// From the end of the stall to the next durable record: what is queued is written first.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// From the last write that ended to the last answer about it.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// Acknowledged before the stall begins.
const WARM_UP_ACKS: usize = 50;

/// Clients that wait for the disk, and more that don't: they fill the daemon's queue of 16,384
/// records within seconds.
const PLAN: Plan = Plan {
    strict_predicts: 2,
    batches: 1,
    batch_records: 50,
    relaxed_predicts: 2,
    relaxed_batches: 1,
    outages: 0,
    outage_records: 0,
    pause: Duration::from_millis(5),
};

/// Between two looks at the daemon's memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);

const MAX_RECORDS: u64 = 100_000;

#[derive(clap::Args)]
pub struct Args {
    /// How long the disk holds everything
    #[arg(long, default_value_t = 60)]
    pub secs: u64,
    #[arg(long, default_value_t = 96)]
    pub disk_mib: u64,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    sandbox::require_root()?;
    let mut outcome = Outcome::new("stall");
    let dir = rig.scratch.join("stall");
    let (served, mounted) = (dir.join("served"), dir.join("mounted"));
    std::fs::create_dir_all(&served)?;
    std::fs::create_dir_all(&mounted)?;
    make_ext4(&dir.join("image"), args.disk_mib)?;
    let disk = Disk::serve(std::fs::read(dir.join("image"))?, &served)?;
    let device = LoopDevice::attach(disk.file(), Access::Direct)?;
    let mount = Mount::ext4(&device, &mounted, "")?;
    let (daemon, _) = rig.launch_keeping(&mounted.join("state"), MAX_RECORDS).ready()?;
    let tally = Arc::new(Tally::default());
    let load = Load::start(PLAN, tally.clone());
    load.aim(Some(daemon.api));
    wait_for(PATIENCE, || tally.acknowledged() > WARM_UP_ACKS);

    stall(args, &disk, &daemon, &tally, &mut outcome)?;
    load.stop();
    compare_counts(&daemon, &tally, "stall", &mut outcome)?;
    if let Err(error) = daemon.stop() {
        outcome.fail("died", format!("{error:#}"));
    }
    let store = mounted.join("state/log");
    store::judge(rig, &store, &tally.acks(), MAX_RECORDS, "after the stall", &mut outcome)?;
    mount.unmount()?;
    Ok(outcome)
}

/// Holds the disk and lets it go again, under load and probes.
fn stall(
    args: &Args,
    disk: &Disk,
    daemon: &Daemon,
    tally: &Tally,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let rss = daemon.memory()?.now_bytes;
    let answered = tally.answered.load(Ordering::SeqCst);
    tally.slowest_relaxed_ms.store(0, Ordering::SeqCst);
    let probes = Probes::start(daemon.probe);
    let hold = disk.hold();
    outcome.progress(format!("the disk holds everything for {} s", args.secs));
    let held = Instant::now();
    let mut rss_max = rss;
    while held.elapsed() < Duration::from_secs(args.secs) {
        std::thread::sleep(MEMORY_INTERVAL);
        rss_max = rss_max.max(daemon.memory()?.now_bytes);
    }
    let released = Instant::now();
    let during = tally.answered.load(Ordering::SeqCst) - answered;
    drop(hold);
    match time_to_recover(daemon, DRAIN_MAX) {
        Ok(took) => outcome.note("drain_ms", ms(took)),
        Err(error) => outcome.fail("not_recovered", format!("{error:#} {}", daemon.last_lines())),
    }
    let seen = probes.finish()?;
    outcome.judge_probes(&seen, PROBE_MAX);
    outcome.note("probe_ms_p99", ms(seen.all_latencies().quantile(0.99)));
    outcome.note("probe_ms_max", ms(seen.all_latencies().max()));
    outcome.note("slowest_relaxed_ms", tally.slowest_relaxed_ms.load(Ordering::SeqCst));
    outcome.add("answered", during);
    if during < args.secs * ANSWERS_PER_SEC_MIN {
        outcome.fail("unanswered", format!("{during} answers in {} s", args.secs));
    }
    outcome.add("rss_growth_mib", (rss_max - rss) >> 20);
    if rss_max - rss > RSS_GROWTH_BYTES_MAX {
        outcome.fail("unbounded", format!("from {rss} to {rss_max} bytes of memory"));
    }
    judge_answers(held, released, tally, outcome);
    Ok(())
}

fn judge_answers(held: Instant, released: Instant, tally: &Tally, outcome: &mut Outcome) {
    let acks = tally.acks();
    let early = acks.iter().filter(|ack| ack.at > held + IN_FLIGHT && ack.at < released);
    let text = "durable answers while nothing reached the disk";
    outcome.fail_many("early_promises", early.count() as u64, text);
    if tally.unlogged.load(Ordering::SeqCst) == 0 {
        outcome.fail("blind", "the queue never was full");
    }
    let broken = tally.broken.load(Ordering::SeqCst);
    let last = tally.last_broken.lock().map(|text| text.clone()).unwrap_or_default();
    outcome.fail_many("broken_answers", broken, last);
}
