//! What keeps the daemon from starting.

use std::io;
use std::path::PathBuf;

use super::part::NotStarted;
use super::systemd::SocketsError;
use crate::http::api::TokenError;
use crate::http::listener::{BindError, TlsError};
use crate::inference::UnknownLabel;
use picket_classifier::ModelError;
use picket_models::SignatureError;
use picket_records::LogError;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot open the {name} listener")]
    Listener { name: String, source: io::Error },
    #[error(transparent)]
    Part(#[from] NotStarted),
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "no token is configured, and one was before ({} remembers it): configure it again, or run picket \
         config forget-token if the API is to be open",
        path.display()
    )]
    TokenLost { path: PathBuf },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("[model] trusted_keys")]
    Keys(#[from] SignatureError),
    #[error(transparent)]
    Verdict(#[from] UnknownLabel),
}
