//! One format's decoder on arbitrary bytes: it gives a picture of the size that was asked for, or fails,
//! and never panics.

use picket_picture::{Colour, Element, JsonRange, Layout, MediaType, Picture, Spec};

pub const SPEC: Spec = Spec::raw(Element::U8, Layout::Nchw, [24, 40], Colour::Rgb);

/// Decodes a body as it is, and the same behind the format's first bytes, which a fuzzer finds for itself,
/// but not soon.
pub fn decode(input: &[u8], media: MediaType, start: &[u8]) {
    whole(input, media);
    whole(&[start, input].concat(), media);
}

fn whole(body: &[u8], media: MediaType) {
    if let Ok(picture) = Picture::decode(body, media, &SPEC, JsonRange::default()) {
        assert_eq!(picture.pixels().len(), SPEC.values());
    }
}
