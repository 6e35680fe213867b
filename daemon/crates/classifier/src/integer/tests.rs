//! Random graphs of up to 20 nodes: what was planned and packed gives the bytes of the interpreter, on every
//! path that this CPU has, run after run in one arena.

use std::sync::Arc;

use picket_kernels::{Convolution, Counted, Geometry, Kernel, MaxPool, Quantised, Windows};
use proptest::prelude::*;

use crate::integer::interpret::interpret;
use crate::integer::ir::{Border, Form, Graph, Node, Op, Order, Shape, Tensor, TensorId};
use crate::integer::plan::plan;
use crate::integer::program::{Arena, Given, Program, Wanted};

/// xorshift64* (Vigna 2016): a graph that a seed reproduces.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    /// Returns one of `first..=last`.
    fn from(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A graph as it grows.
struct Growing {
    graph: Graph,
    numbers: Numbers,
}

impl Growing {
    fn tensor(&mut self, shape: Shape) -> TensorId {
        let signed = self.numbers.below(2) == 0;
        let zero = self.numbers.below(256) as i32 - if signed { 128 } else { 0 };
        let scale = 0.01 * (1.0 + self.numbers.below(100) as f32 / 30.0);
        let quantised = Quantised { signed, zero };
        self.graph.tensors.push(Tensor { shape, quantised, scale });
        self.graph.tensors.len() - 1
    }

    /// Adds a tensor with the steps of another.
    fn alike(&mut self, other: TensorId, shape: Shape) -> TensorId {
        let tensor = Tensor { shape, ..self.graph.tensors[other] };
        self.graph.tensors.push(tensor);
        self.graph.tensors.len() - 1
    }

    fn any(&mut self) -> TensorId {
        let count = self.graph.tensors.len();
        // Mostly one of the last, so that graphs become deep.
        let back = self.numbers.below(count).min(self.numbers.below(count));
        count - 1 - back
    }

    /// Returns another tensor that fits, or the same once more.
    fn partner(&mut self, of: TensorId, fits: impl Fn(Shape, Shape) -> bool) -> TensorId {
        let shape = self.graph.tensors[of].shape;
        let all: Vec<TensorId> = (0..self.graph.tensors.len())
            .filter(|other| fits(shape, self.graph.tensors[*other].shape))
            .collect();
        all[self.numbers.below(all.len())]
    }

    fn node(&mut self, op: Op, inputs: Vec<TensorId>, output: TensorId) {
        let name = format!("{} {}", op.name(), self.graph.nodes.len());
        self.graph.nodes.push(Node { name, op, inputs, output });
    }

    fn windows(&mut self, shape: Shape, padded: bool) -> Windows {
        let input = [shape.rows, shape.columns];
        let numbers = &mut self.numbers;
        let pads =
            |numbers: &mut Numbers| [0, 1].map(|_| if padded { numbers.below(3) } else { 0 });
        let (pad_before, pad_after) = (pads(numbers), pads(numbers));
        let room = [0, 1].map(|axis| pad_before[axis] + input[axis] + pad_after[axis]);
        let kernel = room.map(|room| numbers.from(1, room.min(4)));
        let stride = [0, 1].map(|_| numbers.from(1, 2));
        let dilation = [0, 1].map(|axis| {
            let most = (room[axis] - 1) / (kernel[axis] - 1).max(1);
            numbers.from(1, most.clamp(1, 2))
        });
        Windows { input, kernel, stride, dilation, pad_before, pad_after }
    }

    fn convolve(&mut self) {
        let input = self.any();
        let from = self.graph.tensors[input];
        let channels = from.shape.channels;
        let whole = self.numbers.below(6) == 0;
        let (groups, out_channels) = match self.numbers.below(4) {
            0 if !whole => (channels, channels),
            _ => (1, [1, 3, 8, 16, 17, 32][self.numbers.below(6)]),
        };
        let mut windows = self.windows(from.shape, !whole);
        if whole {
            let input = windows.input;
            windows = Windows { kernel: input, ..Windows::points(input) };
        }
        let [rows, columns] = windows.output();
        let output = self.tensor(Shape { channels: out_channels, rows, columns });
        let geometry = Geometry { in_channels: channels, out_channels, groups, windows };
        let products = geometry.products_of_sum();
        let numbers = &mut self.numbers;
        let zero_points = numbers.below(8) == 0;
        let convolution = Convolution {
            weights: {
                let bytes = numbers.bytes(out_channels * products).into_iter();
                Arc::new(bytes.map(|it| it as i8).collect())
            },
            weight_zeros: match zero_points {
                true => (0..out_channels).map(|_| numbers.below(5) as i32 - 2).collect(),
                false => Vec::new(),
            },
            bias: (0..out_channels).map(|_| numbers.below(20_000) as i32 - 10_000).collect(),
            scales: (0..out_channels).map(|_| 1e-4 * numbers.from(1, 90) as f32).collect(),
            geometry,
            input: from.quantised,
            output: self.graph.tensors[output].quantised,
        };
        if convolution.check().is_ok() {
            self.node(Op::Convolve(Box::new(convolution)), vec![input], output);
        } else {
            self.graph.tensors.pop();
        }
    }

    fn grow(&mut self) {
        let input = self.any();
        let shape = self.graph.tensors[input].shape;
        match self.numbers.below(12) {
            0..=3 => self.convolve(),
            4 => {
                let other = self.partner(input, |a, b| a == b);
                let output = self.tensor(shape);
                self.node(Op::Add, vec![input, other], output);
            }
            5 => {
                let other = self
                    .partner(input, |a, b| a == b || (b.pixels() == 1 && a.channels == b.channels));
                let output = self.tensor(shape);
                self.node(Op::Multiply, vec![input, other], output);
            }
            6 => {
                let tables = if self.numbers.below(3) == 0 { shape.channels } else { 1 };
                let tables =
                    (0..tables).map(|_| std::array::from_fn(|_| self.numbers.next() as u8));
                let op = Op::Table(tables.collect());
                let output = self.tensor(shape);
                self.node(op, vec![input], output);
            }
            7 => {
                let windows = self.windows(shape, true);
                let [rows, columns] = windows.output();
                if MaxPool::pack(&windows, shape.channels, Kernel::Scalar).is_err() {
                    return;
                }
                let shape = Shape { rows, columns, ..shape };
                let counted = [Counted::Window, Counted::Picture][self.numbers.below(2)];
                let (op, output) = match self.numbers.below(2) {
                    0 => (Op::MaxPool(windows), self.alike(input, shape)),
                    _ => (Op::AveragePool { windows, counted }, self.tensor(shape)),
                };
                self.node(op, vec![input], output);
            }
            8 => {
                let first = self.numbers.below(shape.channels);
                let channels = self.numbers.from(1, shape.channels - first);
                let output = self.alike(input, Shape { channels, ..shape });
                self.node(Op::Slice { first }, vec![input], output);
            }
            9 => {
                let mut order: Vec<usize> = (0..shape.channels).collect();
                for at in (1..order.len()).rev() {
                    let other = self.numbers.below(at + 1);
                    order.swap(at, other);
                }
                let output = self.alike(input, shape);
                self.node(Op::Shuffle { order }, vec![input], output);
            }
            10 => {
                let (before, after) = (self.numbers.below(3), self.numbers.below(3));
                let padded = Shape {
                    rows: before + shape.rows + after,
                    columns: after + shape.columns,
                    ..shape
                };
                let output = self.alike(input, padded);
                let value = self.numbers.next() as u8;
                self.node(Op::Pad { before: [before, after], value }, vec![input], output);
            }
            _ => self.concat(input),
        }
    }

    /// Parts are brought to the same steps by tables, as the reader does.
    fn concat(&mut self, first: TensorId) {
        let shape = self.graph.tensors[first].shape;
        let mut inputs = vec![first];
        for _ in 0..self.numbers.from(1, 3) {
            let other = self.partner(first, |a, b| (a.rows, a.columns) == (b.rows, b.columns));
            let (a, b) = (self.graph.tensors[first], self.graph.tensors[other]);
            if a.quantised == b.quantised && a.scale == b.scale {
                inputs.push(other);
                continue;
            }
            let brought = self.alike(first, b.shape);
            let op = Op::Table(vec![std::array::from_fn(|_| self.numbers.next() as u8)]);
            self.node(op, vec![other], brought);
            inputs.push(brought);
        }
        let channels = inputs.iter().map(|at| self.graph.tensors[*at].shape.channels).sum();
        if channels > 64 {
            return;
        }
        let output = self.alike(first, Shape { channels, ..shape });
        self.node(Op::Concat, inputs, output);
    }

    fn border(&mut self, tensor: TensorId, form: Form) -> Border {
        let shape = self.graph.tensors[tensor].shape;
        let order = match self.numbers.below(3) {
            0 => Order::Planar,
            1 => Order::ChannelLast,
            _ => Order::Places((0..shape.len() as u32).rev().collect()),
        };
        let dims = vec![shape.len()];
        Border { name: format!("t{tensor}"), tensor, form, dims, order }
    }
}

fn graph(seed: u64, nodes: usize) -> (Graph, Numbers) {
    let mut growing = Growing { graph: Graph::default(), numbers: Numbers(seed) };
    for _ in 0..growing.numbers.from(1, 2) {
        let [rows, columns] = [0, 1].map(|_| growing.numbers.from(1, 9));
        let channels = [1, 2, 3, 4, 8, 15, 16][growing.numbers.below(7)];
        let tensor = growing.tensor(Shape { channels, rows, columns });
        let border = growing.border(tensor, Form::Bytes);
        growing.graph.inputs.push(border);
    }
    let inputs = growing.graph.inputs.len();
    while growing.graph.nodes.len() < nodes {
        growing.grow();
    }
    for tensor in inputs..growing.graph.tensors.len() {
        let is_read = growing.graph.nodes.iter().any(|node| node.inputs.contains(&tensor));
        if !is_read || growing.numbers.below(8) == 0 {
            let form = [Form::Bytes, Form::Reals][growing.numbers.below(2)].clone();
            let border = growing.border(tensor, form);
            growing.graph.outputs.push(border);
        }
    }
    (growing.graph, growing.numbers)
}

/// Returns where each value of a border's order lies in the channel-last order.
fn places(shape: Shape, order: &Order) -> Vec<usize> {
    let from_planar = |at: usize| at % shape.pixels() * shape.channels + at / shape.pixels();
    match order {
        Order::Planar => (0..shape.len()).map(from_planar).collect(),
        Order::ChannelLast => (0..shape.len()).collect(),
        Order::Places(places) => places.iter().map(|at| from_planar(*at as usize)).collect(),
    }
}

fn run(graph: &Graph, program: &Program, arena: &mut Arena, inputs: &[Vec<u8>]) -> Vec<Vec<f32>> {
    for (at, (border, input)) in graph.inputs.iter().zip(inputs).enumerate() {
        let places = places(graph.tensors[border.tensor].shape, &border.order);
        let outside: Vec<u8> = places.into_iter().map(|place| input[place]).collect();
        program.enter(arena, at, &Given::Bytes(&outside));
    }
    program.run(arena);
    let output = |(at, border): (usize, &Border)| {
        let len = graph.tensors[border.tensor].shape.len();
        let mut values = vec![0.0; len];
        if border.form == Form::Bytes {
            let mut bytes = vec![0; len];
            program.leave(arena, at, Wanted::Bytes(&mut bytes));
            values.iter_mut().zip(bytes).for_each(|(value, byte)| *value = f32::from(byte));
        } else {
            program.leave(arena, at, Wanted::Reals(&mut values));
        }
        values
    };
    graph.outputs.iter().enumerate().map(output).collect()
}

/// Returns what the interpreter makes of it, in the form of `run`.
fn expected(graph: &Graph, inputs: &[Vec<u8>]) -> Vec<Vec<f32>> {
    let all = interpret(graph, inputs);
    let output = |border: &Border| {
        let tensor = graph.tensors[border.tensor];
        let value = |place: usize| {
            let byte = all[border.tensor][place];
            let number =
                if tensor.quantised.signed { i32::from(byte as i8) } else { i32::from(byte) };
            match border.form {
                Form::Bytes => f32::from(byte),
                _ => (number - tensor.quantised.zero) as f32 * tensor.scale,
            }
        };
        places(tensor.shape, &border.order).into_iter().map(value).collect()
    };
    graph.outputs.iter().map(output).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_planned_graph_gives_the_bytes_of_the_interpreter(seed in 1..u64::MAX, nodes in 1..=20_usize) {
        let (graph, mut numbers) = graph(seed, nodes);
        for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
            let program = plan(&graph, kernel).unwrap();
            let mut arena = program.arena();
            for _ in 0..2 {
                let inputs: Vec<Vec<u8>> = graph.inputs.iter()
                    .map(|border| numbers.bytes(graph.tensors[border.tensor].shape.len()))
                    .collect();
                let found = run(&graph, &program, &mut arena, &inputs);
                prop_assert_eq!(found, expected(&graph, &inputs), "{:?} {:?}", kernel, graph);
            }
        }
    }
}
