//! Where the tensors of a graph lie: which share a buffer, how each buffer is laid out, and which serve again.

use picket_kernels::{Kernel, SLACK, View};

use crate::integer::ir::{Graph, Op, Tensor, TensorId};
use crate::integer::job::Job;
use crate::integer::program::Slot;

/// Bytes of a pixel of colours: four channels are read at once, of which one counts nothing.
const COLOUR_PIXEL: usize = 4;

/// How deep tensors lie in each other, of which one is a buffer: each is followed to it again and again.
const DEPTH_MAX: usize = 32;

/// In which other tensor each lies, and from which of its channels on.
pub struct Homes {
    pub parents: Vec<Option<(TensorId, usize)>>,
}

impl Homes {
    pub fn of(graph: &Graph, jobs: &[Job]) -> Homes {
        let mut homes = Homes { parents: vec![None; graph.tensors.len()] };
        for node in jobs {
            if let Op::Slice { first } = *node.op() {
                homes.parents[node.output] = Some((node.inputs[0], first));
            }
        }
        // The outer of two concatenations comes later.
        for node in jobs.iter().rev().filter(|node| matches!(node.op(), Op::Concat)) {
            let mut first = 0;
            let deep = homes.depth(node.output) >= DEPTH_MAX;
            for input in &node.inputs {
                // What is joined with itself can lie in one place only.
                let once = node.inputs.iter().filter(|other| *other == input).count() == 1;
                let free = homes.parents[*input].is_none() && homes.root(node.output).0 != *input;
                if once && free && !deep {
                    homes.parents[*input] = Some((node.output, first));
                    if !homes.are_sound(jobs) {
                        homes.parents[*input] = None;
                    }
                }
                first += graph.tensors[*input].shape.channels;
            }
        }
        homes
    }

    /// Whether no node writes the buffer that it reads.
    fn are_sound(&self, jobs: &[Job]) -> bool {
        jobs.iter().all(|node| {
            let to = self.root(node.output).0;
            match node.op() {
                Op::Slice { .. } => true,
                Op::Concat => node.inputs.iter().all(|input| {
                    let lies_there =
                        self.parents[*input].is_some_and(|(tensor, _)| tensor == node.output);
                    lies_there || self.root(*input).0 != to
                }),
                _ => node.inputs.iter().all(|input| self.root(*input).0 != to),
            }
        })
    }

    fn depth(&self, tensor: TensorId) -> usize {
        std::iter::successors(Some(tensor), |at| self.parents[*at].map(|(parent, _)| parent))
            .count()
    }

    /// Returns the tensor whose buffer holds this one, and from which channel on.
    pub fn root(&self, tensor: TensorId) -> (TensorId, usize) {
        let (mut at, mut channel) = (tensor, 0);
        while let Some((parent, first)) = self.parents[at] {
            (at, channel) = (parent, channel + first);
        }
        (at, channel)
    }
}

/// How the buffer of each root is laid out.
pub struct Layouts {
    borders: Vec<[usize; 4]>,
    pixels: Vec<usize>,
    zeros: Vec<u8>,
}

impl Layouts {
    pub fn of(graph: &Graph, jobs: &[Job], homes: &Homes, kernel: Kernel) -> Layouts {
        let mut borders = vec![[0; 4]; graph.tensors.len()];
        for node in jobs {
            if let Op::Convolve(convolution) = node.op() {
                let border = &mut borders[homes.root(node.inputs[0]).0];
                let needed = convolution.geometry.windows.border();
                border.iter_mut().zip(needed).for_each(|(own, needed)| *own = needed.max(*own));
            }
        }
        let pixel = |tensor: &Tensor| match tensor.shape.channels {
            3 => COLOUR_PIXEL,
            channels => channels,
        };
        let zero = |tensor: &Tensor| tensor.quantised.border(kernel);
        Layouts {
            borders,
            pixels: graph.tensors.iter().map(pixel).collect(),
            zeros: graph.tensors.iter().map(zero).collect(),
        }
    }

    /// Returns where a root's values lie in its buffer, and how long that is.
    pub fn view(&self, graph: &Graph, root: TensorId) -> (View, usize) {
        let shape = graph.tensors[root].shape;
        let [above, below, left, right] = self.borders[root];
        let pixel = self.pixels[root];
        let row = (left + shape.columns + right) * pixel;
        let view = View {
            offset: above * row + left * pixel,
            rows: shape.rows,
            columns: shape.columns,
            channels: shape.channels,
            pixel,
            row,
        };
        (view, (above + shape.rows + below) * row + pixel + SLACK)
    }
}

/// Which buffer holds each root. One serves again after the last step that reads what it held: with a border,
/// for tensors of the same form only, so that the border stays as it is.
pub struct Slots {
    pub slots: Vec<Slot>,
    pub of: Vec<Option<usize>>,
}

impl Slots {
    pub fn of(graph: &Graph, jobs: &[Job], homes: &Homes, layouts: &Layouts) -> Slots {
        let mut last_read = vec![0; graph.tensors.len()];
        for (at, node) in jobs.iter().enumerate() {
            for tensor in node.inputs.iter().chain([&node.output]) {
                last_read[homes.root(*tensor).0] = at;
            }
        }
        for border in &graph.outputs {
            last_read[homes.root(border.tensor).0] = usize::MAX;
        }
        let mut slots = Slots { slots: Vec::new(), of: vec![None; graph.tensors.len()] };
        let mut free: Vec<usize> = Vec::new();
        for border in &graph.inputs {
            slots.take(graph, layouts, homes.root(border.tensor).0, &mut free);
        }
        for (at, node) in jobs.iter().enumerate() {
            slots.take(graph, layouts, homes.root(node.output).0, &mut free);
            let mut done: Vec<TensorId> = (node.inputs.iter().chain([&node.output]))
                .map(|tensor| homes.root(*tensor).0)
                .filter(|root| last_read[*root] == at)
                .collect();
            done.sort_unstable();
            done.dedup();
            free.extend(done.into_iter().filter_map(|root| slots.of[root]));
        }
        slots
    }

    fn take(&mut self, graph: &Graph, layouts: &Layouts, root: TensorId, free: &mut Vec<usize>) {
        if self.of[root].is_some() {
            return;
        }
        let (view, len) = layouts.view(graph, root);
        let border = layouts.borders[root];
        let border = (border != [0; 4]).then_some((view, border, layouts.zeros[root]));
        // Of those that fit, the one whose length is nearest.
        let fits = |at: &usize| self.slots[*at].border == border;
        let nearest =
            free.iter().copied().filter(fits).min_by_key(|at| self.slots[*at].len.abs_diff(len));
        let slot = match nearest {
            Some(slot) => {
                free.retain(|other| *other != slot);
                self.slots[slot].len = self.slots[slot].len.max(len);
                slot
            }
            None => {
                self.slots.push(Slot { len, border });
                self.slots.len() - 1
            }
        };
        self.of[root] = Some(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integer::ir::{Node, Shape};
    use crate::integer::job::jobs;
    use picket_kernels::Quantised;

    #[test]
    fn tensors_lie_in_each_other_only_so_deep() {
        let mut graph = Graph::default();
        let tensor = |graph: &mut Graph, channels: usize| {
            let shape = Shape { channels, rows: 1, columns: 1 };
            let quantised = Quantised { signed: false, zero: 0 };
            graph.tensors.push(Tensor { shape, quantised, scale: 1.0 });
            graph.tensors.len() - 1
        };
        let mut joined = tensor(&mut graph, 1);
        for channels in 2..=3 * DEPTH_MAX {
            let inputs = vec![joined, tensor(&mut graph, 1)];
            joined = tensor(&mut graph, channels);
            graph.nodes.push(Node { name: String::new(), op: Op::Concat, inputs, output: joined });
        }
        let homes = Homes::of(&graph, &jobs(&graph));
        let deepest = (0..graph.tensors.len()).map(|tensor| homes.depth(tensor)).max();
        assert_eq!(deepest, Some(DEPTH_MAX));
    }
}
