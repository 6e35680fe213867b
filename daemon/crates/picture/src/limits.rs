//! Every limit on what is decoded, and the sizes of what comes out. It knows no format.

/// Width and height of a picture, in pixels; the model card's input shape.
pub const SIDE: usize = 32;
/// Colour channels of a pixel, in the order red, green, blue.
pub const CHANNELS: usize = 3;
/// Size of a picture in bytes: 32 × 32 pixels of 3 channels.
pub const IMAGE_BYTES: usize = SIDE * SIDE * CHANNELS;

/// The longest accepted side, in pixels: above any camera's, and a row stays below 128 KiB.
pub const IMAGE_SIDE_MAX: u32 = 16_384;
/// The most pixels accepted: 24 MP covers the cameras sold for these boxes (12 MP) twice over.
pub const PIXELS_MAX: u64 = 24_000_000;
/// The most memory that decoding one picture may take, in bytes: 24 MP of RGB8 (68.7 MiB) fits,
/// and four workers at their worst hold 288 MiB of a 1 GiB board.
pub const DECODED_BYTES_MAX: u64 = 72 << 20;
/// The most scans of one JPEG: progressive encoders write about ten, and each one costs a pass
/// over all coefficients.
pub const SCANS_MAX: usize = 64;
/// How many numbers of a too long JSON array are counted before it is only called too long: enough
/// to name the length of a 128×128 picture.
pub const COUNT_MAX: usize = 65_536;
