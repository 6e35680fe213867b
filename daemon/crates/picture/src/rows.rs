//! What is known of a picture before its rows come: a leaf that the decoders of all formats share.

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
    /// Width and height as stored, in pixels, within the limits.
    pub size: (u32, u32),
    pub pixel: Pixel,
    /// The EXIF orientation tag, 1 where there is none.
    pub orientation: u8,
    /// The bytes that decoding holds beside one row, at most.
    pub working_bytes: u64,
}
