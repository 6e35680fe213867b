//! The way to stdout.

use std::io::Write;

use picket_base::{printable, printable_json};

use super::error::CliError;
use super::toml_text::printable_toml;

/// Writes lines for a person. What a terminal would obey is escaped.
pub fn print(lines: &str) -> Result<(), CliError> {
    let shown: Vec<String> = lines.split('\n').map(printable).collect();
    write(&shown.join("\n"))
}

/// Writes JSON. What a terminal would obey is escaped in its own way.
pub fn print_data(text: &str) -> Result<(), CliError> {
    let shown: Vec<String> = text.split('\n').map(printable_json).collect();
    write(&shown.join("\n"))
}

/// Writes TOML. What a terminal would obey is escaped in its own way.
pub fn print_toml(text: &str) -> Result<(), CliError> {
    write(&printable_toml(text))
}

/// Writes the text, where a closed pipe is an error rather than a panic.
fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(CliError::io("cannot write to stdout"))
}
