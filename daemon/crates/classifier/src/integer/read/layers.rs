//! Convolutions and matrices: Conv, QLinearConv, Gemm, MatMul, QLinearMatMul. A matrix is a convolution whose
//! window is its whole input.

use std::rc::Rc;
use std::sync::Arc;

use tract_onnx::pb::NodeProto;

use picket_kernels::{Geometry, Windows};

use crate::integer::ir::{Head, Op, Shape, TensorId};
use crate::integer::read::constant::{Array, Data, Weights};
use crate::integer::read::reader::{Reader, Stays, shape};
use crate::integer::read::value::{Layer, Pending, Reals, Value, Work};
use crate::integer::strided::Strided;
use crate::proto::{attribute, input, integer};

/// How far a window reaches at most: over the longest side with the widest borders.
const REACH_MAX: usize = 3 << 16;

/// How far a bias' scale may be off the product of the scales whose sums it is added to.
const BIAS_SCALE_TOLERANCE: f32 = 1e-3;

/// Weights in the order of a convolution, with what is known of each output channel.
struct Kernel {
    weights: Vec<i8>,
    scales: Vec<f32>,
    zeros: Vec<i32>,
}

impl Reader {
    pub fn convolve(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let x = self.plain(node, 0)?.clone();
        let weights = self.weights(node, 1)?;
        let bias =
            input(node, 2).map(|_| self.input(node, 2).cloned().ok_or(NO_BIAS)).transpose()?;
        self.convolution(node, &x, &weights, bias.as_ref())
    }

    /// x, its scale and zero point, w and its, the output's, a bias of i32.
    pub fn qlinear_convolve(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let (x, weights) = self.qlinear_operands(node)?;
        let bias =
            input(node, 8).map(|_| self.input(node, 8).cloned().ok_or(NO_BIAS)).transpose()?;
        let pending = self.convolution(node, &x, &weights, bias.as_ref())?;
        let steps = self.steps(node, 6)?;
        self.quantise(node, pending, &steps)
    }

    pub fn qlinear_multiply(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let (x, weights) = self.qlinear_operands(node)?;
        let pending = self.matrix(&x, &weights, false, None)?;
        let steps = self.steps(node, 6)?;
        self.quantise(node, pending, &steps)
    }

    fn qlinear_operands(&mut self, node: &NodeProto) -> Result<(Reals, Rc<Weights>), Stays> {
        let (x, w) = (self.steps(node, 1)?, self.steps(node, 4)?);
        let Value::Reals(x) = self.dequantise(node, 0, x)? else {
            return Err(Stays("its input is a constant"));
        };
        // The axis of the weights' scales is the output's: 0 of a convolution, the last of a matrix.
        let array = self.constant(node, 3).ok_or(NO_WEIGHTS)?;
        let axis =
            if node.op_type == "QLinearConv" { 0 } else { array.dims.len().saturating_sub(1) };
        let weights = Weights { array, scales: w.scales, zeros: w.zeros, axis };
        Ok((x, Rc::new(weights)))
    }

    pub fn gemm(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let factor = |name| attribute(node, name).map_or(1.0, |attribute| attribute.f);
        if factor("alpha") != 1.0 || factor("beta") != 1.0 || integer(node, "transA", 0) != 0 {
            return Err(Stays("it scales or transposes its input"));
        }
        if let Some(Value::Pending(pending)) = self.input(node, 0) {
            return self.head(node, pending);
        }
        let x = self.plain(node, 0)?.clone();
        let weights = self.weights(node, 1)?;
        let bias =
            input(node, 2).map(|_| self.input(node, 2).cloned().ok_or(NO_BIAS)).transpose()?;
        self.matrix(&x, &weights, integer(node, "transB", 0) != 0, bias.as_ref())
    }

    /// A layer of floats on the mean of each channel: how a net ends whose head is not quantised.
    fn head(&self, node: &NodeProto, pending: &Pending) -> Result<Value, Stays> {
        const HEAD: Stays = Stays("it is no layer of floats on the means of channels");
        let tensor = pending.work.tensors().next().ok_or(HEAD)?;
        let channels = self.shape(tensor).channels;
        if !pending.is_mean(&self.graph) || pending.strided.dims() != [1, channels] {
            return Err(HEAD);
        }
        let floats = |at: usize| self.constant(node, at).ok_or(HEAD);
        let mut array = Array::clone(&*floats(1)?);
        if integer(node, "transB", 0) != 0 {
            array = array.transposed().ok_or(HEAD)?;
        }
        let (weights, [inner, classes]) = match (array.floats(), &array.dims[..]) {
            (Some(weights), [inner, classes]) => (weights.to_vec(), [*inner, *classes]),
            _ => return Err(HEAD),
        };
        let bias = match input(node, 2) {
            Some(_) => floats(2)?.floats().ok_or(HEAD)?.to_vec(),
            None => vec![0.0; classes],
        };
        if inner != channels || bias.len() != classes {
            return Err(HEAD);
        }
        let shape = shape(classes, 1, 1)?;
        let strided = Strided::planar(shape).reshaped(&[1, classes]).ok_or(HEAD)?;
        let work = Work::Head { tensor, head: Arc::new(Head { weights, bias }) };
        let limits = [f32::NEG_INFINITY, f32::INFINITY];
        Ok(Value::Pending(Rc::new(Pending { work, shape, strided, limits })))
    }

    pub fn multiply_matrix(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let x = self.plain(node, 0)?.clone();
        let weights = self.weights(node, 1)?;
        self.matrix(&x, &weights, false, None)
    }

    fn weights(&self, node: &NodeProto, at: usize) -> Result<Rc<Weights>, Stays> {
        match self.input(node, at) {
            Some(Value::Weights(weights)) => Ok(weights.clone()),
            _ => Err(NO_WEIGHTS),
        }
    }

    fn convolution(
        &mut self,
        node: &NodeProto,
        x: &Reals,
        weights: &Weights,
        bias: Option<&Value>,
    ) -> Result<Value, Stays> {
        let tensor = self.planar(&x.placed)?;
        let from = self.shape(tensor);
        let [out_channels, depth, rows, columns] = weights.array.dims[..] else {
            return Err(Stays("its window is not of height and width"));
        };
        let groups = usize::try_from(integer(node, "group", 1)).unwrap_or(0);
        let fits = groups > 0 && depth.checked_mul(groups) == Some(from.channels);
        if !fits || !out_channels.is_multiple_of(groups) {
            return Err(Stays("its channels do not fit its groups"));
        }
        let windows = window(node, [rows, columns], from)?;
        let [height, width] = windows.output();
        let shape = shape(out_channels, height, width)?;
        let (tensor, windows) = self.without_pad(tensor, windows);
        let kernel = kernel(weights, weights.axis == 0)?;
        self.layer(Strided::planar(shape), shape, bias, kernel, (tensor, windows, groups))
    }

    /// A matrix over all values of a picture: a window as large as the tensor.
    fn matrix(
        &mut self,
        x: &Reals,
        weights: &Weights,
        transposed: bool,
        bias: Option<&Value>,
    ) -> Result<Value, Stays> {
        let tensor = x.placed.tensor;
        let from = self.shape(tensor);
        let dims = x.placed.strided.dims();
        let (Some(inner), true) = (dims.last(), dims.iter().rev().skip(1).all(|dim| *dim == 1))
        else {
            return Err(Stays("it multiplies several rows"));
        };
        let by_row = weights.axis == if transposed { 0 } else { 1 };
        let turned = if transposed { None } else { weights.array.transposed() };
        let array = turned.map_or_else(|| weights.array.clone(), Rc::new);
        let [out_channels, depth] = array.dims[..] else {
            return Err(Stays("its weights are no matrix"));
        };
        if depth != *inner || depth != from.len() {
            return Err(Stays("its weights do not fit its input"));
        }
        let weights = Weights { array, ..weights.clone() };
        let mut kernel = kernel(&weights, by_row)?;
        let places = x.placed.strided.all_places();
        if !places.iter().copied().eq(0..depth) {
            let mut planar = vec![0; kernel.weights.len()];
            for (to, from) in planar.chunks_exact_mut(depth).zip(kernel.weights.chunks_exact(depth))
            {
                places.iter().zip(from).for_each(|(place, weight)| to[*place] = *weight);
            }
            kernel.weights = planar;
        }
        let shape = shape(out_channels, 1, 1)?;
        let mut axes = dims;
        *axes.last_mut().expect("a matrix has axes") = out_channels;
        let strided =
            Strided::planar(shape).reshaped(&axes).ok_or(Stays("its output has other axes"))?;
        self.layer(strided, shape, bias, kernel, (tensor, whole_window(from), 1))
    }

    fn layer(
        &mut self,
        strided: Strided,
        shape: Shape,
        bias: Option<&Value>,
        kernel: Kernel,
        (tensor, windows, groups): (TensorId, Windows, usize),
    ) -> Result<Value, Stays> {
        let scale = self.graph.tensors[tensor].scale;
        let scales: Vec<f32> = kernel.scales.iter().map(|weight| scale * weight).collect();
        let bias = bias.map_or(Ok(vec![0; shape.channels]), |bias| whole(bias, &scales))?;
        let layer = Layer {
            tensor,
            geometry: Geometry {
                in_channels: self.shape(tensor).channels,
                out_channels: shape.channels,
                groups,
                windows,
            },
            weights: Arc::new(kernel.weights),
            weight_scales: kernel.scales,
            weight_zeros: kernel.zeros,
            bias,
        };
        let limits = [f32::NEG_INFINITY, f32::INFINITY];
        let work = Work::Convolve(Rc::new(layer));
        Ok(Value::Pending(Rc::new(Pending { work, shape, strided, limits })))
    }

    /// Adds a bias to a matrix that has none, as MatMul and Add are written.
    pub fn add_bias(&self, pending: &Pending, bias: &Value) -> Result<Value, Stays> {
        let Work::Convolve(layer) = &pending.work else {
            return Err(Stays("its input is not quantised"));
        };
        let dims = match bias {
            Value::Constant(array) => &array.dims,
            Value::Weights(weights) => &weights.array.dims,
            _ => return Err(NO_BIAS),
        };
        // Axes count from the end: the one of the channels must be the only one that is not 1.
        let axis = match dims.iter().position(|dim| *dim != 1) {
            Some(at) => (at + pending.strided.rank()).checked_sub(dims.len()),
            None => Some(1),
        };
        let channels = pending.shape.channels;
        let order = axis.and_then(|axis| pending.strided.channel_order(axis, pending.shape));
        let in_order = order.is_some_and(|order| order.into_iter().eq(0..channels));
        let fits = dims.len() <= pending.strided.rank();
        if !fits || !in_order {
            return Err(Stays("its bias is not one number for each channel"));
        }
        let unlimited = pending.limits == [f32::NEG_INFINITY, f32::INFINITY];
        if !unlimited || layer.bias.iter().any(|bias| *bias != 0) {
            return Err(Stays("its input is not quantised"));
        }
        let scale = self.graph.tensors[layer.tensor].scale;
        let scales: Vec<f32> = layer.weight_scales.iter().map(|weight| scale * weight).collect();
        let layer = Layer { bias: whole(bias, &scales)?, ..Layer::clone(layer) };
        Ok(Value::Pending(Rc::new(Pending {
            work: Work::Convolve(Rc::new(layer)),
            ..pending.clone()
        })))
    }

    /// Goes back over a border of zero points, which the windows have in themselves.
    fn without_pad(&self, tensor: TensorId, windows: Windows) -> (TensorId, Windows) {
        let zero = self.graph.tensors[tensor].quantised.zero;
        let Some(node) = self.maker(tensor) else { return (tensor, windows) };
        match &node.op {
            Op::Pad { before, value } if *value == zero as u8 => {
                let from = self.shape(node.inputs[0]);
                let input = [from.rows, from.columns];
                let pad = |axis: usize| windows.input[axis] - input[axis] - before[axis];
                let pad_before = [0, 1].map(|axis| windows.pad_before[axis] + before[axis]);
                let pad_after = [0, 1].map(|axis| windows.pad_after[axis] + pad(axis));
                (node.inputs[0], Windows { input, pad_before, pad_after, ..windows })
            }
            _ => (tensor, windows),
        }
    }
}

/// Returns one window over a whole tensor.
pub fn whole_window(shape: Shape) -> Windows {
    let input = [shape.rows, shape.columns];
    Windows { kernel: input, ..Windows::points(input) }
}

const NO_BIAS: Stays = Stays("its bias is no constant");
const TOO_LARGE: Stays = Stays("its bias is larger than its sums can be");
const NO_WEIGHTS: Stays = Stays("its weights are no constant bytes");

/// Reads weights whose output channels are the first axis. Unsigned ones are lowered by 128, and their zero
/// point with them.
fn kernel(weights: &Weights, along_output: bool) -> Result<Kernel, Stays> {
    let Data::Bytes { signed, bytes } = &weights.array.data else { return Err(NO_WEIGHTS) };
    let out_channels = weights.array.dims[0];
    if weights.scales.len() > 1 && !along_output {
        return Err(Stays("its weights' scales are not of output channels"));
    }
    let (scales, mut zeros) = weights
        .steps(out_channels)
        .ok_or(Stays("it has another number of scales than of channels"))?;
    let flip = if *signed { 0 } else { 0x80 };
    zeros.iter_mut().for_each(|zero| *zero -= i32::from(flip));
    if zeros.iter().all(|zero| *zero == 0) {
        zeros.clear();
    }
    Ok(Kernel { weights: bytes.iter().map(|byte| (byte ^ flip) as i8).collect(), scales, zeros })
}

/// Returns a bias in the steps of the sums that it is added to.
fn whole(bias: &Value, scales: &[f32]) -> Result<Vec<i32>, Stays> {
    const COUNT: Stays = Stays("its bias has another length than its channels");
    let reals = match bias {
        Value::Constant(array) => match array.integers() {
            Some(whole) if whole.len() == scales.len() => return words(&whole),
            Some(_) => return Err(COUNT),
            None => array.floats().map(<[f32]>::to_vec).ok_or(NO_BIAS)?,
        },
        Value::Weights(weights) => {
            let (own, zeros) = weights.steps(scales.len()).ok_or(COUNT)?;
            let near =
                |(own, scale): (&f32, &f32)| (own / scale - 1.0).abs() <= BIAS_SCALE_TOLERANCE;
            let whole = weights.array.integers().ok_or(NO_BIAS)?;
            let same = own.iter().zip(scales).all(near) && zeros.iter().all(|zero| *zero == 0);
            if same && whole.len() == scales.len() {
                return words(&whole);
            }
            weights.reals().ok_or(NO_BIAS)?
        }
        _ => return Err(NO_BIAS),
    };
    if reals.len() != scales.len() {
        return Err(COUNT);
    }
    let steps = reals.iter().zip(scales).map(|(real, scale)| f64::from(*real) / f64::from(*scale));
    let whole: Option<Vec<i32>> = steps
        .map(|steps| {
            let steps = steps.round_ties_even();
            (steps.abs() <= f64::from(i32::MAX)).then_some(steps as i32)
        })
        .collect();
    whole.ok_or(TOO_LARGE)
}

fn words(whole: &[i64]) -> Result<Vec<i32>, Stays> {
    let words: Result<Vec<i32>, _> = whole.iter().map(|bias| i32::try_from(*bias)).collect();
    words.map_err(|_| TOO_LARGE)
}

/// Reads where windows lie.
pub fn window(node: &NodeProto, kernel: [usize; 2], from: Shape) -> Result<Windows, Stays> {
    const SIZES: Stays = Stays("a size of its window is none");
    let pair = |name: &str, default: usize| -> Result<Vec<usize>, Stays> {
        let Some(stated) = attribute(node, name) else { return Ok(vec![default; 2]) };
        let sizes: Option<Vec<usize>> = stated
            .ints
            .iter()
            .map(|size| usize::try_from(*size).ok().filter(|size| *size <= 1 << 16))
            .collect();
        sizes.filter(|sizes| sizes.len() == 2).ok_or(SIZES)
    };
    let (stride, dilation) = (pair("strides", 1)?, pair("dilations", 1)?);
    let pads = match attribute(node, "pads") {
        Some(stated) => stated.ints.clone(),
        None => vec![0; 4],
    };
    let pads: Option<Vec<usize>> =
        pads.iter().map(|pad| usize::try_from(*pad).ok().filter(|pad| *pad <= 1 << 16)).collect();
    let pads = pads.filter(|pads| pads.len() == 4).ok_or(SIZES)?;
    let auto = attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |stated| &stated.s);
    let ceil = integer(node, "ceil_mode", 0) != 0;
    let input = [from.rows, from.columns];
    let (mut pad_before, mut output) = ([0; 2], [0; 2]);
    for axis in 0..2 {
        let (kernel, stride, dilation) = (kernel[axis], stride[axis], dilation[axis]);
        if kernel == 0 || stride == 0 || dilation == 0 {
            return Err(SIZES);
        }
        let reach = (kernel - 1).checked_mul(dilation).filter(|reach| *reach < REACH_MAX);
        let reach = reach.ok_or(SIZES)? + 1;
        let same = |larger_end_behind: bool| {
            let output = input[axis].div_ceil(stride);
            let pad = ((output - 1) * stride + reach).saturating_sub(input[axis]);
            (if larger_end_behind { pad / 2 } else { pad.div_ceil(2) }, output)
        };
        let explicit = |before: usize, after: usize| -> Result<_, Stays> {
            let room = (before + input[axis] + after).checked_sub(reach).ok_or(SIZES)?;
            let mut output = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
            // The last window must start in the input or before it.
            if ceil && (output - 1) * stride >= input[axis] + before {
                output -= 1;
            }
            Ok((before, output))
        };
        (pad_before[axis], output[axis]) = match auto {
            b"SAME_UPPER" => same(true),
            b"SAME_LOWER" => same(false),
            b"VALID" => explicit(0, 0)?,
            _ => explicit(pads[axis], pads[axis + 2])?,
        };
    }
    let reach = |axis: usize| (kernel[axis] - 1) * dilation[axis] + 1;
    // As much behind as the last window reaches, so that it is the last.
    let needed = |axis: usize| (output[axis] - 1) * stride[axis] + reach(axis);
    let pad_after = [0, 1].map(|axis| needed(axis).saturating_sub(pad_before[axis] + input[axis]));
    let (stride, dilation) = ([stride[0], stride[1]], [dilation[0], dilation[1]]);
    Ok(Windows { input, kernel, stride, dilation, pad_before, pad_after })
}
