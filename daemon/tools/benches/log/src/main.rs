//! Measures what a durable record costs: Picket's prediction log beside SQLite, redb and fjall, with
//! the same bytes, on the same disk, in turns. Knows Picket only as its library's PredictionLog.

mod disk;
mod engine;
mod machine;
mod measure;
mod meter;
mod plan;
mod records;
mod report;
mod stop;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::disk::Disk;
use crate::engine::Kind;
use crate::plan::Plan;
use crate::records::Records;
use crate::report::Report;
use crate::stop::Stop;

#[derive(Parser)]
#[command(about = "Durable records a second, commit latency and device bytes a record", version)]
struct Cli {
    /// Where the disk's image, or without root the stores, are kept while it runs
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Under two minutes instead of some twelve; the numbers are rougher
    #[arg(long)]
    quick: bool,
    /// Stores in the directory itself, even where a loop device could be had
    #[arg(long)]
    no_loop: bool,
    /// Only these engines, as to profile one
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    engine: Vec<Kind>,
    /// Writes the results as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("picket-log-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let scratch = tempfile::Builder::new().prefix("picket-log-bench-").tempdir_in(&cli.dir)?;
    let disk = if cli.no_loop {
        Disk::plain(scratch.path(), "asked for")
    } else {
        Disk::open(scratch.path())?
    };
    // After the disk, which wants one thread; before the engines, whose threads shall leave the
    // signals alone.
    let stop = Stop::on_signal()?;
    let plan = if cli.quick { Plan::quick() } else { Plan::full() };
    let records = Records::made()?;
    let mut report = Report::new(machine::describe(), disk.describe(), &records);
    for round in 0..plan.rounds {
        for load in plan.loads(round) {
            let asked = |kind: &Kind| cli.engine.is_empty() || cli.engine.contains(kind);
            for kind in Kind::ALL.into_iter().filter(asked) {
                eprintln!("round {}: {kind}, {load}", round + 1);
                let sample = measure::measure(&disk, kind, load, &plan, &records, &stop)
                    .with_context(|| format!("{kind}, {load}"))?;
                report.add(kind, load, sample);
            }
        }
    }
    print!("{}", report.render());
    if let Some(file) = &cli.json {
        let json = serde_json::to_vec_pretty(&report.json())?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
