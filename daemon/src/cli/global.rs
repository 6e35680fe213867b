//! The flags that every command takes, and the configuration that they lead to.

use std::path::PathBuf;

use clap::Args;

use super::messages::Messages;
use crate::config::{Config, ConfigError, Former, Settings, Surroundings};

#[derive(Args)]
pub struct Global {
    /// TOML file with any of the settings; flags and environment come before it
    #[arg(long, global = true, env = "PICKET_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub messages: Messages,
}

/// The configuration of a command with these settings; warns of former names in the file.
///
/// # Errors
/// A configuration that can't be read, or is refused.
pub fn load(settings: Settings, global: &Global) -> Result<Config, ConfigError> {
    let file = global.config.as_deref();
    let (config, former) = Config::load(settings, file, &Surroundings::from_environment())?;
    warn(&former);
    Ok(config)
}

/// Warns whoever runs a command; `serve` warns in its messages instead.
pub fn warn(former: &[Former]) {
    for former in former {
        eprintln!("picket: {}", picket_base::printable(&former.to_string()));
    }
}
