//! What a body without a stated type is taken for, and what is made of that: arbitrary bytes.

#![no_main]

mod pictures;

use libfuzzer_sys::fuzz_target;
use picket_picture::{MediaType, RawForm, RawFormat};

use pictures::{SPEC, decode};

fuzz_target!(|input: &[u8]| {
    if let Ok(media) = MediaType::sniff(input, &SPEC) {
        decode(input, media, b"");
    }
    let form = RawForm { width: 8, height: 4, format: RawFormat::Wide(12) };
    decode(input, MediaType::RawForm(form), b"");
});
