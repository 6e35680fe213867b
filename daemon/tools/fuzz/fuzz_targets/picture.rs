//! The decoders of pictures on arbitrary bytes: each gives a picture of the size that was asked for, or
//! fails, and never panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_picture::{
    Colour, Element, JsonRange, Layout, MediaType, Picture, RawForm, RawFormat, Spec,
};

const SPEC: Spec = Spec::raw(Element::U8, Layout::Nchw, [24, 40], Colour::Rgb);
/// How each type begins; a fuzzer finds that for itself, but not soon.
const TYPES: [(MediaType, &[u8]); 9] = [
    (MediaType::Json, b"{\"data\":"),
    (MediaType::Png, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    (MediaType::Jpeg, b"\xff\xd8\xff"),
    (MediaType::Bmp, b"BM"),
    (MediaType::Tiff, b"II*\0\x08\0\0\0"),
    (MediaType::Tiff, b"MM\0*\0\0\0\x08"),
    (MediaType::Pnm, b"P"),
    (MediaType::Raw, b""),
    (MediaType::RawForm(RawForm { width: 8, height: 4, format: RawFormat::Wide(12) }), b""),
];

fuzz_target!(|input: &[u8]| {
    if let Ok(media) = MediaType::sniff(input, &SPEC) {
        decode(input, media);
    }
    let Some((&which, rest)) = input.split_first() else { return };
    let (media, start) = TYPES[usize::from(which) % TYPES.len()];
    decode(&[start, rest].concat(), media);
});

fn decode(body: &[u8], media: MediaType) {
    if let Ok(picture) = Picture::decode(body, media, &SPEC, JsonRange::default()) {
        assert_eq!(picture.pixels().len(), SPEC.values());
    }
}
