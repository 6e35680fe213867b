//! How far the recovery ladder may be climbed, and what was done on the way. It does none of it.

use std::ops::Range;

/// How far the ladder may be climbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Climb {
    /// Only what sled builds again by itself goes: for looking at a store.
    Derived,
    /// A damaged store is set aside.
    Quarantine,
    /// A store that the disk can't read is set aside too.
    Unreadable,
}

/// What was done to get the log open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    HalfSnapshotsRemoved(usize),
    /// sled's snapshots were removed, and why.
    SnapshotsRemoved(String),
    /// sled's configuration was removed, and why.
    ConfigurationRemoved(String),
    Quarantined {
        name: String,
        why: String,
    },
    Salvaged(u64),
    /// Numbers that were committed once and are gone.
    Lost(Range<u64>),
}

impl RecoveryStep {
    /// Labels of the metric that counts recoveries.
    pub const LABELS: [&str; 6] = [
        "half_snapshots_removed",
        "snapshots_removed",
        "configuration_removed",
        "quarantined",
        "salvaged",
        "lost",
    ];

    /// Returns the step's label, one of `LABELS`.
    pub fn label(&self) -> &'static str {
        RecoveryStep::LABELS[match self {
            RecoveryStep::HalfSnapshotsRemoved(_) => 0,
            RecoveryStep::SnapshotsRemoved(_) => 1,
            RecoveryStep::ConfigurationRemoved(_) => 2,
            RecoveryStep::Quarantined { .. } => 3,
            RecoveryStep::Salvaged(_) => 4,
            RecoveryStep::Lost(_) => 5,
        }]
    }
}

impl std::fmt::Display for RecoveryStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecoveryStep::HalfSnapshotsRemoved(count) => {
                write!(f, "half-written snapshots removed: {count}")
            }
            RecoveryStep::SnapshotsRemoved(why) => write!(f, "snapshots removed, since {why}"),
            RecoveryStep::ConfigurationRemoved(why) => {
                write!(f, "store configuration removed, since {why}")
            }
            RecoveryStep::Quarantined { name, why } => {
                write!(f, "store set aside as {name}, since {why}")
            }
            RecoveryStep::Salvaged(count) => write!(f, "records salvaged: {count}"),
            RecoveryStep::Lost(ids) => {
                write!(f, "records {} to {} are lost", ids.start, ids.end - 1)
            }
        }
    }
}
