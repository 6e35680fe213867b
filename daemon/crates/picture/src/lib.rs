//! Bounded bytes to a 32×32 RGB8 picture, and the picture to a model's input.
//!
//! Owns the accepted media types, every limit on what is decoded, the resize to the model's side and
//! the form of its input. It must not know HTTP, queues, metrics or the model: it takes a body and
//! returns pixels.
//!
//! - `limits`, `picture`, `spec` and `outline` are leaves; `error` says what can be wrong with a body.
//! - `media` tells the types apart, `decode` gives each to its decoder.
//! - `png` and `jpeg` walk over a file before `compressed` decodes it; `resize` averages its rows;
//!   `json` reads numbers.
//! - `tensor` is what a model is given.

mod compressed;
mod decode;
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
mod range;
mod resize;
mod rows;
mod spec;
mod tensor;

pub use error::{DecodeError, DecodeFault};
pub use jpeg::Jpeg;
pub use limits::{CHANNELS, IMAGE_BYTES, SIDE};
pub use media::MediaType;
pub use picture::Picture;
pub use range::JsonRange;
pub use rows::{Header, Pixel};
pub use spec::{Element, Layout, Spec};
pub use tensor::{Tensor, Values};
