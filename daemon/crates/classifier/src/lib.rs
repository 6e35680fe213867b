//! A model file becomes a classifier: `file` says what the file states, `graph` what tract makes of it,
//! `qconv` puts our kernels in place of tract's convolutions, `model` loads, checks and runs it. The only
//! crate that names tract; it knows nothing of requests, verdicts or the log.

#![deny(unsafe_code)]

mod engine;
mod file;
mod graph;
mod model;
mod qconv;

pub use engine::{Engine, UnknownEngine};
pub use file::Convolutions;
pub use graph::Node;
pub use model::{CLASSES, Logits, MODEL_BYTES_MAX, Model, ModelError, ModelInfo, ModelSource};
