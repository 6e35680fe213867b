//! The keys of the store: `r` + first sequence number (u64, big-endian) → chunk of records; `o` +
//! number (u32) → origin; `n` + number of the first record (u64) → mark of a named batch; `b` + boot id → that boot's clock offset; `a` → the anchor of the chain; `z`
//! + number → nothing (chunk.rs says why).

pub(crate) const RECORD_PREFIX: u8 = b'r';
pub(crate) const ORIGIN_PREFIX: u8 = b'o';
pub(crate) const MARK_PREFIX: u8 = b'n';
pub(crate) const OFFSET_PREFIX: u8 = b'b';
pub(crate) const ANCHOR_KEY: u8 = b'a';
/// Behind all records.
pub(crate) const FILLER_PREFIX: u8 = b'z';

pub(crate) fn record_key(id: u64) -> [u8; 9] {
    let mut key = [RECORD_PREFIX; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

pub(crate) fn record_id(key: &[u8]) -> Option<u64> {
    key.strip_prefix(&[RECORD_PREFIX])?.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn origin_key(number: u32) -> [u8; 5] {
    let mut key = [ORIGIN_PREFIX; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn mark_key(first_id: u64) -> [u8; 9] {
    let mut key = [MARK_PREFIX; 9];
    key[1..].copy_from_slice(&first_id.to_be_bytes());
    key
}

pub(crate) fn origin_number(key: &[u8]) -> Option<u32> {
    key.strip_prefix(&[ORIGIN_PREFIX])?.try_into().ok().map(u32::from_be_bytes)
}

pub(crate) fn offset_key(boot_id: &str) -> Vec<u8> {
    [&[OFFSET_PREFIX], boot_id.as_bytes()].concat()
}
