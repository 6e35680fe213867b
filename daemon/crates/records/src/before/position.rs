//! Where the log stands. It knows no file.

use serde::{Deserialize, Serialize};

use crate::format::Link;

/// Where the log stands after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The oldest record that retention has left.
    pub(crate) first_id: u64,
    /// The number after the newest committed record.
    pub(crate) next_id: u64,
    /// Its link.
    pub(crate) link: Link,
}
