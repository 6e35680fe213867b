//! Bodies of every type that nobody would send.

use crate::error::DecodeFault;
use crate::fixtures::{IMAGE_BYTES, SMALL};
use crate::{JsonRange, MediaType, Picture, RawForm, RawFormat};
use proptest::prelude::*;

const FORM: RawForm = RawForm { width: 8, height: 4, format: RawFormat::Wide(16) };
const MEDIA: [MediaType; 8] = [
    MediaType::Json,
    MediaType::Png,
    MediaType::Jpeg,
    MediaType::Bmp,
    MediaType::Tiff,
    MediaType::Pnm,
    MediaType::Raw,
    MediaType::RawForm(FORM),
];

#[test]
fn empty_body_is_malformed_for_every_type() {
    for media in MEDIA {
        let error = Picture::decode(b"", media, &SMALL, JsonRange::default()).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Malformed, "{media:?}");
        assert_eq!(error.to_string(), "body is empty");
    }
    assert_eq!(Picture::from_raw(b"", &SMALL).unwrap_err().to_string(), "body is empty");
    assert_eq!(MediaType::sniff(b"", &SMALL).unwrap_err().to_string(), "body is empty");
}

#[test]
fn rgb8_keeps_its_bytes() {
    let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i % 251) as u8).collect();
    let image = Picture::decode(&bytes, MediaType::Raw, &SMALL, JsonRange::default()).unwrap();
    assert_eq!(image.pixels(), bytes);
}

#[test]
fn rgb8_of_another_length_is_unprocessable() {
    for length in [1, 3071, 3073, 12_288] {
        let error = Picture::from_raw(&vec![0; length], &SMALL).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Unprocessable);
        assert_eq!(
            error.to_string(),
            format!("body holds {length} bytes, exactly 3072 (32x32 RGB8) are needed")
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = MediaType::sniff(&body, &SMALL);
        for media in MEDIA {
            let _ = Picture::decode(&body, media, &SMALL, JsonRange::ZeroTo1);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(body in "[\\[\\]{}:,\"datrnge0-9.eE+NaIfiy \\-]{0,200}") {
        let _ = Picture::decode(body.as_bytes(), MediaType::Json, &SMALL, JsonRange::default());
        let body = format!("{{\"data\":[{body}");
        let _ = Picture::decode(body.as_bytes(), MediaType::Json, &SMALL, JsonRange::default());
    }
}
