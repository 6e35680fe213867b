//! Who may use the API and see the daemon's files, and what its limits are about to remove.

use crate::cli::source;
use crate::config::Config;
use crate::life::{file_modes, token_memory};

use super::finding::Finding;

/// `daemon` is the process of the service, where it runs.
pub fn check(config: &Config, daemon: Option<u32>) -> Vec<Finding> {
    [Some(api(config, daemon)), state_dir(config), limits(config)].into_iter().flatten().collect()
}

fn api(config: &Config, daemon: Option<u32>) -> Finding {
    let listen = &config.api.listen;
    if config.api.token_file.is_some() {
        return Finding::ok("api_access", format!("{listen} asks for a token"));
    }
    if let Err(error) = token_memory::check(&config.state_dir, false) {
        // It would not run without the token: it has the credential, which is nobody else's to see.
        if daemon.is_some() {
            return Finding::ok("api_access", format!("{listen} asks for the service's own token"));
        }
        let advice = "set [api] token_file, or run picket config forget-token if that is meant";
        return Finding::fail("api_access", picket_base::chain(&error), advice);
    }
    if config.api.is_open_unasked() {
        let fact = format!("without a token everybody who reaches {listen} may write to the log");
        let advice = "set [api] token_file, or [api] open = true if that is meant";
        return Finding::warn("api_access", fact, advice);
    }
    Finding::ok(
        "api_access",
        format!("{listen} asks for no token, as is meant or nobody else reaches it"),
    )
}

fn state_dir(config: &Config) -> Option<Finding> {
    let mode = file_modes::open_mode(&config.state_dir)?;
    let fact = format!("{} has mode {mode:o}", config.state_dir.display());
    Some(Finding::warn("permissions", fact, "chmod 700, unless others are meant to look into it"))
}

fn limits(config: &Config) -> Option<Finding> {
    let removal = source::removal(&config.log_dir(), config.log.retention())?;
    let fact = format!("the limits of [log] {removal}");
    if !removal.is_large() {
        return Some(Finding::ok("log_limits", fact));
    }
    let advice = "raise them, or: the next restart does it, or picket config reload --yes";
    Some(Finding::warn("log_limits", fact, advice))
}
