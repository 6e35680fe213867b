//! The way to stdout.

use std::io::Write;

use super::error::CliError;

/// Writes the text, where a closed pipe is an error rather than a panic.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(CliError::io("cannot write to stdout"))
}
