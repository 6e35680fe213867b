//! How tiles cover the rows of an output, and how their bytes get there.

/// Returns the first pixels of tiles that cover a row; the last tile lies over the one before it where
/// it doesn't fit behind.
#[inline(always)]
pub fn tiles(columns: usize, pixels: usize) -> impl Iterator<Item = usize> {
    let last = columns.saturating_sub(pixels);
    (0..columns).step_by(pixels).map(move |x| x.min(last))
}

/// Writes the first bytes of `values`. Lengths that the compiler knows are moves rather than calls.
#[inline(always)]
pub fn store<const LANES: usize>(output: &mut [u8], values: &[u8; LANES]) {
    if let Some(whole) = output.first_chunk_mut::<LANES>() {
        *whole = *values;
        return;
    }
    let (outputs, tail) = output.as_chunks_mut::<8>();
    let (eights, rest) = values.as_chunks::<8>();
    for (output, eight) in outputs.iter_mut().zip(eights) {
        *output = *eight;
    }
    let rest = eights.get(outputs.len()).map_or(rest, |eight| &eight[..]);
    for (output, value) in tail.iter_mut().zip(rest) {
        *output = *value;
    }
}
