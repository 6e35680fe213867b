//! Every path that this CPU has against the definition, bit for bit: random shapes, random values
//! and the edges of each type.

use proptest::prelude::*;

use super::dense::Pass;
use super::last::Finish;
use super::{Convolution, Geometry, Kernel, Layer, Order, Quantised, Refusal, View, Windows};

/// xorshift64* (Vigna 2016): bulk data that a seed reproduces.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}

#[derive(Clone, Copy, Debug)]
enum Values {
    Any,
    /// 0, 127, 128 and 255 as bytes: 0, 127, -128, -1 where signed.
    Edges,
    /// -128 · 255 everywhere: the greatest sums there are.
    Least,
}

impl Values {
    fn byte(self, numbers: &mut Numbers) -> u8 {
        match self {
            Values::Any => numbers.next() as u8,
            Values::Edges => [0, 127, 128, 255][numbers.next() as usize % 4],
            Values::Least => 128,
        }
    }
}

fn quantised() -> impl Strategy<Value = Quantised> {
    let zero = |signed: bool| if signed { -128..=127 } else { 0..=255 };
    any::<bool>()
        .prop_flat_map(move |signed| zero(signed).prop_map(move |zero| Quantised { signed, zero }))
}

fn geometry() -> impl Strategy<Value = Geometry> {
    let pair = |range: std::ops::RangeInclusive<usize>| proptest::array::uniform2(range);
    let channels = prop_oneof![1..=9_usize, Just(16), Just(31), Just(32), Just(48)];
    (channels.clone(), channels, pair(1..=9), pair(1..=4), pair(1..=3), pair(0..=2), pair(0..=2))
        .prop_map(|(in_channels, out_channels, input, kernel, stride, pad_before, pad_after)| {
            let kernel = [0, 1]
                .map(|axis| kernel[axis].min(input[axis] + pad_before[axis] + pad_after[axis]));
            let dilation = [1, 1];
            let windows = Windows { input, kernel, stride, dilation, pad_before, pad_after };
            Geometry { in_channels, out_channels, groups: 1, windows }
        })
}

prop_compose! {
    fn case()(
        geometry in geometry(),
        input in quantised(),
        output in quantised(),
        values in prop_oneof![Just(Values::Any), Just(Values::Edges), Just(Values::Least)],
        // Sums of these sizes land anywhere from a single step to far beyond either end.
        scale in prop_oneof![Just(f32::MIN_POSITIVE), 1e-6..1e-1_f32, Just(0.5), Just(f32::MAX)],
        bias in prop_oneof![Just(0), -70_000..70_000, Just(i32::MIN), Just(i32::MAX)],
        seed in 1..u64::MAX,
    ) -> (Convolution, Vec<u8>) {
        let mut numbers = Numbers(seed);
        let channels = geometry.out_channels;
        let products = geometry.in_channels * geometry.windows.kernel.iter().product::<usize>();
        let pixels = geometry.in_channels * geometry.windows.input.iter().product::<usize>();
        let weights = (0..channels * products).map(|_| values.byte(&mut numbers) as i8).collect();
        let image = (0..pixels).map(|_| match values {
            Values::Least => 255,
            _ => values.byte(&mut numbers),
        }).collect();
        let near = |numbers: &mut Numbers| numbers.next() as i32 % 1000;
        let bias = (0..channels).map(|_| i32::saturating_add(bias, near(&mut numbers))).collect();
        let scales = (0..channels).map(|i| (scale * (1.0 + i as f32 / 7.0)).min(f32::MAX)).collect();
        (Convolution { geometry, weights, weight_zeros: vec![], bias, scales, input, output }, image)
    }
}

/// QLinearConv as ONNX defines it, channel-first in and channel-last out; the sum wraps, like that of
/// any runtime.
fn definition(convolution: &Convolution, image: &[u8]) -> Vec<u8> {
    let Geometry { in_channels, out_channels, .. } = convolution.geometry;
    let Windows { input, kernel, stride, pad_before, .. } = convolution.geometry.windows;
    let [height, width] = convolution.geometry.output();
    let value = |byte: u8| {
        let value = if convolution.input.signed { i64::from(byte as i8) } else { i64::from(byte) };
        value - i64::from(convolution.input.zero)
    };
    let (low, high) = if convolution.output.signed { (-128.0, 127.0) } else { (0.0, 255.0) };
    let mut result = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for out_channel in 0..out_channels {
            let mut sum = i64::from(convolution.bias[out_channel]);
            for in_channel in 0..in_channels {
                for (ky, kx) in (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx)))
                {
                    let row = (y * stride[0] + ky).wrapping_sub(pad_before[0]);
                    let column = (x * stride[1] + kx).wrapping_sub(pad_before[1]);
                    if row < input[0] && column < input[1] {
                        let channel = (out_channel * in_channels + in_channel) * kernel[0];
                        let weight = convolution.weights[(channel + ky) * kernel[1] + kx];
                        let at = (in_channel * input[0] + row) * input[1] + column;
                        sum += value(image[at]) * i64::from(weight);
                    }
                }
            }
            let real = f64::from(sum as i32 as f32 * convolution.scales[out_channel]);
            let real = real.round_ties_even() + f64::from(convolution.output.zero);
            result.push(real.clamp(low, high) as i32 as u8);
        }
    }
    result
}

fn channel_last(geometry: &Geometry, planar: &[u8]) -> Vec<u8> {
    let pixels = geometry.windows.input[0] * geometry.windows.input[1];
    (0..planar.len())
        .map(|at| planar[at % geometry.in_channels * pixels + at / geometry.in_channels])
        .collect()
}

fn run(layer: &Layer, image: &[u8], order: Order) -> Vec<u8> {
    let mut output = vec![0; layer.geometry().output_len()];
    layer.run(image, order, &mut output);
    output
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_path_gives_the_bits_of_the_definition((convolution, image) in case()) {
        let expected = definition(&convolution, &image);
        let last = channel_last(&convolution.geometry, &image);
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let layer = Layer::pack(&convolution, kernel).unwrap();
            prop_assert_eq!(&run(&layer, &image, Order::Planar), &expected, "{:?}", kernel);
            prop_assert_eq!(&run(&layer, &last, Order::ChannelLast), &expected, "{:?}", kernel);
        }
    }

    /// AVX-VNNI's own encoding needs a CPU that has it; its lines run here with AVX-512's.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vnni_in_256_bits_gives_the_bits_of_the_definition((convolution, image) in case()) {
        use super::avx_vnni::evex;
        if evex::is_available() {
            let layer = Layer::pack_for(&convolution, Kernel::AvxVnni).unwrap();
            let expected = definition(&convolution, &image);
            let (input, from) = layer.arrange(&image, Order::Planar);
            let mut output = vec![0; expected.len()];
            let geometry = layer.geometry();
            let to = View::dense(0, geometry.output(), geometry.out_channels);
            let (input, finish) = (&input[..], Finish::Nothing);
            let mut pass = Pass { input, from, output: &mut output, to, finish };
            layer.conv.dense(0).drive(&mut pass, evex::tile);
            output.iter_mut().for_each(|byte| *byte ^= convolution.output.flip(Kernel::AvxVnni));
            prop_assert_eq!(&output, &expected);
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
        weights: vec![1],
        weight_zeros: vec![],
        bias: vec![0],
        scales: vec![0.5],
        input: Quantised { signed: true, zero: 0 },
        output: Quantised { signed: true, zero: 0 },
    }
}

#[test]
fn halves_are_rounded_to_even() {
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
        let layer = Layer::pack(&one_by_one(), kernel).unwrap();
        for (x, expected) in [(1_i8, 0_i8), (3, 2), (5, 2), (-1, 0), (-3, -2), (-5, -2), (127, 64)]
        {
            let found = run(&layer, &[x as u8], Order::Planar);
            assert_eq!(found, [expected as u8], "{x} / 2 with {kernel:?}");
        }
    }
}

#[test]
fn what_no_kernel_computes_is_refused() {
    let refusal = |change: &dyn Fn(&mut Convolution)| {
        let mut convolution = one_by_one();
        change(&mut convolution);
        Layer::pack(&convolution, Kernel::Scalar).err()
    };
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(refusal(&|c| c.geometry.windows.stride[0] = 0), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.geometry.windows.kernel[1] = 2), Some(Refusal::Geometry));
    assert_eq!(refusal(&|c| c.weights.push(0)), Some(Refusal::Lengths));
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
