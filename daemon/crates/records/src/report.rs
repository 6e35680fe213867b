//! What a check of a whole log found, as `picket log verify` says it.

use std::path::Path;

use picket_base::rfc3339::{self, Precision};
use serde::{Deserialize, Serialize};

use super::before;
use super::error::LogError;
use super::log::{Findings, StoppedLog, Testimony, Witness};

/// What `picket log verify` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Sequence number of the oldest record, 0 when there is none.
    pub first: u64,
    /// Sequence number of the newest record, 0 when there is none.
    pub last: u64,
    /// Readable records.
    pub count: u64,
    /// Missing numbers, as inclusive ranges; the first 1,000 of them.
    pub gaps: Vec<[u64; 2]>,
    /// Numbers whose records can't be read; the first 1,000 of them.
    pub corrupt: Vec<u64>,
    /// Numbers whose records are not what was written, by the chain; the first 1,000 of them.
    pub altered: Vec<u64>,
    /// What had to be done to open the store, by the daemon that runs on it.
    #[serde(default)]
    pub recovered: Vec<String>,
    /// Directories beside the store that hold what version 0.1 set aside.
    pub quarantined: Vec<String>,
    pub anchor: AnchorReport,
    /// The link of the newest record, hexadecimal, and behind it that of the newest reported record once
    /// there is one: noted elsewhere, it proves the whole log later.
    pub head: String,
    /// Records that retention has taken.
    #[serde(default)]
    pub retired: u64,
    /// What the log makes of the witness that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Testimony>,
}

/// The last record that retention removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorReport {
    /// Its number, 0 when nothing was ever removed.
    pub id: u64,
    /// When it was removed, RFC 3339 by this machine's clock.
    pub moved_at: Option<String>,
}

impl VerifyReport {
    /// Whether nothing is missing, damaged or altered.
    pub fn is_sound(&self) -> bool {
        self.gaps.is_empty()
            && self.corrupt.is_empty()
            && self.altered.is_empty()
            && matches!(self.witness, None | Some(Testimony::Holds | Testimony::Retired))
    }
}

/// Reads every record of the store in `dir` and proves that none is missing, damaged or altered.
///
/// # Errors
/// As [`StoppedLog::open`].
pub fn verify_stopped(dir: &Path, witness: Option<&Witness>) -> Result<VerifyReport, LogError> {
    let findings = StoppedLog::open(dir)?.verify(witness)?;
    let quarantined = before::set_aside(dir)
        .map_err(|source| LogError::Directory { path: dir.to_path_buf(), source })?;
    Ok(VerifyReport { quarantined, ..findings.into() })
}

impl From<Findings> for VerifyReport {
    fn from(findings: Findings) -> VerifyReport {
        let at = |us: i64| {
            rfc3339::format(rfc3339::from_epoch_seconds(us as f64 / 1e6), Precision::Seconds)
        };
        let anchor =
            AnchorReport { id: findings.retired_until, moved_at: findings.retired_at_us.map(at) };
        VerifyReport {
            first: findings.first,
            last: findings.last,
            count: findings.count,
            gaps: findings.gaps,
            corrupt: findings.corrupt,
            altered: findings.altered,
            anchor,
            head: findings.head,
            retired: findings.retired,
            witness: findings.witness,
            ..VerifyReport::default()
        }
    }
}
