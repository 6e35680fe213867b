//! A full disk. The daemon goes on without its log, counts what it could not keep, and records
//! again within seconds of the space coming back.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use picket_testkit::{Client, Daemon, Durations, Launch, PATIENCE, Probes, Seen};

use crate::load::{Ack, Load, Plan, Tally};
use crate::mount::{Access, LoopDevice, Mount, free_bytes, make_ext4};
use crate::outcome::{Outcome, ms};
use crate::{Rig, sandbox, store};

/// From space coming back to the next durable record.
pub const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// A full disk slows no probe to where a kubelet's default timeout of a second comes near.
const PROBE_MAX: Duration = Duration::from_millis(200);

/// Between two attempts to get a durable record, and two top-ups of the ballast.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

const BALLAST_CHUNK: usize = 64 << 10;

/// Records of a load that fills the store quickly: batches and predictions together.
const PLAN: Plan = Plan {
    strict_predicts: 1,
    batches: 2,
    batch_records: 50,
    relaxed_predicts: 1,
    relaxed_batches: 0,
    outages: 0,
    outage_records: 0,
    pause: Duration::from_millis(2),
};

#[derive(clap::Args)]
pub struct Args {
    /// Disks that fill while the daemon works, and as many that are full before it starts
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    #[arg(long, default_value_t = 40)]
    pub disk_mib: u64,
    #[arg(long, default_value_t = 3_000)]
    pub log_max_records: u64,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    sandbox::require_root()?;
    let mut outcome = Outcome::new("enospc");
    for count in ["rounds", "unlogged", "uncounted", "not_recovered", "died", "unanswered"] {
        outcome.add(count, 0);
    }
    let mut random = fastrand::Rng::with_seed(rig.seed);
    let mut recoveries = Durations::default();
    for round in 0..args.rounds {
        let dir = rig.scratch.join(format!("enospc-{round}"));
        let mounted = dir.join("mounted");
        std::fs::create_dir_all(&mounted)?;
        make_ext4(&dir.join("image"), args.disk_mib)?;
        let device = LoopDevice::attach(&dir.join("image"), Access::Cached)?;
        let mount = Mount::ext4(&device, &mounted, "")?;
        let test = Test { rig, args, state_dir: mounted.join("state"), round };
        test.working(&mut random, &mut recoveries, &mut outcome)?;
        test.starting(&mut random, &mut recoveries, &mut outcome)?;
        mount.unmount()?;
        drop(device);
        std::fs::remove_dir_all(&dir)?;
        outcome.add("rounds", 1);
        outcome.progress(format!("{} of {} rounds", round + 1, args.rounds));
    }
    if outcome.count("unlogged") == 0 {
        outcome.fail("blind", "every record was kept: the disk never was full");
    }
    outcome.note("recovery_ms_p50", ms(recoveries.quantile(0.5)));
    outcome.note("recovery_ms_max", ms(recoveries.max()));
    Ok(outcome)
}

struct Test<'a> {
    rig: &'a Rig,
    args: &'a Args,
    state_dir: PathBuf,
    round: u64,
}

impl Test<'_> {
    /// The disk fills under load, stays full for a while, and gets its space back.
    fn working(
        &self,
        random: &mut fastrand::Rng,
        recoveries: &mut Durations,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let (mut daemon, _) = self.launch().ready()?;
        let tally = Arc::new(Tally::default());
        let probes = Probes::start(daemon.probe);
        let load = Load::start(PLAN, tally.clone());
        load.aim(Some(daemon.api));
        std::thread::sleep(Duration::from_millis(random.u64(200..3_000)));
        let answered = tally.answered.load(Ordering::SeqCst);
        let mut ballast = Ballast::new(self.state_dir.parent().context("a mounted disk")?)?;
        // Sometimes a little space stays, and runs out in the middle of something.
        ballast.fill(random.u64(0..=200) << 10)?;
        let until = Instant::now() + Duration::from_millis(random.u64(2_000..5_000));
        while Instant::now() < until {
            std::thread::sleep(POLL_INTERVAL);
            if random.u8(0..10) == 0 {
                ballast.fill(0)?;
            }
        }
        if tally.answered.load(Ordering::SeqCst) == answered {
            let what = tally.last_broken.lock().map(|text| text.clone()).unwrap_or_default();
            outcome.fail("unanswered", format!("round {}: while full: {what}", self.round));
        }
        ballast.free()?;
        self.recovers(&daemon, recoveries, outcome);
        std::thread::sleep(Duration::from_millis(random.u64(100..500)));
        load.stop();
        let seen = probes.finish()?;
        outcome.judge_probes(&seen, PROBE_MAX);
        self.judge_reason(&seen, &tally, outcome);
        if !daemon.is_running() {
            outcome.fail("died", format!("round {}: {}", self.round, daemon.last_lines()));
            return Ok(());
        }
        compare_counts(&daemon, &tally, &format!("round {}", self.round), outcome)?;
        self.stop(daemon, outcome);
        self.judge_store(&tally.acks(), "filled while working", outcome)
    }

    /// The disk is full before the daemon starts; in every other round there is no store yet.
    fn starting(
        &self,
        random: &mut fastrand::Rng,
        recoveries: &mut Durations,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        if self.round % 2 == 1 {
            std::fs::remove_dir_all(&self.state_dir)?;
        }
        let mut ballast = Ballast::new(self.state_dir.parent().context("a mounted disk")?)?;
        ballast.fill(0)?;
        let mut daemon = match self.launch().serving() {
            Ok(daemon) => daemon,
            Err(error) => {
                outcome.fail("died", format!("round {}, full at start: {error:#}", self.round));
                return Ok(());
            }
        };
        let probes = Probes::start(daemon.probe);
        let tally = Arc::new(Tally::default());
        let load = Load::start(PLAN, tally.clone());
        load.aim(Some(daemon.api));
        std::thread::sleep(Duration::from_millis(random.u64(1_000..3_000)));
        if tally.answered.load(Ordering::SeqCst) == 0 {
            outcome.fail("unanswered", format!("round {}: started full", self.round));
        }
        ballast.free()?;
        self.recovers(&daemon, recoveries, outcome);
        load.stop();
        let seen = probes.finish()?;
        outcome.judge_probes(&seen, PROBE_MAX);
        self.judge_reason(&seen, &tally, outcome);
        if !daemon.is_running() {
            outcome.fail("died", format!("round {}: {}", self.round, daemon.last_lines()));
            return Ok(());
        }
        compare_counts(&daemon, &tally, &format!("round {}, full at start", self.round), outcome)?;
        self.stop(daemon, outcome);
        self.judge_store(&tally.acks(), "started full", outcome)
    }

    fn launch(&self) -> Launch {
        self.rig.launch_keeping(&self.state_dir, self.args.log_max_records)
    }

    /// A daemon that can't record says so; one that gave up its reserve may record for a while.
    fn judge_reason(&self, seen: &Seen, tally: &Tally, outcome: &mut Outcome) {
        let reason = seen.not_ready.first().map_or("", |(_, reason)| reason.as_str());
        let unlogged = tally.unlogged.load(Ordering::SeqCst);
        if unlogged > 0 && reason != "database_not_accessible" {
            let round = self.round;
            let text =
                format!("round {round}: {unlogged} records unlogged, /ready said {reason:?}");
            outcome.fail("wrong_reason", text);
        }
    }

    fn recovers(&self, daemon: &Daemon, recoveries: &mut Durations, outcome: &mut Outcome) {
        match time_to_recover(daemon, RECOVERY_MAX) {
            Ok(took) => recoveries.add(took),
            Err(error) => {
                let (round, lines) = (self.round, daemon.last_lines());
                outcome.fail("not_recovered", format!("round {round}: {error:#} {lines}"));
            }
        }
    }

    fn stop(&self, daemon: Daemon, outcome: &mut Outcome) {
        if let Err(error) = daemon.stop() {
            outcome.fail("died", format!("round {}: {error:#}", self.round));
        }
    }

    fn judge_store(&self, acks: &[Ack], how: &str, outcome: &mut Outcome) -> anyhow::Result<()> {
        let what = format!("round {}, {how}", self.round);
        let store = self.state_dir.join("log");
        let max_records = self.args.log_max_records;
        store::judge(self.rig, &store, acks, max_records, &what, outcome).map(drop)
    }
}

/// Waits for a durable record; with the time that it took.
pub fn time_to_recover(daemon: &Daemon, limit: Duration) -> anyhow::Result<Duration> {
    let client = Client::new(PATIENCE);
    let started = Instant::now();
    loop {
        match client.strict_id(daemon.api) {
            Ok(_) => return Ok(started.elapsed()),
            Err(error) if started.elapsed() > limit => {
                bail!("no durable record {limit:?} after the fault ended: {error:#}")
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Every record that a client was told is not logged stands in the daemon's count. The count may be
/// higher: records with a number, but no promise, can be lost later, and waiting for the recovery
/// asks for records too.
pub fn compare_counts(
    daemon: &Daemon,
    tally: &Tally,
    what: &str,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let told = tally.unlogged.load(Ordering::SeqCst);
    outcome.add("unlogged", told);
    let counted = daemon.metric("logging_errors_total{service=\"cloud-logging-api\"}")? as u64;
    let open = tally.undecided.load(Ordering::SeqCst) + tally.relaxed.load(Ordering::SeqCst);
    let text = format!("{what}: {told} told unlogged, {open} open, {counted} counted");
    outcome.fail_many("uncounted", told.saturating_sub(counted), text);
    Ok(())
}

/// A file that takes all the space.
pub struct Ballast {
    dir: PathBuf,
    path: PathBuf,
    file: File,
}

impl Ballast {
    pub fn new(dir: &Path) -> anyhow::Result<Ballast> {
        let path = dir.join("ballast");
        let file = File::create(&path)?;
        Ok(Ballast { dir: dir.to_path_buf(), path, file })
    }

    /// Leaves at most `spare` bytes free.
    pub fn fill(&mut self, spare: u64) -> anyhow::Result<()> {
        let chunk = vec![0xBA; BALLAST_CHUNK];
        loop {
            let free = free_bytes(&self.dir)?.saturating_sub(spare);
            let bytes = usize::try_from(free)?.min(chunk.len());
            if bytes == 0 {
                return Ok(());
            }
            match self.file.write_all(&chunk[..bytes]).and_then(|()| self.file.sync_data()) {
                Ok(()) => {}
                // The file system's own needs come out of the same space.
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENOSPC as i32) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn free(self) -> anyhow::Result<()> {
        drop(self.file);
        Ok(std::fs::remove_file(&self.path)?)
    }
}
