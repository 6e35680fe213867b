//! Attacks on a running daemon: slow clients, malformed requests, more predictions than it can make.
//! Each ends with what was measured, and with whether it is within the goal.

mod malformed;
mod mutate;
mod probes;
mod saturate;
mod schema;
mod slow;
mod target;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::verdict::Verdict;

#[derive(Parser)]
#[command(name = "attack")]
struct Cli {
    /// The daemon's binary
    #[arg(long, global = true, default_value = "target/release/picket")]
    picket: PathBuf,
    /// Minutes or seconds
    #[arg(long, global = true, value_enum, default_value = "ci")]
    size: Size,
    #[command(subcommand)]
    attack: Attack,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    Ci,
    Full,
}

#[derive(Subcommand)]
enum Attack {
    /// Slow heads, slow bodies and answers never read, while the probes are measured; then SIGTERM
    Slow,
    /// Mutated requests: each is refused with a 4xx and a reason
    Malformed {
        /// Repeats a run
        #[arg(long)]
        seed: Option<u64>,
    },
    /// As many predictions as the daemon can make, while the probes are measured
    Saturate,
    /// schemathesis on the API's own description
    Schema {
        /// schemathesis' command
        #[arg(long)]
        schemathesis: PathBuf,
    },
    /// slow, malformed and saturate
    All,
}

fn main() -> anyhow::Result<ExitCode> {
    let Cli { picket, size, attack } = Cli::parse();
    let runs: Vec<Attack> = match attack {
        Attack::All => vec![Attack::Saturate, Attack::Slow, Attack::Malformed { seed: None }],
        one => vec![one],
    };
    let mut verdict = Verdict::default();
    for attack in runs {
        match attack {
            Attack::Slow => slow::run(&picket, size, &mut verdict)?,
            Attack::Malformed { seed } => malformed::run(&picket, size, seed, &mut verdict)?,
            Attack::Saturate => saturate::run(&picket, size, &mut verdict)?,
            Attack::Schema { schemathesis } => {
                schema::run(&picket, size, &schemathesis, &mut verdict)?;
            }
            Attack::All => unreachable!("replaced by its parts above"),
        }
    }
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
