//! Computes a graph of bytes as its nodes are defined, one value after the other: the truth that every
//! other way is held to, and the way of what no kernel takes. Tensors are dense and channel-last here.

use picket_kernels::{Convolution, Counted, Windows};

use crate::integer::ir::{Graph, Node, Op, Shape, Tensor};

/// Computes every tensor of which the graph's inputs are given; the others are empty.
pub fn interpret(graph: &Graph, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut values = vec![Vec::new(); graph.tensors.len()];
    for (border, input) in graph.inputs.iter().zip(inputs) {
        values[border.tensor] = input.clone();
    }
    for node in &graph.nodes {
        let inputs: Vec<&[u8]> = node.inputs.iter().map(|at| values[*at].as_slice()).collect();
        let mut output = vec![0; graph.tensors[node.output].shape.len()];
        compute(graph, node, &inputs, &mut output);
        values[node.output] = output;
    }
    values
}

/// Computes one node.
pub fn compute(graph: &Graph, node: &Node, inputs: &[&[u8]], output: &mut [u8]) {
    let from: Vec<&Tensor> = node.inputs.iter().map(|at| &graph.tensors[*at]).collect();
    let to = &graph.tensors[node.output];
    let finish = |real: f32| finish(real, to);
    match &node.op {
        Op::Convolve(convolution) => {
            convolve(convolution, from[0], inputs[0], to.shape, |at, real| {
                output[at] = finish(real);
            })
        }
        Op::Add => {
            let scales = [from[0].scale / to.scale, from[1].scale / to.scale];
            let terms = inputs[0].iter().zip(inputs[1]).zip(output);
            terms.for_each(|((a, b), output)| {
                let a = value(from[0], *a) as f32 * scales[0];
                let b = value(from[1], *b) as f32 * scales[1];
                *output = finish(a + b);
            });
        }
        Op::Multiply => {
            let scale = from[0].scale * from[1].scale / to.scale;
            let factors = inputs[0].iter().zip(inputs[1].iter().cycle()).zip(output);
            factors.for_each(|((a, b), output)| {
                *output = finish((value(from[0], *a) * value(from[1], *b)) as f32 * scale);
            });
        }
        Op::Table(tables) => {
            let bytes = inputs[0].iter().zip(tables.iter().cycle()).zip(output);
            bytes.for_each(|((byte, table), output)| *output = table[usize::from(*byte)]);
        }
        Op::MaxPool(windows) => each_window(windows, from[0].shape, to.shape, |at, places| {
            let bytes = places.iter().map(|place| read(from[0], inputs[0][*place]));
            output[at] = bytes.max().unwrap_or(to.quantised.zero) as u8;
        }),
        Op::AveragePool { windows, counted } => {
            let taps = windows.kernel[0] * windows.kernel[1];
            each_window(windows, from[0].shape, to.shape, |at, places| {
                let sum: i32 = places.iter().map(|place| value(from[0], inputs[0][*place])).sum();
                let count = if *counted == Counted::Window { taps } else { places.len() };
                output[at] = finish(sum as f32 * (from[0].scale / (to.scale * count as f32)));
            });
        }
        Op::Concat => {
            let mut at = 0;
            for (from, input) in from.iter().zip(inputs) {
                copy_channels(input, 0..from.shape.channels, output, at, to.shape.channels);
                at += from.shape.channels;
            }
        }
        Op::Shuffle { order } => {
            let pixels =
                inputs[0].chunks_exact(order.len()).zip(output.chunks_exact_mut(order.len()));
            for (from, to) in pixels {
                to.iter_mut().zip(order).for_each(|(to, at)| *to = from[*at]);
            }
        }
        Op::Slice { first } => {
            let (from, channels) = (from[0].shape.channels, to.shape.channels);
            let pixels = inputs[0].chunks_exact(from).zip(output.chunks_exact_mut(channels));
            pixels.for_each(|(from, to)| to.copy_from_slice(&from[*first..][..channels]));
        }
        Op::Pad { before, value } => {
            output.fill(*value);
            let row = from[0].shape.columns * to.shape.channels;
            for (at, from) in inputs[0].chunks_exact(row).enumerate() {
                let start = ((at + before[0]) * to.shape.columns + before[1]) * to.shape.channels;
                output[start..][..row].copy_from_slice(from);
            }
        }
    }
}

fn copy_channels(
    input: &[u8],
    taken: std::ops::Range<usize>,
    output: &mut [u8],
    at: usize,
    channels: usize,
) {
    let pixels = input.chunks_exact(taken.end).zip(output.chunks_exact_mut(channels));
    pixels.for_each(|(from, to)| to[at..][..taken.len()].copy_from_slice(&from[taken.clone()]));
}

/// Returns a byte as its type means it.
pub fn read(tensor: &Tensor, byte: u8) -> i32 {
    if tensor.quantised.signed { i32::from(byte as i8) } else { i32::from(byte) }
}

fn value(tensor: &Tensor, byte: u8) -> i32 {
    read(tensor, byte) - tensor.quantised.zero
}

/// Rounds half to even, adds the zero point and limits: ONNX's rule, in an order in which no float is too
/// large for its integer.
fn finish(real: f32, to: &Tensor) -> u8 {
    let ((low, high), zero) = (to.quantised.range(), to.quantised.zero);
    let limited = real.clamp((low - zero) as f32, (high - zero) as f32);
    (limited.round_ties_even() as i32 + zero) as u8
}

/// Returns where a tap of the window at an output pixel reads; none in the padding.
fn reads(windows: &Windows, pixel: [usize; 2], tap: [usize; 2]) -> Option<[usize; 2]> {
    let at = [0, 1].map(|axis| {
        (pixel[axis] * windows.stride[axis] + tap[axis] * windows.dilation[axis])
            .wrapping_sub(windows.pad_before[axis])
    });
    (at[0] < windows.input[0] && at[1] < windows.input[1]).then_some(at)
}

/// Calls `take` with each output value's place and the places that its window reads.
fn each_window(window: &Windows, from: Shape, to: Shape, mut take: impl FnMut(usize, &[usize])) {
    let mut places = Vec::new();
    for at in 0..to.len() {
        let (pixel, channel) = (at / to.channels, at % to.channels);
        let pixel = [pixel / to.columns, pixel % to.columns];
        places.clear();
        for tap in 0..window.kernel[0] * window.kernel[1] {
            let tap = [tap / window.kernel[1], tap % window.kernel[1]];
            if let Some([row, column]) = reads(window, pixel, tap) {
                places.push((row * from.columns + column) * from.channels + channel);
            }
        }
        take(at, &places);
    }
}

/// Calls `take` with each output value's place and its sum times its scale. Sums wrap, as those of any
/// runtime.
fn convolve(
    convolution: &Convolution,
    from: &Tensor,
    input: &[u8],
    to: Shape,
    mut take: impl FnMut(usize, f32),
) {
    let Convolution { geometry, weights, weight_zeros, bias, scales, .. } = convolution;
    let (window, groups) = (&geometry.windows, geometry.groups);
    let taps = window.kernel[0] * window.kernel[1];
    let depth = from.shape.channels / groups;
    for at in 0..to.len() {
        let (pixel, channel) = (at / to.channels, at % to.channels);
        let pixel = [pixel / to.columns, pixel % to.columns];
        let group = channel / (to.channels / groups);
        let zero = weight_zeros.get(channel).copied().unwrap_or(0);
        let mut sum = bias[channel];
        for tap in 0..taps {
            let place = [tap / window.kernel[1], tap % window.kernel[1]];
            let Some([row, column]) = reads(window, pixel, place) else { continue };
            let start = (row * from.shape.columns + column) * from.shape.channels + group * depth;
            for (deep, byte) in input[start..][..depth].iter().enumerate() {
                let weight = i32::from(weights[(channel * depth + deep) * taps + tap]) - zero;
                sum = sum.wrapping_add(value(from, *byte).wrapping_mul(weight));
            }
        }
        take(at, sum as f32 * scales[channel]);
    }
}
