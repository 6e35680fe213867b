//! `picket config check`: the configuration, complete.

use clap::Subcommand;

use super::error::CliError;
use super::global::{Global, load};
use super::stdout::print_data;
use crate::config::Settings;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and print it complete, as a file that says the same
    Check(Box<Settings>),
}

pub fn run(command: ConfigCommand, global: &Global) -> Result<(), CliError> {
    let ConfigCommand::Check(settings) = command;
    let config = load(*settings, global)?;
    print_data(&toml::to_string(&config).expect("a Config has no value that TOML lacks"))
}
