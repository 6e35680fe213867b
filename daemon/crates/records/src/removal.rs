//! What limits would take from a log as it is now. It removes nothing.

use serde::{Deserialize, Serialize};

/// What limits would take from a log as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Records that would go.
    pub records: u64,
    /// Records that there are.
    pub of: u64,
}

impl Removal {
    /// Whether it is more than a tenth of the log: nobody should lose that by a slip of the pen.
    pub fn is_large(self) -> bool {
        u128::from(self.records) * 10 > u128::from(self.of)
    }
}

impl std::fmt::Display for Removal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "remove {} of {} records", self.records, self.of)
    }
}
