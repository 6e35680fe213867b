//! Finds QLinearConv in a parsed graph and puts a node in its place that becomes ours where a kernel
//! takes it, and tract's own where none does.
//!
//! Done before the graph is typed: that is where a QLinearConv still is one node, and what tract
//! would make of it need not be built first.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_hir::internal::{Expansion, Solver, TensorProxy, expand};
use tract_onnx::tract_hir::ops::cnn::Conv;

use super::op::QConv;
use picket_kernels::Kernel;
use picket_kernels::{Convolution, Geometry, Layer, Order, Quantised, Windows};

/// Gives every quantised convolution of `model` to `kernel`, as far as it takes them.
pub fn replace(model: &mut InferenceModel, kernel: Kernel) {
    for node in &mut model.nodes {
        let expansion = node.op.as_op().downcast_ref::<Box<dyn Expansion>>();
        let stock = expansion.and_then(|expansion| expansion.as_any().downcast_ref::<Conv>());
        if let Some(stock) = stock.filter(|stock| stock.y_scale_input.is_some()) {
            node.op = expand(QLinearConv { stock: stock.clone(), kernel });
        }
    }
}

/// Infers shapes and types as tract's own node does.
#[derive(Clone, Debug)]
struct QLinearConv {
    stock: Conv,
    kernel: Kernel,
}

impl Expansion for QLinearConv {
    fn name(&self) -> StaticName {
        "QLinearConv".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> TractResult<()> {
        self.stock.rules(solver, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        match take(&self.stock, model, inputs)? {
            Some(taken) => wire(taken, self.kernel, prefix, model)?
                .map_or_else(|| self.stock.wire(prefix, model, inputs), Ok),
            None => self.stock.wire(prefix, model, inputs),
        }
    }
}

/// What a node computes and from where, a Pad node before it and the layout of another of ours
/// seen through.
struct Taken {
    convolution: Convolution,
    output: DatumType,
    input: OutletId,
    order: Order,
}

/// Wires a node of ours. Its output is channel-last; a second node turns it back to the graph's order.
/// The next node of ours looks through that one, and without another reader it goes.
fn wire(
    taken: Taken,
    kernel: Kernel,
    prefix: &str,
    model: &mut TypedModel,
) -> TractResult<Option<TVec<OutletId>>> {
    let Ok(layer) = Layer::pack(&taken.convolution, kernel) else { return Ok(None) };
    let op = QConv::new(layer, taken.order, taken.output);
    let last = model.wire_node(format!("{prefix}.channel_last"), op, &[taken.input])?;
    model.wire_node(prefix, AxisOp::Move(3, 1), &last).map(Some)
}

/// Reads what a kernel needs to know of a node; none where no kernel takes it.
fn take(stock: &Conv, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Option<Taken>> {
    let plain = stock.data_format == DataFormat::NCHW
        && stock.group.unwrap_or(1) == 1
        && stock.dilations.iter().flatten().all(|dilation| *dilation == 1);
    let constant = |input: Option<usize>| -> Option<Arc<Tensor>> {
        model.outlet_fact(inputs[input?]).ok()?.konst.clone()
    };
    let constants = (
        constant(stock.k_input),
        constant(stock.x_scale_input),
        constant(stock.x_zero_point_input),
        constant(stock.k_scale_input),
        constant(stock.k_zero_point_input),
        constant(stock.y_scale_input),
        constant(stock.y_zero_point_input),
    );
    let (Some(w), Some(xs), Some(x0), Some(ws), Some(w0), Some(ys), Some(y0)) = constants else {
        return Ok(None);
    };
    let fact = model.outlet_fact(inputs[0])?;
    let (output, rank) = (y0.datum_type(), fact.rank());
    let weights_are_plain =
        w.datum_type() == DatumType::I8 && numbers::<i32>(&w0)?.iter().all(|zero| *zero == 0);
    if !plain || !weights_are_plain || rank != 4 || w.rank() != 4 || xs.len() * ys.len() != 1 {
        return Ok(None);
    }
    let (Some(input_type), Some(output_type)) =
        (quantised(fact.datum_type, &x0)?, quantised(output, &y0)?)
    else {
        return Ok(None);
    };
    let out_channels = w.shape()[0];
    let bias = match stock.bias_input {
        None => vec![0; out_channels],
        Some(_) => match constant(stock.bias_input) {
            Some(bias) => numbers::<i32>(&bias)?,
            None => return Ok(None),
        },
    };
    let Some(source) = source(stock, model, inputs[0], &w, input_type)? else { return Ok(None) };
    let (xs, ys) = (numbers::<f32>(&xs)?[0], numbers::<f32>(&ys)?[0]);
    let ws = numbers::<f32>(&ws)?;
    let ws = if ws.len() == 1 { vec![ws[0]; out_channels] } else { ws };
    let convolution = Convolution {
        geometry: source.geometry,
        weights: numbers::<i8>(&w)?,
        weight_zeros: vec![],
        bias,
        // In f32 and in this order, as ONNX Runtime multiplies.
        scales: ws.iter().map(|ws| xs * ws / ys).collect(),
        input: input_type,
        output: output_type,
    };
    Ok(Some(Taken { convolution, output, input: source.outlet, order: source.order }))
}

struct Source {
    geometry: Geometry,
    outlet: OutletId,
    order: Order,
}

/// Goes from a convolution's input back over a Pad node with its zero point, which the layer does
/// itself, and over the change of layout behind another of ours.
fn source(
    stock: &Conv,
    model: &TypedModel,
    input: OutletId,
    weights: &Tensor,
    quantised: Quantised,
) -> TractResult<Option<Source>> {
    let strides = stock.strides.as_deref().unwrap_or(&[1, 1]);
    let kernel = [weights.shape()[2], weights.shape()[3]];
    let shape = &model.outlet_fact(input)?.shape;
    let (Ok(height), Ok(width)) = (shape[2].to_usize(), shape[3].to_usize()) else {
        return Ok(None);
    };
    let own = stock.padding.compute(&[height, width], &kernel, &[1, 1], strides);
    let mut geometry = Geometry {
        in_channels: weights.shape()[1],
        out_channels: weights.shape()[0],
        groups: 1,
        windows: Windows {
            input: [height, width],
            kernel,
            stride: [strides[0], strides[1]],
            dilation: [1, 1],
            pad_before: [own[0].pad_before, own[1].pad_before],
            pad_after: [own[0].pad_after, own[1].pad_after],
        },
    };
    let mut outlet = input;
    if let Some(pads) = pads(model, outlet, quantised.zero)? {
        for (axis, (before, after)) in pads.into_iter().enumerate() {
            geometry.windows.input[axis] -= before + after;
            geometry.windows.pad_before[axis] += before;
            geometry.windows.pad_after[axis] += after;
        }
        outlet = model.node(outlet.node).inputs[0];
    }
    let node = model.node(outlet.node);
    let order = match node.op_as::<AxisOp>() {
        Some(AxisOp::Move(3, 1)) if model.node(node.inputs[0].node).op_is::<QConv>() => {
            outlet = node.inputs[0];
            Order::ChannelLast
        }
        _ => Order::Planar,
    };
    Ok(Some(Source { geometry, outlet, order }))
}

/// Returns what a Pad node adds along height and width, if `outlet` is of one that fills in `zero`
/// there and nothing elsewhere.
fn pads(
    model: &TypedModel,
    outlet: OutletId,
    zero: i32,
) -> TractResult<Option<[(usize, usize); 2]>> {
    let Some(Pad { pads, mode: PadMode::Constant(value) }) = model.node(outlet.node).op_as::<Pad>()
    else {
        return Ok(None);
    };
    if value.cast_to_scalar::<i32>()? != zero {
        return Ok(None);
    }
    Ok(match pads[..] {
        [(0, 0), (0, 0), height, width] => Some([height, width]),
        _ => None,
    })
}

/// Returns the type of a tensor of bytes with this zero point; none for other types.
fn quantised(datum_type: DatumType, zero: &Tensor) -> TractResult<Option<Quantised>> {
    let signed = match datum_type {
        DatumType::I8 => true,
        DatumType::U8 => false,
        _ => return Ok(None),
    };
    let zero = numbers::<i32>(zero)?;
    Ok((zero.len() == 1).then(|| Quantised { signed, zero: zero[0] }))
}

fn numbers<T: Datum + Copy>(tensor: &Tensor) -> TractResult<Vec<T>> {
    let tensor = tensor.cast_to::<T>()?;
    Ok(tensor.try_as_plain_ram()?.as_slice::<T>()?.to_vec())
}
