//! Every limit on what is decoded. It knows no format and no model.

/// The longest accepted side, in pixels: above any camera's, and a row stays below 128 KiB.
pub const IMAGE_SIDE_MAX: u32 = 16_384;
/// The most pixels accepted, 24 × 2^20: phones and industrial cameras of 24 megapixels are just above
/// 24 million (5712×4284).
pub const PIXELS_MAX: u64 = 25_165_824;
/// The most memory that decoding one picture may take, in bytes: the most pixels as RGB8, exactly.
pub const DECODED_BYTES_MAX: u64 = 72 << 20;
/// The most scans of one JPEG: progressive encoders write about ten, and each one costs a pass
/// over all coefficients.
pub const SCANS_MAX: usize = 64;
/// How many numbers of a too long JSON array are counted before it is only called too long: enough
/// to name the length of a 128×128 picture.
pub const COUNT_MAX: usize = 65_536;

/// The shortest side of a model's input, in pixels.
pub const INPUT_SIDE_MIN: usize = 8;
/// The longest side of a model's input, in pixels.
pub const INPUT_SIDE_MAX: usize = 1024;
/// The longest shorter side after `Mode::ShorterSide`, in pixels.
pub const RESIZE_TO_MAX: usize = 2 * INPUT_SIDE_MAX;
