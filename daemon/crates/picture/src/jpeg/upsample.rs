//! Samples of a component that has fewer of them than the picture has pixels, as many as it needs: libjpeg's
//! triangle filters, bit for bit, and plain repetition.

/// Doubles a row: each new sample lies at a quarter between two old ones.
pub fn across(from: &[u8], to: &mut [u8]) {
    let (to, _) = to.as_chunks_mut::<2>();
    let last = from.len() - 1;
    for x in 1..last {
        let (left, here, right) = (from[x - 1], 3 * u16::from(from[x]), from[x + 1]);
        to[x] =
            [((here + u16::from(left) + 1) >> 2) as u8, ((here + u16::from(right) + 2) >> 2) as u8];
    }
    let pair = |near: usize, far: usize, half: u16| {
        ((3 * u16::from(from[near]) + u16::from(from[far]) + half) >> 2) as u8
    };
    to[0] = [from[0], pair(0, 1, 2)];
    to[last] = [pair(last, last - 1, 1), from[last]];
}

/// Gives a row between two: at a quarter from the near one. `half` rounds.
pub fn down(near: &[u8], far: &[u8], half: u16, to: &mut [u8]) {
    for ((to, &near), &far) in to.iter_mut().zip(near).zip(far) {
        *to = ((3 * u16::from(near) + u16::from(far) + half) >> 2) as u8;
    }
}

/// Gives a row between two, and doubles it. `sums` is room for it.
pub fn both(near: &[u8], far: &[u8], sums: &mut [u16], to: &mut [u8]) {
    let sums = &mut sums[..near.len()];
    for ((sum, &near), &far) in sums.iter_mut().zip(near).zip(far) {
        *sum = 3 * u16::from(near) + u16::from(far);
    }
    let (to, _) = to.as_chunks_mut::<2>();
    let to = &mut to[..sums.len()];
    let last = sums.len() - 1;
    for (to, around) in to[1..last].iter_mut().zip(sums.windows(3)) {
        let (left, here, right) = (around[0], 3 * around[1], around[2]);
        *to = [((here + left + 8) >> 4) as u8, ((here + right + 7) >> 4) as u8];
    }
    let between =
        |near: usize, far: usize, half: u16| ((3 * sums[near] + sums[far] + half) >> 4) as u8;
    to[0] = [between(0, 0, 8), between(0, 1, 7)];
    to[last] = [between(last, last - 1, 8), between(last, last, 7)];
}

/// Repeats each sample.
pub fn repeat(from: &[u8], times: usize, to: &mut [u8]) {
    for (to, &sample) in to.chunks_exact_mut(times).zip(from) {
        to.fill(sample);
    }
}
