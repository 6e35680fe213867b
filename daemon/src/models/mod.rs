//! How the model changes while the daemon serves: what is offered is tried, takes over between two requests,
//! is watched, and goes where it is worse than the one before it.
//!
//! - `trial` loads a model in a process of its own, `gate` says whether a version may serve.
//! - `comparison` says from pictures that two models have seen whether one is worse.

mod comparison;
mod trial;

pub use trial::{load_model, within_limits};
