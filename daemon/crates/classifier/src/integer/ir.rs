//! A part of a network in integers: tensors of bytes, and what makes one of others. It knows neither ONNX
//! nor how anything is computed.

use std::sync::Arc;

use picket_kernels::{Convolution, Counted, Quantised, Scaled, Windows};

/// Sizes of one picture's tensor; a vector has one row and one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Shape {
    /// Returns the number of its values. Whoever made the shape has checked that it does not overflow.
    pub fn len(self) -> usize {
        self.channels * self.pixels()
    }

    pub fn pixels(self) -> usize {
        self.rows * self.columns
    }
}

/// A tensor of bytes, each of which stands for `(byte − zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Shape,
    pub quantised: Quantised,
    pub scale: f32,
}

impl Tensor {
    pub fn scaled(self) -> Scaled {
        Scaled { quantised: self.quantised, scale: self.scale }
    }
}

/// The number of a tensor in its graph.
pub type TensorId = usize;

/// What makes a tensor of others. Where a real number becomes a byte, it is rounded half to even, raised by
/// the output's zero point and limited to the output's type.
#[derive(Clone, Debug)]
pub enum Op {
    Convolve(Box<Convolution>),
    /// (a − a₀) · (a_scale / y_scale) + (b − b₀) · (b_scale / y_scale), in f32.
    Add,
    /// (a − a₀)(b − b₀) · (a_scale · b_scale / y_scale); b may be one pixel, for all of a's.
    Multiply,
    /// The byte that stands for each byte: one table, or one for each channel.
    Table(Vec<[u8; 256]>),
    /// The greatest byte of a window; what lies outside the picture is none.
    MaxPool(Windows),
    /// Σ (x − x₀) · (x_scale / (y_scale · n)) over a window.
    AveragePool {
        windows: Windows,
        counted: Counted,
    },
    /// All inputs' channels, one input behind the other.
    Concat,
    /// Output channel `c` is the input's channel `order[c]`.
    Shuffle {
        order: Vec<usize>,
    },
    /// The channels from `first` on.
    Slice {
        first: usize,
    },
    /// The input with rows and columns of `value` around it.
    Pad {
        before: [usize; 2],
        value: u8,
    },
}

impl Op {
    /// Returns how long its weights and tables are.
    pub fn bytes(&self) -> usize {
        match self {
            Op::Convolve(convolution) => convolution.weights.len(),
            Op::Table(tables) => size_of_val(&tables[..]),
            _ => 0,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Op::Convolve(convolution) if convolution.geometry.groups > 1 => "grouped convolution",
            Op::Convolve(_) => "convolution",
            Op::Add => "sum",
            Op::Multiply => "product",
            Op::Table(_) => "table",
            Op::MaxPool(_) => "maximum",
            Op::AveragePool { .. } => "mean",
            Op::Concat => "concatenation",
            Op::Shuffle { .. } => "channel order",
            Op::Slice { .. } => "channels",
            Op::Pad { .. } => "padding",
        }
    }
}

/// A tensor that is made, and of what.
#[derive(Clone, Debug)]
pub struct Node {
    /// As the file names it.
    pub name: String,
    pub op: Op,
    pub inputs: Vec<TensorId>,
    pub output: TensorId,
}

/// A last layer of floats, on the mean of each channel.
#[derive(Debug, PartialEq)]
pub struct Head {
    /// `[channels][classes]`
    pub weights: Vec<f32>,
    /// One for each class.
    pub bias: Vec<f32>,
}

/// In which form a tensor crosses the border.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// As its bytes.
    Bytes,
    /// As the f32 that they stand for.
    Reals,
    /// As the mean of each channel, f32.
    Mean,
    /// As what a last layer makes of these means.
    Scores(Arc<Head>),
}

/// How the values of a tensor outside are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[channels][rows][columns]`
    Planar,
    /// `[rows][columns][channels]`
    ChannelLast,
    /// Each value's place in the planar order.
    Places(Vec<u32>),
}

/// A tensor at the border: its name, form and axes outside.
#[derive(Clone, Debug)]
pub struct Border {
    pub name: String,
    pub tensor: TensorId,
    pub form: Form,
    pub dims: Vec<usize>,
    pub order: Order,
}

/// A graph of bytes. Nodes stand in an order in which they can be computed.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub tensors: Vec<Tensor>,
    pub nodes: Vec<Node>,
    pub inputs: Vec<Border>,
    pub outputs: Vec<Border>,
}

impl Graph {
    /// Returns a node's multiply-accumulates for one picture, where it is a convolution.
    pub fn products(node: &Node) -> Option<u64> {
        let Op::Convolve(convolution) = &node.op else { return None };
        Some(convolution.geometry.products())
    }
}
