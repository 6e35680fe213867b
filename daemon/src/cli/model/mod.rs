//! `picket model inspect|check|bench|logits`.

mod bench;
mod command;
mod inspect;
mod load;
mod logits;

pub use command::{ModelCommand, run};
