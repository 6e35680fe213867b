//! Everything in sequence, at a size that a CI job has time for or at the full one.

use std::time::Instant;

use clap::ValueEnum;

use super::{clock, corrupt, eio, enospc, kill9, readonly, retention, stall};
use crate::cuts::{self, Policy};
use crate::outcome::Outcome;
use crate::{Rig, sandbox};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// Some five minutes on two cores
    Ci,
    /// What is claimed for the log
    Full,
}

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value = "ci")]
    pub size: Size,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    sandbox::require_root()?;
    let of = |ci: u64, full: u64| match args.size {
        Size::Ci => ci,
        Size::Full => full,
    };
    let max_records = 400;
    let kill9 =
        kill9::Args { rounds: of(120, 1_000), log_max_records: max_records, verify_every: 1 };
    let cuts = |control| cuts::Args {
        cuts: if control { of(30, 150) } else { of(150, 1_200) },
        policy: vec![Policy::All, Policy::None, Policy::Random],
        record_secs: of(15, 60),
        disk_mib: 64,
        log_max_records: max_records,
        restart_every: 20,
        outages: false,
        models: false,
        control,
    };
    let models = cuts::Args { cuts: of(30, 300), models: true, ..cuts(false) };
    let outages =
        cuts::Args { cuts: of(60, 600), log_max_records: 20_000, outages: true, ..cuts(false) };
    let enospc = enospc::Args { rounds: of(4, 30), disk_mib: 40, log_max_records: 3_000 };
    let eio = eio::Args { rounds: of(16, 200), disk_mib: 64, log_max_records: 3_000 };
    let stall = stall::Args { secs: of(40, 60), disk_mib: 96 };
    let readonly = readonly::Args { rounds: of(2, 10), disk_mib: 48 };
    let corrupt = corrupt::Args { rounds: of(80, 1_000), records: 3_000 };
    let retention = retention::Args { turnovers: of(8, 20), log_max_records: 5_000 };

    type Check<'a> = Box<dyn Fn() -> anyhow::Result<Outcome> + 'a>;
    let checks: [(&str, Check); 12] = [
        ("kill9", Box::new(|| kill9::run(rig, &kill9))),
        ("cuts", Box::new(|| cuts::run(rig, &cuts(false)))),
        ("cuts-outages", Box::new(|| cuts::run(rig, &outages))),
        ("cuts-control", Box::new(|| cuts::run(rig, &cuts(true)))),
        ("cuts-models", Box::new(|| cuts::run(rig, &models))),
        ("enospc", Box::new(|| enospc::run(rig, &enospc))),
        ("eio", Box::new(|| eio::run(rig, &eio))),
        ("stall", Box::new(|| stall::run(rig, &stall))),
        ("readonly", Box::new(|| readonly::run(rig, &readonly))),
        ("corrupt", Box::new(|| corrupt::run(rig, &corrupt))),
        ("retention", Box::new(|| retention::run(rig, &retention))),
        ("clock", Box::new(|| clock::run(rig, &clock::Args {}))),
    ];
    let mut outcome = Outcome::new("all");
    for (name, check) in checks {
        outcome.add("checks", 1);
        let started = Instant::now();
        match check() {
            Ok(part) => {
                println!("{} secs={}", part.line(), started.elapsed().as_secs());
                if !part.held() {
                    outcome.fail("failed", name);
                }
            }
            // One check that cannot go on does not keep the others from telling.
            Err(error) => outcome.fail("broken_off", format!("{name}: {error:#}")),
        }
    }
    Ok(outcome)
}
