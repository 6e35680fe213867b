//! What records come to, in numbers. It knows no record but by its stored form.

use serde::{Deserialize, Serialize};

use crate::format;

/// What records come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) defects: u64,
    /// An integer, so that adding and removing never drifts.
    pub(crate) inference_us: u64,
}

impl Tally {
    pub(crate) fn of(stored: &format::Stored) -> Tally {
        Tally { records: 1, defects: stored.defect.into(), inference_us: stored.inference_us }
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.records += other.records;
        self.defects += other.defects;
        self.inference_us = self.inference_us.saturating_add(other.inference_us);
    }

    pub(crate) fn remove(&mut self, other: Tally) {
        self.records = self.records.saturating_sub(other.records);
        self.defects = self.defects.saturating_sub(other.defects);
        self.inference_us = self.inference_us.saturating_sub(other.inference_us);
    }
}
