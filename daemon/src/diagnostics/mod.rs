//! Where the daemon's own messages go: the journal, a terminal, or JSON lines; how much of a storm
//! gets through. The only room that names the systemd crate.

#[cfg(feature = "journald")]
mod journal;
mod lines;
mod message;
mod output;
mod rate_limit;

pub use output::{LogOutput, MessageFormat, MessageLevel, init, stderr_is_the_journal};
