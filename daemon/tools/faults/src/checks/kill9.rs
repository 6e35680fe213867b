//! kill -9 at random moments: what was acknowledged as durable is there afterwards, no number is
//! missing, and the store opens again every time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use picket_testkit::{Daemon, Durations, store_exists};

use crate::Rig;
use crate::load::{Load, Plan, Tally};
use crate::outcome::{Outcome, ms};
use crate::store;

/// Longest time under load before the kill.
const WORK_MS_MAX: u64 = 500;

/// Starts that measure how long opening takes.
const MEASURED_STARTS: u64 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// Kills
    #[arg(long, default_value_t = 1_000)]
    pub rounds: u64,
    /// Small, so that retention works all the time
    #[arg(long, default_value_t = 400)]
    pub log_max_records: u64,
    /// Rounds between two readings of the whole store; the last round is always followed by one
    #[arg(long, default_value_t = 1)]
    pub verify_every: u64,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    let state_dir = rig.scratch.join("kill9");
    let mut outcome = Outcome::new("kill9");
    let mut random = fastrand::Rng::with_seed(rig.seed);
    let tally = Arc::new(Tally::default());
    let mut opens = Durations::default();
    for count in ["kills", "kills_during_open", "failed_opens", "misplaced"] {
        outcome.add(count, 0);
    }
    for round in 0..args.rounds {
        let during_open = round % 2 == 1 && round / 2 >= MEASURED_STARTS;
        let launch = rig.launch_keeping(&state_dir, args.log_max_records);
        if during_open {
            let daemon = launch.launch()?;
            let open_us = u64::try_from(opens.quantile(0.5).as_micros())?;
            std::thread::sleep(Duration::from_micros(random.u64(0..=open_us)));
            daemon.kill_9()?;
            outcome.add("kills_during_open", 1);
        } else {
            match launch.ready() {
                Ok((daemon, took)) => {
                    opens.add(took);
                    work_and_kill(
                        daemon,
                        &tally,
                        Duration::from_millis(random.u64(0..WORK_MS_MAX)),
                    )?;
                }
                Err(error) => outcome.fail("failed_opens", format!("round {round}: {error:#}")),
            }
        }
        outcome.add("kills", 1);
        if (round + 1) % args.verify_every == 0 || round + 1 == args.rounds {
            verify(rig, args, &state_dir, &tally, round, &mut outcome)?;
        }
        if (round + 1) % 50 == 0 {
            outcome.progress(format!("{} of {} kills", round + 1, args.rounds));
        }
    }
    outcome.add("acknowledged", tally.acks().iter().map(|ack| ack.last - ack.first + 1).sum());
    if outcome.count("judged") == 0 {
        outcome.fail("skipped", "no store was ever judged");
    }
    outcome.note("open_ms_p50", ms(opens.quantile(0.5)));
    outcome.note("open_ms_max", ms(opens.max()));
    Ok(outcome)
}

fn work_and_kill(daemon: Daemon, tally: &Arc<Tally>, work: Duration) -> anyhow::Result<()> {
    let load = Load::start(Plan::default(), tally.clone());
    load.aim(Some(daemon.api));
    std::thread::sleep(work);
    daemon.kill_9()?;
    load.aim(None);
    load.stop();
    Ok(())
}

fn verify(
    rig: &Rig,
    args: &Args,
    state_dir: &Path,
    tally: &Tally,
    round: u64,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let acks = tally.acks();
    let store = state_dir.join("log");
    if acks.is_empty() && !store_exists(&store) {
        return Ok(());
    }
    let what = format!("round {round}");
    outcome.add("judged", 1);
    let report = store::judge(rig, &store, &acks, args.log_max_records, &what, outcome)?;
    if round + 1 == args.rounds && report.is_some() {
        let export = store::export(rig, &store).context("the store after the last round")?;
        let misplaced = store::misplaced(&export, &acks);
        outcome.fail_many("misplaced", misplaced, "records under other numbers than acknowledged");
    }
    Ok(())
}
