//! What is known of a graph while it is read, and the graph of bytes as it grows. It knows no operator.

use std::collections::HashMap;
use std::rc::Rc;

use picket_kernels::{Quantised, Refusal};
use tract_onnx::pb::NodeProto;

use crate::integer::ir::{Border, Form, Graph, Node, Op, Shape, Tensor, TensorId};
use crate::integer::read::constant::Array;
use crate::integer::read::value::{Placed, Reals, Value};
use crate::integer::strided::Strided;
use crate::proto::input;

/// Largest side and number of channels of a tensor; no product of three of them overflows.
const EXTENT_MAX: usize = 1 << 16;
/// Most bytes of one tensor, which is also what the kernels take.
const TENSOR_BYTES_MAX: usize = 1 << 24;

/// Why a node stays with the stock engine.
#[derive(Clone, Debug)]
pub struct Stays(pub &'static str);

/// Why nothing begins at a tensor of the stock engine of which nobody has found out more.
pub const UNKNOWN: &str = "its input is of unknown shape or type";

impl From<Refusal> for Stays {
    fn from(refusal: Refusal) -> Stays {
        Stays(match refusal {
            Refusal::Geometry => "its windows are of no size that is computed",
            Refusal::TooManyProducts { .. } => "its sums are longer than an i32 holds",
            Refusal::TooLarge { .. } => "its input or output is too large",
            Refusal::Lengths => "its weights do not fit its shape",
            Refusal::Scale => "a scale or a ratio of scales is no positive number",
            Refusal::ZeroPoint => "a zero point is no value of its type",
        })
    }
}

/// A graph that has been read.
pub struct Reading {
    pub values: HashMap<String, Value>,
    pub graph: Graph,
    /// Of which region each tensor is.
    pub levels: Vec<usize>,
    /// The nodes of the stock engine, each with why it is its.
    pub stays: Vec<(String, &'static str)>,
}

/// What is known so far.
pub struct Reader {
    pub(super) values: HashMap<String, Value>,
    pub(super) graph: Graph,
    pub(super) levels: Vec<usize>,
    /// Whether the scale and zero point of each tensor are known.
    settled: Vec<bool>,
    /// The node that makes each tensor.
    makers: HashMap<TensorId, usize>,
    /// Tensors whose channels were put in order, by the one that they were made of.
    ordered: HashMap<(TensorId, Vec<usize>), TensorId>,
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            values: HashMap::new(),
            graph: Graph::default(),
            levels: Vec::new(),
            settled: Vec::new(),
            makers: HashMap::new(),
            ordered: HashMap::new(),
        }
    }

    /// Returns what a node's input is; none where it is left out.
    pub fn input(&self, node: &NodeProto, at: usize) -> Option<&Value> {
        self.values.get(input(node, at)?)
    }

    pub fn constant(&self, node: &NodeProto, at: usize) -> Option<Rc<Array>> {
        match self.input(node, at)? {
            Value::Constant(array) => Some(array.clone()),
            _ => None,
        }
    }

    /// Returns the whole numbers of a constant.
    pub fn integers(&self, node: &NodeProto, at: usize) -> Option<Vec<i64>> {
        self.constant(node, at)?.integers()
    }

    /// Returns the only number of a constant.
    pub fn number(&self, node: &NodeProto, at: usize) -> Option<f32> {
        match self.constant(node, at)?.floats()? {
            [number] => Some(*number),
            _ => None,
        }
    }

    /// Returns what an input's bytes stand for.
    pub fn plain(&self, node: &NodeProto, at: usize) -> Result<&Reals, Stays> {
        match self.input(node, at) {
            Some(Value::Reals(reals)) if reals.plain => Ok(reals),
            _ => Err(Stays("an input is not quantised")),
        }
    }

    /// Adds a tensor.
    pub fn tensor(
        &mut self,
        shape: Shape,
        quantised: Quantised,
        scale: f32,
        level: usize,
    ) -> TensorId {
        self.graph.tensors.push(Tensor { shape, quantised, scale });
        self.levels.push(level);
        self.settled.push(true);
        self.graph.tensors.len() - 1
    }

    /// Adds a tensor whose steps its first reader says.
    pub fn unsettled(&mut self, shape: Shape, signed: bool, level: usize) -> TensorId {
        let id = self.tensor(shape, Quantised { signed, zero: 0 }, 1.0, level);
        self.settled[id] = false;
        id
    }

    /// Takes the steps that a reader of a tensor states.
    pub fn settle(&mut self, id: TensorId, scale: f32, zero: i32) -> Result<(), Stays> {
        // What makes a tensor of unsettled ones keeps their steps. Nothing is written before all is checked.
        let (mut open, mut unsettled) = (vec![id], Vec::new());
        while let Some(at) = open.pop() {
            let tensor = &self.graph.tensors[at];
            let same = tensor.scale.to_bits() == scale.to_bits() && tensor.quantised.zero == zero;
            if self.settled[at] && !same {
                return Err(Stays("its readers state other scales than its writer"));
            }
            if !self.settled[at] {
                unsettled.push(at);
                open.extend(self.maker(at).iter().flat_map(|node| &node.inputs));
            }
        }
        for at in unsettled {
            self.settled[at] = true;
            let tensor = &mut self.graph.tensors[at];
            (tensor.scale, tensor.quantised.zero) = (scale, zero);
        }
        Ok(())
    }

    pub fn is_settled(&self, id: TensorId) -> bool {
        self.settled[id]
    }

    pub fn shape(&self, id: TensorId) -> Shape {
        self.graph.tensors[id].shape
    }

    /// Adds a node and the tensor that it makes.
    pub fn make(&mut self, name: &str, op: Op, inputs: Vec<TensorId>, made: Made) -> TensorId {
        let level = inputs.iter().map(|at| self.levels[*at]).max().unwrap_or(0);
        let Made { shape, quantised, scale } = made;
        let output = self.tensor(shape, quantised, scale, level);
        self.makers.insert(output, self.graph.nodes.len());
        self.graph.nodes.push(Node { name: name.to_string(), op, inputs, output });
        output
    }

    /// Adds a node whose output has its first input's steps.
    pub fn make_alike(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<TensorId>,
        shape: Shape,
    ) -> TensorId {
        let Tensor { quantised, scale, .. } = self.graph.tensors[inputs[0]];
        let settled = inputs.iter().all(|at| self.settled[*at]);
        let output = self.make(name, op, inputs, Made { shape, quantised, scale });
        self.settled[output] = settled;
        output
    }

    /// Returns the node that makes a tensor; none for what comes from outside.
    pub fn maker(&self, id: TensorId) -> Option<&Node> {
        self.makers.get(&id).map(|at| &self.graph.nodes[*at])
    }

    /// Returns the tensor whose channels, rows and columns are those of `[1, C, H, W]`.
    pub fn planar(&mut self, placed: &Placed) -> Result<TensorId, Stays> {
        let shape = self.shape(placed.tensor);
        let order = placed
            .strided
            .channels(shape)
            .ok_or(Stays("its input has other axes than [N,C,H,W]"))?;
        if order.iter().copied().eq(0..shape.channels) {
            return Ok(placed.tensor);
        }
        let key = (placed.tensor, order.clone());
        if let Some(ordered) = self.ordered.get(&key) {
            return Ok(*ordered);
        }
        let name = self.maker(placed.tensor).map_or(String::new(), |node| node.name.clone());
        let ordered = self.make_alike(&name, Op::Shuffle { order }, vec![placed.tensor], shape);
        self.ordered.insert(key, ordered);
        Ok(ordered)
    }

    /// Adds a tensor that comes from outside, from a tensor of ONNX of these axes.
    pub fn enter(&mut self, name: &str, form: Form, strided: &Strided, id: TensorId) {
        self.graph.inputs.push(Border {
            name: name.to_string(),
            tensor: id,
            form,
            dims: strided.dims(),
            order: strided.order(self.shape(id)),
        });
    }
}

/// What a node makes.
pub struct Made {
    pub shape: Shape,
    pub quantised: Quantised,
    pub scale: f32,
}

/// Returns a shape that no arithmetic here overflows on.
pub fn shape(channels: usize, rows: usize, columns: usize) -> Result<Shape, Stays> {
    let sizes = [channels, rows, columns];
    let bytes = channels as u128 * rows as u128 * columns as u128;
    if sizes.iter().any(|size| !(1..=EXTENT_MAX).contains(size)) || bytes > TENSOR_BYTES_MAX as u128
    {
        return Err(Stays("a size is 0 or too large"));
    }
    Ok(Shape { channels, rows, columns })
}

/// Returns how a tensor of `[1, C, H, W]`, `[1, C]` or `[C]` lies over one of ours.
pub fn lying(dims: &[usize]) -> Result<(Shape, Strided), Stays> {
    let found = match *dims {
        [1, channels, rows, columns] => shape(channels, rows, columns)?,
        [1, channels] | [channels] => shape(channels, 1, 1)?,
        _ => return Err(Stays("its axes are not [1,C,H,W]")),
    };
    let strided =
        Strided::planar(found).reshaped(dims).ok_or(Stays("its axes are not [1,C,H,W]"))?;
    Ok((found, strided))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_refused_are_not_taken() {
        let mut reader = Reader::new();
        let shape = Shape { channels: 3, rows: 8, columns: 8 };
        let first = reader.unsettled(shape, false, 1);
        let made = reader.make_alike("slice", Op::Slice { first: 0 }, vec![first], shape);
        reader.settle(first, 0.5, 1).unwrap();
        reader.settle(made, 0.25, 1).unwrap_err();
        assert!(!reader.is_settled(made));
        reader.settle(made, 0.5, 1).unwrap();
    }
}
