//! Work that waits for threads, shared fairly between those who sent it. It knows neither the work nor
//! how it came.

mod fair;
mod lanes;

pub use fair::{Popped, Queue, Turn};
pub use lanes::{Full, Limits, Pending, QUEUE_WAIT_MAX};
