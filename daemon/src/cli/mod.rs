//! The command line: what each command is called, what it takes, how it ends.

mod doctor;
mod log;
mod messages;
mod model;
mod predict;
mod source;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Config, ConfigError, Former, Settings, Sources, Surroundings};
use crate::diagnostics;
use crate::life::supervisor::{self, RunError};
use crate::life::systemd::Sockets;
use crate::os::{self, Signals};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use messages::Messages;
use picket_classifier::ModelError;
use picket_picture::DecodeError;
use picket_records::LogError;

/// Exit codes of sysexits.h.
pub mod exit {
    pub const OTHER: u8 = 1;
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const IO: u8 = 74;
    pub const CONFIG: u8 = 78;
}

/// Classifies images at the edge, keeps every prediction, tells the truth about its health.
#[derive(Parser)]
#[command(name = "picket", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// TOML file with any of the settings; flags and environment come before it
    #[arg(long, global = true, env = "PICKET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    messages: Messages,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Serve(Box<Settings>),
    /// Classify image files, with no daemon running
    Predict(predict::PredictArgs),
    /// Read the prediction log
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Look into a model
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Work with the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this machine: what keeps the daemon from working well here, and what to do
    Doctor(Box<doctor::DoctorArgs>),
    /// Print version, commit and target
    Version,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the configuration and print it complete, as a file that says the same
    Check(Box<Settings>),
}

/// What ends a command other than success; the text is printed once, by `main`.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{file}")]
    Image { file: String, source: DecodeError },
    #[error("{what}")]
    Io { what: String, source: std::io::Error },
    /// The command itself has said what is wrong.
    #[error("{0}")]
    Unsound(String),
}

impl CliError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> CliError {
        let what = what.into();
        |source| CliError::Io { what, source }
    }

    fn exit_code(&self) -> u8 {
        match self {
            CliError::Config(ConfigError::Unreadable { .. }) => exit::IO,
            CliError::Config(_) => exit::CONFIG,
            CliError::Run(
                RunError::Verdict(_) | RunError::Sockets(_) | RunError::Token(_) | RunError::Tls(_),
            ) => exit::CONFIG,
            CliError::Run(RunError::Bind(_) | RunError::Listener(_) | RunError::Log(_)) => exit::IO,
            CliError::Run(RunError::Model(error)) | CliError::Model(error) => model_exit(error),
            CliError::Log(_) | CliError::Io { .. } => exit::IO,
            CliError::Image { .. } => exit::DATA,
            CliError::Unsound(_) => exit::OTHER,
        }
    }
}

fn model_exit(error: &ModelError) -> u8 {
    match error {
        ModelError::Unreadable { .. } => exit::IO,
        ModelError::Run(_) => exit::OTHER,
        _ => exit::DATA,
    }
}

/// What the program takes, for who writes manual and completions from it (`daemon/tools/manual`).
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
            eprintln!("{severity}picket: {}", picket_base::chain(&error));
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
        Command::Serve(settings) => serve(*settings, &global, former),
        Command::Predict(args) => predict::run(args, &global),
        Command::Log(command) => log::run(command, &global),
        Command::Model(command) => model::run(command, &global),
        Command::Config(ConfigCommand::Check(settings)) => {
            let config = load(*settings, &global)?;
            let text = toml::to_string(&config).expect("a Config has no value that TOML lacks");
            print(&text)
        }
        Command::Doctor(args) => doctor::run(*args, &global),
        Command::Version => print(&format!(
            "picket {} (commit {}, target {})\n",
            crate::VERSION,
            crate::COMMIT,
            crate::TARGET
        )),
    }
}

fn serve(settings: Settings, global: &Global, former: &[Former]) -> Result<(), CliError> {
    os::keep_heap_small();
    // Before any thread starts: each inherits the mask.
    let signals = Signals::block().map_err(CliError::io("cannot block signals"))?;
    let sockets = Sockets::take().map_err(RunError::Sockets)?;
    let _output = diagnostics::init(global.messages.level, global.messages.format);
    for former in former {
        tracing::warn!("{former}");
    }
    let surroundings = Surroundings::from_environment();
    let sources = Sources { flags: settings, file: global.config.clone(), surroundings };
    let config = sources.load()?;
    warn_of_unknown_environment();
    Ok(supervisor::run(config, &sources, signals, sockets)?)
}

fn load(settings: Settings, global: &Global) -> Result<Config, ConfigError> {
    let file = global.config.as_deref();
    let (config, former) = Config::load(settings, file, &Surroundings::from_environment())?;
    warn(&former);
    Ok(config)
}

/// Tells the caller of a command; `serve` warns where its messages go.
fn warn(former: &[Former]) {
    for former in former {
        eprintln!("picket: {former}");
    }
}

/// A misspelt variable is only warned about: Kubernetes sets `PICKET_…` variables of its own for
/// a service of that name.
fn warn_of_unknown_environment() {
    let command = command();
    let serve = command.find_subcommand("serve").expect("there is a serve command");
    let known: Vec<_> = command
        .get_arguments()
        .chain(serve.get_arguments())
        .filter_map(|arg| arg.get_env())
        .collect();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let injected = text.starts_with("PICKET_SERVICE_") || text.starts_with("PICKET_PORT");
        if text.starts_with("PICKET_") && !injected && !known.contains(&name.as_os_str()) {
            tracing::warn!(variable = %text, "unknown variable in the environment, ignored");
        }
    }
}

/// Writes to stdout, where a closed pipe is an error rather than a panic.
fn print(text: &str) -> Result<(), CliError> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(CliError::io("cannot write to stdout"))
}
