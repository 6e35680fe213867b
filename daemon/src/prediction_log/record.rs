//! LogRecord: what is kept of one prediction, and its versioned, checksummed form on disk.
//! Knows nothing of the store that holds it.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::model::CLASSES;
use crate::os::Stamp;

/// First byte of every stored value: lets a salvage find values in a file that sled can't open.
pub(super) const MAGIC: u8 = 0xe7;

/// Raised whenever a stored form changes its shape; readers keep the decoders of older versions.
const VERSION: u8 = 1;

/// Magic, kind and version, length of the content (u16), CRC-32 of the content (u32).
pub(super) const HEADER_BYTES: usize = 8;

/// Longest content of one value, bytes; the largest report stays below half of it.
pub(super) const CONTENT_BYTES_MAX: usize = u16::MAX as usize;

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
    pub uncertain: bool,
    pub probabilities: [f32; CLASSES],
}

impl Predicted {
    /// The largest probability, 0..=1.
    pub fn confidence(&self) -> f32 {
        self.probabilities.get(usize::from(self.class)).copied().unwrap_or(0.0)
    }
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
        map.serialize_entry("logged_at", &(self.wall_us() as f64 / 1e6))?;
        map.serialize_entry("clock", self.clock())?;
        map.serialize_entry("boot_id", &origin.boot_id)?;
        map.serialize_entry("monotonic_us", &at.monotonic_us)?;
        map.end()
    }
}

/// What a stored value is; the upper half of its second byte, the version is the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Record = 1,
    Origin = 2,
    Anchor = 3,
    BootOffset = 4,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Kind> {
        let kinds = [Kind::Record, Kind::Origin, Kind::Anchor, Kind::BootOffset];
        kinds.into_iter().find(|kind| kind.tag() == byte)
    }

    fn tag(self) -> u8 {
        (self as u8) << 4 | VERSION
    }
}

/// Why stored bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("value of {0} bytes is cut")]
    Cut(usize),
    #[error("value is of another kind or version")]
    Kind,
    #[error("checksum does not match")]
    Checksum,
    #[error("checksum matches but the content does not decode")]
    Content,
    #[error("value belongs to number {0}")]
    Misplaced(u64),
    #[error("names origin {0}, which is not stored")]
    Origin(u32),
}

/// A link of the chain over all records: SHA-256, cut to 128 bits, of the link before it, the
/// record's origin and its content.
pub type Link = [u8; 16];

/// The link before the first record of a store.
pub const GENESIS: Link = [0; 16];

/// Where the chain of the records that are left begins; moved by retention, in the same batch
/// that removes records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The newest record that was removed on purpose.
    pub id: u64,
    /// Its link; none where it was not known, as after a salvage.
    pub link: Option<Link>,
    /// When, epoch µs by this machine's clock.
    pub moved_at_us: i64,
}

/// Wall minus monotonic clock of a boot, first noted when the wall clock was synchronised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BootOffset {
    pub(super) boot_id: String,
    pub(super) offset_us: i64,
}

/// What a link covers beside the origin. postcard's variable-length integers keep it small.
#[derive(Serialize, Deserialize)]
struct Payload {
    id: u64,
    wall_us: i64,
    monotonic_us: u64,
    inference_us: u64,
    flags: u8,
    body: StoredBody,
}

const FLAG_DEFECT: u8 = 1;
const FLAG_UNCERTAIN: u8 = 2;
const FLAG_SYNCHRONISED: u8 = 4;
const FLAG_MORE_FOLLOW: u8 = 8;

#[derive(Serialize, Deserialize)]
enum StoredBody {
    Predicted { class: u8, label: String, probabilities: [f32; CLASSES] },
    Reported(Box<Reported>),
}

/// An entry as read back, with its origin still by number.
#[derive(Clone, Debug)]
pub struct Stored {
    pub link: Link,
    pub origin: u32,
    pub at: Stamp,
    pub inference_us: u64,
    pub defect: bool,
    pub more_follow: bool,
    pub body: Body,
}

/// Where an entry goes in the log.
pub(super) struct Place {
    pub(super) id: u64,
    /// Link of the record before it.
    pub(super) previous: Link,
    /// Number of its origin.
    pub(super) origin: u32,
    /// It is one of a group that is stored all or none, and not the last.
    pub(super) more_follow: bool,
}

/// A record's value, and the link that the next one builds on.
///
/// `origin_content` is the content of the origin's own value: what the record says about who made
/// it is covered by the chain as well, its number in the store is not.
pub(super) fn encode(place: &Place, origin_content: &[u8], entry: &Entry) -> (Vec<u8>, Link) {
    let payload = to_payload(place, entry);
    let payload = postcard::to_allocvec(&payload).expect("a Vec takes any content");
    let link = link(&place.previous, origin_content, &payload);
    let mut value = header(Kind::Record);
    value.extend(link);
    value = postcard::to_extend(&place.origin, value).expect("a Vec takes any content");
    value.extend(payload);
    (seal(value), link)
}

fn to_payload(place: &Place, entry: &Entry) -> Payload {
    let (uncertain, body) = match &entry.body {
        Body::Predicted(Predicted { class, label, uncertain, probabilities }) => {
            let (label, probabilities) = (label.clone(), *probabilities);
            (*uncertain, StoredBody::Predicted { class: *class, label, probabilities })
        }
        Body::Reported(reported) => (false, StoredBody::Reported(reported.clone())),
    };
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    Payload {
        id: place.id,
        wall_us: entry.at.wall_us,
        monotonic_us: entry.at.monotonic_us,
        inference_us: entry.inference_us,
        flags: flag(entry.defect, FLAG_DEFECT)
            | flag(uncertain, FLAG_UNCERTAIN)
            | flag(entry.at.synchronised, FLAG_SYNCHRONISED)
            | flag(place.more_follow, FLAG_MORE_FOLLOW),
        body,
    }
}

/// # Errors
/// What is wrong with the bytes; never panics, whatever they are.
pub fn decode(id: u64, value: &[u8]) -> Result<Stored, Damage> {
    let (link, origin, payload) = parts(value)?;
    let payload: Payload = postcard::from_bytes(payload).map_err(|_| Damage::Content)?;
    let Payload { id: stated, wall_us, monotonic_us, inference_us, flags, body } = payload;
    if stated != id {
        return Err(Damage::Misplaced(stated));
    }
    let body = match body {
        StoredBody::Predicted { class, label, probabilities } => {
            let uncertain = flags & FLAG_UNCERTAIN != 0;
            Body::Predicted(Predicted { class, label, uncertain, probabilities })
        }
        StoredBody::Reported(reported) => Body::Reported(reported),
    };
    let at = Stamp { monotonic_us, wall_us, synchronised: flags & FLAG_SYNCHRONISED != 0 };
    let (defect, more_follow) = (flags & FLAG_DEFECT != 0, flags & FLAG_MORE_FOLLOW != 0);
    Ok(Stored { link, origin, at, inference_us, defect, more_follow, body })
}

/// The link that an intact record of this value has after `previous`.
pub(super) fn expected_link(
    previous: &Link,
    origin_content: &[u8],
    value: &[u8],
) -> Result<Link, Damage> {
    let (_, _, payload) = parts(value)?;
    Ok(link(previous, origin_content, payload))
}

/// The number, the link and the origin's number that an intact record's value states.
pub(super) fn identify(value: &[u8]) -> Result<(u64, Link, u32), Damage> {
    let (link, origin, payload) = parts(value)?;
    let (id, _) = postcard::take_from_bytes(payload).map_err(|_| Damage::Content)?;
    Ok((id, link, origin))
}

/// The same record under another number of its origin.
pub(super) fn with_origin(value: &[u8], origin: u32) -> Result<Vec<u8>, Damage> {
    let (link, _, payload) = parts(value)?;
    let mut moved = header(Kind::Record);
    moved.extend(link);
    moved = postcard::to_extend(&origin, moved).expect("a Vec takes any content");
    moved.extend(payload);
    Ok(seal(moved))
}

/// Link, origin's number and payload of a record's value.
fn parts(value: &[u8]) -> Result<(Link, u32, &[u8]), Damage> {
    let content = content(Kind::Record, value)?;
    let (link, rest) = content.split_first_chunk().ok_or(Damage::Content)?;
    let (origin, payload) = postcard::take_from_bytes(rest).map_err(|_| Damage::Content)?;
    Ok((*link, origin, payload))
}

fn link(previous: &Link, origin_content: &[u8], payload: &[u8]) -> Link {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update((origin_content.len() as u64).to_le_bytes());
    hash.update(origin_content);
    hash.update(payload);
    let digest = hash.finalize();
    let mut link = GENESIS;
    link.copy_from_slice(&digest[..GENESIS.len()]);
    link
}

/// A value of any other kind. Its content starts with the number that it is stored under.
pub(super) fn encode_other(kind: Kind, number: u32, other: &impl Serialize) -> Vec<u8> {
    let value = postcard::to_extend(&number, header(kind)).expect("a Vec takes any content");
    seal(postcard::to_extend(other, value).expect("a Vec takes any content"))
}

/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_other<'a, T: Deserialize<'a>>(
    kind: Kind,
    value: &'a [u8],
) -> Result<(u32, T), Damage> {
    postcard::from_bytes(content(kind, value)?).map_err(|_| Damage::Content)
}

/// What the chain covers of an origin: its content without its number.
pub(super) fn origin_content(origin: &Origin) -> Vec<u8> {
    postcard::to_allocvec(origin).expect("a Vec takes any content")
}

fn header(kind: Kind) -> Vec<u8> {
    let mut value = Vec::with_capacity(128);
    value.extend([MAGIC, kind.tag(), 0, 0, 0, 0, 0, 0]);
    value
}

/// Fills in length and checksum.
fn seal(mut value: Vec<u8>) -> Vec<u8> {
    let content = &value[HEADER_BYTES..];
    let length = u16::try_from(content.len()).expect("names, notes and lists are bounded");
    let checksum = crc32fast::hash(content);
    value[2..4].copy_from_slice(&length.to_le_bytes());
    value[4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    value
}

fn content(kind: Kind, value: &[u8]) -> Result<&[u8], Damage> {
    let (found, content, rest) = frame(value)?;
    match (found == kind, rest.is_empty()) {
        (false, _) => Err(Damage::Kind),
        (true, false) => Err(Damage::Cut(value.len())),
        (true, true) => Ok(content),
    }
}

/// The value at the start of `bytes`: kind, content, and what follows it.
pub(super) fn frame(bytes: &[u8]) -> Result<(Kind, &[u8], &[u8]), Damage> {
    let Some((&[magic, tag, l0, l1, c0, c1, c2, c3], rest)) =
        bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(Damage::Cut(bytes.len()));
    };
    let kind = Kind::of(tag).filter(|_| magic == MAGIC).ok_or(Damage::Kind)?;
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let (content, rest) = rest.split_at_checked(length).ok_or(Damage::Cut(bytes.len()))?;
    if crc32fast::hash(content).to_le_bytes() != [c0, c1, c2, c3] {
        return Err(Damage::Checksum);
    }
    Ok((kind, content, rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

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
        let label = "automobile".into();
        let wall_us = 1_795_000_000_000_000;
        Entry {
            origin: origin.clone(),
            at: Stamp { monotonic_us: 86_400_000_000, wall_us, synchronised: true },
            inference_us: 350,
            defect,
            body: Body::Predicted(Predicted { class, label, uncertain: true, probabilities }),
        }
    }

    pub(crate) fn place(id: u64, origin: u32) -> Place {
        Place { id, previous: GENESIS, origin, more_follow: false }
    }

    fn value(id: u64) -> Vec<u8> {
        let origin = origin("edge-01");
        encode(&place(id, 4), &origin_content(&origin), &predicted(&origin, 3, true)).0
    }

    #[test]
    fn a_typical_prediction_takes_at_most_100_bytes_and_comes_back_as_it_was() {
        let entry = predicted(&origin("edge-01"), 3, true);
        let value = value(199_999);
        assert!(value.len() <= 100, "{} bytes", value.len());
        let stored = decode(199_999, &value).unwrap();
        assert_eq!((stored.origin, stored.at, stored.inference_us), (4, entry.at, 350));
        assert_eq!((stored.defect, stored.body), (true, entry.body));
        assert_eq!(identify(&value), Ok((199_999, stored.link, 4)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let value = value(17);
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
        assert_eq!(decode(18, &value(17)).unwrap_err(), Damage::Misplaced(17));
    }

    #[test]
    fn a_link_covers_what_was_before_the_origin_and_the_content() {
        let (here, there) = (origin("edge-01"), origin("edge-02"));
        let entry = predicted(&here, 3, true);
        let content = origin_content(&here);
        let (value, link) = encode(&place(17, 4), &content, &entry);
        assert_eq!(expected_link(&GENESIS, &content, &value), Ok(link));
        assert_ne!(expected_link(&[1; 16], &content, &value), Ok(link));
        assert_ne!(expected_link(&GENESIS, &origin_content(&there), &value), Ok(link));
        let (_, other) = encode(&place(17, 4), &content, &predicted(&here, 3, false));
        assert_ne!(other, link);
        let moved = with_origin(&value, 5).unwrap();
        assert_eq!(expected_link(&GENESIS, &content, &moved), Ok(link));
        assert_eq!(identify(&moved), Ok((17, link, 5)));
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

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(1, &bytes);
            let _ = decode_other::<Origin>(Kind::Origin, &bytes);
        }

        /// Content that carries a right checksum and is nonsense all the same.
        #[test]
        fn sealed_nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for kind in [Kind::Record, Kind::Origin, Kind::Anchor, Kind::BootOffset] {
                let mut value = header(kind);
                value.extend(&bytes);
                let value = seal(value);
                let _ = decode(1, &value);
                let _ = identify(&value);
                let _ = decode_other::<Anchor>(kind, &value);
            }
        }
    }
}
