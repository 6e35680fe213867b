//! What was read of a JSON body so far, and why the parser stopped.

use serde::de;
use serde_json::error::Category;

use crate::error::{DecodeError, Needed};
use crate::range::JsonRange;
use crate::spec::Spec;

/// What was read of a body so far.
pub struct Draft {
    pub needed: Needed,
    /// As many as are needed; those that were not read yet are 0.
    pub values: Vec<f64>,
    /// The length of `data`, once it was read to its end.
    pub found: Option<usize>,
    pub range: Option<JsonRange>,
    pub place: Place,
    /// Why the visitors stopped the parser, where it was their decision.
    pub refusal: Option<DecodeError>,
}

/// Where in the body the parser is.
#[derive(Clone, Copy)]
pub enum Place {
    Top,
    Data,
    Element { index: usize },
    Range,
    Other,
}

impl Draft {
    /// Starts a body for a model of this input.
    pub fn new(spec: &Spec) -> Draft {
        let values = vec![0.0; spec.values()];
        let needed = spec.into();
        Draft { needed, values, found: None, range: None, place: Place::Top, refusal: None }
    }

    /// Stops the parser; [`Draft::explain`] then returns `refusal` and not the parser's error.
    pub fn refuse<E: de::Error>(&mut self, refusal: DecodeError) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
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
                Place::Element { index } => DecodeError::Overflow { index },
                Place::Other => DecodeError::JsonSyntax { reason: error.to_string() },
            };
        }
        let (line, column) = (error.line(), error.column());
        match (literal_at(text, line, column), self.place) {
            (Some(found), Place::Element { index }) => {
                DecodeError::NotANumber { index, found, needed: self.needed }
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
