//! A record's versioned, checksummed form, and its link in the chain. Every room of the log takes and
//! gives records so; on disk they are packed (see packed.rs). Knows nothing of the store that holds it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::body::StoredBody;
use super::origin::{self, Origin};
use super::record::{Body, Entry};
use picket_base::clock::Stamp;

/// First byte of every stored value: lets a salvage find values in a file that sled can't open.
pub(super) const MAGIC: u8 = 0xe7;

/// Raised whenever a stored form changes its shape; readers keep the decoders of older versions, and a
/// store with values of a newer one is refused.
pub(super) const VERSION: u8 = 3;

/// The oldest version that is read. No release wrote version 1.
const OLDEST_VERSION: u8 = 2;

/// Magic, kind and version, length of the content (u16), CRC-32 (u32, see `checksum`).
pub(super) const HEADER_BYTES: usize = 8;

/// Longest content of one value, bytes; the largest report takes 43 KB.
pub(super) const CONTENT_BYTES_MAX: usize = u16::MAX as usize;

/// What a stored value is; the upper half of its second byte, the version is the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Record = 1,
    Origin = 2,
    Anchor = 3,
    BootOffset = 4,
    /// Head of packed records.
    Chunk = 5,
    /// Mark of a batch that was stored under a name (see marks.rs).
    Batch = 6,
}

impl Kind {
    /// Returns the kind of a value with this second byte, of any version that is read.
    pub(super) fn of(byte: u8) -> Option<Kind> {
        let kinds =
            [Kind::Record, Kind::Origin, Kind::Anchor, Kind::BootOffset, Kind::Chunk, Kind::Batch];
        let kind = kinds.into_iter().find(|kind| *kind as u8 == byte >> 4);
        kind.filter(|_| (OLDEST_VERSION..=VERSION).contains(&(byte & 15)))
    }

    fn tag(self) -> u8 {
        (self as u8) << 4 | VERSION
    }
}

/// Why stored bytes are not a record.
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

/// A link of the chain over all records: SHA-256, cut to 96 bits, of the link before it, the
/// record's origin and its content. Whoever alters a record has to find another content with the
/// same link, 2^96 attempts; finding any two that share one, half of that in bits, gains nothing.
pub type Link = [u8; 12];

/// The link before the first record of a store.
pub const GENESIS: Link = [0; 12];

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
struct Payload<'a> {
    id: u64,
    wall_us: i64,
    monotonic_us: u64,
    inference_us: u64,
    flags: u8,
    #[serde(borrow)]
    body: StoredBody<'a>,
}

const FLAG_DEFECT: u8 = 1;
const FLAG_UNCERTAIN: u8 = 2;
const FLAG_SYNCHRONISED: u8 = 4;
const FLAG_MORE_FOLLOW: u8 = 8;

/// Flags of a payload that are in use.
pub(super) const FLAGS: u8 = FLAG_DEFECT | FLAG_UNCERTAIN | FLAG_SYNCHRONISED | FLAG_MORE_FOLLOW;

/// An entry as read back, with its origin still by number.
#[derive(Clone, Debug)]
pub struct Stored<'a> {
    pub link: Link,
    pub origin: u32,
    pub at: Stamp,
    pub inference_us: u64,
    pub defect: bool,
    pub more_follow: bool,
    uncertain: bool,
    body: StoredBody<'a>,
}

impl Stored<'_> {
    /// Returns the body; `origin` is the one of this record's number.
    pub fn into_body(self, origin: &Origin) -> Body {
        self.body.into_body(self.uncertain, origin)
    }
}

/// Beside names and lists, a record takes at most so many bytes: link, clocks, numbers, lengths.
const OTHER_BYTES_MAX: usize = 256;

/// Whether a record of this entry surely fits into a value of the log, its origin into another. Says so
/// from lengths alone.
pub fn is_storable(entry: &Entry) -> bool {
    let number = size_of::<f64>();
    let names = match &entry.body {
        // Its labels are cut, and so is their number.
        Body::Predicted(_) => 0,
        Body::Reported(reported) => {
            reported.image_id.len()
                + reported.processing_notes.as_ref().map_or(0, String::len)
                + reported.detections.held_bytes()
                + reported.confidence_scores.len() * number
        }
    };
    let Origin { boot_id, model_name, model_version, device_id, labels } = &*entry.origin;
    let origin = boot_id.len()
        + model_name.len()
        + model_version.len()
        + device_id.as_ref().map_or(0, String::len)
        + labels.names().iter().map(|label| label.len() + 2).sum::<usize>();
    names.max(origin) + OTHER_BYTES_MAX <= CONTENT_BYTES_MAX
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

/// Encodes a record: its value, and the link that the next one builds on.
///
/// `origin_content` is the content of the origin's own value: what the record says about who made
/// it is covered by the chain as well, its number in the store is not.
pub(super) fn encode(place: &Place, origin_content: &[u8], entry: &Entry) -> (Vec<u8>, Link) {
    let mut value = header(Kind::Record);
    value.extend(GENESIS);
    value = postcard::to_extend(&place.origin, value).expect("a Vec takes any content");
    let payload_start = value.len();
    let payload = to_payload(place, entry);
    value = postcard::to_extend(&payload, value).expect("a Vec takes any content");
    let link = link(&place.previous, origin_content, &value[payload_start..]);
    value[HEADER_BYTES..HEADER_BYTES + link.len()].copy_from_slice(&link);
    (seal(value), link)
}

fn to_payload<'a>(place: &Place, entry: &'a Entry) -> Payload<'a> {
    let uncertain = matches!(&entry.body, Body::Predicted(predicted) if predicted.uncertain);
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
        body: StoredBody::of(&entry.body, &entry.origin.labels),
    }
}

/// Decodes the record of this number. It never panics, whatever the bytes are.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(id: u64, value: &[u8]) -> Result<Stored<'_>, Damage> {
    let (link, origin, payload) = parts(value)?;
    let payload: Payload = postcard::from_bytes(payload).map_err(|_| Damage::Content)?;
    let Payload { id: stated, wall_us, monotonic_us, inference_us, flags, body } = payload;
    if stated != id {
        return Err(Damage::Misplaced(stated));
    }
    let at = Stamp { monotonic_us, wall_us, synchronised: flags & FLAG_SYNCHRONISED != 0 };
    let (defect, more_follow) = (flags & FLAG_DEFECT != 0, flags & FLAG_MORE_FOLLOW != 0);
    let uncertain = flags & FLAG_UNCERTAIN != 0;
    Ok(Stored { link, origin, at, inference_us, defect, more_follow, uncertain, body })
}

/// Returns the link that an intact record of this value has after `previous`.
pub(super) fn expected_link(
    previous: &Link,
    origin_content: &[u8],
    value: &[u8],
) -> Result<Link, Damage> {
    let (_, _, payload) = parts(value)?;
    Ok(link(previous, origin_content, payload))
}

/// Returns the number, the link and the origin's number that an intact record's value states.
pub(super) fn identify(value: &[u8]) -> Result<(u64, Link, u32), Damage> {
    let (link, origin, payload) = parts(value)?;
    let (id, _) = postcard::take_from_bytes(payload).map_err(|_| Damage::Content)?;
    Ok((id, link, origin))
}

/// A record's value taken apart, its body left as it is.
pub(super) struct Parts<'a> {
    pub(super) link: Link,
    pub(super) origin: u32,
    pub(super) id: u64,
    pub(super) wall_us: i64,
    pub(super) monotonic_us: u64,
    pub(super) inference_us: u64,
    pub(super) flags: u8,
    /// Which body, as postcard counts the variants of `StoredBody`, and what it holds.
    pub(super) variant: u8,
    pub(super) body: &'a [u8],
}

impl Parts<'_> {
    pub(super) fn of(value: &[u8]) -> Result<Parts<'_>, Damage> {
        let (link, origin, payload) = parts(value)?;
        let ((id, wall_us, monotonic_us, inference_us, flags, variant), body) =
            postcard::take_from_bytes(payload).map_err(|_| Damage::Content)?;
        Ok(Parts { link, origin, id, wall_us, monotonic_us, inference_us, flags, variant, body })
    }

    /// Puts the value together again.
    pub(super) fn to_value(&self) -> Result<Vec<u8>, Damage> {
        let Parts { link, origin, id, wall_us, monotonic_us, inference_us, flags, variant, body } =
            self;
        let fields = (origin, id, wall_us, monotonic_us, inference_us, flags, variant);
        let mut value = header(Kind::Record);
        value.extend(link);
        value = postcard::to_extend(&fields, value).expect("a Vec takes any content");
        value.extend_from_slice(body);
        if value.len() > HEADER_BYTES + CONTENT_BYTES_MAX {
            Err(Damage::Content)
        } else {
            Ok(seal(value))
        }
    }
}

/// Returns the same record under another number of its origin.
pub(super) fn with_origin(value: &[u8], origin: u32) -> Result<Vec<u8>, Damage> {
    let (link, _, payload) = parts(value)?;
    let mut moved = header(Kind::Record);
    moved.extend(link);
    moved = postcard::to_extend(&origin, moved).expect("a Vec takes any content");
    moved.extend(payload);
    Ok(seal(moved))
}

/// Returns link, origin's number and payload of a record's value.
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

/// Encodes a value of any other kind. Its content starts with the number that it is stored under.
pub(super) fn encode_other(kind: Kind, number: u32, other: &impl Serialize) -> Vec<u8> {
    let value = postcard::to_extend(&number, header(kind)).expect("a Vec takes any content");
    seal(postcard::to_extend(other, value).expect("a Vec takes any content"))
}

/// Decodes a value of any other kind, and the number that it is stored under.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_other<'a, T: Deserialize<'a>>(
    kind: Kind,
    value: &'a [u8],
) -> Result<(u32, T), Damage> {
    postcard::from_bytes(content(kind, value)?).map_err(|_| Damage::Content)
}

/// Encodes an origin, stored under this number.
pub(super) fn encode_origin(number: u32, origin: &Origin) -> Vec<u8> {
    let value =
        postcard::to_extend(&number, header(Kind::Origin)).expect("a Vec takes any content");
    seal([value, origin::to_content(origin)].concat())
}

/// Decodes an origin, and the number that it is stored under.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_origin(value: &[u8]) -> Result<(u32, Origin), Damage> {
    let content = content(Kind::Origin, value)?;
    let (number, content) = postcard::take_from_bytes(content).map_err(|_| Damage::Content)?;
    Ok((number, origin::from_content(content).ok_or(Damage::Content)?))
}

pub(super) fn header(kind: Kind) -> Vec<u8> {
    let mut value = Vec::with_capacity(128);
    value.extend([MAGIC, kind.tag(), 0, 0, 0, 0, 0, 0]);
    value
}

/// Fills in length and checksum.
pub(super) fn seal(mut value: Vec<u8>) -> Vec<u8> {
    let content = &value[HEADER_BYTES..];
    let length = u16::try_from(content.len()).expect("names, notes and lists are bounded");
    let checksum = checksum(value[1], content);
    value[2..4].copy_from_slice(&length.to_le_bytes());
    value[4..HEADER_BYTES].copy_from_slice(&checksum);
    value
}

/// The checksum of a value with this second byte. Since version 3 it covers that byte as well: one that
/// was damaged must not pass for another version.
fn checksum(tag: u8, content: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    if tag & 15 > OLDEST_VERSION {
        hasher.update(&[tag]);
    }
    hasher.update(content);
    hasher.finalize().to_le_bytes()
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
    if checksum(tag, content) != [c0, c1, c2, c3] {
        return Err(Damage::Checksum);
    }
    Ok((kind, content, rest))
}

/// Returns the version of the value at the start of `bytes` where it is newer than `VERSION`.
pub(super) fn newer_version(bytes: &[u8]) -> Option<u8> {
    let (&[magic, tag, l0, l1, c0, c1, c2, c3], rest) =
        bytes.split_first_chunk::<HEADER_BYTES>()?;
    let content = rest.get(..u16::from_le_bytes([l0, l1]).into())?;
    let intact = magic == MAGIC && checksum(tag, content) == [c0, c1, c2, c3];
    Some(tag & 15).filter(|version| intact && *version > VERSION)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::{origin, predicted, reported};
    use super::*;

    pub(crate) fn place(id: u64, origin: u32) -> Place {
        Place { id, previous: GENESIS, origin, more_follow: false }
    }

    fn value(id: u64) -> Vec<u8> {
        let origin = origin("edge-01");
        encode(&place(id, 4), &origin::to_content(&origin), &predicted(&origin, 3, true)).0
    }

    #[test]
    fn what_is_said_to_be_storable_is() {
        let origin = origin("edge-01");
        let with = |notes: usize| reported(&origin, &"n".repeat(notes));
        let most = (60_000..70_000).rev().find(|notes| is_storable(&with(*notes))).unwrap();
        let content = origin::to_content(&origin);
        let far = Place { id: u64::MAX, origin: u32::MAX, ..place(1, 4) };
        assert!(encode(&far, &content, &with(most)).0.len() <= HEADER_BYTES + CONTENT_BYTES_MAX);
        assert!(!is_storable(&with(CONTENT_BYTES_MAX)));
        let mut long = predicted(&origin, 3, true);
        assert!(is_storable(&long));
        long.origin = Origin { model_version: "v".repeat(70_000), ..(*origin).clone() }.into();
        assert!(!is_storable(&long));
    }

    #[test]
    fn a_typical_prediction_takes_at_most_72_bytes_and_comes_back_as_it_was() {
        let entry = predicted(&origin("edge-01"), 3, true);
        let value = value(199_999);
        assert!(value.len() <= 72, "{} bytes", value.len());
        let stored = decode(199_999, &value).unwrap();
        assert_eq!((stored.origin, stored.at, stored.inference_us), (4, entry.at, 350));
        assert_eq!(identify(&value), Ok((199_999, stored.link, 4)));
        assert!(stored.defect);
        assert_eq!(stored.into_body(&entry.origin), entry.body);
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
        let content = origin::to_content(&here);
        let (value, link) = encode(&place(17, 4), &content, &entry);
        assert_eq!(expected_link(&GENESIS, &content, &value), Ok(link));
        assert_ne!(expected_link(&[1; 12], &content, &value), Ok(link));
        assert_ne!(expected_link(&GENESIS, &origin::to_content(&there), &value), Ok(link));
        let (_, other) = encode(&place(17, 4), &content, &predicted(&here, 3, false));
        assert_ne!(other, link);
        let moved = with_origin(&value, 5).unwrap();
        assert_eq!(expected_link(&GENESIS, &content, &moved), Ok(link));
        assert_eq!(identify(&moved), Ok((17, link, 5)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(1, &bytes);
            let _ = decode_origin(&bytes);
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
                let _ = Parts::of(&value).and_then(|parts| parts.to_value());
                let _ = decode_other::<Anchor>(kind, &value);
                let _ = decode_origin(&value);
            }
        }
    }
}
