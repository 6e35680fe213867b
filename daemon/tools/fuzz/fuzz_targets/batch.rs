//! What other devices report, as arbitrary bytes: records, or an error that says what is wrong.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket::recording::batch;
use picket_base::clock::Stamp;

/// How a batch goes on to its first record.
const START: &[u8] = br#"{"batch_size":1,"timestamp":"2026-11-27T10:00:00","predictions":[{"#;

/// Records that a batch may hold.
const RECORDS_MAX: usize = 20_000;

fuzz_target!(|input: &[u8]| {
    parse(input);
    parse(&[START, input].concat());
});

fn parse(body: &[u8]) {
    if let Err(error) = batch::parse(body, RECORDS_MAX, "boot", Stamp::now()) {
        assert!(!error.to_string().is_empty());
    }
}
