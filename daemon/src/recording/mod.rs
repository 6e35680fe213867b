//! Records on their way to the medium: numbered under a lock, committed in groups by the thread that
//! owns the log.

pub mod batch;
mod batch_shares;
mod durability;
mod handle;
mod metrics;
mod owner;
mod rate;
mod resent;
mod wear;
mod weight;
mod wire;

pub use durability::{Durability, Promise};
pub use handle::{Appended, LogWriter, Source, Unlogged};
pub use metrics::{LogMetrics, watch_standing};
pub use owner::{Owner, WriterConfig, open_log};
pub use rate::{Rates, TooFast};
pub use resent::BatchKey;
pub use wear::watch_wear;
