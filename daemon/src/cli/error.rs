//! What ends a command other than success, and with which exit code.

use super::exit;
use crate::config::ConfigError;
use crate::life::{RunError, WorkshopError};
use picket_classifier::ModelError;
use picket_models::StoreError;
use picket_picture::DecodeError;
use picket_records::LogError;

/// The text is printed once, by `main`.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
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
    /// An export that whoever reads it has not got whole.
    #[error("the export was cut after {records} records")]
    Cut { records: u64, source: std::io::Error },
    /// What was given is at fault, and the text says how.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Models(#[from] StoreError),
    /// The command itself has said what is wrong.
    #[error("{0}")]
    Unsound(String),
}

impl CliError {
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> CliError {
        let what = what.into();
        |source| CliError::Io { what, source }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Config(ConfigError::Unreadable { .. }) => exit::IO,
            CliError::Config(_) => exit::CONFIG,
            CliError::Run(
                RunError::Verdict(_)
                | RunError::Sockets(_)
                | RunError::Token(_)
                | RunError::TokenLost { .. }
                | RunError::Tls(_)
                | RunError::Keys(_),
            ) => exit::CONFIG,
            CliError::Run(
                RunError::Bind(_)
                | RunError::Listener { .. }
                | RunError::Part(_)
                | RunError::Log(_),
            ) => exit::IO,
            CliError::Run(RunError::Model(error)) | CliError::Model(error) => model_exit(error),
            CliError::Log(_) | CliError::Io { .. } | CliError::Cut { .. } => exit::IO,
            CliError::Models(_) => exit::IO,
            CliError::Image { .. } | CliError::Refused(_) => exit::DATA,
            CliError::Unsound(_) => exit::OTHER,
        }
    }
}

impl From<WorkshopError> for CliError {
    fn from(error: WorkshopError) -> CliError {
        match error {
            WorkshopError::Store(error) => error.into(),
            WorkshopError::Run(error) => error.into(),
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
