//! Puts a card into an ONNX file: an entry of its metadata, with every other byte left as it is; and finds
//! it there without reading the rest.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::limits::CARD_BYTES_MAX;

/// The metadata's key of a card.
pub const CARD_KEY: &str = "picket.card";

/// ModelProto.metadata_props, a message of a key (field 1) and a value (field 2) each.
const METADATA_PROPS: u64 = 14;

/// So many fields are passed over in search of a card: far more than ONNX's own and anybody's metadata.
const FIELDS_MAX: usize = 4_096;

/// Protocol Buffers' wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// Returns the file with `card` as its only card.
///
/// # Errors
/// The file is no Protocol Buffers message.
pub fn stamp(onnx: &[u8], card: &str) -> Result<Vec<u8>, String> {
    let mut stamped = Vec::with_capacity(onnx.len() + card.len() + 64);
    let mut rest = onnx;
    while !rest.is_empty() {
        let (field, after) = field(rest).ok_or("it is damaged or truncated")?;
        if !(field.number == METADATA_PROPS && is_card(field.payload)) {
            stamped.extend_from_slice(&rest[..rest.len() - after.len()]);
        }
        rest = after;
    }
    let mut entry = Vec::new();
    for (number, text) in [(1, CARD_KEY), (2, card)] {
        push(&mut entry, number, text.as_bytes());
    }
    push(&mut stamped, METADATA_PROPS, &entry);
    Ok(stamped)
}

/// Returns the card in a file, passing over its graph; none where there is none or it can't be read.
pub fn card_in(path: &Path) -> Option<String> {
    // Opening a pipe would wait for its writer.
    if !path.is_file() {
        return None;
    }
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut card = None;
    for _ in 0..FIELDS_MAX {
        if file.fill_buf().ok()?.is_empty() {
            return card;
        }
        let key = read_varint(&mut file)?;
        let length = match key & 7 {
            VARINT => {
                read_varint(&mut file)?;
                0
            }
            FIXED64 => 8,
            FIXED32 => 4,
            LENGTH => i64::try_from(read_varint(&mut file)?).ok()?,
            _ => return None,
        };
        if key >> 3 == METADATA_PROPS && length as u64 <= 2 * CARD_BYTES_MAX {
            let mut entry = vec![0; length as usize];
            file.read_exact(&mut entry).ok()?;
            card = text(&entry).or(card);
        } else {
            file.seek_relative(length).ok()?;
        }
    }
    None
}

fn read_varint(file: &mut impl Read) -> Option<u64> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        file.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
        if byte[0] & 0x80 == 0 || bytes.len() == 10 {
            return Some(varint(&bytes)?.0);
        }
    }
}

/// Returns the text of an entry of the metadata that is a card.
fn text(entry: &[u8]) -> Option<String> {
    let mut rest = entry;
    while let Some((Field { number, payload }, after)) = field(rest).filter(|_| is_card(entry)) {
        if number == 2 {
            return String::from_utf8(payload.to_vec()).ok();
        }
        rest = after;
    }
    None
}

struct Field<'a> {
    number: u64,
    payload: &'a [u8],
}

fn is_card(entry: &[u8]) -> bool {
    let mut rest = entry;
    while let Some((Field { number, payload }, after)) = field(rest) {
        if number == 1 {
            return payload == CARD_KEY.as_bytes();
        }
        rest = after;
    }
    false
}

/// Takes the first field of a message apart, and returns what is behind it.
fn field(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (key, rest) = varint(message)?;
    let length = match key & 7 {
        VARINT => rest.len() - varint(rest)?.1.len(),
        FIXED64 => 8,
        FIXED32 => 4,
        LENGTH => {
            let (length, rest) = varint(rest)?;
            let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            return Some((Field { number: key >> 3, payload }, rest));
        }
        _ => return None,
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((Field { number: key >> 3, payload }, rest))
}

/// Reads a number of 7 bits a byte, the lowest first.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (own, rest) = bytes.split_at(length);
    let value = own.iter().rev().fold(0_u64, |value, byte| (value << 7) | u64::from(byte & 0x7f));
    Some((value, rest))
}

fn push(message: &mut Vec<u8>, number: u64, payload: &[u8]) {
    push_varint(message, (number << 3) | LENGTH);
    push_varint(message, payload.len() as u64);
    message.extend_from_slice(payload);
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;
    use tract_onnx::prelude::Framework;

    fn cards(onnx: &[u8]) -> Vec<String> {
        let parser = tract_onnx::onnx();
        let model = parser.proto_model_for_read(&mut &onnx[..]).unwrap();
        let cards = model.metadata_props.iter().filter(|entry| entry.key == CARD_KEY);
        cards.map(|entry| entry.value.clone()).collect()
    }

    #[test]
    fn a_card_is_added_and_replaced_and_nothing_else_changes() {
        let first = stamp(embedded::MODEL, "[model]\nversion = '1'").unwrap();
        assert!(first.starts_with(embedded::MODEL));
        assert_eq!(cards(&first), ["[model]\nversion = '1'"]);
        let long = "x".repeat(300);
        let second = stamp(&first, &long).unwrap();
        assert!(second.starts_with(embedded::MODEL));
        assert_eq!(cards(&second), std::slice::from_ref(&long));
        let file = tempfile::NamedTempFile::new().unwrap();
        for (onnx, card) in [(embedded::MODEL, None), (&second, Some(long.clone()))] {
            std::fs::write(file.path(), onnx).unwrap();
            assert_eq!(card_in(file.path()), card);
        }
        std::fs::write(file.path(), &second[..second.len() - 1]).unwrap();
        assert_eq!(card_in(file.path()), None);
        // Half a gigabyte of fields of a byte each.
        file.as_file().set_len(0).unwrap();
        file.as_file().set_len(500 << 20).unwrap();
        assert_eq!(card_in(file.path()), None);
        let cut = &embedded::MODEL[..embedded::MODEL.len() / 2];
        assert_eq!(stamp(cut, "").unwrap_err(), "it is damaged or truncated");
    }
}
