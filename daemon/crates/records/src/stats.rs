//! Counters over the records that the log holds now, kept up with every append and removal so
//! that asking for them costs the same for ten records and for a million.

use super::log::Stream;
use super::names::Names;
use super::origin::Origin;
use super::tally::Tally;

/// Equal, at every commit, to what a full scan of the log would count, as long as no more names are in it
/// than are counted each for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub total: u64,
    pub defects: u64,
    /// Sum over all records, µs: an integer, so that adding and removing never drifts.
    pub inference_us: u64,
    /// Records that this box has made of its own, and those that others have reported, by the device that is
    /// named.
    pub by_device: Names,
    pub by_reported_device: Names,
    pub by_model: Names,
    /// Whether the whole log was counted: right after a start with a large log it may not be yet.
    pub complete: bool,
}

impl Stats {
    pub fn add(&mut self, origin: &Origin, inference_us: u64, defect: bool) {
        self.count(Stream::Own, origin, Tally { records: 1, defects: defect.into(), inference_us });
    }

    /// Counts records of one origin.
    pub(crate) fn count(&mut self, stream: Stream, origin: &Origin, tally: Tally) {
        if tally.records == 0 {
            return;
        }
        self.total += tally.records;
        self.defects += tally.defects;
        self.inference_us = self.inference_us.saturating_add(tally.inference_us);
        if let Some(device_id) = &origin.device_id {
            self.devices(stream).add(device_id, tally.records);
        }
        self.by_model.add(&origin.model_name, tally.records);
    }

    pub fn remove(&mut self, origin: &Origin, inference_us: u64, defect: bool) {
        self.uncount(
            Stream::Own,
            origin,
            Tally { records: 1, defects: defect.into(), inference_us },
        );
    }

    /// Takes records of one origin out again.
    pub(crate) fn uncount(&mut self, stream: Stream, origin: &Origin, tally: Tally) {
        self.total = self.total.saturating_sub(tally.records);
        self.defects = self.defects.saturating_sub(tally.defects);
        self.inference_us = self.inference_us.saturating_sub(tally.inference_us);
        if let Some(device_id) = &origin.device_id {
            self.devices(stream).remove(device_id, tally.records);
        }
        self.by_model.remove(&origin.model_name, tally.records);
    }

    fn devices(&mut self, stream: Stream) -> &mut Names {
        match stream {
            Stream::Own => &mut self.by_device,
            Stream::Reported => &mut self.by_reported_device,
        }
    }

    pub fn average_inference_ms(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        self.inference_us as f64 / self.total as f64 / 1e3
    }
}
