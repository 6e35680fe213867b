//! Any CPU: plain Rust that a compiler can vectorise. The twin that the other kernels are held to.

use super::tile::{Output, Tile};

const LANES: usize = 8;
const PIXELS: usize = 4;

pub fn tile(tile: &Tile<i16, LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    let mut sums: [_; PIXELS] = std::array::from_fn(|pixel| *tile.bias(pixel));
    let (weights, _) = tile.weights.as_chunks::<LANES>();
    for (row, weights) in weights.chunks_exact(tile.row_len).enumerate() {
        for (pixel, (sums, start)) in sums.iter_mut().zip(tile.windows).enumerate() {
            let first = if pixel == 0 { tile.head } else { 0 };
            let last = tile.row_len - if pixel + 1 == PIXELS { tile.tail } else { 0 };
            let window = &tile.input[start + row * tile.row_step..][first..last];
            // A copy that nothing else can point to stays in registers.
            let mut row_sums = *sums;
            for (x, weights) in window.iter().zip(&weights[first..last]) {
                for (sum, weight) in row_sums.iter_mut().zip(weights) {
                    *sum = sum.wrapping_add(i32::from(*x) * i32::from(*weight));
                }
            }
            *sums = row_sums;
        }
    }
    let range = tile.range;
    for (sums, output) in sums.iter().zip(output) {
        for ((sum, scale), output) in sums.iter().zip(tile.scales).zip(output) {
            let real = (*sum as f32 * scale).clamp(range.low, range.high);
            *output = (real.round_ties_even() as i32 + range.zero) as u8;
        }
    }
}
