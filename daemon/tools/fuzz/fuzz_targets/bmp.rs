//! The BMP decoder on arbitrary bytes.

#![no_main]

mod pictures;

use libfuzzer_sys::fuzz_target;
use picket_picture::MediaType;

fuzz_target!(|input: &[u8]| pictures::decode(input, MediaType::Bmp, b"BM"));
