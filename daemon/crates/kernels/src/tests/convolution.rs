//! Convolutions against their definition.

use std::sync::Arc;

use proptest::prelude::*;

use super::scene::{Gaps, Numbers, Scene, Values, byte, cases, gaps, kernels, quantised, value};
use crate::{
    Addition, Conv, Convolution, Geometry, Kernel, Last, Quantised, Refusal, Scaled, Source, Table,
    Windows,
};

/// Under Miri pictures and channels are few, so that a case takes seconds.
const SIDE_MAX: usize = if cfg!(miri) { 4 } else { 12 };
const CHANNELS_MAX: usize = if cfg!(miri) { 9 } else { 150 };

/// Windows as networks have them, or any.
fn windows() -> impl Strategy<Value = Windows> {
    let side = proptest::array::uniform2(1..=SIDE_MAX);
    let kernel = prop_oneof![Just(1_usize), Just(3), Just(3), Just(5)];
    let usual = (side, kernel, 1..=2_usize).prop_map(|(input, kernel, stride)| Windows {
        input,
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad_before: [kernel / 2; 2],
        pad_after: [kernel / 2; 2],
    });
    prop_oneof![usual, any_windows()]
}

fn any_windows() -> impl Strategy<Value = Windows> {
    let pair = |range: std::ops::RangeInclusive<usize>| proptest::array::uniform2(range);
    let kernel =
        prop_oneof![4 => pair(1..=4), 2 => Just([3, 3]), 2 => Just([1, 1]), 1 => Just([5, 5])];
    let dilation = prop_oneof![4 => Just([1, 1]), 1 => pair(1..=3)];
    let pads = (pair(0..=2), pair(0..=2));
    (pair(1..=SIDE_MAX), kernel, pair(1..=3), dilation, pads).prop_map(
        |(input, kernel, stride, dilation, (pad_before, pad_after))| {
            let room = [0, 1].map(|axis| input[axis] + pad_before[axis] + pad_after[axis] - 1);
            let kernel = [0, 1].map(|axis| kernel[axis].min(room[axis] / dilation[axis] + 1));
            Windows { input, kernel, stride, dilation, pad_before, pad_after }
        },
    )
}

fn geometry() -> impl Strategy<Value = Geometry> {
    let channels = prop_oneof![1..=9_usize, Just(16), Just(31), Just(32), Just(48), Just(64)];
    let groups = prop_oneof![4 => Just(1_usize), 1 => 2..=3_usize];
    let dense = (windows(), channels.clone(), channels, groups).prop_map(
        |(windows, into, out_of, groups)| {
            let [into, out_of] = [into, out_of].map(|channels| channels.min(CHANNELS_MAX) * groups);
            (windows, into, out_of, groups)
        },
    );
    let depthwise = (windows(), prop_oneof![1..=9_usize, Just(16), Just(40), 60..=150_usize])
        .prop_map(|(windows, channels)| (windows, channels.min(CHANNELS_MAX)))
        .prop_map(|(windows, channels)| (windows, channels, channels, channels));
    prop_oneof![2 => dense, 1 => depthwise].prop_map(
        |(windows, in_channels, out_channels, groups)| Geometry {
            in_channels,
            out_channels,
            groups,
            windows,
        },
    )
}

prop_compose! {
    fn case()(
        geometry in geometry(),
        input in quantised(),
        output in quantised(),
        values in Values::any(),
        // Sums of these sizes land anywhere from a single step to far beyond either end.
        scale in prop_oneof![Just(f32::MIN_POSITIVE), 1e-6..1e-1_f32, Just(0.5), Just(f32::MAX)],
        bias in prop_oneof![Just(0), -70_000..70_000, Just(i32::MIN), Just(i32::MAX)],
        weight_zero in prop_oneof![6 => Just(None), 1 => (-2..=2_i32).prop_map(Some), 1 => (-128..=127_i32).prop_map(Some)],
        seed in 1..u64::MAX,
    ) -> (Convolution, Vec<u8>) {
        let mut numbers = Numbers(seed);
        let channels = geometry.out_channels;
        let products = geometry.products_of_sum();
        let weights =
            Arc::new((0..channels * products).map(|_| values.byte(&mut numbers) as i8).collect());
        let image = match values {
            Values::Least => vec![255; geometry.input_len()],
            _ => numbers.bytes(Values::Any, geometry.input_len()),
        };
        let image = if matches!(values, Values::Symmetric) { vec![128; image.len()] } else { image };
        let near = |numbers: &mut Numbers| numbers.next() as i32 % 1000;
        let bias = (0..channels).map(|_| i32::saturating_add(bias, near(&mut numbers))).collect();
        let scales = (0..channels).map(|i| (scale * (1.0 + i as f32 / 7.0)).min(f32::MAX)).collect();
        let weight_zeros = weight_zero.map_or(vec![], |zero| vec![zero; channels]);
        (Convolution { geometry, weights, weight_zeros, bias, scales, input, output }, image)
    }
}

/// QLinearConv as ONNX defines it, channel-last; the sum wraps, like that of any runtime.
fn definition(convolution: &Convolution, image: &[u8]) -> Vec<u8> {
    let Geometry { in_channels, out_channels, groups, ref windows } = convolution.geometry;
    let Windows { input, kernel, stride, dilation, pad_before, .. } = *windows;
    let [height, width] = windows.output();
    let (into, out_of) = (in_channels / groups, out_channels / groups);
    let mut result = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for out_channel in 0..out_channels {
            let mut sum = i64::from(convolution.bias[out_channel]);
            let zero = i64::from(convolution.weight_zeros.get(out_channel).copied().unwrap_or(0));
            for channel in 0..into {
                let in_channel = out_channel / out_of * into + channel;
                for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx)))
                {
                    let row = (y * stride[0] + ky * dilation[0]).wrapping_sub(pad_before[0]);
                    let column = (x * stride[1] + kx * dilation[1]).wrapping_sub(pad_before[1]);
                    if row < input[0] && column < input[1] {
                        let at = (out_channel * into + channel) * kernel[0];
                        let weight = i64::from(convolution.weights[(at + ky) * kernel[1] + kx]);
                        let at = (row * input[1] + column) * in_channels + in_channel;
                        sum += value(convolution.input, image[at]) * (weight - zero);
                    }
                }
            }
            result.push(byte(
                convolution.output,
                sum as i32 as f32 * convolution.scales[out_channel],
            ));
        }
    }
    result
}

/// The tensors of one run: its input with a border, and an empty output.
fn scenes(convolution: &Convolution, image: &[u8], kernel: Kernel, gaps: [Gaps; 2]) -> [Scene; 2] {
    let geometry = &convolution.geometry;
    let border = geometry.windows.border();
    let [rows, columns] = geometry.windows.input;
    let shape = [rows, columns, geometry.in_channels];
    let from = Scene::empty(shape, (convolution.input, kernel), Gaps { border, ..gaps[0] });
    let [rows, columns] = geometry.output();
    let shape = [rows, columns, geometry.out_channels];
    [from.with(image), Scene::empty(shape, (convolution.output, kernel), gaps[1])]
}

fn run(convolution: &Convolution, image: &[u8], kernel: Kernel) -> Vec<u8> {
    let [from, mut to] = scenes(convolution, image, kernel, [Gaps::default(); 2]);
    let conv = Conv::pack(convolution, Last::Nothing, from.view.pixel, kernel).unwrap();
    conv.run(&from.buffer, from.view, &mut to.buffer, to.view);
    to.bytes()
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn every_path_gives_the_bits_of_the_definition(
        (convolution, image) in case(),
        from_gaps in gaps(),
        to_gaps in gaps(),
    ) {
        let expected = definition(&convolution, &image);
        for kernel in kernels() {
            let [from, mut to] = scenes(&convolution, &image, kernel, [from_gaps, to_gaps]);
            let [_, before] = scenes(&convolution, &image, kernel, [from_gaps, to_gaps]);
            let conv = Conv::pack(&convolution, Last::Nothing, from.view.pixel, kernel).unwrap();
            conv.run(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&before, &expected, kernel.name());
        }
    }

    #[test]
    fn a_table_as_last_step_changes_every_byte(
        (convolution, image) in case(),
        to_gaps in gaps(),
        result in quantised(),
        seed in 1..u64::MAX,
    ) {
        let answers: [u8; 256] = Numbers(seed).bytes(Values::Any, 256).try_into().unwrap();
        let expected: Vec<u8> = definition(&convolution, &image)
            .into_iter()
            .map(|byte| answers[usize::from(byte)])
            .collect();
        let convolution = Convolution { output: convolution.output, ..convolution };
        for kernel in kernels() {
            let [from, _] = scenes(&convolution, &image, kernel, [Gaps::default(), to_gaps]);
            let shown = Convolution { output: result, ..convolution.clone() };
            let [_, mut to] = scenes(&shown, &image, kernel, [Gaps::default(), to_gaps]);
            let [_, before] = scenes(&shown, &image, kernel, [Gaps::default(), to_gaps]);
            let table = Last::Table(Table::pack(&answers, [convolution.output, result], kernel));
            let conv = Conv::pack(&convolution, table, from.view.pixel, kernel).unwrap();
            conv.run(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&before, &expected, kernel.name());
        }
    }

    #[test]
    fn an_addition_as_last_step_adds_another_tensor(
        (convolution, image) in case(),
        (to_gaps, other_gaps) in (gaps(), gaps()),
        (other, result) in (quantised(), quantised()),
        scales in proptest::array::uniform3(0.01..10.0_f32),
        seed in 1..u64::MAX,
    ) {
        let own = definition(&convolution, &image);
        let added = Numbers(seed).bytes(Values::Any, own.len());
        let sum = |(own, added): (&u8, &u8)| {
            let own = value(convolution.output, *own) as f32 * (scales[0] / scales[2]);
            let added = value(other, *added) as f32 * (scales[1] / scales[2]);
            byte(result, own + added)
        };
        let expected: Vec<u8> = own.iter().zip(&added).map(sum).collect();
        for kernel in kernels() {
            let shown = |output, gaps| {
                let shown = Convolution { output, ..convolution.clone() };
                scenes(&shown, &image, kernel, [Gaps::default(), gaps])
            };
            let [from, mut to] = shown(result, to_gaps);
            let [_, before] = shown(result, to_gaps);
            let [_, second] = shown(other, other_gaps);
            let second = second.with(&added);
            let scaled = |quantised, scale| Scaled { quantised, scale };
            let inputs = [scaled(convolution.output, scales[0]), scaled(other, scales[1])];
            let addition = Addition::pack(inputs, scaled(result, scales[2]), kernel).unwrap();
            let last = Last::Addition(addition);
            let conv = Conv::pack(&convolution, last, from.view.pixel, kernel).unwrap();
            conv.run_adding(
                Source { bytes: &from.buffer, view: from.view },
                Source { bytes: &second.buffer, view: second.view },
                &mut to.buffer,
                to.view,
            );
            to.assert_written(&before, &expected, kernel.name());
        }
    }

    /// AVX-VNNI's own encoding needs a CPU that has it; its lines run here with AVX-512's.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vnni_in_256_bits_gives_the_bits_of_the_definition(
        (convolution, image) in case(),
        (from_gaps, to_gaps) in (gaps(), gaps()),
    ) {
        use crate::avx_vnni::evex;
        use crate::dense::Pass;
        use crate::last::Finish;
        let dense = convolution.geometry.groups == 1;
        if evex::is_available() && dense {
            let kernel = Kernel::AvxVnni;
            let [from, mut to] = scenes(&convolution, &image, kernel, [from_gaps, to_gaps]);
            let conv =
                Conv::pack_for(&convolution, Last::Nothing, from.view.pixel, kernel).unwrap();
            let (input, output) = (&from.buffer[..], &mut to.buffer[..]);
            let finish = Finish::Nothing;
            let mut pass = Pass { input, from: from.view, output, to: to.view, finish };
            if let Some(dense) = conv.dense() {
                dense.drive(&mut pass, evex::tile);
                prop_assert_eq!(to.bytes(), definition(&convolution, &image));
            }
        }
    }
}

/// A run for a certain CPU says what it expects to test (`./dev kernels`).
#[test]
fn the_path_is_the_fastest_that_the_cpu_has() {
    let best = Kernel::best();
    assert!(best.is_available());
    if let Ok(expected) = std::env::var("KERNEL_EXPECTED") {
        assert_eq!(best.name(), expected);
    }
}

fn one_by_one() -> Convolution {
    Convolution {
        geometry: Geometry::fully_connected(1, 1),
        weights: Arc::new(vec![1]),
        weight_zeros: vec![],
        bias: vec![0],
        scales: vec![0.5],
        input: Quantised { signed: true, zero: 0 },
        output: Quantised { signed: true, zero: 0 },
    }
}

#[test]
fn halves_are_rounded_to_even() {
    for kernel in kernels() {
        for (x, expected) in [(1_i8, 0_i8), (3, 2), (5, 2), (-1, 0), (-3, -2), (-5, -2), (127, 64)]
        {
            let found = run(&one_by_one(), &[x as u8], kernel);
            assert_eq!(found, [expected as u8], "{x} / 2 with {kernel:?}");
        }
    }
}

/// A head of more inputs than a picture may have channels.
#[test]
fn a_fully_connected_layer_takes_a_whole_picture() {
    let inputs = if cfg!(miri) { 500 } else { 50_000 };
    let mut convolution = one_by_one();
    convolution.geometry = Geometry::fully_connected(inputs, 3);
    let weights = Numbers(5).bytes(Values::Any, 3 * inputs).iter().map(|w| *w as i8).collect();
    convolution.weights = Arc::new(weights);
    (convolution.bias, convolution.scales) = (vec![7; 3], vec![1e-4; 3]);
    let image = Numbers(9).bytes(Values::Any, inputs);
    let expected = definition(&convolution, &image);
    for kernel in kernels() {
        assert_eq!(run(&convolution, &image, kernel), expected, "{kernel:?}");
    }
}

#[test]
fn what_no_kernel_computes_is_refused() {
    let refusal = |change: &dyn Fn(&mut Convolution)| {
        let mut convolution = one_by_one();
        change(&mut convolution);
        let pixel = convolution.geometry.in_channels;
        Conv::pack(&convolution, Last::Nothing, pixel, Kernel::Scalar).err()
    };
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(refusal(&|c| c.geometry.windows.stride[0] = 0), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.geometry.windows.kernel[1] = 2), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.geometry.windows.kernel[1] = 0), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.geometry.windows.dilation[1] = 0), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.geometry.groups = 0), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.geometry.groups = 2), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| Arc::make_mut(&mut c.weights).push(0)), Some(Refusal::Lengths));
    assert_eq!(refusal(&|c| c.weight_zeros = vec![0, 0]), Some(Refusal::Lengths));
    assert_eq!(refusal(&|c| c.weight_zeros = vec![128]), Some(Refusal::ZeroPoint));
    assert_eq!(refusal(&|c| c.scales[0] = f32::NAN), Some(Refusal::Scale));
    assert_eq!(refusal(&|c| c.scales[0] = 0.0), Some(Refusal::Scale));
    assert_eq!(refusal(&|c| c.output.zero = 128), Some(Refusal::ZeroPoint));
    let wide = |c: &mut Convolution| c.geometry.windows.pad_after = [4096, 4096];
    assert_eq!(refusal(&wide), Some(Refusal::TooLarge { elements: 4097 * 4097 }));
    let deep = |c: &mut Convolution| {
        c.geometry.in_channels = 8192;
        (c.geometry.windows.input, c.geometry.windows.kernel) = ([3, 3], [3, 3]);
    };
    assert_eq!(refusal(&deep), Some(Refusal::TooManyProducts { products: 73_728 }));
}
