//! `picket serve`: the daemon.

use clap::{Args, Command};

use super::error::CliError;
use super::global::Global;
use crate::config::{Former, Settings, Sources, Surroundings};
use crate::diagnostics;
use crate::life::{self, RunError, Sockets};
use crate::os::{self, Signals};
use picket_base::private;

pub fn run(settings: Settings, global: &Global, former: &[Former]) -> Result<(), CliError> {
    os::keep_heap_small();
    private::make_files_private();
    // Before any thread starts: each inherits the mask.
    let signals = Signals::block().map_err(CliError::io("cannot block signals"))?;
    let sockets = Sockets::take().map_err(RunError::Sockets)?;
    let output = diagnostics::init(global.messages.level, global.messages.format)
        .map_err(CliError::io("cannot start the output of messages"))?;
    for former in former {
        tracing::warn!("{former}");
    }
    let surroundings = Surroundings::from_environment();
    let sources = Sources { flags: settings, file: global.config.clone(), surroundings };
    let config = sources.load()?;
    warn_of_unknown_environment();
    Ok(life::run(config, &sources, signals, sockets, output.lines())?)
}

/// A misspelt variable is only warned about: Kubernetes sets `PICKET_…` variables of its own for
/// a service of that name.
fn warn_of_unknown_environment() {
    let serve = Settings::augment_args(Global::augment_args(Command::new("serve")));
    let known: Vec<_> = serve.get_arguments().filter_map(|arg| arg.get_env()).collect();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let injected = text.starts_with("PICKET_SERVICE_") || text.starts_with("PICKET_PORT");
        if text.starts_with("PICKET_") && !injected && !known.contains(&name.as_os_str()) {
            tracing::warn!(variable = %text, "unknown variable in the environment, ignored");
        }
    }
}
