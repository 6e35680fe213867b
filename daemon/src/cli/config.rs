//! `picket config check|reload|forget-token`: the configuration complete, what it would lead to, and what
//! is done on purpose only.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::global::{Global, load};
use super::source;
use super::stdout::{print, print_toml};
use crate::config::{Config, Settings};
use crate::life::token_memory;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and print it complete, as a file that says the same
    Check(Box<Settings>),
    /// Have the running daemon read its configuration again, and print what came of it
    Reload(ReloadArgs),
    /// Forget that a token was configured, so that the daemon starts without one
    ForgetToken(StateArgs),
}

#[derive(Args)]
pub struct StateArgs {
    /// Directory that holds the prediction log, in log/
    #[arg(long, value_name = "DIR", env = "PICKET_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Args)]
pub struct ReloadArgs {
    /// Take lowered limits of the log, whatever they remove
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    state: StateArgs,
}

pub fn run(command: ConfigCommand, global: &Global) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check(settings) => check(*settings, global),
        ConfigCommand::Reload(args) => reload(args, global),
        ConfigCommand::ForgetToken(args) => forget_token(args, global),
    }
}

fn check(settings: Settings, global: &Global) -> Result<(), CliError> {
    let config = load(settings, global)?;
    print_toml(&toml::to_string(&config).expect("a Config has no value that TOML lacks"))?;
    let removal = source::removal(&config.log_dir(), config.log.retention());
    if let Some(removal) = removal.filter(|removal| removal.is_large()) {
        eprintln!(
            "picket: the limits of [log] {removal}: at the next restart, or by picket config reload --yes"
        );
    }
    if config.api.token_file.is_none() {
        token_memory::check(&config.state_dir, false)?;
    }
    Ok(())
}

fn reload(args: ReloadArgs, global: &Global) -> Result<(), CliError> {
    let config = args.state.config(global)?;
    let query = if args.yes { "?yes=true" } else { "" };
    let lines = source::reload(&config.log_dir(), query)?;
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    print(if lines.is_empty() { "nothing changed\n" } else { &lines })
}

fn forget_token(args: StateArgs, global: &Global) -> Result<(), CliError> {
    let dir = args.config(global)?.state_dir;
    let shown = dir.display();
    let forgotten = token_memory::forget(&dir)
        .map_err(CliError::io(format!("cannot forget the token of {shown}")))?;
    print(&if forgotten {
        format!("forgotten in {shown}: the daemon starts without a token\n")
    } else {
        format!("no token is remembered in {shown}\n")
    })
}

impl StateArgs {
    fn config(self, global: &Global) -> Result<Config, CliError> {
        Ok(load(Settings { state_dir: self.state_dir, ..Settings::default() }, global)?)
    }
}
