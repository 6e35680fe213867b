//! How the model changes while the daemon serves: what is offered is tried, takes over between two requests,
//! is watched, and goes where it is worse than the one before it.
//!
//! - `offer` is a version that somebody brings, `inbox` a directory of them, `wish` what an operator asks for.
//! - `trial` loads a model in a process of its own, `gate` says whether a version may serve.
//! - `keeper` is the owner of it all, `metrics` what is counted.

mod gate;
mod inbox;
mod keeper;
mod metrics;
mod offer;
mod trial;
mod wish;

pub use gate::{Admitted, Gate, NotAdmitted};
pub use inbox::Inbox;
pub use keeper::{Keeper, Maker, STUCK_AFTER, Surroundings, Terms};
pub use metrics::ModelMetrics;
pub use offer::{Offer, Way};
pub use trial::{Trial, load_model, within_limits};
pub use wish::{Denied, Granted, Wish, Wishes};
