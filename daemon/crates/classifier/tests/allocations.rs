//! What a run holds of the heap once a session is there: no buffer, under an allocator that counts.

#![allow(clippy::unwrap_used)]

#[path = "../../picture/tests/counted/mod.rs"]
mod counted;

use picket_classifier::{Model, ModelSource};
use picket_picture::{Tensor, Values};

use counted::peak_of;

/// What the stock engine and the scores may take in a run, bytes. The least buffer of the embedded network's
/// arena is twice as large.
const RUN_BYTES_MAX: usize = 4 << 10;

#[test]
fn a_run_allocates_no_buffer() {
    let model = Model::load(&ModelSource::Embedded).unwrap();
    let shape = model.info().input.shape();
    let input = Tensor { shape, values: Values::U8(vec![7; shape.iter().product()]) };
    // The first one of a thread may make its session.
    let first = model.run(&input).unwrap();
    for _ in 0..3 {
        let (scores, held) = peak_of(|| model.run(&input).unwrap());
        assert_eq!(scores.0, first.0);
        assert!(
            held <= RUN_BYTES_MAX,
            "a run holds {held} bytes, at most {RUN_BYTES_MAX} are its own"
        );
    }
}
