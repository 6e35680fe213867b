//! The command line as a whole: what each command is called, which one runs, how it ends.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::config::{self, ConfigCommand};
use super::doctor::{self, DoctorArgs};
use super::error::CliError;
use super::exit;
use super::global::{Global, warn};
use super::log::{self, LogCommand};
use super::messages;
use super::model::{self, ModelCommand};
use super::predict::{self, PredictArgs};
use super::serve;
use super::stdout::print;
use crate::config::{Former, Settings};
use crate::diagnostics;
use picket_base::printable;

/// Classifies images at the edge, keeps every prediction, tells the truth about its health.
#[derive(Parser)]
#[command(name = "picket", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Serve(Box<Settings>),
    /// Classify image files, with no daemon running
    Predict(PredictArgs),
    /// Read the prediction log
    #[command(subcommand)]
    Log(LogCommand),
    /// Look into a model
    #[command(subcommand)]
    Model(ModelCommand),
    /// Work with the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this machine: what keeps the daemon from working well here, and what to do
    Doctor(Box<DoctorArgs>),
    /// Print version, commit and target
    Version,
}

/// What the program takes, for `daemon/tools/manual`, which writes manual and completions from it.
pub fn command() -> clap::Command {
    Cli::command()
}

pub fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))?;
        Ok((cli, messages::former_flags(&matches)))
    });
    let (cli, former) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too; a closed pipe is no reason to complain.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    match run(cli, &former) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has seen enough.
        Err(CliError::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Journald takes the number as the priority (sd-daemon(3)).
            let severity = if diagnostics::stderr_is_the_journal() { "<3>" } else { "" };
            let text = printable(&picket_base::chain(&error));
            diagnostics::say_last(format!("{severity}picket: {text}\n"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli, former: &[Former]) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    if !matches!(command, Command::Serve(_)) {
        warn(former);
    }
    match command {
        Command::Serve(settings) => serve::run(*settings, &global, former),
        Command::Predict(args) => predict::run(args, &global),
        Command::Log(command) => log::run(command, &global),
        Command::Model(command) => model::run(command, &global),
        Command::Config(command) => config::run(command, &global),
        Command::Doctor(args) => doctor::run(*args, &global),
        Command::Version => print(&format!(
            "picket {} (commit {}, target {})\n",
            crate::VERSION,
            crate::COMMIT,
            crate::TARGET
        )),
    }
}
