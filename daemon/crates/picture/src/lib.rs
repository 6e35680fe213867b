//! Bounded bytes to a 32×32 RGB8 image.
//!
//! Owns the accepted media types, every limit on what is decoded, and the resize to the model's
//! side. It must not know HTTP, queues, metrics or the model: it takes a body and returns pixels.

mod compressed;
mod error;
#[cfg(test)]
mod fixtures;
mod jpeg;
mod json;
mod media;
mod png;
mod resize;
mod tensor;

pub use error::{DecodeError, Fault};
pub use json::JsonRange;
pub use media::MediaType;
pub use tensor::{Element, InputSpec, InputTensor, Layout, Values};

/// Width and height of an image, in pixels; the model card's input shape.
pub const SIDE: usize = 32;
/// Colour channels of a pixel, in the order red, green, blue.
pub const CHANNELS: usize = 3;
/// Size of an image in bytes: 32 × 32 pixels of 3 channels.
pub const IMAGE_BYTES: usize = SIDE * SIDE * CHANNELS;

/// A picture of 32×32 pixels, RGB8, row-major HWC: byte `(y * 32 + x) * 3 + channel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Box<[u8; IMAGE_BYTES]>);

impl Image {
    /// Decodes a request body or a file of the stated type.
    ///
    /// `json_range` is the range of the numbers in a JSON body that does not state its own; the
    /// other types ignore it. PNG and JPEG of any size within the limits are squashed to 32×32.
    ///
    /// # Errors
    /// Every [`DecodeError`]; its [`DecodeError::fault`] says whose it is.
    pub fn decode(
        body: &[u8],
        media: MediaType,
        json_range: JsonRange,
    ) -> Result<Image, DecodeError> {
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        match media {
            MediaType::Json => json::decode(body, json_range),
            MediaType::Png => compressed::decode_png(body),
            MediaType::Jpeg => compressed::decode_jpeg(body),
            MediaType::Rgb8 => Image::from_rgb8(body),
        }
    }

    /// Takes 3072 bytes, 32×32 RGB8 in row-major HWC order, as they are.
    ///
    /// # Errors
    /// [`DecodeError::Empty`] and [`DecodeError::Rgb8Length`].
    pub fn from_rgb8(bytes: &[u8]) -> Result<Image, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        match <[u8; IMAGE_BYTES]>::try_from(bytes) {
            Ok(pixels) => Ok(Image(Box::new(pixels))),
            Err(_) => Err(DecodeError::Rgb8Length { found: bytes.len() }),
        }
    }

    /// The 3072 bytes, row-major HWC, each in 0..=255.
    pub fn pixels(&self) -> &[u8; IMAGE_BYTES] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEDIA: [MediaType; 4] =
        [MediaType::Json, MediaType::Png, MediaType::Jpeg, MediaType::Rgb8];

    #[test]
    fn empty_body_is_malformed_for_every_type() {
        for media in MEDIA {
            let error = Image::decode(b"", media, JsonRange::default()).unwrap_err();
            assert_eq!(error.fault(), Fault::Malformed, "{media:?}");
            assert_eq!(error.to_string(), "body is empty");
        }
        assert_eq!(Image::from_rgb8(b"").unwrap_err().to_string(), "body is empty");
        assert_eq!(MediaType::sniff(b"").unwrap_err().to_string(), "body is empty");
    }

    #[test]
    fn rgb8_keeps_its_bytes() {
        let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i % 251) as u8).collect();
        let image = Image::decode(&bytes, MediaType::Rgb8, JsonRange::default()).unwrap();
        assert_eq!(image.pixels().as_slice(), bytes);
    }

    #[test]
    fn rgb8_of_another_length_is_unprocessable() {
        for length in [1, 3071, 3073, 12_288] {
            let error = Image::from_rgb8(&vec![0; length]).unwrap_err();
            assert_eq!(error.fault(), Fault::Unprocessable);
            assert_eq!(
                error.to_string(),
                format!("body holds {length} bytes, exactly 3072 (32x32 RGB8) are needed")
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..4096)) {
            let _ = MediaType::sniff(&body);
            for media in MEDIA {
                let _ = Image::decode(&body, media, JsonRange::ZeroTo1);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(body in "[\\[\\]{}:,\"datrnge0-9.eE+NaIfiy \\-]{0,200}") {
            let _ = Image::decode(body.as_bytes(), MediaType::Json, JsonRange::default());
            let body = format!("{{\"data\":[{body}");
            let _ = Image::decode(body.as_bytes(), MediaType::Json, JsonRange::default());
        }
    }
}
