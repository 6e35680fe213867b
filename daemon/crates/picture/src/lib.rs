//! Bounded bytes to a picture of a model's size, and the picture to its input.
//!
//! Owns the accepted media types, every limit on what is decoded, the resize to the model's size and
//! the form of its input. It must not know HTTP, queues, metrics or the model: it takes a body and
//! returns pixels.
//!
//! - `limits`, `spec`, `rows` and `outline` are leaves; `error` says what can be wrong with a body.
//! - `media` tells the types apart, `decode` gives each to its decoder and knows its cost before.
//! - `png`, `jpeg`, `bmp`, `tiff`, `pnm` and `raw` give rows, with the help of `directory` and `samples`;
//!   `resize` takes them; `json` reads numbers.
//! - `tensor` is what a model is given.

mod bmp;
mod decode;
mod directory;
mod error;
#[cfg(test)]
mod fixtures;
mod jpeg;
mod json;
mod limits;
mod media;
mod outline;
mod picture;
mod png;
mod pnm;
mod range;
mod raw;
mod resize;
mod rows;
mod samples;
mod spec;
mod tensor;
mod tiff;

pub use decode::{Cost, cost};
pub use error::{At, DecodeError, DecodeFault, Foreign, Needed, Shape};
pub use jpeg::Jpeg;
pub use limits::{INPUT_SIDE_MAX, INPUT_SIDE_MIN, RESIZE_TO_MAX};
pub use media::MediaType;
pub use picture::Picture;
pub use range::JsonRange;
pub use raw::{RawForm, RawFormat};
pub use rows::{Header, Pixel};
pub use spec::{Colour, Element, Filter, Layout, Mode, Resize, Scale, Spec};
pub use tensor::{Tensor, Values};
