//! The command line: what each command is called, what it takes, how it ends.

mod command;
mod config;
mod csv;
mod doctor;
mod error;
pub mod exit;
mod global;
mod log;
mod messages;
mod model;
mod predict;
mod serve;
mod source;
mod stdout;
mod table;
mod toml_text;

pub use command::{command, main};
