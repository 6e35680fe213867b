//! The model registry, an MLflow server: which version it names for this box, and its files. Predictions never
//! wait for it.
//!
//! - `wanted` is what is asked for, `mlflow` how MLflow is asked and what its answers mean.
//! - `download` brings a file here whole, over links that drop; `version` all files of a version.
//! - `watch` asks now and then, and offers what is new to whoever keeps the models.

mod download;
mod mlflow;
mod version;
mod wanted;
mod watch;

pub use mlflow::Named;
pub use wanted::{Wanted, Which};
pub use watch::{Offers, RegistryWatch, STUCK_AFTER, Terms};
