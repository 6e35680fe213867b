//! What a tensor of ONNX is while a graph is read: a constant, bytes of ours, what they stand for, a result
//! that waits for its quantisation, or something that stays with the stock engine.

use std::rc::Rc;
use std::sync::Arc;

use picket_kernels::{Counted, Geometry, Windows};
use tract_onnx::prelude::DatumType;

use crate::integer::ir::{Graph, Head, Order, Shape, TensorId};
use crate::integer::read::constant::{Array, Weights};
use crate::integer::strided::Strided;

/// One of our tensors as ONNX sees it.
#[derive(Clone, Debug)]
pub struct Placed {
    pub tensor: TensorId,
    pub strided: Strided,
}

/// A float for each byte of a tensor: what they stand for, or a function of it.
#[derive(Clone, Debug)]
pub struct Reals {
    pub placed: Placed,
    /// By byte; one table, or one for each channel.
    pub maps: Rc<Vec<[f32; 256]>>,
    /// Whether it is what the bytes stand for.
    pub plain: bool,
}

/// What waits for its quantisation.
#[derive(Clone, Debug)]
pub struct Pending {
    pub work: Work,
    /// Its shape and axes: a tensor of ours of that shape will be made.
    pub shape: Shape,
    pub strided: Strided,
    /// The least and greatest float that are let through.
    pub limits: [f32; 2],
}

#[derive(Clone, Debug)]
pub enum Work {
    Convolve(Rc<Layer>),
    Add([TensorId; 2]),
    Multiply([TensorId; 2]),
    /// Each with the float of each of its bytes.
    Concat(Vec<(TensorId, Rc<Vec<[f32; 256]>>)>),
    Average {
        tensor: TensorId,
        windows: Windows,
        counted: Counted,
    },
    /// A layer of floats on the mean of each channel, which waits for nothing.
    Head {
        tensor: TensorId,
        head: Arc<Head>,
    },
}

/// A convolution, or a matrix as one.
#[derive(Clone, Debug)]
pub struct Layer {
    pub tensor: TensorId,
    pub geometry: Geometry,
    pub weights: Arc<Vec<i8>>,
    pub weight_scales: Vec<f32>,
    /// Empty where all are 0.
    pub weight_zeros: Vec<i32>,
    /// In the steps of the sum: x_scale · w_scale.
    pub bias: Vec<i32>,
}

#[derive(Clone, Debug)]
pub enum Value {
    Constant(Rc<Array>),
    Weights(Rc<Weights>),
    Bytes(Placed),
    Reals(Reals),
    Pending(Rc<Pending>),
    /// Computed by the stock engine, from what regions up to `level` give.
    Stock {
        dims: Option<Vec<usize>>,
        datum_type: Option<DatumType>,
        level: usize,
    },
}

impl Value {
    /// Returns how long the weights and tables are that no other value holds.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Constant(array) if Rc::strong_count(array) == 1 => array.bytes(),
            Value::Weights(weights) if Rc::strong_count(weights) == 1 => weights.array.bytes(),
            Value::Reals(reals) if Rc::strong_count(&reals.maps) == 1 => {
                size_of_val(&reals.maps[..])
            }
            Value::Pending(pending) => match &pending.work {
                Work::Convolve(layer) if Rc::strong_count(layer) == 1 => layer.weights.len(),
                Work::Head { head, .. } if Arc::strong_count(head) == 1 => {
                    size_of_val(&head.weights[..])
                }
                _ => 0,
            },
            _ => 0,
        }
    }
}

impl Work {
    /// Returns the tensors that it reads.
    pub fn tensors(&self) -> impl Iterator<Item = TensorId> {
        let tensors = match self {
            Work::Convolve(layer) => vec![layer.tensor],
            Work::Add(both) | Work::Multiply(both) => both.to_vec(),
            Work::Concat(parts) => parts.iter().map(|(tensor, _)| *tensor).collect(),
            Work::Average { tensor, .. } | Work::Head { tensor, .. } => vec![*tensor],
        };
        tensors.into_iter()
    }
}

impl Pending {
    /// Whether its values lie in the order of its channels, as vectors cross the border.
    pub fn is_in_order(&self) -> bool {
        self.strided.order(self.shape) == Order::Planar
    }

    /// Whether it is the mean of all pixels of a tensor, of which nothing is cut off.
    pub fn is_mean(&self, graph: &Graph) -> bool {
        let Work::Average { tensor, windows, .. } = &self.work else { return false };
        let shape = graph.tensors[*tensor].shape;
        windows.kernel == [shape.rows, shape.columns]
            && windows.padded() == windows.input
            && self.shape.pixels() == 1
            && self.limits == [f32::NEG_INFINITY, f32::INFINITY]
            && self.is_in_order()
    }
}
