//! I/O errors: the Nth write or flush of the disk fails, once or from then on. What was
//! acknowledged before is there after a repair, and nothing is promised that may not be kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use picket_testkit::{Client, Daemon, Launch, PATIENCE, Probes, store_exists, wait_for};

use crate::disk::{Disk, Fault, Operation};
use crate::load::{Ack, Load, Plan, Tally};
use crate::mount::{Access, LoopDevice, Mount, make_ext4, repair};
use crate::outcome::Outcome;
use crate::store::{self, Verdict};
use crate::{Rig, sandbox};

const PROBE_MAX: Duration = Duration::from_millis(200);

/// How long the daemon works on a disk that has failed.
const AFTERMATH: Duration = Duration::from_millis(2_500);

/// A fault that nothing reaches within this time is not waited for any longer.
const FAULT_WAIT_MAX: Duration = Duration::from_secs(5);

/// From an error that the daemon has told of to its last durable promise: answers in flight.
const PROMISES_END: Duration = Duration::from_millis(500);

/// The widest that a fault is counted ahead.
const NTH_MAX: u64 = 300;

/// How an administrator may have mounted the disk.
const MOUNT_OPTIONS: [&str; 2] = ["", "errors=remount-ro,data_err=abort"];

#[derive(clap::Args)]
pub struct Args {
    /// Faults
    #[arg(long, default_value_t = 100)]
    pub rounds: u64,
    #[arg(long, default_value_t = 64)]
    pub disk_mib: u64,
    #[arg(long, default_value_t = 3_000)]
    pub log_max_records: u64,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    sandbox::require_root()?;
    let mut outcome = Outcome::new("eio");
    for count in ["rounds", "not_reached", "unnoticed", "promises_after_eio", "lost", "died"] {
        outcome.add(count, 0);
    }
    let dir = rig.scratch.join("eio");
    std::fs::create_dir_all(dir.join("served"))?;
    std::fs::create_dir_all(dir.join("mounted"))?;
    make_ext4(&dir.join("image"), args.disk_mib)?;
    let image = std::fs::read(dir.join("image"))?;
    let mut random = fastrand::Rng::with_seed(rig.seed);
    for round in 0..args.rounds {
        let fault = Fault {
            operation: if round % 2 == 0 { Operation::Write } else { Operation::Flush },
            // Small ones often: the first writes of a store are special.
            nth: 1 + random.u64(0..NTH_MAX) * random.u64(0..NTH_MAX) / NTH_MAX,
            lasting: round / 2 % 2 == 0,
        };
        let options = MOUNT_OPTIONS[(round / 4 % 2) as usize];
        // Every fourth round the daemon meets the fault while it starts.
        let at_start = random.u8(0..4) == 0;
        let test = Test {
            rig,
            args,
            options,
            fault,
            at_start,
            state_dir: dir.join("mounted/state"),
            what: format!("round {round}, options {options:?}, at start {at_start}, {fault:?}"),
        };
        test.run(&image, &dir, &mut outcome).with_context(|| test.what.clone())?;
        outcome.add("rounds", 1);
        if (round + 1) % 10 == 0 {
            outcome.progress(format!("{} of {} faults", round + 1, args.rounds));
        }
    }
    if outcome.count("unlogged") == 0 {
        outcome.fail("blind", "no fault ever kept a record out of the log");
    }
    if outcome.count("judged") == 0 {
        outcome.fail("skipped", "no store was ever judged");
    }
    Ok(outcome)
}

struct Test<'a> {
    rig: &'a Rig,
    args: &'a Args,
    options: &'a str,
    fault: Fault,
    at_start: bool,
    state_dir: PathBuf,
    /// Names the round in a failure.
    what: String,
}

impl Test<'_> {
    fn run(&self, image: &[u8], dir: &Path, outcome: &mut Outcome) -> anyhow::Result<()> {
        let disk = Disk::serve(image.to_vec(), &dir.join("served"))?;
        let device = LoopDevice::attach(disk.file(), Access::Direct)?;
        let mount = Mount::ext4(&device, &dir.join("mounted"), self.options)?;
        let acks = self.daemon_on_failing_disk(&disk, outcome);
        disk.set_fault(None);
        mount.unmount()?;
        repair(&device)?;
        let mount = Mount::ext4(&device, &dir.join("mounted"), self.options)?;
        self.judge_repaired(&acks?, outcome)?;
        mount.unmount()
    }

    /// What it acknowledged, before the fault and after it.
    fn daemon_on_failing_disk(
        &self,
        disk: &Disk,
        outcome: &mut Outcome,
    ) -> anyhow::Result<Vec<Ack>> {
        if self.at_start {
            disk.set_fault(Some(self.fault));
        }
        let mut daemon = match self.launch().serving() {
            Ok(daemon) => daemon,
            Err(error) => {
                outcome.fail("died", format!("{}: {error:#}", self.what));
                return Ok(Vec::new());
            }
        };
        let tally = Arc::new(Tally::default());
        let probes = Probes::start(daemon.probe);
        let load = Load::start(Plan::default(), tally.clone());
        load.aim(Some(daemon.api));
        if !self.at_start {
            wait_for(PATIENCE, || tally.acknowledged() > 10);
            disk.set_fault(Some(self.fault));
        }
        if !wait_for(FAULT_WAIT_MAX, || disk.failed_at().is_some()) {
            outcome.add("not_reached", 1);
        }
        std::thread::sleep(AFTERMATH);
        load.stop();
        let seen = probes.finish()?;
        outcome.judge_probes(&seen, PROBE_MAX);
        if !daemon.is_running() {
            outcome.fail("died", format!("{}: {}", self.what, daemon.last_lines()));
            return Ok(tally.acks());
        }
        outcome.add("unlogged", tally.unlogged.load(Ordering::SeqCst));
        let told = seen.not_ready.first().map(|(at, _)| *at).filter(|_| !self.at_start);
        let noticed = told.into_iter().chain(tally.first_unlogged()).min();
        if let Some(failed) = disk.failed_at() {
            self.judge_promises(failed, noticed, &tally.acks(), outcome);
        }
        if let Err(error) = daemon.stop() {
            outcome.fail("died", format!("{}: {error:#}", self.what));
        }
        Ok(tally.acks())
    }

    /// Once the daemon has noticed, it promises nothing until the file system is mounted anew.
    fn judge_promises(
        &self,
        failed: Instant,
        noticed: Option<Instant>,
        acks: &[Ack],
        outcome: &mut Outcome,
    ) {
        let Some(noticed) = noticed else {
            // The kernel may swallow an error of its own housekeeping; the store must be whole.
            outcome.add("unnoticed", 1);
            return;
        };
        let end = noticed.max(failed) + PROMISES_END;
        let after = acks.iter().filter(|ack| ack.at > end).count() as u64;
        let ms = noticed.saturating_duration_since(failed).as_millis();
        let text = format!("{}: {after} durable answers, error noticed after {ms} ms", self.what);
        outcome.fail_many("promises_after_eio", after, text);
    }

    fn judge_repaired(&self, acks: &[Ack], outcome: &mut Outcome) -> anyhow::Result<()> {
        let store = self.state_dir.join("log");
        outcome.add("unsound_after_repair", 0);
        outcome.add("judged", 0);
        // Where the disk failed before there was one, nobody was promised anything.
        if store_exists(&store) || !acks.is_empty() {
            outcome.add("judged", 1);
            match store::verify(self.rig, &store)? {
                Verdict::Report(report) => {
                    let missing = report.missing(acks, self.args.log_max_records);
                    let text = format!(
                        "{}: acknowledged up to {}: {}",
                        self.what,
                        store::highest(acks),
                        report.text
                    );
                    outcome.fail_many("lost", missing, text);
                    // Records that nobody was promised may be missing, if the report says so.
                    outcome.add("unsound_after_repair", u64::from(!report.sound));
                }
                Verdict::Died(text) => outcome.fail("died", format!("{}: {text}", self.what)),
                Verdict::Refused(text) => {
                    outcome.fail("unreadable", format!("{}: {text}", self.what));
                }
            }
        }
        let (daemon, _) = match self.launch().ready() {
            Ok(started) => started,
            Err(error) => {
                outcome.fail("not_recovered", format!("{}: {error:#}", self.what));
                return Ok(());
            }
        };
        self.judge_restarted(daemon, acks, outcome)
    }

    fn judge_restarted(
        &self,
        daemon: Daemon,
        acks: &[Ack],
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let strict = Client::new(PATIENCE).strict_id(daemon.api);
        if let Err(error) = &strict {
            outcome.fail("not_recovered", format!("{}: {error:#}", self.what));
        }
        daemon.stop()?;
        match store::verify(self.rig, &self.state_dir.join("log"))? {
            Verdict::Report(report) => {
                let mut acks = acks.to_vec();
                let at = Instant::now();
                acks.extend(strict.ok().map(|id| Ack { at, first: id, last: id, tag: None }));
                let missing = report.missing(&acks, self.args.log_max_records);
                let text = format!("{}, restarted: {}", self.what, report.text);
                outcome.fail_many("lost", missing, text);
            }
            Verdict::Refused(text) | Verdict::Died(text) => {
                outcome.fail("unreadable", format!("{}: {text}", self.what));
            }
        }
        Ok(())
    }

    fn launch(&self) -> Launch {
        self.rig.launch_keeping(&self.state_dir, self.args.log_max_records)
    }
}
