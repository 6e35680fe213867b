//! What was read of a JSON body so far, and why the parser stopped.

use serde::de;
use serde_json::error::Category;

use super::tally::Tally;
use crate::error::{At, DATA_DEPTH_MAX, DecodeError, Foreign, Needed, Shape};
use crate::picture::Picture;
use crate::range::JsonRange;
use crate::spec::Spec;

const NO_LENGTHS: [Option<usize>; DATA_DEPTH_MAX] = [None; DATA_DEPTH_MAX];

/// What was read of a body so far.
pub struct Draft {
    pub needed: Needed,
    pub tally: Tally,
    /// How many numbers of `data` were found; no more than are needed are kept.
    pub found: usize,
    /// Which element of `data` is read.
    pub at: At,
    /// The lengths of the arrays of each depth, once one has ended. All of one depth have the same.
    lengths: [Option<usize>; DATA_DEPTH_MAX],
    /// How deep the numbers are, from 1.
    depth: Option<usize>,
    /// Whether `data` was read to its end.
    pub ended: bool,
    pub range: Option<JsonRange>,
    /// Whose body it is, where a key says so.
    pub foreign: Option<Foreign>,
    pub place: Place,
    /// Why the visitors stopped the parser, where it was their decision.
    pub refusal: Option<DecodeError>,
}

/// Where in the body the parser is.
#[derive(Clone, Copy)]
pub enum Place {
    Top,
    Data,
    Element,
    Range,
    Other,
}

impl Draft {
    /// Starts a body of numbers in `range`, for a model of this input.
    pub fn new(spec: &Spec, range: JsonRange) -> Draft {
        Draft {
            needed: spec.into(),
            tally: Tally::new(spec.values(), range),
            found: 0,
            at: At::default(),
            lengths: [None; DATA_DEPTH_MAX],
            depth: None,
            ended: false,
            range: None,
            foreign: None,
            place: Place::Top,
            refusal: None,
        }
    }

    /// Stops the parser; [`Draft::explain`] then returns `refusal` and not the parser's error.
    pub fn refuse<E: de::Error>(&mut self, refusal: DecodeError) -> E {
        self.refusal.get_or_insert(refusal);
        E::custom("refused")
    }

    /// Returns whether the array that is read is one of numbers.
    pub fn numbers_are_here(&self) -> bool {
        self.depth == Some(self.at.depth())
    }

    /// Returns whether the array that is read is one of numbers, and no more are needed.
    pub fn is_full(&self) -> bool {
        self.numbers_are_here() && self.found >= self.needed.values()
    }

    /// Takes the number that is read.
    pub fn take(&mut self, value: f64) -> Result<(), DecodeError> {
        let depth = self.at.depth();
        if *self.depth.get_or_insert(depth) != depth || self.lengths[depth..] != NO_LENGTHS[depth..]
        {
            return Err(DecodeError::NotAnArray { at: self.at });
        }
        self.tally.set(self.found, value);
        self.found += 1;
        Ok(())
    }

    /// Ends an array of `found` elements, and the reading of the one around it goes on.
    pub fn close(&mut self, found: usize) -> Result<(), DecodeError> {
        let at = self.at;
        let needed = *self.lengths[at.depth()].get_or_insert(found);
        if needed != found {
            return Err(DecodeError::Ragged { at, found, needed });
        }
        Ok(())
    }

    /// Returns the picture of a body that was read to its end.
    pub fn finish(self, spec: &Spec) -> Result<Picture, DecodeError> {
        let needed = self.needed;
        if !self.ended {
            return Err(match self.foreign {
                Some(foreign) => DecodeError::Foreign { foreign, needed },
                None => DecodeError::DataMissing { needed },
            });
        }
        let lengths: Vec<usize> = self.lengths.iter().map_while(|length| *length).collect();
        let ([height, width], channels) = (spec.size, spec.colour.channels());
        match lengths[..] {
            [found] if found == spec.values() => {}
            [found] => return Err(DecodeError::DataLength { found, needed }),
            [1, c, h, w] | [c, h, w] if [c, h, w] == [channels, height, width] => {}
            _ => return Err(DecodeError::DataShape { found: Shape(lengths), needed }),
        }
        self.tally.finish(spec, self.range.is_some(), lengths.len())
    }

    /// Says why the parser stopped with `error`.
    pub fn explain(self, text: &str, error: &serde_json::Error) -> DecodeError {
        if let Some(refusal) = self.refusal {
            return refusal;
        }
        // The parser has no code for this case, and calls it a syntax error, which it is not.
        let overflow = error.to_string().starts_with("number out of range");
        if overflow || error.classify() == Category::Data {
            return match self.place {
                Place::Top => DecodeError::NotAnObject,
                Place::Data => DecodeError::DataNotArray { needed: self.needed },
                Place::Range => DecodeError::Range,
                Place::Element => DecodeError::Overflow { at: self.at },
                Place::Other => DecodeError::JsonSyntax { reason: error.to_string() },
            };
        }
        let (line, column) = (error.line(), error.column());
        match (literal_at(text, line, column), self.place) {
            (Some(found), Place::Element) => {
                DecodeError::NotANumber { at: self.at, found, needed: self.needed }
            }
            (Some(literal), _) => DecodeError::NotFinite { literal, line, column },
            (None, _) => DecodeError::JsonSyntax { reason: error.to_string() },
        }
    }
}

/// Returns the name for a number that is not finite at a syntax error's place (line and column from 1),
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
