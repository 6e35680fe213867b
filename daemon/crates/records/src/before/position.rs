//! Where the log stands. It knows no file.

use serde::{Deserialize, Serialize};

use super::format::Link;

/// Where the log stands after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The oldest record that retention has left.
    pub first_id: u64,
    /// The number after the newest committed record.
    pub next_id: u64,
    /// Its link.
    pub link: Link,
}
