//! What is kept of one prediction, and the JSON that shows it. Knows nothing of how it is stored.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::detections::Detections;
use super::origin::Origin;
use super::top::Top;
use picket_base::clock::Stamp;

/// Longest name of a model, a version, a device or a label, bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;

/// What an allocation takes beside its bytes, bytes on average: glibc keeps 8 and rounds up to 16.
const ROUNDING_BYTES: usize = 16;

/// A prediction on its way into the log, before it has a sequence number.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub origin: Arc<Origin>,
    /// When it was handed to the log, both clocks of this machine.
    pub at: Stamp,
    /// Duration of the inference, µs.
    pub inference_us: u64,
    pub defect: bool,
    pub body: Body,
}

impl Entry {
    /// Returns the bytes of memory that it takes, its origin excepted, which neighbours share.
    pub fn held_bytes(&self) -> usize {
        let body = match &self.body {
            Body::Predicted(predicted) => {
                // A label of its own, where it isn't one of its origin's, is no longer than a name.
                predicted.label.capacity() + predicted.top.capacity() * size_of::<Top>()
            }
            Body::Reported(reported) => reported.held_bytes(),
        };
        size_of::<Entry>() + body
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Made by this daemon's model.
    Predicted(Predicted),
    /// Reported by another device through `POST /log`.
    Reported(Box<Reported>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    pub class: u16,
    pub label: String,
    pub uncertain: bool,
    /// How many classes the model has, 1..=10,000.
    pub classes: u16,
    /// The most probable classes, the most probable first, as `top` gives them: at most `TOP_MAX` are
    /// kept. What was read from format 2 has all of its classes.
    pub top: Vec<Top>,
}

impl Predicted {
    /// The probability of the predicted class, 0..=1.
    pub fn confidence(&self) -> f32 {
        self.top.iter().find(|top| top.class == self.class).map_or(0.0, |top| top.confidence)
    }

    /// The probabilities of all classes, in their order; none where the record has not all of them.
    fn probabilities(&self) -> Option<Vec<f32>> {
        if self.top.len() != usize::from(self.classes) {
            return None;
        }
        let probability = |class| self.top.iter().find(|top| top.class == class);
        (0..self.classes).map(|class| Some(probability(class)?.confidence)).collect()
    }
}

/// As the device stated it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    pub image_id: String,
    /// Epoch seconds by the device's clock.
    pub timestamp: f64,
    pub inference_time_ms: f64,
    pub detections: Detections,
    pub confidence_scores: Vec<f64>,
    pub processing_notes: Option<String>,
}

impl Reported {
    /// Returns the bytes of memory that it takes with all that is in it; the allocator rounds each part up.
    fn held_bytes(&self) -> usize {
        let notes = self.processing_notes.as_ref().map_or(0, String::capacity);
        size_of::<Reported>()
            + self.image_id.capacity()
            + notes
            + self.detections.held_bytes()
            + self.confidence_scores.capacity() * size_of::<f64>()
            + 5 * ROUNDING_BYTES
    }
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Sequence number: contiguous from 1 over the life of the store.
    pub id: u64,
    pub entry: Entry,
    /// Wall minus monotonic clock of the record's boot, µs, once that boot knew the time; what
    /// tells the true time of a record from before.
    pub boot_offset_us: Option<i64>,
}

impl LogRecord {
    /// Epoch seconds at which the prediction was made, by the clock of whoever made it.
    pub fn timestamp(&self) -> f64 {
        match &self.entry.body {
            Body::Predicted(_) => self.wall_us() as f64 / 1e6,
            Body::Reported(reported) => reported.timestamp,
        }
    }

    /// Epoch µs at which the record was made: the wall clock's own word where it was
    /// synchronised, else reckoned from the monotonic clock where the boot learnt the time later.
    pub fn wall_us(&self) -> i64 {
        let at = &self.entry.at;
        match self.boot_offset_us {
            Some(offset) if !at.synchronised => offset.saturating_add_unsigned(at.monotonic_us),
            _ => at.wall_us,
        }
    }

    /// How far `wall_us` can be trusted.
    pub fn clock(&self) -> &'static str {
        match (self.entry.at.synchronised, self.boot_offset_us) {
            (true, _) => "synchronised",
            (false, Some(_)) => "reckoned",
            (false, None) => "unsynchronised",
        }
    }

    /// Whether a prediction or any detection carries this label.
    pub fn has_label(&self, label: &str) -> bool {
        match &self.entry.body {
            Body::Predicted(predicted) => predicted.label == label,
            Body::Reported(reported) => reported.detections.iter().any(|d| d.class == label),
        }
    }
}

/// The JSON object of `GET /predictions` and of `picket log`: one flat object, `source` says
/// which of its fields to expect.
impl Serialize for LogRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Entry { origin, at, inference_us, defect, body } = &self.entry;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("timestamp", &self.timestamp())?;
        map.serialize_entry("edge_device_id", &origin.device_id)?;
        map.serialize_entry("model_name", &origin.model_name)?;
        map.serialize_entry("model_version", &origin.model_version)?;
        map.serialize_entry("defect_detected", defect)?;
        match body {
            Body::Predicted(predicted) => {
                map.serialize_entry("source", "predict")?;
                map.serialize_entry("inference_time_ms", &(*inference_us as f64 / 1e3))?;
                map.serialize_entry("class", &predicted.class)?;
                map.serialize_entry("label", &predicted.label)?;
                map.serialize_entry("confidence", &predicted.confidence())?;
                map.serialize_entry("uncertain", &predicted.uncertain)?;
                map.serialize_entry("top", &predicted.top)?;
                if let Some(probabilities) = predicted.probabilities() {
                    map.serialize_entry("probabilities", &probabilities)?;
                }
            }
            Body::Reported(reported) => {
                map.serialize_entry("source", "log")?;
                map.serialize_entry("inference_time_ms", &reported.inference_time_ms)?;
                map.serialize_entry("image_id", &reported.image_id)?;
                map.serialize_entry("detections", &reported.detections)?;
                map.serialize_entry("confidence_scores", &reported.confidence_scores)?;
                map.serialize_entry("processing_notes", &reported.processing_notes)?;
            }
        }
        map.serialize_entry("logged_at", &(self.wall_us() as f64 / 1e6))?;
        map.serialize_entry("clock", self.clock())?;
        map.serialize_entry("boot_id", &origin.boot_id)?;
        map.serialize_entry("monotonic_us", &at.monotonic_us)?;
        map.end()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::detections::Detection;
    use super::super::origin::Labels;
    use super::super::top::top;
    use super::*;

    pub(crate) fn origin(device_id: &str) -> Arc<Origin> {
        Arc::new(Origin {
            boot_id: "2f4a1c66-13ad-45a5-a03c-94e9b1c3c9a4".into(),
            model_name: "cifar10-model".into(),
            model_version: "1.0.0".into(),
            device_id: Some(device_id.into()),
            labels: Labels::new(LABELS),
        })
    }

    /// Of ten classes, as the embedded model has them.
    pub(crate) const LABELS: &[&str] =
        &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

    pub(crate) fn predicted(origin: &Arc<Origin>, class: u16, defect: bool) -> Entry {
        // Of whole steps, so that it is read as it was written.
        let mut probabilities = vec![1_024.0 / 65_536.0; LABELS.len()];
        probabilities[usize::from(class)] = 0.875;
        let label = LABELS[usize::from(class)].into();
        let (classes, top) = (LABELS.len() as u16, top(&probabilities, LABELS));
        let wall_us = 1_795_000_000_000_000;
        Entry {
            origin: origin.clone(),
            at: Stamp { monotonic_us: 86_400_000_000, wall_us, synchronised: true },
            inference_us: 350,
            defect,
            body: Body::Predicted(Predicted { class, label, uncertain: true, classes, top }),
        }
    }

    pub(crate) fn reported(origin: &Arc<Origin>, note: &str) -> Entry {
        let detection = Detection {
            class: "scratch".into(),
            confidence: 0.75,
            bbox: vec![1.0, 2.0, 30.5, 40.25],
            uncertain: None,
        };
        let reported = Reported {
            image_id: "image-1".into(),
            timestamp: 1_795_000_000.25,
            inference_time_ms: 12.5,
            detections: [detection].into_iter().collect(),
            confidence_scores: vec![0.75],
            processing_notes: Some(note.into()),
        };
        Entry { body: Body::Reported(Box::new(reported)), ..predicted(origin, 0, true) }
    }

    #[test]
    fn an_unsynchronised_clock_is_reckoned_from_the_boot_that_learnt_the_time() {
        let mut entry = predicted(&origin("edge-01"), 3, true);
        entry.at = Stamp { monotonic_us: 5_000_000, wall_us: 60_000_000, synchronised: false };
        let mut record = LogRecord { id: 1, entry, boot_offset_us: None };
        assert_eq!((record.timestamp(), record.clock()), (60.0, "unsynchronised"));
        record.boot_offset_us = Some(1_795_000_000_000_000);
        assert_eq!((record.timestamp(), record.clock()), (1_795_000_005.0, "reckoned"));
        record.entry.at.synchronised = true;
        assert_eq!((record.timestamp(), record.clock()), (60.0, "synchronised"));
    }
}
