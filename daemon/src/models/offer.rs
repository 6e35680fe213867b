//! A version that somebody offers.

use std::path::PathBuf;

/// Which way it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A person brings it: it is looked at however often it was refused.
    Operator,
    Inbox,
    Registry,
}

/// A version that somebody offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// An ONNX file or a bundle's directory.
    pub path: PathBuf,
    pub way: Way,
    /// What people know it by until its files say more.
    pub called: String,
    /// By what the registry or the inbox knows it from others; none from a person, who brings it once.
    pub identity: Option<String>,
    /// SHA-256 that the registry states for its ONNX file, lower-case hex.
    pub sha256: Option<String>,
}
