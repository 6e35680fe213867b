//! Power cuts. A run is recorded write by write; then the disk is put back to how a cut would have
//! left it at random moments, and the store on it must hold all that had been acknowledged.

pub mod control;
mod models;
mod record;
mod replay;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::disk::Event;
use crate::outcome::Outcome;
use crate::{Rig, sandbox};

/// What of the writes since the last flush survives a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Everything
    All,
    /// Nothing
    None,
    /// A random subset, some of it torn between sectors
    Random,
}

/// Who writes to the recorded disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Daemon,
    /// The daemon's models, which change.
    Models,
    /// sled with flush alone: it loses records, which shows that the rig sees losses.
    Control,
}

#[derive(clap::Args)]
pub struct Args {
    /// Cuts, shared out evenly among the policies
    #[arg(long, default_value_t = 1_000)]
    pub cuts: u64,
    #[arg(long, value_delimiter = ',', default_values = ["all", "none", "random"])]
    pub policy: Vec<Policy>,
    /// How long the recorded run takes
    #[arg(long, default_value_t = 20)]
    pub record_secs: u64,
    #[arg(long, default_value_t = 64)]
    pub disk_mib: u64,
    /// Small, so that retention works all the time
    #[arg(long, default_value_t = 400)]
    pub log_max_records: u64,
    /// Cuts between two on which a daemon is started
    #[arg(long, default_value_t = 20)]
    pub restart_every: u64,
    /// Large batches beside the rest, each sent twice; the log must have room for several
    #[arg(long)]
    pub outages: bool,
    /// Instead of records, models that change
    #[arg(long)]
    pub models: bool,
    /// Instead of the daemon, a writer that must lose records
    #[arg(long)]
    pub control: bool,
}

impl Args {
    fn name(&self) -> &'static str {
        match self {
            Args { control: true, .. } => "cuts-control",
            Args { models: true, .. } => "cuts-models",
            Args { outages: true, .. } => "cuts-outages",
            _ => "cuts",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// A disk before the first recorded event, and all of them.
struct Recording {
    image: Vec<u8>,
    events: Vec<Event>,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    sandbox::require_root()?;
    let subject = match args {
        Args { control: true, .. } => Subject::Control,
        Args { models: true, .. } => Subject::Models,
        _ => Subject::Daemon,
    };
    let name = args.name();
    let mut outcome = Outcome::new(name);
    let dir = rig.scratch.join(name);
    std::fs::create_dir_all(&dir)?;
    let recording = record::record(rig, args, subject, &dir, &mut outcome)?;
    summarise(&recording, &mut outcome);
    let started = Instant::now();
    let parts = replay_all(rig, args, subject, &recording, &dir)?;
    let cuts_took = started.elapsed();
    for part in parts {
        outcome.absorb(part);
    }
    let cuts = outcome.count("cuts").max(1);
    outcome.note("ms_per_cut", cuts_took.as_millis() / u128::from(cuts));
    std::fs::remove_dir_all(&dir)?;
    Ok(if args.control { expect_losses(outcome) } else { outcome })
}

/// One thread for each policy: most of a cut's time goes into waiting for mounts and processes.
fn replay_all(
    rig: &Rig,
    args: &Args,
    subject: Subject,
    recording: &Recording,
    dir: &Path,
) -> anyhow::Result<Vec<Outcome>> {
    let policies = args.policy.len() as u64;
    std::thread::scope(|scope| {
        let threads: Vec<_> = args
            .policy
            .iter()
            .zip(0..)
            .map(|(policy, index)| {
                let cuts = args.cuts / policies + u64::from(index < args.cuts % policies);
                let dir = dir.join(policy.to_string());
                scope.spawn(move || {
                    replay::replay(rig, args, subject, *policy, cuts, recording, &dir)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a replay panicked")))
            .collect()
    })
}

fn summarise(recording: &Recording, outcome: &mut Outcome) {
    for event in &recording.events {
        let count = match event {
            Event::Write { .. } => "writes",
            Event::Flush => "flushes",
            Event::Mark { .. } => "acknowledgements",
        };
        outcome.add(count, 1);
    }
}

/// The control holds when it was seen to fail.
fn expect_losses(failed: Outcome) -> Outcome {
    let mut outcome = Outcome::new("cuts-control");
    let losses = failed.count("lost_cuts") + failed.count("unreadable");
    outcome.add("cuts", failed.count("cuts"));
    outcome.add("cuts_with_losses", failed.count("lost_cuts"));
    outcome.add("records_lost", failed.count("lost"));
    outcome.add("failed_opens", failed.count("unreadable"));
    if losses == 0 {
        outcome.fail("blind", "the control lost nothing: this rig would not see a loss");
    }
    outcome
}

/// Between two runs of the writer, and the shortest of them.
const RUN_MIN: Duration = Duration::from_millis(300);
const RUN_MAX: Duration = Duration::from_millis(2_000);
