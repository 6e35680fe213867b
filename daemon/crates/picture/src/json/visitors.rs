//! What the parser of a JSON body calls with what it finds. They keep the numbers in a `Draft` and
//! nothing else.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::draft::{Draft, Place};
use crate::error::{DATA_DEPTH_MAX, DecodeError, Foreign};

/// Takes the whole body.
pub struct BodyVisitor<'a>(pub &'a mut Draft);

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Whose text is not repeated in an error that nobody reads.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.0.refuse(DecodeError::NotAnObject))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let draft = self.0;
        draft.place = Place::Other;
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Data if draft.ended => {
                    return Err(draft.refuse(DecodeError::Duplicate { key: "data" }));
                }
                Key::Range if draft.range.is_some() => {
                    return Err(draft.refuse(DecodeError::Duplicate { key: "range" }));
                }
                Key::Data => {
                    draft.place = Place::Data;
                    map.next_value_seed(ArraySeed(draft))?;
                    draft.ended = true;
                }
                Key::Range => {
                    draft.place = Place::Range;
                    map.next_value_seed(RangeSeed(draft))?;
                }
                Key::Instances => draft.ignore(Some(Foreign::KserveV1), &mut map)?,
                Key::Inputs => draft.ignore(Some(Foreign::KserveV2), &mut map)?,
                Key::Image => draft.ignore(Some(Foreign::Base64), &mut map)?,
                Key::Other => draft.ignore(None, &mut map)?,
            }
            draft.place = Place::Other;
        }
        Ok(())
    }
}

/// Takes the value of `range`, as a string that nobody keeps: a unit of an enum may be an object too,
/// `{"0..1":null}`.
struct RangeSeed<'a>(&'a mut Draft);

impl<'de> DeserializeSeed<'de> for RangeSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for RangeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, range: &str) -> Result<(), E> {
        let draft = self.0;
        draft.range = Some(range.parse().map_err(|error| draft.refuse(error))?);
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Data,
    Range,
    Instances,
    Inputs,
    #[serde(alias = "images", alias = "image_base64", alias = "b64", alias = "base64")]
    Image,
    #[serde(other)]
    Other,
}

impl Draft {
    /// Skips the value of a key that is not the daemon's, and remembers whose it is.
    fn ignore<'de, A: MapAccess<'de>>(
        &mut self,
        foreign: Option<Foreign>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        self.foreign = self.foreign.or(foreign);
        map.next_value::<IgnoredAny>().map(drop)
    }
}

/// Takes an array of `data`: the outermost, or one in it.
struct ArraySeed<'a>(&'a mut Draft);

impl<'de> DeserializeSeed<'de> for ArraySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ArraySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        let needed = self.0.needed;
        Err(self.0.refuse(DecodeError::DataNotArray { needed }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let draft = self.0;
        draft.at.enter();
        loop {
            if draft.is_full() {
                // What is too much is counted, whatever it is.
                draft.place = Place::Data;
                match seq.next_element::<IgnoredAny>()? {
                    Some(_) => draft.found += 1,
                    None => break,
                }
            } else {
                draft.place = Place::Element;
                match seq.next_element_seed(ElementSeed(draft))? {
                    Some(()) => {}
                    None => break,
                }
            }
            draft.at.next();
            if draft.found > draft.needed.counted() {
                return Err(draft.refuse(DecodeError::DataTooLong { needed: draft.needed }));
            }
        }
        let found = draft.at.leave();
        draft.close(found).map_err(|refusal| draft.refuse(refusal))
    }
}

/// Takes one element of an array: a number, an array, or what is there in its place.
struct ElementSeed<'a>(&'a mut Draft);

impl ElementSeed<'_> {
    fn number<E: de::Error>(self, value: f64) -> Result<(), E> {
        let draft = self.0;
        draft.take(value).map_err(|refusal| draft.refuse(refusal))
    }

    fn refuse<E: de::Error>(self, found: &'static str) -> Result<(), E> {
        let Draft { at, needed, .. } = *self.0;
        Err(self.0.refuse(DecodeError::NotANumber { at, found, needed }))
    }
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
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

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let draft = self.0;
        if draft.numbers_are_here() {
            return ElementSeed(draft).refuse("an array");
        }
        if draft.at.depth() == DATA_DEPTH_MAX {
            return Err(draft.refuse(DecodeError::DataDepth { needed: draft.needed }));
        }
        ArraySeed(draft).visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.refuse("an object")
    }
}
