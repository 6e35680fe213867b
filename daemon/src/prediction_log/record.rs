//! LogRecord: what is kept of one prediction, and its versioned, checksummed form on disk.
//! Knows nothing of the store that holds it.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::CLASSES;
use crate::os::Stamp;

/// First byte of every stored value. Raised whenever `Payload` changes its shape; readers keep
/// the decoders of older versions.
const VERSION: u8 = 1;

/// Version byte and CRC-32.
const HEADER_BYTES: usize = 5;

/// Longest name of a model, a version, a device or a label, bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;

/// Who predicted: shared by all records of one device, model and boot, and stored once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Boot of this machine during which the record was written.
    pub boot_id: String,
    pub model_name: String,
    pub model_version: String,
    /// The device that saw the image: this box, or the sender of a batch if it named one.
    pub device_id: Option<String>,
}

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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Made by this daemon's model.
    Predicted(Predicted),
    /// Reported by another device through `POST /log`.
    Reported(Box<Reported>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    pub class: u8,
    pub label: String,
    pub confidence: f32,
    pub uncertain: bool,
    pub probabilities: [f32; CLASSES],
}

/// As the device stated it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    pub image_id: String,
    /// Epoch seconds by the device's clock.
    pub timestamp: f64,
    pub inference_time_ms: f64,
    pub detections: Vec<Detection>,
    pub confidence_scores: Vec<f64>,
    pub processing_notes: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub class: String,
    /// 0..=1
    pub confidence: f64,
    /// In the device's own pixel coordinates.
    pub bbox: [f64; 4],
    pub uncertain: Option<bool>,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Sequence number: contiguous from 1 over the life of the store.
    pub id: u64,
    pub entry: Entry,
}

impl LogRecord {
    /// Epoch seconds at which the prediction was made, by the clock of whoever made it.
    pub fn timestamp(&self) -> f64 {
        match &self.entry.body {
            Body::Predicted(_) => self.entry.at.wall_us as f64 / 1e6,
            Body::Reported(reported) => reported.timestamp,
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
                map.serialize_entry("confidence", &predicted.confidence)?;
                map.serialize_entry("uncertain", &predicted.uncertain)?;
                map.serialize_entry("probabilities", &predicted.probabilities)?;
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
        map.serialize_entry("logged_at", &(at.wall_us as f64 / 1e6))?;
        map.serialize_entry("boot_id", &origin.boot_id)?;
        map.serialize_entry("monotonic_us", &at.monotonic_us)?;
        map.end()
    }
}

/// The stored form of an entry. postcard's variable-length integers keep it small.
#[derive(Serialize, Deserialize)]
struct Payload {
    origin: u32,
    wall_us: i64,
    monotonic_us: u64,
    inference_us: u64,
    defect: bool,
    body: Body,
}

/// Why stored bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("value is {0} bytes, shorter than its header")]
    Short(usize),
    #[error("version {0} is unknown, up to {VERSION} is read")]
    Version(u8),
    #[error("checksum does not match")]
    Checksum,
    #[error("checksum matches but the content does not decode")]
    Content,
    #[error("names origin {0}, which is not stored")]
    Origin(u32),
}

/// An entry as read back, with its origin still by number.
#[derive(Clone, Debug)]
pub struct Stored {
    pub origin: u32,
    pub at: Stamp,
    pub inference_us: u64,
    pub defect: bool,
    pub body: Body,
}

/// Value to store under `id`: version, CRC-32 over the sequence number and the payload, payload.
pub fn encode(id: u64, origin: u32, entry: &Entry) -> Vec<u8> {
    let payload = Payload {
        origin,
        wall_us: entry.at.wall_us,
        monotonic_us: entry.at.monotonic_us,
        inference_us: entry.inference_us,
        defect: entry.defect,
        body: entry.body.clone(),
    };
    seal(id, &payload)
}

/// # Errors
/// What is wrong with the bytes; never panics, whatever they are.
pub fn decode(id: u64, value: &[u8]) -> Result<Stored, Damage> {
    let payload: Payload = open(id, value)?;
    let Payload { origin, wall_us, monotonic_us, inference_us, defect, body } = payload;
    Ok(Stored { origin, at: Stamp { monotonic_us, wall_us }, inference_us, defect, body })
}

/// An origin's value under its number, sealed the same way.
pub fn encode_origin(number: u32, origin: &Origin) -> Vec<u8> {
    seal(u64::from(number), origin)
}

/// # Errors
/// What is wrong with the bytes.
pub fn decode_origin(number: u32, value: &[u8]) -> Result<Origin, Damage> {
    open(u64::from(number), value)
}

fn seal(key: u64, content: &impl Serialize) -> Vec<u8> {
    let mut value = vec![VERSION, 0, 0, 0, 0];
    value = postcard::to_extend(content, value).expect("a Vec takes any content");
    let checksum = checksum(key, &value[HEADER_BYTES..]);
    value[1..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    value
}

fn open<'a, T: Deserialize<'a>>(key: u64, value: &'a [u8]) -> Result<T, Damage> {
    if value.len() < HEADER_BYTES {
        return Err(Damage::Short(value.len()));
    }
    let (header, content) = value.split_at(HEADER_BYTES);
    let [version, stated @ ..] = header else { return Err(Damage::Short(value.len())) };
    if *version != VERSION {
        return Err(Damage::Version(*version));
    }
    if checksum(key, content).to_le_bytes() != *stated {
        return Err(Damage::Checksum);
    }
    postcard::from_bytes(content).map_err(|_| Damage::Content)
}

/// The key is part of it: a value that turns up under another number is damage too.
fn checksum(key: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_be_bytes());
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn origin(device_id: &str) -> Arc<Origin> {
        Arc::new(Origin {
            boot_id: "2f4a1c66-13ad-45a5-a03c-94e9b1c3c9a4".into(),
            model_name: "cifar10-model".into(),
            model_version: "1.0.0".into(),
            device_id: Some(device_id.into()),
        })
    }

    pub(crate) fn predicted(origin: &Arc<Origin>, class: u8, defect: bool) -> Entry {
        let mut probabilities = [0.02; CLASSES];
        probabilities[usize::from(class)] = 0.82;
        let label = format!("class{class}");
        Entry {
            origin: origin.clone(),
            at: Stamp { monotonic_us: 86_400_000_000, wall_us: 1_795_000_000_000_000 },
            inference_us: 350,
            defect,
            body: Body::Predicted(Predicted {
                class,
                label,
                confidence: 0.82,
                uncertain: false,
                probabilities,
            }),
        }
    }

    #[test]
    fn a_typical_prediction_takes_at_most_100_bytes_and_comes_back_as_it_was() {
        let entry = predicted(&origin("edge-01"), 3, true);
        let value = encode(17, 4, &entry);
        assert!(value.len() <= 100, "{} bytes", value.len());
        let stored = decode(17, &value).unwrap();
        assert_eq!((stored.origin, stored.at, stored.inference_us), (4, entry.at, 350));
        assert_eq!((stored.defect, stored.body), (true, entry.body));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let value = encode(17, 4, &predicted(&origin("edge-01"), 3, false));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(17, &damaged).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(decode(17, &value[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_value_under_another_number_is_damage() {
        let value = encode(17, 4, &predicted(&origin("edge-01"), 3, false));
        assert_eq!(decode(18, &value).unwrap_err(), Damage::Checksum);
    }
}
