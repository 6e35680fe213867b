//! What a decoder says of its picture before it gives it, row by row. It knows no format.

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
