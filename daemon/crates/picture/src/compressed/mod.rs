//! PNG and JPEG bodies to a picture: `codec` is bounded decoding, `samples` the colours.

mod codec;
mod samples;
#[cfg(test)]
mod tests;

pub use codec::{decode_jpeg, decode_png};
