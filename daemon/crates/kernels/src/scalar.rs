//! Any CPU: plain Rust that a compiler can vectorise. The twin that the other kernels are held to.

use super::tile::{Output, Tile};

const LANES: usize = 8;
const PIXELS: usize = 4;

pub fn tile(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    let mut sums: [_; PIXELS] = std::array::from_fn(|pixel| *tile.bias(pixel));
    let shape = tile.shape;
    let (weights, _) = tile.weights.as_chunks::<LANES>();
    for (run, weights) in weights.chunks_exact(shape.run_len).enumerate() {
        let at = run / shape.runs * shape.row_step + run % shape.runs * shape.run_step;
        for (pixel, (sums, start)) in sums.iter_mut().zip(tile.windows).enumerate() {
            let first = if pixel == 0 { tile.head } else { 0 };
            let last = shape.run_len - if pixel + 1 == PIXELS { tile.tail } else { 0 };
            let window = &tile.input[start + at..][first..last];
            // A copy that nothing else can point to stays in registers.
            let mut run_sums = *sums;
            for (x, weights) in window.iter().zip(&weights[first..last]) {
                for (sum, weight) in run_sums.iter_mut().zip(weights) {
                    *sum = sum.wrapping_add(i32::from(*x) * i32::from(*weight));
                }
            }
            *sums = run_sums;
        }
    }
    for (sums, output) in sums.iter().zip(output) {
        for ((sum, scale), output) in sums.iter().zip(tile.scales).zip(output) {
            *output = tile.range.byte(*sum as f32 * scale);
        }
    }
}
