//! Which of the accepted types a body is, by its Content-Type or by its first bytes.
//!
//! Owns the list of accepted types, and the names of those that are refused. It must not decode anything.

use crate::directory::Directory;
use crate::error::DecodeError;
use crate::raw::RawForm;
use crate::spec::Spec;
use crate::{bmp, pnm};

/// The signature of PNG, eight bytes; PNG specification, section 5.2.
pub const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The start of a JPEG file, three bytes: SOI and the first byte of the next marker; ITU-T T.81.
pub const JPEG_START: &[u8] = b"\xff\xd8\xff";
/// The byte order mark of UTF-8, which some writers put before JSON.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The longest Content-Type that an error repeats, in characters: enough for every registered one.
const ECHO_CHARS_MAX: usize = 80;

/// The names of BigTIFF's two byte orders: a TIFF, though one that is not read.
const BIG_TIFF: [&[u8]; 2] = [b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"];

/// Formats that are not read, by where and how they begin.
const UNREAD: [(usize, &[u8], &str); 17] = [
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBPVP8", "WebP"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftyphevc", "HEIC"),
    (4, b"ftypheim", "HEIC"),
    (4, b"ftypheis", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51\0", "JPEG 2000"),
    (0, b"%PDF-1.", "PDF"),
    (0, b"%PDF-2.", "PDF"),
];
/// Formats whose beginning is too short, or too free, to tell them from pixels.
const UNREAD_WEAK: [(&[u8], &str); 3] =
    [(b"\xff\x0a", "JPEG XL"), (b"<svg", "SVG"), (b"<?xml", "SVG or other XML")];

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`: `{"data":[numbers]}`, a flattened picture of the model's size (CHW).
    Json,
    /// `image/png`, any size within the limits; so are the other files.
    Png,
    /// `image/jpeg`.
    Jpeg,
    /// `image/bmp`.
    Bmp,
    /// `image/tiff`, of which the first picture counts.
    Tiff,
    /// `image/x-portable-anymap`: PGM and PPM.
    Pnm,
    /// `application/octet-stream`: a picture of the model's size and channels, row-major HWC.
    Raw,
    /// `application/octet-stream` of a stated size and pixel format.
    RawForm(RawForm),
}

impl MediaType {
    /// Reads a Content-Type header's value: case is ignored, and so are parameters such as
    /// `;charset=utf-8`. Common names that are not registered are known too. None means that the body
    /// must say it: `application/x-www-form-urlencoded` is what curl states unasked.
    ///
    /// # Errors
    /// [`DecodeError::ContentType`], whose text lists the accepted types.
    pub fn from_content_type(value: &str) -> Result<Option<MediaType>, DecodeError> {
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let media = match essence.as_str() {
            "application/json" => MediaType::Json,
            "image/png" => MediaType::Png,
            "image/jpeg" | "image/jpg" | "image/pjpeg" => MediaType::Jpeg,
            "image/bmp" | "image/x-ms-bmp" | "image/x-bmp" => MediaType::Bmp,
            "image/tiff" | "image/tif" | "image/x-tiff" => MediaType::Tiff,
            "image/x-portable-anymap" | "image/x-portable-graymap" | "image/x-portable-pixmap" => {
                MediaType::Pnm
            }
            "application/octet-stream" => MediaType::Raw,
            "application/x-www-form-urlencoded" => return Ok(None),
            _ => {
                let found = essence.chars().take(ECHO_CHARS_MAX).collect();
                return Err(DecodeError::ContentType { found });
            }
        };
        Ok(Some(media))
    }

    /// Tells the type from the body, for a request without Content-Type and for a file: by how a known
    /// picture begins, by `{` as the first byte that is not white space, or by exactly as many bytes as
    /// the model's input has values. The order makes a doubtful body fail loudly as JSON rather than pass
    /// as pixels.
    ///
    /// # Errors
    /// [`DecodeError::Empty`], [`DecodeError::Unread`] and [`DecodeError::Unrecognised`].
    pub fn sniff(body: &[u8], spec: &Spec) -> Result<MediaType, DecodeError> {
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        if let Some(media) = MediaType::recognise(body)? {
            return Ok(media);
        }
        let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii_start();
        if text.first() == Some(&b'{') {
            return Ok(MediaType::Json);
        }
        if body.len() == spec.values() {
            return Ok(MediaType::Raw);
        }
        match UNREAD_WEAK.iter().find(|(start, _)| text.starts_with(start)) {
            Some((_, found)) => Err(DecodeError::Unread { found }),
            None => Err(DecodeError::Unrecognised),
        }
    }

    /// Tells a picture from its first bytes; none if they are not those of a known one. Pixels that begin
    /// like a picture by chance are not mistaken for it: short signatures count only with a header behind
    /// them that makes sense.
    ///
    /// # Errors
    /// [`DecodeError::Unread`] for a format that is known and not read.
    pub fn recognise(body: &[u8]) -> Result<Option<MediaType>, DecodeError> {
        let begins = |(at, start, _): &&(usize, &[u8], &str)| {
            body.get(*at..).is_some_and(|rest| rest.starts_with(start))
        };
        if let Some((_, _, found)) = UNREAD.iter().find(begins) {
            return Err(DecodeError::Unread { found });
        }
        Ok(if body.starts_with(PNG_SIGNATURE) {
            Some(MediaType::Png)
        } else if body.starts_with(JPEG_START) && body.get(3).is_none_or(|&marker| marker >= 0xc0) {
            Some(MediaType::Jpeg)
        } else if bmp::begins(body) {
            Some(MediaType::Bmp)
        } else if Directory::first(body).is_some()
            || BIG_TIFF.iter().any(|start| body.starts_with(start))
        {
            Some(MediaType::Tiff)
        } else if pnm::begins(body) {
            Some(MediaType::Pnm)
        } else {
            None
        })
    }

    /// Returns the name that an error uses.
    pub fn name(self) -> &'static str {
        match self {
            MediaType::Json => "json",
            MediaType::Png => "png",
            MediaType::Jpeg => "jpeg",
            MediaType::Bmp => "bmp",
            MediaType::Tiff => "tiff",
            MediaType::Pnm => "pnm",
            MediaType::Raw | MediaType::RawForm(_) => "raw pixels",
        }
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
            ("image/pjpeg", MediaType::Jpeg),
            ("image/x-ms-bmp", MediaType::Bmp),
            ("image/tiff", MediaType::Tiff),
            ("image/x-portable-graymap", MediaType::Pnm),
            ("application/octet-stream;x", MediaType::Raw),
        ] {
            assert_eq!(MediaType::from_content_type(value).unwrap(), Some(media), "{value}");
        }
    }

    #[test]
    fn what_curl_states_unasked_says_nothing() {
        let value = "application/x-www-form-urlencoded";
        assert_eq!(MediaType::from_content_type(value).unwrap(), None);
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
        assert!(long.len() < 500, "{long}");
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
        assert_eq!(MediaType::sniff(b"\xef\xbb\xbf {", &SMALL).unwrap(), MediaType::Json);
        assert_eq!(MediaType::sniff(b"P5 # 2\n1 1 255 ", &SMALL).unwrap(), MediaType::Pnm);
    }

    #[test]
    fn pixels_that_begin_like_a_picture_by_chance_stay_pixels() {
        for start in
            [&b"BM"[..], b"P5 1", b"P6\n9", b"II*\0", b"MM\0*", b"\xff\xd8\xff\x10", b"\xff\x0a"]
        {
            let mut raw = vec![200; IMAGE_BYTES];
            raw[..start.len()].copy_from_slice(start);
            assert_eq!(MediaType::sniff(&raw, &SMALL).unwrap(), MediaType::Raw, "{start:?}");
        }
    }

    #[test]
    fn sniff_of_anything_else_is_an_unknown_type() {
        for body in [&b"x"[..], b"\xff", b"\xff\xd8", b"[1,2]", b"GIF89a", &[0; 3071], b"   "] {
            let error = MediaType::sniff(body, &SMALL).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::UnknownType, "{body:?}");
        }
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        for (body, name) in [
            (&b"GIF89a..."[..], "GIF"),
            (b"RIFF\x98\x02\0\0WEBPVP8 ", "WebP"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0", "HEIC"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
            (b"\xff\x0a\x3f\x07", "JPEG XL"),
            (b"%PDF-1.7\n", "PDF"),
            (b"<?xml version=\"1.0\"?>\n<svg/>", "SVG or other XML"),
        ] {
            let error = MediaType::sniff(body, &SMALL).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::UnknownType, "{name}");
            assert!(error.to_string().starts_with(&format!("body is {name},")), "{error}");
        }
    }
}
