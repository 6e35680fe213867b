//! The PNG decoder on arbitrary bytes.

#![no_main]

mod pictures;

use libfuzzer_sys::fuzz_target;
use picket_picture::MediaType;

fuzz_target!(|input: &[u8]| pictures::decode(
    input,
    MediaType::Png,
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
));
