//! The record decoder on arbitrary bytes: it fails, and never panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket::prediction_log::decode_record;

fuzz_target!(|value: &[u8]| {
    let _ = decode_record(1, value);
    // The same content behind a right length and checksum, which chance does not find.
    let content = &value[..value.len().min(u16::MAX.into())];
    let mut sealed = vec![0xe7, 0x11];
    sealed.extend((content.len() as u16).to_le_bytes());
    sealed.extend(crc32fast::hash(content).to_le_bytes());
    sealed.extend(content);
    let _ = decode_record(1, &sealed);
});
