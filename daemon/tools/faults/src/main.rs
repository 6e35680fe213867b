//! Breaks the disk, the clock and the process under the real daemon, and says whether anything
//! acknowledged was lost. Knows the daemon only as a binary: its command line, HTTP and files.

mod batch;
mod checks;
mod cuts;
mod disk;
mod load;
mod mount;
mod outcome;
mod sandbox;
mod store;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use picket_testkit::Launch;

use crate::outcome::Outcome;

#[derive(Parser)]
#[command(about = "Fault injection for the picket daemon", version)]
struct Cli {
    /// The daemon's binary [default: picket beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    picket: Option<PathBuf>,
    /// Makes the random choices repeatable
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// kill -9 at random moments, half of them while the store opens
    Kill9(checks::kill9::Args),
    /// Power cuts: the disk as it was at random points of a recorded run
    Cuts(cuts::Args),
    /// A full disk, before and after the start
    Enospc(checks::enospc::Args),
    /// The Nth write or fsync of the disk fails
    Eio(checks::eio::Args),
    /// The disk holds every write and fsync for a while
    Stall(checks::stall::Args),
    /// A file system that is, or becomes, read-only
    Readonly(checks::readonly::Args),
    /// Damage to every file of the store
    Corrupt(checks::corrupt::Args),
    /// Disk, memory and time to open over many turnovers of the retention
    Retention(checks::retention::Args),
    /// A wall clock that jumps by years
    Clock(checks::clock::Args),
    /// Everything, one after the other
    All(checks::all::Args),
    /// Part of `cuts --control`: writes to sled with flush alone
    #[command(hide = true)]
    ControlWrite(cuts::control::WriteArgs),
    /// Part of `cuts --control`: reads what was written
    #[command(hide = true)]
    ControlVerify(cuts::control::VerifyArgs),
}

/// What every check needs.
pub struct Rig {
    pub picket: PathBuf,
    /// Memory-backed where there is such a thing; emptied by whoever made it.
    pub scratch: PathBuf,
    pub seed: u64,
}

impl Rig {
    pub fn launch(&self, state_dir: &Path) -> Launch {
        Launch::on(&self.picket, state_dir)
    }

    /// A daemon whose log keeps so many records.
    pub fn launch_keeping(&self, state_dir: &Path, max_records: u64) -> Launch {
        self.launch(state_dir).args(["--log-max-records", &max_records.to_string()])
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::ControlWrite(args) => cuts::control::write(&args).map(|()| ExitCode::SUCCESS),
        Command::ControlVerify(args) => cuts::control::verify(&args).map(|()| ExitCode::SUCCESS),
        _ => sandbox::enter(|scratch| check(&cli, scratch)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("picket-faults: {error:#}");
        ExitCode::from(2)
    })
}

fn check(cli: &Cli, scratch: PathBuf) -> anyhow::Result<ExitCode> {
    let picket = match &cli.picket {
        Some(picket) => picket.clone(),
        None => std::env::current_exe()?.with_file_name("picket"),
    };
    let picket = picket.canonicalize().with_context(|| format!("no {}", picket.display()))?;
    let rig = Rig { picket, scratch, seed: cli.seed };
    let outcome = run(&rig, &cli.command)?;
    println!("{}", outcome.line());
    Ok(if outcome.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(rig: &Rig, command: &Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Kill9(args) => checks::kill9::run(rig, args),
        Command::Cuts(args) => cuts::run(rig, args),
        Command::Enospc(args) => checks::enospc::run(rig, args),
        Command::Eio(args) => checks::eio::run(rig, args),
        Command::Stall(args) => checks::stall::run(rig, args),
        Command::Readonly(args) => checks::readonly::run(rig, args),
        Command::Corrupt(args) => checks::corrupt::run(rig, args),
        Command::Retention(args) => checks::retention::run(rig, args),
        Command::Clock(args) => checks::clock::run(rig, args),
        Command::All(args) => checks::all::run(rig, args),
        Command::ControlWrite(_) | Command::ControlVerify(_) => {
            unreachable!("main runs these itself")
        }
    }
}
