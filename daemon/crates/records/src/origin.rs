//! Who predicted, and the bytes of it that are stored once for all of his records. Knows nothing of
//! records.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;

/// Labels that an origin keeps take at most so many bytes, lengths included: the chain covers them with
/// every record (about 80 to 200 classes).
const LABELS_BYTES_MAX: usize = 2_048;

/// Shared by all records of one device, model and boot, and stored once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Boot of this machine during which the record was written.
    pub boot_id: String,
    pub model_name: String,
    pub model_version: String,
    /// The device that saw the image: this box, or the sender of a batch if it named one.
    pub device_id: Option<String>,
    /// What the classes of its records are called; none of another device's reports.
    pub labels: Labels,
}

/// Equal origins have equal names: hashing their labels as well gains nothing.
impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.boot_id, &self.model_name, &self.model_version, &self.device_id).hash(state);
    }
}

/// The labels of a model's classes, in order, so that records name a class by its number alone. Empty
/// where they would take more than `LABELS_BYTES_MAX`: such records hold the labels of their classes
/// themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Arc<str>>);

impl Origin {
    /// Returns the bytes of memory that it takes; labels are shared by all of a model's origins.
    pub fn held_bytes(&self) -> usize {
        let device = self.device_id.as_ref().map_or(0, String::capacity);
        size_of::<Origin>()
            + self.boot_id.capacity()
            + self.model_name.capacity()
            + self.model_version.capacity()
            + device
    }
}

impl Labels {
    pub fn new(labels: &[impl AsRef<str>]) -> Labels {
        let lengths = labels.iter().scan(0, |bytes, label| {
            *bytes += label.as_ref().len() + 1;
            Some(*bytes)
        });
        if lengths.into_iter().any(|bytes| bytes > LABELS_BYTES_MAX) {
            return Labels::default();
        }
        Labels(labels.iter().map(|label| Arc::from(label.as_ref())).collect())
    }

    /// Returns them in the order of the classes.
    pub fn names(&self) -> &[Arc<str>] {
        &self.0
    }

    pub fn get(&self, class: u16) -> Option<&Arc<str>> {
        self.0.get(usize::from(class))
    }
}

/// Returns what is stored of an origin and what the chain covers. Labels follow what format 2 had, and
/// only where there are any: what it wrote keeps its links.
pub(crate) fn to_content(origin: &Origin) -> Vec<u8> {
    let Origin { boot_id, model_name, model_version, device_id, labels } = origin;
    let mut content = Vec::new();
    extend(&mut content, &(boot_id, model_name, model_version, device_id));
    if !labels.0.is_empty() {
        let labels: Vec<&str> = labels.0.iter().map(|label| &**label).collect();
        extend(&mut content, &labels);
    }
    content
}

fn extend(content: &mut Vec<u8>, part: &impl Serialize) {
    let grown = postcard::to_extend(part, std::mem::take(content));
    *content = grown.expect("a Vec takes any content");
}

/// Returns the origin of this content, none where it is nonsense.
pub(crate) fn from_content(content: &[u8]) -> Option<Origin> {
    let ((boot_id, model_name, model_version, device_id), rest) =
        postcard::take_from_bytes(content).ok()?;
    let labels: Vec<&str> =
        if rest.is_empty() { Vec::new() } else { postcard::from_bytes(rest).ok()? };
    Some(Origin { boot_id, model_name, model_version, device_id, labels: Labels::new(&labels) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(labels: &[&str]) -> Origin {
        Origin {
            boot_id: "boot".into(),
            model_name: "model".into(),
            model_version: "1".into(),
            device_id: None,
            labels: Labels::new(labels),
        }
    }

    #[test]
    fn an_origin_comes_back_with_its_labels_or_as_format_2_had_it_without() {
        for labels in [&[][..], &["ok", "defect"]] {
            let origin = origin(labels);
            assert_eq!(from_content(&to_content(&origin)), Some(origin));
        }
        let format_2 = postcard::to_allocvec(&("boot", "model", "1", None::<String>)).unwrap();
        assert_eq!(to_content(&origin(&[])), format_2);
        assert_eq!(from_content(&format_2[..4]), None);
    }

    #[test]
    fn labels_beyond_the_limit_are_left_to_the_records() {
        let most = vec!["1234567"; LABELS_BYTES_MAX / 8];
        assert!(Labels::new(&most).get(255).is_some());
        assert!(to_content(&origin(&most)).len() < LABELS_BYTES_MAX + 32);
        let more = [&most[..], &[""]].concat();
        assert_eq!(Labels::new(&more), Labels::default());
    }
}
