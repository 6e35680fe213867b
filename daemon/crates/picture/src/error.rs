//! What can be wrong with a body, and whose fault each case is.
//!
//! Owns the texts that a client reads. It must not know HTTP: a [`DecodeFault`] is a kind of mistake,
//! and the listener turns it into a status.

use std::fmt;

use crate::limits::{COUNT_MAX, IMAGE_SIDE_MAX, PIXELS_MAX, SCANS_MAX};
use crate::spec::{Colour, Spec};

/// The media types that [`super::MediaType`] names, as an error text lists them.
const ACCEPTED: &str = "application/json, image/png, image/jpeg, image/bmp, image/tiff, \
                        image/x-portable-anymap, application/octet-stream";

/// The kind of a client's mistake; the number is the HTTP status of RFC 9110 for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeFault {
    /// The bytes are not what they are declared to be (400).
    Malformed,
    /// The picture exceeds a limit (413).
    TooLarge,
    /// The type is not one of those accepted (415).
    UnknownType,
    /// The body is well formed, but its shape or its values are not usable (422).
    Unprocessable,
}

/// The size of a model's input, as an error text states it: `3x32x32`, with `#` as `32x32 RGB8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    size: [usize; 2],
    colour: Colour,
}

impl From<&Spec> for Needed {
    fn from(spec: &Spec) -> Needed {
        Needed { size: spec.size, colour: spec.colour }
    }
}

impl Needed {
    /// Returns channels × height × width.
    pub fn values(self) -> usize {
        self.size[0] * self.size[1] * self.colour.channels()
    }

    /// Returns how many numbers of a too long array are counted.
    pub fn counted(self) -> usize {
        COUNT_MAX.max(self.values())
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Needed { size: [height, width], colour } = *self;
        let format = match colour {
            Colour::Rgb => "RGB8",
            Colour::Bgr => "BGR8",
            Colour::Grey => "grey, 8 bits",
        };
        if f.alternate() {
            return write!(f, "{width}x{height} {format}");
        }
        write!(f, "{}x{height}x{width}", colour.channels())
    }
}

/// The deepest nesting of `data` that is meant: `[1][C][H][W]`.
pub const DATA_DEPTH_MAX: usize = 4;

/// The place of an element of `data`, as an error text states it: `data[7]`, or `data[0][1][7]` in nested
/// arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    indices: [usize; DATA_DEPTH_MAX],
    depth: usize,
}

impl At {
    /// Returns the place of a number in arrays of the form that `spec` needs, `depth` deep.
    pub fn of_index(index: usize, spec: &Spec, depth: usize) -> At {
        let [height, width] = spec.size;
        let (row, x) = (index / width, index % width);
        let (channel, y) = (row / height, row % height);
        let indices = match depth {
            1 => [index, 0, 0, 0],
            3 => [channel, y, x, 0],
            _ => [0, channel, y, x],
        };
        At { indices, depth }
    }

    /// Returns how many arrays it is in.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Goes to the first element of an array. It must be in fewer than `DATA_DEPTH_MAX`.
    pub fn enter(&mut self) {
        self.indices[self.depth] = 0;
        self.depth += 1;
    }

    /// Goes to the next element.
    pub fn next(&mut self) {
        self.indices[self.depth - 1] += 1;
    }

    /// Goes back to the array that it is in, and returns how many elements came before.
    pub fn leave(&mut self) -> usize {
        self.depth -= 1;
        self.indices[self.depth]
    }
}

impl At {
    /// Returns how the array around it is called, if it may be the flat one.
    fn form(&self, needed: Needed) -> String {
        if self.depth > 1 {
            return String::new();
        }
        format!(" in a flat array of {}", needed.values())
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data")?;
        self.indices[..self.depth].iter().try_for_each(|index| write!(f, "[{index}]"))
    }
}

/// The lengths of nested arrays, as an error text states them: `32x32x3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(pub Vec<usize>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, length) in self.0.iter().enumerate() {
            write!(f, "{}{length}", if depth == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

/// A JSON body that another service's clients send, by the key that tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    KserveV1,
    KserveV2,
    Base64,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::KserveV1 => "json body has KServe v1's \"instances\" and no \"data\": send",
            Foreign::KserveV2 => {
                "json body has KServe v2's \"inputs\" and no \"data\": POST it to \
                 /v2/models/{model}/infer, or send here"
            }
            Foreign::Base64 => {
                "json body has a picture as text and no \"data\": send the file itself as image/png \
                 or image/jpeg, or send"
            }
        })
    }
}

/// Why a body is not a picture. The text states the fact and the limit, for the client to read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("body is empty")]
    Empty,
    #[error("content type {found:?} is not known, accepted are {ACCEPTED}")]
    ContentType { found: String },
    #[error("type of the body is not recognised, accepted are {ACCEPTED}")]
    Unrecognised,
    #[error("body holds {found} bytes, exactly {} ({needed:#}) are needed", needed.values())]
    RawLength { found: usize, needed: Needed },

    #[error("body holds {found} bytes, exactly {needed} ({form}) are needed")]
    RawFormLength { found: usize, needed: u64, form: String },
    #[error("format is not known, accepted are rgb8, bgr8, mono8, mono10le, mono12le and mono16le")]
    RawFormat,

    #[error("body is {found}, which is not read, accepted are {ACCEPTED}")]
    Unread { found: &'static str },
    #[error("body is declared as {declared} but starts like {found}")]
    WrongFormat { declared: &'static str, found: &'static str },
    #[error("{format} is truncated, {missing}")]
    Truncated { format: &'static str, missing: &'static str },
    #[error("{format} is damaged, {reason}")]
    Damaged { format: &'static str, reason: String },
    #[error("image is {width}x{height}, at least 1x1 is needed")]
    ZeroSize { width: u32, height: u32 },
    #[error(
        "image is {width}x{height}, at most {IMAGE_SIDE_MAX} pixels a side and {PIXELS_MAX} pixels \
         in all are accepted"
    )]
    Dimensions { width: u32, height: u32 },
    #[error("decoding needs {needed} bytes of memory, at most {most} are accepted")]
    Memory { needed: u64, most: u64 },
    #[error("jpeg holds more than {SCANS_MAX} scans, at most {SCANS_MAX} are accepted")]
    Scans,
    #[error(
        "{format} holds 16-bit samples of at most {peak}: a dark picture, or one of fewer bits; state \
         the bits (PNG: sBIT, TIFF: MaxSampleValue, PGM: maxval, raw: format=mono12le) or scale the \
         samples to 16 bits"
    )]
    Depth { format: &'static str, peak: u16 },
    #[error("{format} uses {feature}, which is not supported")]
    Unsupported { format: &'static str, feature: String },

    #[error("body is not UTF-8, first bad byte at offset {offset}")]
    NotUtf8 { offset: usize },
    #[error("json is malformed, {reason}")]
    JsonSyntax { reason: String },
    #[error("json body is not an object, an object with the key \"data\" is needed")]
    NotAnObject,
    #[error("json body has no \"data\", an array of {} numbers is needed", needed.values())]
    DataMissing { needed: Needed },
    #[error("json body states {key:?} twice, exactly once is accepted")]
    Duplicate { key: &'static str },
    #[error("data is not an array, an array of {} numbers is needed", needed.values())]
    DataNotArray { needed: Needed },
    #[error("data holds {found} numbers, exactly {} ({needed}) are needed", needed.values())]
    DataLength { found: usize, needed: Needed },
    #[error(
        "data holds more than {} numbers, exactly {} ({needed}) are needed", needed.counted(),
        needed.values()
    )]
    DataTooLong { needed: Needed },
    #[error("{at} is {found}, a number is needed{}", at.form(*needed))]
    NotANumber { at: At, found: &'static str, needed: Needed },
    #[error("{at} is a number, an array is needed like the one before")]
    NotAnArray { at: At },
    #[error("{at} holds {found} elements, {needed} are needed like in the one before")]
    Ragged { at: At, found: usize, needed: usize },
    #[error(
        "data is nested as {found}, a flat array of {} numbers or one nested as {needed} or \
         1x{needed} is needed", needed.values()
    )]
    DataShape { found: Shape, needed: Needed },
    #[error(
        "data is nested more than {DATA_DEPTH_MAX} deep, a flat array of {} numbers or one nested as \
         {needed} or 1x{needed} is needed", needed.values()
    )]
    DataDepth { needed: Needed },
    #[error("{foreign} {{\"data\":[...]}} with {} numbers ({needed})", needed.values())]
    Foreign { foreign: Foreign, needed: Needed },
    #[error("{at} is beyond a 64-bit float, 0 to 255 is accepted")]
    Overflow { at: At },
    #[error(
        "json holds {literal} at line {line} column {column}, only finite numbers are accepted"
    )]
    NotFinite { literal: &'static str, line: usize, column: usize },
    #[error("{at} is {value}, range {range} accepts 0 to {max}")]
    OutOfRange { at: At, value: f64, range: &'static str, max: f64 },
    #[error(
        "data holds fractions from {low} to {high}, not pixel values 0 to 255: state \
         \"range\":\"0..1\""
    )]
    LooksScaled { low: f64, high: f64 },
    #[error(
        "data holds fractions from {low} to {high}, which looks normalised: send raw pixels 0 to \
         255, or 0 to 1 with \"range\":\"0..1\""
    )]
    LooksNormalised { low: f64, high: f64 },
    #[error("range is not known, accepted are \"0..255\" and \"0..1\"")]
    Range,
}

impl DecodeError {
    /// Returns whose mistake this is, for the listener to choose a status.
    pub fn fault(&self) -> DecodeFault {
        use DecodeError as E;
        match self {
            E::Empty
            | E::RawFormat
            | E::WrongFormat { .. }
            | E::Truncated { .. }
            | E::Damaged { .. }
            | E::ZeroSize { .. }
            | E::NotUtf8 { .. }
            | E::JsonSyntax { .. } => DecodeFault::Malformed,
            E::Dimensions { .. } | E::Memory { .. } | E::Scans => DecodeFault::TooLarge,
            E::ContentType { .. } | E::Unrecognised | E::Unread { .. } => DecodeFault::UnknownType,
            E::RawLength { .. }
            | E::RawFormLength { .. }
            | E::Depth { .. }
            | E::Unsupported { .. }
            | E::NotAnObject
            | E::DataMissing { .. }
            | E::Duplicate { .. }
            | E::DataNotArray { .. }
            | E::DataLength { .. }
            | E::DataTooLong { .. }
            | E::NotANumber { .. }
            | E::NotAnArray { .. }
            | E::Ragged { .. }
            | E::DataShape { .. }
            | E::DataDepth { .. }
            | E::Foreign { .. }
            | E::Overflow { .. }
            | E::NotFinite { .. }
            | E::OutOfRange { .. }
            | E::LooksScaled { .. }
            | E::LooksNormalised { .. }
            | E::Range => DecodeFault::Unprocessable,
        }
    }
}
