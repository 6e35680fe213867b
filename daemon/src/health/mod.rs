//! Whether the daemon is alive and ready: signs of life, latches and states that others report, and
//! what is made of them. Any room may report here; this one knows none of them.

mod deadlines;
mod heartbeat;
mod log_state;
mod metrics;
mod outcomes;
mod readiness;
mod registry_state;
mod starvation;
mod state;
mod subsystem;

pub use deadlines::Deadlines;
pub use heartbeat::{Heartbeat, START_STEP_MAX, STARVED_DEADLINES, Work};
pub use log_state::LogState;
pub use metrics::HealthMetrics;
pub use outcomes::Outcome;
pub use readiness::{Check, Reason};
pub use registry_state::RegistryState;
pub use starvation::Machine;
pub use state::Health;
pub use subsystem::{Standing, Subsystem};
