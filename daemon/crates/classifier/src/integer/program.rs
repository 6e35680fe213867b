//! A part of a network ready to run: buffers, kernels with the views that they read and write, and the ways
//! in and out. It knows no graph.

use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_kernels::{
    Addition, AveragePool, Channels, Conv, Dequantise, Kernel, MaxPool, Outside, Product, Quantise,
    Source, Table, View, copy, enter, leave_bytes,
};

use crate::integer::ir::Head;

/// A buffer and where a tensor lies in it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub slot: usize,
    pub view: View,
}

/// What a step does.
#[derive(Debug)]
pub enum Work {
    Conv(Box<Conv>),
    /// Its sum with the second input.
    ConvAdding(Box<Conv>),
    Add(Addition),
    Multiply(Product),
    Table(Table),
    /// One for each channel.
    Tables(Vec<Table>),
    MaxPool(MaxPool),
    AveragePool(AveragePool),
    Channels(Channels),
    Copy,
    /// The input amid rows and columns of a byte.
    Pad {
        before: [usize; 2],
        byte: u8,
    },
}

#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub op: &'static str,
    /// Multiply-accumulates for one picture, where it is a convolution.
    pub products: Option<u64>,
    pub work: Work,
    pub inputs: Vec<Place>,
    pub output: Place,
}

/// How a tensor comes in.
#[derive(Debug)]
pub enum In {
    Bytes(Table),
    Reals(Quantise),
}

/// How a tensor goes out.
#[derive(Debug)]
pub enum Out {
    Bytes { flip: u8 },
    Reals(Dequantise),
    Mean { zero: i32, scale: f32 },
    Scores { zero: i32, scale: f32, head: Arc<Head> },
}

/// The order of a tensor outside.
#[derive(Debug)]
pub enum Ordered {
    Known(Outside),
    /// Each value's place in the planar order.
    Places(Vec<u32>),
}

#[derive(Debug)]
pub struct Entrance {
    pub form: In,
    pub order: Ordered,
    pub place: Place,
}

#[derive(Debug)]
pub struct Exit {
    pub form: Out,
    pub order: Ordered,
    pub place: Place,
}

/// A buffer: its length, and the border in it that holds zero points.
#[derive(Debug)]
pub struct Slot {
    pub len: usize,
    pub border: Option<(View, [usize; 4], u8)>,
}

#[derive(Debug)]
pub struct Program {
    pub kernel: Kernel,
    pub slots: Vec<Slot>,
    pub entrances: Vec<Entrance>,
    pub steps: Vec<Step>,
    pub exits: Vec<Exit>,
}

/// What one run writes into. Borders are filled when it is made, and never written again.
#[derive(Clone, Debug)]
pub struct Arena(Vec<Vec<u8>>);

/// A tensor outside that is read.
pub enum Given<'a> {
    Bytes(&'a [u8]),
    Reals(&'a [f32]),
}

/// A tensor outside that is written.
pub enum Wanted<'a> {
    Bytes(&'a mut [u8]),
    Reals(&'a mut [f32]),
}

impl Program {
    /// Returns how long all buffers are together.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.len).fold(0, usize::saturating_add)
    }

    pub fn arena(&self) -> Arena {
        let buffer = |slot: &Slot| {
            let mut buffer = vec![0; slot.len];
            if let Some((view, border, byte)) = slot.border {
                view.fill_border(&mut buffer, border, byte);
            }
            buffer
        };
        Arena(self.slots.iter().map(buffer).collect())
    }

    /// Takes the inputs in, each in the form that its entrance says.
    ///
    /// # Panics
    /// When an input is of another form or length than was planned.
    pub fn enter(&self, arena: &mut Arena, at: usize, given: &Given) {
        let Entrance { form, order, place } = &self.entrances[at];
        let output = &mut arena.0[place.slot];
        match (form, given) {
            (In::Bytes(table), Given::Bytes(bytes)) => match order {
                Ordered::Known(order) => enter(bytes, *order, table, output, place.view),
                Ordered::Places(places) => {
                    enter(&planar(bytes, places), Outside::Planar, table, output, place.view);
                }
            },
            (In::Reals(quantise), Given::Reals(reals)) => match order {
                Ordered::Known(order) => quantise.run(reals, *order, output, place.view),
                Ordered::Places(places) => {
                    quantise.run(&planar(reals, places), Outside::Planar, output, place.view);
                }
            },
            _ => panic!("an input is of another type than was planned"),
        }
    }

    /// Runs all steps.
    pub fn run(&self, arena: &mut Arena) {
        for step in &self.steps {
            run(step, arena);
        }
    }

    /// Runs all steps and says how long each took.
    pub fn run_timed(&self, arena: &mut Arena) -> Vec<Duration> {
        let timed = |step| {
            let started = Instant::now();
            run(step, arena);
            started.elapsed()
        };
        self.steps.iter().map(timed).collect()
    }

    /// Gives an output in the form that its exit says.
    ///
    /// # Panics
    /// When an output is of another form or length than was planned.
    pub fn leave(&self, arena: &Arena, at: usize, wanted: Wanted) {
        let Exit { form, order, place } = &self.exits[at];
        let input = &arena.0[place.slot];
        match (form, wanted) {
            (Out::Bytes { flip }, Wanted::Bytes(bytes)) => match order {
                Ordered::Known(order) => leave_bytes(input, place.view, bytes, (*order, *flip)),
                Ordered::Places(places) => {
                    let mut in_planes = vec![0; bytes.len()];
                    leave_bytes(input, place.view, &mut in_planes, (Outside::Planar, *flip));
                    gather(&in_planes, places, bytes);
                }
            },
            (Out::Reals(dequantise), Wanted::Reals(reals)) => match order {
                Ordered::Known(order) => dequantise.run(input, place.view, reals, *order),
                Ordered::Places(places) => {
                    let mut in_planes = vec![0.0; reals.len()];
                    dequantise.run(input, place.view, &mut in_planes, Outside::Planar);
                    gather(&in_planes, places, reals);
                }
            },
            (Out::Mean { zero, scale }, Wanted::Reals(reals)) => {
                self.means(input, place.view, (*zero, *scale), |first, means| {
                    reals[first..][..means.len()].copy_from_slice(means);
                });
            }
            (Out::Scores { zero, scale, head }, Wanted::Reals(reals)) => {
                let classes = head.bias.len();
                reals.copy_from_slice(&head.bias);
                self.means(input, place.view, (*zero, *scale), |first, means| {
                    let weights = head.weights[first * classes..].chunks_exact(classes);
                    for (mean, weights) in means.iter().zip(weights) {
                        let scores = reals.iter_mut().zip(weights);
                        scores.for_each(|(score, weight)| *score += mean * weight);
                    }
                });
            }
            _ => panic!("an output is of another type than was planned"),
        }
    }

    /// Calls `take` with the means Σ (x − zero) · scale / n of some channels and the number of the first.
    fn means(
        &self,
        input: &[u8],
        view: View,
        (zero, scale): (i32, f32),
        mut take: impl FnMut(usize, &[f32]),
    ) {
        /// Channels whose sums are kept at once.
        const LANES: usize = 64;
        let flip = if self.kernel.keeps_signed() { 0x80 } else { 0 };
        let pixels = view.rows * view.columns;
        // Of bytes that are signed, the flip has added 128.
        let zeros = (zero + if flip == 0 { 0 } else { 128 }) * pixels as i32;
        for first in (0..view.channels).step_by(LANES) {
            let count = LANES.min(view.channels - first);
            let (mut sums, mut means) = ([0_i32; LANES], [0.0; LANES]);
            for row in 0..view.rows {
                for column in 0..view.columns {
                    let pixel = &input[view.at(row, column) + first..][..count];
                    let bytes = sums.iter_mut().zip(pixel);
                    bytes.for_each(|(sum, byte)| *sum += i32::from(byte ^ flip));
                }
            }
            for (mean, sum) in means.iter_mut().zip(sums) {
                *mean = (sum - zeros) as f32 * scale / pixels as f32;
            }
            take(first, &means[..count]);
        }
    }
}

fn planar<T: Copy + Default>(values: &[T], places: &[u32]) -> Vec<T> {
    let mut planes = vec![T::default(); values.len()];
    values.iter().zip(places).for_each(|(value, place)| planes[*place as usize] = *value);
    planes
}

fn gather<T: Copy>(planes: &[T], places: &[u32], values: &mut [T]) {
    values.iter_mut().zip(places).for_each(|(value, place)| *value = planes[*place as usize]);
}

/// Runs one step. Its output's buffer leaves the arena meanwhile: it is none of its inputs'.
fn run(step: &Step, arena: &mut Arena) {
    let Place { slot, view: to } = step.output;
    let mut buffer = std::mem::take(&mut arena.0[slot]);
    let output = &mut buffer[..];
    let source = |at: usize| {
        let Place { slot, view } = step.inputs[at];
        Source { bytes: &arena.0[slot], view }
    };
    let Source { bytes, view: from } = source(0);
    match &step.work {
        Work::Conv(conv) => conv.run(bytes, from, output, to),
        Work::ConvAdding(conv) => conv.run_adding(source(0), source(1), output, to),
        Work::Add(addition) => addition.run([source(0), source(1)], output, to),
        Work::Multiply(product) => product.run([source(0), source(1)], output, to),
        Work::Table(table) => table.run(bytes, from, output, to),
        Work::Tables(tables) => {
            for (channel, table) in tables.iter().enumerate() {
                table.run(bytes, from.part(channel, 1), output, to.part(channel, 1));
            }
        }
        Work::MaxPool(pool) => pool.run(bytes, from, output, to),
        Work::AveragePool(pool) => pool.run(bytes, from, output, to),
        Work::Channels(channels) => channels.run(bytes, from, output, to),
        Work::Copy => copy(bytes, from, output, to),
        Work::Pad { before: [top, left], byte } => {
            for row in 0..to.rows {
                for column in 0..to.columns {
                    output[to.at(row, column)..][..to.channels].fill(*byte);
                }
            }
            let inner =
                View { offset: to.at(*top, *left), rows: from.rows, columns: from.columns, ..to };
            copy(bytes, from, output, inner);
        }
    }
    arena.0[slot] = buffer;
}
