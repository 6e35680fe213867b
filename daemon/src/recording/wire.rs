//! The JSON of a batch as it is read: no list and no text is kept beyond its limit while it is parsed. It
//! must not know what of it is right.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use picket_base::rfc3339;

pub(super) const DETECTIONS_MAX: usize = 100;
pub(super) const SCORES_MAX: usize = 1_000;

/// Numbers of all boxes of a record: a box may have any length, but the record must fit into a value of
/// the log.
pub(super) const BBOX_NUMBERS_MAX: usize = 2_000;

/// The longest text of a batch that an error repeats, characters.
const TEXT_SHOWN_MAX: usize = 80;

#[derive(Deserialize)]
pub(super) struct BatchWire<'a> {
    /// Read by itself, once it is known who sends it.
    #[serde(borrow)]
    pub(super) predictions: &'a RawValue,
    pub(super) batch_size: u64,
    pub(super) timestamp: Moment,
    pub(super) edge_device_id: Option<String>,
    pub(super) batch_id: Option<String>,
}

/// When a batch was sent: epoch seconds, or text in the manner of ISO 8601.
pub(super) enum Moment {
    Seconds(f64),
    /// As much of it as an error repeats.
    Text(String),
}

/// By a visitor of its own: one that tries several types keeps whatever is there until then.
impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("epoch seconds or ISO 8601")
            }

            fn visit_f64<E>(self, seconds: f64) -> Result<Moment, E> {
                Ok(Moment::Seconds(seconds))
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<Moment, E> {
                Ok(Moment::Seconds(seconds as f64))
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<Moment, E> {
                Ok(Moment::Seconds(seconds as f64))
            }

            fn visit_str<E>(self, text: &str) -> Result<Moment, E> {
                Ok(Moment::Text(text.chars().take(TEXT_SHOWN_MAX).collect()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Moment {
    pub(super) fn seconds(self) -> Result<f64, String> {
        match self {
            Moment::Seconds(seconds) => Ok(seconds),
            Moment::Text(text) => rfc3339::parse(&text).ok_or_else(|| {
                format!("timestamp is {text:?}, epoch seconds or ISO 8601 is needed")
            }),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct RecordWire {
    pub(super) image_id: String,
    pub(super) timestamp: f64,
    pub(super) model_version: String,
    pub(super) model_name: String,
    pub(super) inference_time_ms: f64,
    pub(super) detections: Bounded<DetectionWire, DETECTIONS_MAX>,
    pub(super) defect_detected: bool,
    pub(super) confidence_scores: Bounded<f64, SCORES_MAX>,
    pub(super) processing_notes: Option<String>,
    pub(super) edge_device_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct DetectionWire {
    pub(super) class: String,
    pub(super) confidence: f64,
    pub(super) bbox: Bounded<f64, BBOX_NUMBERS_MAX>,
    pub(super) uncertain: Option<bool>,
}

/// A list of which no more than `MAX` are kept while it is parsed; the rest is counted.
pub(super) struct Bounded<T, const MAX: usize> {
    pub(super) items: Vec<T>,
    pub(super) count: usize,
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Bounded { count: items.len(), items }),
                    }
                }
                let mut count = items.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Bounded { items, count })
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_gathered_beyond_its_limit() {
        let text = format!("[{}1]", "1,".repeat(9_999));
        let list: Bounded<f64, 100> = serde_json::from_str(&text).unwrap();
        assert_eq!((list.items.len(), list.count), (100, 10_000));
        assert!(list.items.capacity() <= 128);
        let list: Bounded<f64, 100> = serde_json::from_str("[1, 2]").unwrap();
        assert_eq!((list.items.len(), list.count), (2, 2));
    }
}
