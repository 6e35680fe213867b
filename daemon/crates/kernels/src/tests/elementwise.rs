//! Sums, products, tables and copies against their definitions.

use proptest::prelude::*;

use super::scene::{Gaps, Numbers, Scene, Values, byte, cases, gaps, kernels, quantised, value};
use crate::{
    Addition, Channels, Dequantise, Outside, Product, Quantise, Quantised, Refusal, Scaled, Source,
    Table, copy, enter, leave_bytes,
};

fn shape() -> impl Strategy<Value = [usize; 3]> {
    (1..=5_usize, 1..=6_usize, prop_oneof![1..=20_usize, 60..=140_usize])
        .prop_map(|(rows, columns, channels)| [rows, columns, channels])
}

fn scaled() -> impl Strategy<Value = Scaled> {
    (quantised(), prop_oneof![1e-4..10.0_f32, Just(0.5), Just(1.0)])
        .prop_map(|(quantised, scale)| Scaled { quantised, scale })
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn sums_are_those_of_the_definition(
        shape in shape(),
        tensors in proptest::array::uniform3(scaled()),
        gaps in proptest::array::uniform3(gaps()),
        seed in 1..u64::MAX,
    ) {
        let [a, b, y] = tensors;
        let mut numbers = Numbers(seed);
        let [first, second] = [0; 2].map(|_| numbers.bytes(Values::Any, shape.iter().product()));
        let sum = |(own, other): (&u8, &u8)| {
            let own = value(a.quantised, *own) as f32 * (a.scale / y.scale);
            byte(y.quantised, own + value(b.quantised, *other) as f32 * (b.scale / y.scale))
        };
        let expected: Vec<u8> = first.iter().zip(&second).map(sum).collect();
        for kernel in kernels() {
            let [first, second] = [(a, gaps[0], &first), (b, gaps[1], &second)]
                .map(|(t, gaps, bytes)| Scene::empty(shape, (t.quantised, kernel), gaps).with(bytes));
            let before = Scene::empty(shape, (y.quantised, kernel), gaps[2]);
            let mut to = Scene::empty(shape, (y.quantised, kernel), gaps[2]);
            let sources =
                [&first, &second].map(|scene| Source { bytes: &scene.buffer, view: scene.view });
            Addition::pack([a, b], y, kernel).unwrap().run(sources, &mut to.buffer, to.view);
            to.assert_written(&before, &expected, kernel.name());
        }
    }

    #[test]
    fn products_are_those_of_the_definition(
        shape in shape(),
        tensors in proptest::array::uniform3(scaled()),
        gaps in proptest::array::uniform3(gaps()),
        factor in any::<bool>(),
        seed in 1..u64::MAX,
    ) {
        let [a, b, y] = tensors;
        let mut numbers = Numbers(seed);
        let other = if factor { [1, 1, shape[2]] } else { shape };
        let [first, second] =
            [shape, other].map(|shape| numbers.bytes(Values::Any, shape.iter().product()));
        let ratio = a.scale * b.scale / y.scale;
        let product = |(at, own): (usize, &u8)| {
            let other = second[at % second.len()];
            byte(y.quantised, (value(a.quantised, *own) * value(b.quantised, other)) as f32 * ratio)
        };
        let expected: Vec<u8> = first.iter().enumerate().map(product).collect();
        for kernel in kernels() {
            let [first, second] = [(shape, a, gaps[0], &first), (other, b, gaps[1], &second)].map(
                |(shape, t, gaps, bytes)| {
                    Scene::empty(shape, (t.quantised, kernel), gaps).with(bytes)
                },
            );
            let before = Scene::empty(shape, (y.quantised, kernel), gaps[2]);
            let mut to = Scene::empty(shape, (y.quantised, kernel), gaps[2]);
            let sources =
                [&first, &second].map(|scene| Source { bytes: &scene.buffer, view: scene.view });
            Product::pack([a, b], y, kernel).unwrap().run(sources, &mut to.buffer, to.view);
            to.assert_written(&before, &expected, kernel.name());
        }
    }

    #[test]
    fn tables_and_copies_move_every_byte(
        shape in shape(),
        types in proptest::array::uniform2(quantised()),
        gaps in proptest::array::uniform2(gaps()),
        seed in 1..u64::MAX,
    ) {
        let mut numbers = Numbers(seed);
        let bytes = numbers.bytes(Values::Any, shape.iter().product());
        let answers: [u8; 256] = numbers.bytes(Values::Any, 256).try_into().unwrap();
        let looked_up: Vec<u8> = bytes.iter().map(|byte| answers[usize::from(*byte)]).collect();
        let order: Vec<usize> =
            (0..shape[2] + 3).map(|_| numbers.next() as usize % shape[2]).collect();
        let chosen: Vec<u8> = bytes
            .chunks(shape[2])
            .flat_map(|pixel| order.iter().map(|channel| pixel[*channel]))
            .collect();
        for kernel in kernels() {
            let from = Scene::empty(shape, (types[0], kernel), gaps[0]).with(&bytes);
            let empty = |shape, quantised| Scene::empty(shape, (quantised, kernel), gaps[1]);
            let mut to = empty(shape, types[1]);
            let table = Table::pack(&answers, types, kernel);
            table.run(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&empty(shape, types[1]), &looked_up, kernel.name());
            let mut to = empty(shape, types[0]);
            copy(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&empty(shape, types[0]), &bytes, kernel.name());
            let wide = [shape[0], shape[1], order.len()];
            let mut to = empty(wide, types[0]);
            let channels = Channels::pack(order.clone(), from.view.channels, kernel);
            channels.run(&from.buffer, from.view, &mut to.buffer, to.view);
            to.assert_written(&empty(wide, types[0]), &chosen, kernel.name());
        }
    }

    #[test]
    fn pictures_come_in_and_go_out_in_both_orders(
        shape in shape(),
        tensor in scaled(),
        gaps in gaps(),
        planar in any::<bool>(),
        seed in 1..u64::MAX,
    ) {
        let order = if planar { Outside::Planar } else { Outside::ChannelLast };
        let [rows, columns, channels] = shape;
        let bytes = Numbers(seed).bytes(Values::Any, rows * columns * channels);
        let outside = |at: usize| match order {
            Outside::ChannelLast => at,
            Outside::Planar => at % channels * rows * columns + at / channels,
        };
        let inside: Vec<u8> = (0..bytes.len()).map(|at| bytes[outside(at)]).collect();
        let same = |quantised: Quantised| [quantised; 2];
        let identity: [u8; 256] = std::array::from_fn(|byte| byte as u8);
        // A quarter of a step away from each value: rounding brings it back.
        let floats: Vec<f32> = bytes
            .iter()
            .map(|byte| (value(tensor.quantised, *byte) as f32 + 0.25) * tensor.scale)
            .collect();
        for kernel in kernels() {
            let empty = || Scene::empty(shape, (tensor.quantised, kernel), gaps);
            let mut to = empty();
            let table = Table::pack(&identity, same(tensor.quantised), kernel);
            // What comes in is as the model has it, what a table takes is as the kernel keeps it.
            let flip = tensor.quantised.flip(kernel);
            let kept: Vec<u8> = bytes.iter().map(|byte| byte ^ flip).collect();
            enter(&kept, order, &table, &mut to.buffer, to.view);
            to.assert_written(&empty(), &inside, kernel.name());
            let mut to = empty();
            Quantise::pack(tensor, kernel).unwrap().run(&floats, order, &mut to.buffer, to.view);
            to.assert_written(&empty(), &inside, kernel.name());
            let mut left = vec![0; bytes.len()];
            leave_bytes(&to.buffer, to.view, &mut left, (order, flip));
            prop_assert_eq!(&left, &bytes);
            let mut reals = vec![0.0; bytes.len()];
            let dequantise = Dequantise::pack(tensor, kernel).unwrap();
            dequantise.run(&to.buffer, to.view, &mut reals, order);
            for (real, byte) in reals.iter().zip(&bytes) {
                prop_assert_eq!(*real, value(tensor.quantised, *byte) as f32 * tensor.scale);
            }
        }
    }
}

#[test]
fn unsound_tensors_are_refused() {
    let sound = Scaled { quantised: Quantised { signed: false, zero: 0 }, scale: 0.5 };
    let shifted = Scaled { quantised: Quantised { signed: false, zero: -1 }, ..sound };
    let kernel = crate::Kernel::Scalar;
    for (tensor, refusal) in [
        (Scaled { scale: 0.0, ..sound }, Refusal::Scale),
        (Scaled { scale: f32::NAN, ..sound }, Refusal::Scale),
        (shifted, Refusal::ZeroPoint),
    ] {
        assert_eq!(Addition::pack([sound, tensor], sound, kernel).err(), Some(refusal.clone()));
        assert_eq!(Product::pack([tensor, sound], sound, kernel).err(), Some(refusal.clone()));
        assert_eq!(Quantise::pack(tensor, kernel).err(), Some(refusal.clone()));
        assert_eq!(Dequantise::pack(tensor, kernel).err(), Some(refusal));
    }
    // Scales that are positive and whose ratio is none.
    let (tiny, huge) = (Scaled { scale: 1e-38, ..sound }, Scaled { scale: 1e38, ..sound });
    assert_eq!(Addition::pack([huge, sound], tiny, kernel).err(), Some(Refusal::Scale));
}

#[test]
#[should_panic(expected = "lies in a buffer")]
fn a_view_that_is_not_in_its_buffer_is_a_panic() {
    let quantised = Quantised { signed: false, zero: 0 };
    let kernel = crate::Kernel::Scalar;
    let scene = Scene::empty([2, 2, 3], (quantised, kernel), Gaps::default());
    scene.view.assert_read(scene.buffer.len() - crate::SLACK, [0; 4]);
}
