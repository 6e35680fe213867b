//! `picket model inspect|check|describe|stamp|bench|logits`.

mod bench;
mod command;
mod describe;
mod inspect;
mod installed;
mod load;
mod logits;

pub use command::{ModelCommand, run};
