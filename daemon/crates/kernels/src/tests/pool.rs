//! Pools against their definitions.

use proptest::prelude::*;

use super::scene::{Numbers, Scene, Values, byte, cases, gaps, kernels, quantised, value};
use crate::{AveragePool, Counted, Kernel, MaxPool, Refusal, Scaled, Windows};

/// Windows that touch the picture, wherever they are.
fn windows() -> impl Strategy<Value = Windows> {
    let pair = |range: std::ops::RangeInclusive<usize>| proptest::array::uniform2(range);
    (pair(3..=12), pair(1..=4), pair(1..=3), pair(1..=2), pair(0..=1), pair(0..=1))
        .prop_map(|(input, kernel, stride, dilation, pad_before, pad_after)| {
            let room = [0, 1].map(|axis| input[axis] + pad_before[axis] + pad_after[axis] - 1);
            let kernel = [0, 1].map(|axis| kernel[axis].min(room[axis] / dilation[axis] + 1));
            Windows { input, kernel, stride, dilation, pad_before, pad_after }
        })
        .prop_filter("windows in the padding", |windows| {
            MaxPool::pack(windows, 1, Kernel::Scalar).is_ok()
        })
}

/// Calls `window` with the values on the picture of each window of each channel, channel-last.
fn definition(
    windows: &Windows,
    (channels, image): (usize, &[u8]),
    window: impl Fn(Vec<u8>) -> u8,
) -> Vec<u8> {
    let [height, width] = windows.output();
    let [rows, columns] = windows.input;
    let mut result = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..channels {
            let mut values = Vec::new();
            for ky in 0..windows.kernel[0] {
                for kx in 0..windows.kernel[1] {
                    let at = |axis: usize, at: usize, tap: usize| {
                        (at * windows.stride[axis] + tap * windows.dilation[axis])
                            .wrapping_sub(windows.pad_before[axis])
                    };
                    let (row, column) = (at(0, y, ky), at(1, x, kx));
                    if row < rows && column < columns {
                        values.push(image[(row * columns + column) * channels + channel]);
                    }
                }
            }
            result.push(window(values));
        }
    }
    result
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn pools_are_those_of_the_definition(
        windows in windows(),
        channels in prop_oneof![1..=9_usize, Just(64), 60..=140_usize],
        (input, output) in (quantised(), quantised()),
        scales in proptest::array::uniform2(1e-3..10.0_f32),
        whole in any::<bool>(),
        gaps in proptest::array::uniform2(gaps()),
        seed in 1..u64::MAX,
    ) {
        let [rows, columns] = windows.input;
        let image = Numbers(seed).bytes(Values::Any, rows * columns * channels);
        let greatest = |window: Vec<u8>| {
            window.into_iter().max_by_key(|byte| value(input, *byte)).unwrap()
        };
        let mean = |window: Vec<u8>| {
            let all = windows.kernel.iter().product();
            let count = if whole { all } else { window.len() };
            let sum: i64 = window.iter().map(|byte| value(input, *byte)).sum();
            byte(output, sum as f32 * (scales[0] / (scales[1] * count as f32)))
        };
        let maxima = definition(&windows, (channels, &image), greatest);
        let means = definition(&windows, (channels, &image), mean);
        let [height, width] = windows.output();
        for kernel in kernels() {
            let shape = [rows, columns, channels];
            let from = Scene::empty(shape, (input, kernel), gaps[0]).with(&image);
            let empty = |quantised| Scene::empty([height, width, channels], (quantised, kernel), gaps[1]);
            let mut to = empty(input);
            let pool = MaxPool::pack(&windows, channels, kernel).unwrap();
            pool.run(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&empty(input), &maxima, kernel.name());
            let mut to = empty(output);
            let counted = if whole { Counted::Window } else { Counted::Picture };
            let scaled = |quantised, scale| Scaled { quantised, scale };
            let tensors = [scaled(input, scales[0]), scaled(output, scales[1])];
            let pool = AveragePool::pack((&windows, channels), counted, tensors, kernel).unwrap();
            pool.run(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&empty(output), &means, kernel.name());
        }
    }
}

#[test]
fn a_window_in_the_padding_alone_is_refused() {
    let mut windows = Windows::points([4, 4]);
    windows.pad_before = [1, 0];
    let refused = MaxPool::pack(&windows, 8, Kernel::Scalar).err();
    assert_eq!(refused, Some(Refusal::Geometry));
}
