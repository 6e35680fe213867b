//! The JSON body: 3072 numbers of a flattened 3×32×32 picture (CHW) to an image (HWC).
//!
//! The daemon's hot path. The numbers go straight from the parser into one fixed array; nothing
//! else that a client sends is kept. It must not guess: numbers that can only be meant in another
//! range are refused with the range to state.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::{CHANNELS, DecodeError, IMAGE_BYTES, Image, SIDE};

/// How many numbers of a too long array are counted before it is only called too long: enough to
/// name the length of a 128×128 picture.
pub(super) const COUNT_MAX: usize = 65_536;
/// The largest magnitude that normalised data reaches; the daemon's contract. With a training
/// set's mean and deviation, 0 to 255 maps into about -2.5 to 2.5.
const NORMALISED_MAX: f64 = 3.0;

/// The range in which a JSON body states its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum JsonRange {
    /// Pixel values from 0 to 255.
    #[default]
    #[serde(rename = "0..255")]
    ZeroTo255,
    /// Pixel values divided by 255.
    #[serde(rename = "0..1")]
    ZeroTo1,
}

impl JsonRange {
    /// The largest value of the range; the smallest is 0.
    pub(super) fn max(self) -> f64 {
        match self {
            JsonRange::ZeroTo255 => 255.0,
            JsonRange::ZeroTo1 => 1.0,
        }
    }
}

impl fmt::Display for JsonRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JsonRange::ZeroTo255 => "0..255",
            JsonRange::ZeroTo1 => "0..1",
        })
    }
}

impl FromStr for JsonRange {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<JsonRange, DecodeError> {
        match text {
            "0..255" => Ok(JsonRange::ZeroTo255),
            "0..1" => Ok(JsonRange::ZeroTo1),
            _ => Err(DecodeError::Range),
        }
    }
}

/// Decodes `{"data":[3072 numbers],"range"?:"0..255"|"0..1"}`; other keys are ignored.
///
/// A value is scaled to 0..=255 and rounded half to even. The body's range beats `json_range`.
pub(super) fn decode(body: &[u8], json_range: JsonRange) -> Result<Image, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| DecodeError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut draft = Draft::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = json.deserialize_any(BodyVisitor(&mut draft)).and_then(|()| json.end());
    if let Err(error) = parsed {
        return Err(draft.explain(text, &error));
    }
    match draft.found {
        None => Err(DecodeError::DataMissing),
        Some(IMAGE_BYTES) => quantise(&draft.values, draft.range.unwrap_or(json_range)),
        Some(found) => Err(DecodeError::DataLength { found }),
    }
}

/// Values in `range`, CHW, to pixels, HWC.
fn quantise(values: &[f64; IMAGE_BYTES], range: JsonRange) -> Result<Image, DecodeError> {
    if range == JsonRange::ZeroTo255 {
        check_pixel_values(values)?;
    }
    let max = range.max();
    let scale = 255.0 / max;
    let mut pixels = Box::new([0; IMAGE_BYTES]);
    for (channel, plane) in values.chunks_exact(SIDE * SIDE).enumerate() {
        for (at, &value) in plane.iter().enumerate() {
            if !(0.0..=max).contains(&value) {
                let index = channel * SIDE * SIDE + at;
                return Err(DecodeError::OutOfRange { index, value, range });
            }
            pixels[at * CHANNELS + channel] = (value * scale).round_ties_even() as u8;
        }
    }
    Ok(Image(pixels))
}

/// Refuses fractions that are too small to be pixel values of 0 to 255; whole numbers pass.
fn check_pixel_values(values: &[f64; IMAGE_BYTES]) -> Result<(), DecodeError> {
    // The cast truncates and saturates; it is one instruction where `fract` may be a call.
    if values.iter().all(|&value| f64::from(value as i32) == value) {
        return Ok(());
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low < -NORMALISED_MAX || high > NORMALISED_MAX {
        return Ok(());
    }
    if low >= 0.0 && high <= JsonRange::ZeroTo1.max() {
        return Err(DecodeError::LooksScaled { low, high });
    }
    Err(DecodeError::LooksNormalised { low, high })
}

/// What was read of a body so far.
struct Draft {
    values: Box<[f64; IMAGE_BYTES]>,
    /// The length of `data`, once it was read to its end.
    found: Option<usize>,
    range: Option<JsonRange>,
    place: Place,
    /// Why the visitors stopped the parser, where it was their decision.
    refusal: Option<DecodeError>,
}

/// Where in the body the parser is.
#[derive(Clone, Copy)]
enum Place {
    Top,
    Data,
    Element { index: usize },
    Range,
    Other,
}

impl Default for Draft {
    fn default() -> Draft {
        let values = Box::new([0.0; IMAGE_BYTES]);
        Draft { values, found: None, range: None, place: Place::Top, refusal: None }
    }
}

impl Draft {
    /// Stops the parser; [`Draft::explain`] then returns `refusal` and not the parser's error.
    fn refuse<E: de::Error>(&mut self, refusal: DecodeError) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    fn explain(self, text: &str, error: &serde_json::Error) -> DecodeError {
        if let Some(refusal) = self.refusal {
            return refusal;
        }
        // The parser has no code for this case, and calls it a syntax error, which it is not.
        let overflow = error.to_string().starts_with("number out of range");
        if overflow || error.classify() == Category::Data {
            return match self.place {
                Place::Top => DecodeError::NotAnObject,
                Place::Data => DecodeError::DataNotArray,
                Place::Range => DecodeError::Range,
                Place::Element { index } => DecodeError::Overflow { index },
                Place::Other => DecodeError::JsonSyntax { reason: error.to_string() },
            };
        }
        let (line, column) = (error.line(), error.column());
        match (literal_at(text, line, column), self.place) {
            (Some(found), Place::Element { index }) => DecodeError::NotANumber { index, found },
            (Some(literal), _) => DecodeError::NotFinite { literal, line, column },
            (None, _) => DecodeError::JsonSyntax { reason: error.to_string() },
        }
    }
}

/// The name for a number that is not finite at a syntax error's place (line and column from 1),
/// as the encoders of Python, JavaScript and C write it; JSON has none.
fn literal_at(text: &str, line: usize, column: usize) -> Option<&'static str> {
    let line = text.as_bytes().split(|&byte| byte == b'\n').nth(line.checked_sub(1)?)?;
    let head = &line[..column.min(line.len())];
    let delimiter = |byte: &u8| matches!(byte, b',' | b'[' | b':' | b' ' | b'\t' | b'\r');
    let start = head.iter().rposition(delimiter).map_or(0, |at| at + 1);
    ["NaN", "Infinity", "-Infinity", "nan", "-nan", "inf", "-inf"]
        .into_iter()
        .find(|literal| line[start..].starts_with(literal.as_bytes()))
}

struct BodyVisitor<'a>(&'a mut Draft);

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let draft = self.0;
        draft.place = Place::Other;
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Data if draft.found.is_some() => {
                    return Err(draft.refuse(DecodeError::Duplicate { key: "data" }));
                }
                Key::Range if draft.range.is_some() => {
                    return Err(draft.refuse(DecodeError::Duplicate { key: "range" }));
                }
                Key::Data => {
                    draft.place = Place::Data;
                    map.next_value_seed(DataSeed(draft))?;
                }
                Key::Range => {
                    draft.place = Place::Range;
                    // As a string, since a unit of an enum may be an object too: {"0..1":null}.
                    let range: String = map.next_value()?;
                    draft.range = Some(range.parse().map_err(|error| draft.refuse(error))?);
                }
                Key::Other => drop(map.next_value::<IgnoredAny>()?),
            }
            draft.place = Place::Other;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Data,
    Range,
    #[serde(other)]
    Other,
}

struct DataSeed<'a>(&'a mut Draft);

impl<'de> DeserializeSeed<'de> for DataSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for DataSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let draft = self.0;
        for index in 0..IMAGE_BYTES {
            let mut other = None;
            let slot = &mut draft.values[index];
            match seq.next_element_seed(NumberSeed { slot, other: &mut other }) {
                Ok(Some(())) => {}
                Ok(None) => {
                    draft.found = Some(index);
                    return Ok(());
                }
                Err(error) => {
                    draft.place = Place::Element { index };
                    draft.refusal = other.map(|found| DecodeError::NotANumber { index, found });
                    return Err(error);
                }
            }
        }
        let mut found = IMAGE_BYTES;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            found += 1;
            if found > COUNT_MAX {
                return Err(draft.refuse(DecodeError::DataTooLong));
            }
        }
        draft.found = Some(found);
        Ok(())
    }
}

/// Reads one number into its slot, or names what is there in its place.
struct NumberSeed<'a> {
    slot: &'a mut f64,
    other: &'a mut Option<&'static str>,
}

impl NumberSeed<'_> {
    fn set<E>(self, value: f64) -> Result<(), E> {
        *self.slot = value;
        Ok(())
    }

    fn refuse<E: de::Error>(self, found: &'static str) -> Result<(), E> {
        *self.other = Some(found);
        Err(E::custom("refused"))
    }
}

impl<'de> DeserializeSeed<'de> for NumberSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NumberSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.set(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.set(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.set(value)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.refuse("a boolean")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.refuse("null")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.refuse("a string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.refuse("an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.refuse("an object")
    }
}

#[cfg(test)]
mod tests;
