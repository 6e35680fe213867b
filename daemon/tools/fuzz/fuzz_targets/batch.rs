//! What other devices report, as arbitrary bytes: records, or an error that says what is wrong.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket::recording::batch::{self, Room, Terms};
use picket_base::budget::{Budget, Class};
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
    let budget = Budget::new(64 << 20);
    let taken = budget.take(Class::Decode, 0).expect("nothing is taken yet");
    let mut room = Room { taken, most: budget.largest(Class::Decode) };
    let terms =
        Terms { records_max: RECORDS_MAX, bytes_max: 8 << 20, boot_id: "boot", at: Stamp::now() };
    if let Err(error) = batch::parse(body, terms, &mut room) {
        assert!(!error.to_string().is_empty());
    }
}
