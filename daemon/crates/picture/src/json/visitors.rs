//! What the parser of a JSON body calls with what it finds. They keep the numbers in a `Draft` and
//! nothing else.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::draft::{Draft, Place};
use crate::error::DecodeError;

/// Takes the whole body.
pub struct BodyVisitor<'a>(pub &'a mut Draft);

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

/// Takes the array of numbers.
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
        for index in 0..draft.values.len() {
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
                    let needed = draft.needed;
                    draft.refusal =
                        other.map(|found| DecodeError::NotANumber { index, found, needed });
                    return Err(error);
                }
            }
        }
        let mut found = draft.values.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            found += 1;
            if found > draft.needed.counted() {
                return Err(draft.refuse(DecodeError::DataTooLong { needed: draft.needed }));
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
