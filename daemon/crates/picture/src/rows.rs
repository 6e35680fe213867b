//! What a decoder says of its picture before it gives it, row by row. It knows no format.

use crate::error::DecodeError;

/// What a row of a decoded picture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixel {
    /// One byte a pixel.
    Grey,
    /// Three bytes a pixel: red, green, blue.
    Rgb,
}

impl Pixel {
    /// Returns the bytes of one pixel.
    pub fn bytes(self) -> usize {
        match self {
            Pixel::Grey => 1,
            Pixel::Rgb => 3,
        }
    }
}

/// What a file says of its picture before a pixel is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub format: &'static str,
    /// Width and height as stored, in pixels, both within the limits.
    pub size: (u32, u32),
    pub pixel: Pixel,
    /// The Exif orientation tag, 1 where there is none.
    pub orientation: u8,
    /// What decoding holds beside one row, in bytes at most.
    pub working_bytes: u64,
}

/// A decoder that has read its file's header.
pub trait Rows {
    fn header(&self) -> Header;

    /// Gives every row to `row`, from the top, as 8-bit pixels of the announced kind.
    ///
    /// # Errors
    /// Whatever is wrong with the file behind its header; the rows before that were given.
    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError>;
}
