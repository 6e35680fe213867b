//! What a device says that it saw, packed: thousands of records wait for the disk, and a list of structures
//! takes three times what it says. Knows nothing of records.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing in a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub class: String,
    /// 0..=1
    pub confidence: f64,
    /// In the device's own pixel coordinates; of any length.
    pub bbox: Vec<f64>,
    pub uncertain: Option<bool>,
}

/// Detections of one record, each as postcard writes it.
#[derive(Clone, Default, PartialEq)]
pub struct Detections {
    count: usize,
    bytes: Box<[u8]>,
}

impl Detections {
    /// Gives them one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Detection> {
        let mut rest = &self.bytes[..];
        (0..self.count).map(move |_| {
            let (detection, behind) =
                postcard::take_from_bytes(rest).expect("they were written by this very type");
            rest = behind;
            detection
        })
    }

    /// Returns the bytes of memory that they take beside this structure.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl FromIterator<Detection> for Detections {
    fn from_iter<I: IntoIterator<Item = Detection>>(detections: I) -> Detections {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for detection in detections {
            bytes = postcard::to_extend(&detection, bytes).expect("a Vec takes any content");
            count += 1;
        }
        Detections { count, bytes: bytes.into() }
    }
}

impl fmt::Debug for Detections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As a list.
impl Serialize for Detections {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.count))?;
        for detection in self.iter() {
            list.serialize_element(&detection)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Detections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Detections, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Detections;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("detections")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Detections, A::Error> {
                std::iter::from_fn(|| seq.next_element().transpose()).collect()
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_as_they_went_in_and_are_stored_as_a_list_is() {
        let detection = |class: &str, corners: u8| Detection {
            class: class.into(),
            confidence: 0.75,
            bbox: (0..corners).map(f64::from).collect(),
            uncertain: (corners > 4).then_some(true),
        };
        let list = vec![detection("scratch", 4), detection("", 0), detection("ä", 9)];
        let packed: Detections = list.iter().cloned().collect();
        assert!(packed.iter().eq(list.iter().cloned()));
        assert_eq!(packed.held_bytes(), 50 + 11 + 86);
        let stored = postcard::to_allocvec(&packed).unwrap();
        assert_eq!(stored, postcard::to_allocvec(&list).unwrap());
        assert_eq!(postcard::from_bytes::<Detections>(&stored).unwrap(), packed);
        let json = serde_json::to_string(&packed).unwrap();
        assert_eq!(json, serde_json::to_string(&list).unwrap());
        assert_eq!(Detections::default().iter().count(), 0);
    }
}
