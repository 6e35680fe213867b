//! Which of the accepted types a body is, by its Content-Type or by its first bytes.
//!
//! Owns the list of accepted types. It must not decode anything.

use crate::error::DecodeError;
use crate::spec::Spec;

/// The signature of PNG, eight bytes; PNG specification, section 5.2.
pub const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The start of a JPEG file, three bytes: SOI and the first byte of the next marker; ITU-T T.81.
pub const JPEG_START: &[u8] = b"\xff\xd8\xff";
/// The longest Content-Type that an error repeats, in characters: enough for every registered one.
const ECHO_CHARS_MAX: usize = 80;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`: `{"data":[numbers]}`, a flattened picture of the model's size (CHW).
    Json,
    /// `image/png`, any size within the limits.
    Png,
    /// `image/jpeg`, any size within the limits.
    Jpeg,
    /// `application/octet-stream`: a picture of the model's size and channels, row-major HWC.
    Raw,
}

impl MediaType {
    /// Reads a Content-Type header's value: case is ignored, and so are parameters such as
    /// `;charset=utf-8`. `image/jpg`, which is not registered but common, means JPEG.
    ///
    /// # Errors
    /// [`DecodeError::ContentType`], whose text lists the accepted types.
    pub fn from_content_type(value: &str) -> Result<MediaType, DecodeError> {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(MediaType::Json),
            "image/png" => Ok(MediaType::Png),
            "image/jpeg" | "image/jpg" => Ok(MediaType::Jpeg),
            "application/octet-stream" => Ok(MediaType::Raw),
            _ => Err(DecodeError::ContentType {
                found: essence.chars().take(ECHO_CHARS_MAX).collect(),
            }),
        }
    }

    /// Tells the type from the body, for a request without Content-Type and for a file: the PNG
    /// signature, the start of a JPEG, `{` as the first byte that is not white space, or exactly
    /// as many bytes as the model's input has values. The order makes a doubtful body fail loudly as JSON rather than pass as pixels.
    ///
    /// # Errors
    /// [`DecodeError::Empty`] and [`DecodeError::Unrecognised`].
    pub fn sniff(body: &[u8], spec: &Spec) -> Result<MediaType, DecodeError> {
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        if body.starts_with(PNG_SIGNATURE) {
            return Ok(MediaType::Png);
        }
        if body.starts_with(JPEG_START) {
            return Ok(MediaType::Jpeg);
        }
        if body.trim_ascii_start().first() == Some(&b'{') {
            return Ok(MediaType::Json);
        }
        if body.len() == spec.values() {
            return Ok(MediaType::Raw);
        }
        Err(DecodeError::Unrecognised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DecodeFault;
    use crate::fixtures::{IMAGE_BYTES, SMALL};

    #[test]
    fn content_type_ignores_case_and_parameters() {
        for (value, media) in [
            ("application/json", MediaType::Json),
            ("Application/JSON; charset=utf-8", MediaType::Json),
            (" image/png ;q=1", MediaType::Png),
            ("image/jpeg", MediaType::Jpeg),
            ("IMAGE/JPG", MediaType::Jpeg),
            ("application/octet-stream;x", MediaType::Raw),
        ] {
            assert_eq!(MediaType::from_content_type(value).unwrap(), media, "{value}");
        }
    }

    #[test]
    fn unknown_content_type_lists_the_accepted_ones() {
        for value in ["", ";", "text/plain", "image/webp", "json", "application/json+x"] {
            let error = MediaType::from_content_type(value).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::UnknownType, "{value}");
            let text = error.to_string();
            for accepted in ["json", "image/png", "image/jpeg", "application/octet-stream"] {
                assert!(text.contains(accepted), "{text}");
            }
        }
        let long = MediaType::from_content_type(&"é".repeat(5_000)).unwrap_err().to_string();
        assert!(long.len() < 400, "{long}");
    }

    #[test]
    fn sniff_goes_by_the_first_bytes_then_by_the_length() {
        let mut raw = vec![7; IMAGE_BYTES];
        assert_eq!(MediaType::sniff(&raw, &SMALL).unwrap(), MediaType::Raw);
        raw[..8].copy_from_slice(PNG_SIGNATURE);
        assert_eq!(MediaType::sniff(&raw, &SMALL).unwrap(), MediaType::Png);
        raw[0] = b'{';
        assert_eq!(MediaType::sniff(&raw, &SMALL).unwrap(), MediaType::Json);
        assert_eq!(MediaType::sniff(b"\xff\xd8\xff\xe0", &SMALL).unwrap(), MediaType::Jpeg);
        assert_eq!(MediaType::sniff(b" \r\n\t{", &SMALL).unwrap(), MediaType::Json);
    }

    #[test]
    fn sniff_of_anything_else_is_an_unknown_type() {
        for body in [&b"x"[..], b"\xff", b"\xff\xd8", b"[1,2]", b"GIF89a", &[0; 3071], b"   "] {
            let error = MediaType::sniff(body, &SMALL).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::UnknownType, "{body:?}");
        }
    }
}
