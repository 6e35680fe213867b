//! The TIFF decoder on arbitrary bytes.

#![no_main]

mod pictures;

use libfuzzer_sys::fuzz_target;
use picket_picture::MediaType;

fuzz_target!(|input: &[u8]| pictures::decode(input, MediaType::Tiff, b"II*\0\x08\0\0\0"));
