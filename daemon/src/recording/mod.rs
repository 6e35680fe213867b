//! Records on their way to the medium: numbered under a lock, committed in groups by the thread that
//! owns the log.

pub mod batch;
mod owner;

pub use owner::{Appended, Durability, LogWriter, Promise, Unlogged, WriterConfig};
