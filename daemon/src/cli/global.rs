//! The flags that every command takes, and the configuration that they lead to.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Settings, Surroundings};
use crate::diagnostics::{LogFormat, LogLevel};

#[derive(Args)]
pub struct Global {
    /// TOML file with any of the settings; flags and environment come before it
    #[arg(long, global = true, env = "PICKET_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is written to stderr
    #[arg(
        long,
        global = true,
        env = "PICKET_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: LogLevel,
    /// In which form `serve` writes it
    #[arg(
        long,
        global = true,
        env = "PICKET_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto"
    )]
    pub log_format: LogFormat,
}

/// The configuration of a command with these settings.
///
/// # Errors
/// A configuration that can't be read, or is refused.
pub fn load(settings: Settings, global: &Global) -> Result<Config, ConfigError> {
    Config::load(settings, global.config.as_deref(), &Surroundings::from_environment())
}
