//! The commands about models.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::bench::{self, BenchArgs};
use super::describe::{self, DescribeArgs, StampArgs};
use super::inspect::{self, CheckArgs, InspectArgs};
use super::installed::{self, InstallArgs, ListArgs, PinArgs, StateArgs};
use super::logits::{self, LogitsArgs};
use crate::cli::error::CliError;
use crate::cli::global::Global;
use crate::cli::stdout::print;
use crate::models;

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Print what the model says about itself
    Inspect(InspectArgs),
    /// Say whether a model can serve, and exactly why not
    Check(CheckArgs),
    /// Write a model.toml: what is known of a model, with what must be filled in marked
    Describe(DescribeArgs),
    /// Put all that is known of a model into its ONNX file, so that the file alone serves
    Stamp(StampArgs),
    /// Measure inference alone, without decoding or HTTP
    Bench(BenchArgs),
    /// Print the logits of raw images, to compare with another runtime
    Logits(LogitsArgs),
    /// Install a model: try it on this box, and have it serve
    Install(InstallArgs),
    /// List the models of this box: which serves, and which were refused why
    List(ListArgs),
    /// Go back to the model before
    Rollback(StateArgs),
    /// Have an installed version serve, whatever registry and inbox offer
    Pin(PinArgs),
    /// Let registry and inbox change the model again
    Unpin(StateArgs),
    /// Load a model within the limits of a trial; the daemon's own use
    #[command(hide = true)]
    Trial { path: PathBuf },
}

pub fn run(command: ModelCommand, global: &Global) -> Result<(), CliError> {
    match command {
        ModelCommand::Inspect(args) => inspect::inspect(args, global),
        ModelCommand::Check(args) => inspect::check(args, global),
        ModelCommand::Describe(args) => describe::describe(&args),
        ModelCommand::Stamp(args) => describe::stamp(&args),
        ModelCommand::Bench(args) => bench::run(args, global),
        ModelCommand::Logits(args) => logits::run(args, global),
        ModelCommand::Install(args) => installed::install(args, global),
        ModelCommand::List(args) => installed::list(args, global),
        ModelCommand::Rollback(args) => installed::rollback(args, global),
        ModelCommand::Pin(args) => installed::pin(args, global),
        ModelCommand::Unpin(args) => installed::unpin(args, global),
        ModelCommand::Trial { path } => trial(&path),
    }
}

/// Says what came of a trial in a form for the process that asked for it, and why in one for people.
fn trial(path: &Path) -> Result<(), CliError> {
    let (outcome, tried) = models::within_limits(path);
    print(&serde_json::to_string(&outcome).expect("an outcome has only what JSON has"))?;
    Ok(tried?)
}
