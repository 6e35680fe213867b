//! Where the daemon's own messages go: the journal, a terminal, or JSON lines; how much of a storm
//! gets through. The only room that names the systemd crate.

#[cfg(feature = "journald")]
mod journal;
mod lines;
mod message;
mod metrics;
mod output;
mod panics;
mod queue;
mod rate_limit;
mod writer;

pub use metrics::count_lost;
pub use output::{LogOutput, MessageFormat, MessageLevel, init, stderr_is_the_journal};
pub use queue::Lines;
pub use writer::say_last;
