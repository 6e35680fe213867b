//! A read-only file system: before the start, as after a boot with errors, and under load, as when
//! the kernel gives up on a file system. The log comes back with the file system, by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::mount::MsFlags;
use picket_testkit::{Daemon, Durations, Launch, PATIENCE, Probes, wait_for};

use super::enospc::{RECOVERY_MAX, compare_counts, time_to_recover};
use crate::load::{Load, Plan, Tally};
use crate::mount::{Access, LoopDevice, Mount, make_ext4, repair};
use crate::outcome::{Outcome, ms};
use crate::{Rig, sandbox, store};

const PROBE_MAX: Duration = Duration::from_millis(200);

/// How long the file system stays read-only.
const READ_ONLY: Duration = Duration::from_secs(3);

const MAX_RECORDS: u64 = 20_000;

const WARM_UP_ACKS: usize = 20;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    #[arg(long, default_value_t = 48)]
    pub disk_mib: u64,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    sandbox::require_root()?;
    let mut outcome = Outcome::new("readonly");
    for count in ["rounds", "unlogged", "not_recovered", "died", "kept_busy"] {
        outcome.add(count, 0);
    }
    let dir = rig.scratch.join("readonly");
    std::fs::create_dir_all(dir.join("mounted"))?;
    let mut recoveries = Durations::default();
    for round in 0..args.rounds {
        make_ext4(&dir.join("image"), args.disk_mib)?;
        let device = LoopDevice::attach(&dir.join("image"), Access::Cached)?;
        let test = Test {
            rig,
            device: &device,
            mounted: dir.join("mounted"),
            what: format!("round {round}"),
        };
        // What shows while the disk is unmounted takes no files: the daemon must not hide some.
        let nothing = Mount::nothing(&test.mounted)?;
        test.before_start(&mut recoveries, &mut outcome)?;
        test.under_load(&mut recoveries, &mut outcome)?;
        nothing.unmount()?;
        outcome.add("rounds", 1);
        outcome.progress(format!("{} of {} rounds", round + 1, args.rounds));
    }
    if outcome.count("unlogged") == 0 {
        outcome.fail("blind", "every record was kept: nothing was read-only");
    }
    outcome.note("recovery_ms_p50", ms(recoveries.quantile(0.5)));
    outcome.note("recovery_ms_max", ms(recoveries.max()));
    Ok(outcome)
}

struct Test<'a> {
    rig: &'a Rig,
    device: &'a LoopDevice,
    mounted: PathBuf,
    what: String,
}

impl Test<'_> {
    fn before_start(
        &self,
        recoveries: &mut Durations,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let mount = Mount::ext4_with(self.device, &self.mounted, "", MsFlags::MS_RDONLY)?;
        let daemon = match self.launch().serving() {
            Ok(daemon) => daemon,
            Err(error) => {
                outcome.fail("died", format!("{}, read-only at start: {error:#}", self.what));
                return mount.unmount();
            }
        };
        let tally = Arc::new(Tally::default());
        let probes = Probes::start(daemon.probe);
        let load = Load::start(Plan::default(), tally.clone());
        load.aim(Some(daemon.api));
        std::thread::sleep(READ_ONLY);
        mount.remount(MsFlags::empty())?;
        self.recovers(&daemon, recoveries, outcome);
        load.stop();
        outcome.judge_probes(&probes.finish()?, PROBE_MAX);
        self.finish(daemon, &tally, "read-only at start", outcome)?;
        mount.unmount()
    }

    /// The kernel turns the file system read-only after an error; somebody repairs it and mounts
    /// it again, and the daemon runs all the time.
    fn under_load(&self, recoveries: &mut Durations, outcome: &mut Outcome) -> anyhow::Result<()> {
        let mount = Mount::ext4(self.device, &self.mounted, "errors=remount-ro")?;
        let (daemon, _) = self.launch().ready()?;
        let tally = Arc::new(Tally::default());
        let probes = Probes::start(daemon.probe);
        let load = Load::start(Plan::default(), tally.clone());
        load.aim(Some(daemon.api));
        wait_for(PATIENCE, || tally.acknowledged() > WARM_UP_ACKS);
        let trigger = Path::new("/sys/fs/ext4").join(self.device.name()?).join("trigger_fs_error");
        std::fs::write(trigger, "picket-faults")?;
        std::thread::sleep(READ_ONLY);
        if let Err(error) = mount.unmount() {
            // A store that stays open keeps everybody from repairing its disk.
            let text = format!("{}: {error:#} {}", self.what, daemon.last_lines());
            outcome.fail("kept_busy", text);
            load.stop();
            drop(probes);
            daemon.kill_9()?;
            return Ok(());
        }
        repair(self.device)?;
        let mount = Mount::ext4(self.device, &self.mounted, "errors=remount-ro")?;
        self.recovers(&daemon, recoveries, outcome);
        load.stop();
        outcome.judge_probes(&probes.finish()?, PROBE_MAX);
        self.finish(daemon, &tally, "read-only under load", outcome)?;
        mount.unmount()
    }

    fn launch(&self) -> Launch {
        self.rig.launch_keeping(&self.mounted.join("state"), MAX_RECORDS)
    }

    fn recovers(&self, daemon: &Daemon, recoveries: &mut Durations, outcome: &mut Outcome) {
        match time_to_recover(daemon, RECOVERY_MAX) {
            Ok(took) => recoveries.add(took),
            Err(error) => {
                let text = format!("{}: {error:#} {}", self.what, daemon.last_lines());
                outcome.fail("not_recovered", text);
            }
        }
    }

    fn finish(
        &self,
        mut daemon: Daemon,
        tally: &Tally,
        how: &str,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let what = format!("{}, {how}", self.what);
        if !daemon.is_running() {
            outcome.fail("died", format!("{what}: {}", daemon.last_lines()));
            return Ok(());
        }
        if tally.answered.load(Ordering::SeqCst) == 0 {
            outcome.fail("unanswered", &what);
        }
        compare_counts(&daemon, tally, &what, outcome)?;
        if !wait_for(PATIENCE, || self.mounted.join("state/log.sock").exists()) {
            outcome.fail("no_control", format!("{what}: picket log can't ask the daemon"));
        }
        if let Err(error) = daemon.stop() {
            outcome.fail("died", format!("{what}: {error:#}"));
        }
        let store = self.mounted.join("state/log");
        store::judge(self.rig, &store, &tally.acks(), MAX_RECORDS, &what, outcome).map(drop)
    }
}
