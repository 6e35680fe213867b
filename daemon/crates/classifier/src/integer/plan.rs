//! Makes a program of a graph: packs a kernel for each job, with the views that it reads and writes. Parts of a
//! concatenation are written in their place, and channels of a tensor are read where they are.

use std::sync::Arc;

use picket_kernels::{
    Addition, AveragePool, Channels, Conv, Convolution, Dequantise, Geometry, Kernel, Last,
    MaxPool, Outside, Product, Quantise, Quantised, Refusal, Table, View, Windows,
};

use crate::integer::ir::{Border, Form, Graph, Node, Op, Order, Tensor, TensorId};
use crate::integer::job::{Job, jobs};
use crate::integer::layout::{Homes, Layouts, Slots};
use crate::integer::program::{Entrance, Exit, In, Ordered, Out, Place, Program, Step, Work};

/// Most values that are read as one pixel: the kernels take no more channels.
const ONE_PIXEL_MAX: usize = 1 << 16;

/// Plans a graph for `kernel`.
///
/// # Errors
/// What a kernel refuses that did not refuse it when the graph was read.
pub fn plan(graph: &Graph, kernel: Kernel) -> Result<Program, Refusal> {
    let jobs = jobs(graph);
    let homes = Homes::of(graph, &jobs);
    let layouts = Layouts::of(graph, &jobs, &homes, kernel);
    let slots = Slots::of(graph, &jobs, &homes, &layouts);
    let places = Places { graph, homes: &homes, layouts: &layouts, slots: &slots };
    let mut steps = Vec::new();
    for job in &jobs {
        steps.extend(places.steps(job, kernel)?);
    }
    let entrance = |border: &Border| places.entrance(border, kernel);
    let exit = |border: &Border| places.exit(border, kernel);
    let entrances = graph.inputs.iter().map(entrance).collect::<Result<_, _>>()?;
    let exits = graph.outputs.iter().map(exit).collect::<Result<_, _>>()?;
    Ok(Program { kernel, slots: slots.slots, entrances, steps, exits })
}

struct Places<'a> {
    graph: &'a Graph,
    homes: &'a Homes,
    layouts: &'a Layouts,
    slots: &'a Slots,
}

impl Places<'_> {
    fn of(&self, tensor: TensorId) -> Place {
        let (root, channel) = self.homes.root(tensor);
        let (view, _) = self.layouts.view(self.graph, root);
        let slot = self.slots.of[root].expect("every tensor that is made or comes in has a buffer");
        Place { slot, view: view.part(channel, self.graph.tensors[tensor].shape.channels) }
    }

    fn tensor(&self, tensor: TensorId) -> &Tensor {
        &self.graph.tensors[tensor]
    }

    /// Returns the steps that a job becomes: none where its output lies where its inputs were written.
    fn steps(&self, job: &Job, kernel: Kernel) -> Result<Vec<Step>, Refusal> {
        match job.op() {
            Op::Slice { .. } => Ok(Vec::new()),
            Op::Concat => Ok(self.copies(job.node)),
            op => {
                let mut inputs: Vec<Place> =
                    job.inputs.iter().map(|tensor| self.of(*tensor)).collect();
                let work = self.work(job, &mut inputs, kernel)?;
                let (name, output) = (job.name(), self.of(job.output));
                let products = Graph::products(job.node);
                Ok(vec![Step { name, op: op.name(), products, work, inputs, output }])
            }
        }
    }

    /// Copies those parts of a concatenation that lie elsewhere.
    fn copies(&self, node: &Node) -> Vec<Step> {
        let mut first = 0;
        let mut steps = Vec::new();
        for input in &node.inputs {
            let channels = self.tensor(*input).shape.channels;
            if self.homes.parents[*input] != Some((node.output, first)) {
                let whole = self.of(node.output);
                let output = Place { view: whole.view.part(first, channels), ..whole };
                let (name, inputs) = (node.name.clone(), vec![self.of(*input)]);
                let (op, work) = (node.op.name(), Work::Copy);
                steps.push(Step { name, op, products: None, work, inputs, output });
            }
            first += channels;
        }
        steps
    }

    /// Returns what is done with a convolution's bytes last.
    fn last(&self, job: &Job, kernel: Kernel) -> Result<Last, Refusal> {
        let scaled = |tensor: TensorId| self.tensor(tensor).scaled();
        let (own, output) = (scaled(job.node.output), scaled(job.output));
        Ok(match (job.last, job.inputs.get(1)) {
            (None, _) => Last::Nothing,
            (Some(Node { op: Op::Table(tables), .. }), _) => {
                let ends = [own.quantised, output.quantised];
                Last::Table(Table::pack(&tables[0], ends, kernel))
            }
            (Some(_), Some(other)) => {
                Last::Addition(Addition::pack([own, scaled(*other)], output, kernel)?)
            }
            (Some(_), None) => unreachable!("a sum has another input"),
        })
    }

    fn work(&self, job: &Job, inputs: &mut [Place], kernel: Kernel) -> Result<Work, Refusal> {
        let node = job.node;
        let scaled = |tensor: TensorId| self.tensor(tensor).scaled();
        let output = scaled(node.output);
        let ends = [scaled(node.inputs[0]), output];
        let quantised = ends.map(|end| end.quantised);
        Ok(match &node.op {
            Op::Convolve(convolution) => {
                let one_pixel = one_pixel(convolution, &inputs[0].view);
                if let Some((_, view)) = &one_pixel {
                    inputs[0].view = *view;
                }
                let convolution = one_pixel.as_ref().map_or(&**convolution, |(it, _)| it);
                let pixel = inputs[0].view.pixel;
                let last = self.last(job, kernel)?;
                let adds = matches!(last, Last::Addition(_));
                let conv = Box::new(Conv::pack(convolution, last, pixel, kernel)?);
                if adds { Work::ConvAdding(conv) } else { Work::Conv(conv) }
            }
            Op::Add => {
                let inputs = [scaled(node.inputs[0]), scaled(node.inputs[1])];
                Work::Add(Addition::pack(inputs, output, kernel)?)
            }
            Op::Multiply => {
                let inputs = [scaled(node.inputs[0]), scaled(node.inputs[1])];
                Work::Multiply(Product::pack(inputs, output, kernel)?)
            }
            Op::Table(tables) => {
                let mut tables = tables.iter().map(|table| Table::pack(table, quantised, kernel));
                match tables.len() {
                    1 => Work::Table(tables.next().expect("there is one")),
                    _ => Work::Tables(tables.collect()),
                }
            }
            Op::MaxPool(windows) => {
                Work::MaxPool(MaxPool::pack(windows, inputs[0].view.channels, kernel)?)
            }
            Op::AveragePool { windows, counted } => {
                let windows = (windows, inputs[0].view.channels);
                Work::AveragePool(AveragePool::pack(windows, *counted, ends, kernel)?)
            }
            Op::Shuffle { order } => {
                let channels = inputs[0].view.channels;
                Work::Channels(Channels::pack(order.clone(), channels, kernel))
            }
            Op::Pad { before, value } => {
                Work::Pad { before: *before, byte: value ^ quantised[0].flip(kernel) }
            }
            Op::Concat | Op::Slice { .. } => unreachable!("they are views"),
        })
    }

    fn entrance(&self, border: &Border, kernel: Kernel) -> Result<Entrance, Refusal> {
        let tensor = self.tensor(border.tensor);
        let form = match &border.form {
            Form::Bytes => {
                let same = std::array::from_fn(|byte| byte as u8);
                // Of the kernel's own type, so that the byte outside is looked up as it is.
                let outside = Quantised { signed: kernel.keeps_signed(), zero: 0 };
                In::Bytes(Table::pack(&same, [outside, tensor.quantised], kernel))
            }
            _ => In::Reals(Quantise::pack(tensor.scaled(), kernel)?),
        };
        Ok(Entrance { form, order: ordered(&border.order), place: self.of(border.tensor) })
    }

    fn exit(&self, border: &Border, kernel: Kernel) -> Result<Exit, Refusal> {
        let tensor = self.tensor(border.tensor);
        let zero = tensor.quantised.kept_by(kernel).zero;
        let form = match &border.form {
            Form::Bytes => Out::Bytes { flip: tensor.quantised.flip(kernel) },
            Form::Reals => Out::Reals(Dequantise::pack(tensor.scaled(), kernel)?),
            Form::Mean => Out::Mean { zero, scale: tensor.scale },
            Form::Scores(head) => Out::Scores { zero, scale: tensor.scale, head: head.clone() },
        };
        Ok(Exit { form, order: ordered(&border.order), place: self.of(border.tensor) })
    }
}

fn ordered(order: &Order) -> Ordered {
    match order {
        Order::Planar => Ordered::Known(Outside::Planar),
        Order::ChannelLast => Ordered::Known(Outside::ChannelLast),
        Order::Places(places) => Ordered::Places(places.clone()),
    }
}

/// A window as large as a picture without gaps, as one over a single pixel of all its values.
fn one_pixel(convolution: &Convolution, view: &View) -> Option<(Convolution, View)> {
    let Geometry { in_channels, out_channels, groups, windows } = &convolution.geometry;
    let Windows { input: [rows, columns], kernel, pad_before, pad_after, .. } = windows;
    let taps = rows * columns;
    let whole = *kernel == windows.input && *pad_before == [0; 2] && *pad_after == [0; 2];
    let dense = view.pixel == view.channels && view.row == view.columns * view.pixel;
    if !whole || !dense || taps == 1 || *groups != 1 {
        return None;
    }
    let values = in_channels * taps;
    if values > ONE_PIXEL_MAX {
        return None;
    }
    let mut weights = Vec::with_capacity(convolution.weights.len());
    for planes in convolution.weights.chunks_exact(values) {
        for tap in 0..taps {
            weights.extend((0..*in_channels).map(|channel| planes[channel * taps + tap]));
        }
    }
    let geometry = Geometry::fully_connected(values, *out_channels);
    let view = View::dense(view.offset, [1, 1], values);
    Some((Convolution { geometry, weights: Arc::new(weights), ..convolution.clone() }, view))
}
