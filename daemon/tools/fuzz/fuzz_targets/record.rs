//! The decoders of stored chunks and of the records in them on arbitrary bytes: they fail, and never
//! panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_records::{decode_record, read_chunk};

const MAGIC: u8 = 0xe7;
const RECORD: u8 = 0x13;
const CHUNK: u8 = 0x53;

fuzz_target!(|input: &[u8]| {
    read(input);
    // The same content behind right lengths and checksums, which chance does not find.
    let content = &input[..input.len().min(u16::MAX.into())];
    let _ = decode_record(1, &framed(RECORD, content));
    read(&framed(CHUNK, content));
    if let Some((&[id, wall, monotonic, origin, count], contents)) = content.split_first_chunk() {
        // What the records' checksums go on from: integers below 128 take a byte each.
        let base = [id, wall, monotonic, origin].map(|integer| integer & 0x7f);
        let half = contents.len() / 2;
        let records = [&contents[..half], &contents[half..]].map(|part| packed(&base, part));
        let records = records.concat();
        let head = [&base[..], &[count], &length(records.len())].concat();
        read(&[framed(CHUNK, &head), records].concat());
    }
});

fn read(chunk: &[u8]) {
    for (id, value) in read_chunk(chunk).unwrap_or_default() {
        let _ = decode_record(id, &value);
    }
}

fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![MAGIC, kind];
    value.extend((content.len() as u16).to_le_bytes());
    value.extend(crc32fast::hash(&[&[kind], content].concat()).to_le_bytes());
    value.extend(content);
    value
}

/// A record of a chunk.
fn packed(base: &[u8], content: &[u8]) -> Vec<u8> {
    let mut record = length(content.len()).to_vec();
    record.extend(crc32fast::hash(&[base, content].concat()).to_le_bytes());
    record.extend(content);
    record
}

/// In postcard's variable form, over three bytes whatever it is.
fn length(length: usize) -> [u8; 3] {
    [length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8 & 0x7f]
}
