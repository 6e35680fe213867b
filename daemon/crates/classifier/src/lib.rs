//! A model file becomes a classifier. The only crate that names tract; it knows nothing of requests,
//! verdicts or the log.
//!
//! - `file` checks the file, `claims` what it says of its constants and windows, `bounds` what it may ask for;
//!   `external` reads what it keeps beside it; `qoperator`, `head`, `tail` and `guard` make of it what tract runs
//!   rightly.
//! - `card` says what is said of it and where, `golden` what is expected of it, `embedded` holds the one
//!   in the binary.
//! - `entrance` says what goes in, `integer` makes whole parts of the graph nodes of our own, `graph` says what
//!   tract makes of the rest, `engine` names who computes, `run` runs the graph.
//! - `contents` says which files a model consists of, before it is loaded.
//! - `model` loads, checks and proves it, `describe` writes its card; `info`, `scores`, `output` and `error` are what it says.

#![deny(unsafe_code)]

mod bounds;
mod card;
mod claims;
mod contents;
mod describe;
mod embedded;
mod engine;
mod entrance;
mod error;
mod external;
mod file;
mod golden;
mod graph;
mod guard;
mod head;
#[cfg(test)]
mod hostile_nets;
mod info;
mod integer;
mod model;
mod output;
mod proto;
mod qoperator;
mod run;
mod scores;
#[cfg(test)]
mod small_nets;
mod tail;

pub use card::{Line, stated_name};
pub use contents::{Contents, contents};
pub use describe::{describe, stamped};
pub use engine::{Engine, UnknownEngine};
pub use error::{MODEL_BYTES_MAX, ModelError};
pub use file::Convolutions;
pub use info::{ModelInfo, VerdictDefaults};
pub use model::{Model, ModelSource};
pub use output::{CLASSES_MAX, Kind, Output};
pub use run::{Node, Times};
pub use scores::Scores;
