//! Keeps the engine from a mistake. tract makes one table of 256 bytes of DequantizeLinear … QuantizeLinear
//! wherever it holds what is between for element-wise, softmax among it, and fills it with the type of
//! the far end in place of the near one's. Both give an answer that is the same for every picture.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearI8, QuantizeLinearU8};

/// A DequantizeLinear that the engine leaves as it is: x → (x − zero) · scale.
#[derive(Clone, Debug, PartialEq)]
struct Dequantize {
    scale: f32,
    zero: i32,
}

impl Eq for Dequantize {}

/// Puts one in the place of each dequantisation whose table would be wrong.
pub fn keep_from_tables(model: &mut TypedModel) -> TractResult<()> {
    for at in 0..model.nodes.len() {
        let node = model.node(at);
        let Some(op) = node.op_as::<DequantizeLinearF32>() else { continue };
        let own = Dequantize { scale: op.scale, zero: op.zero_point };
        if would_be_wrong(model, node)? {
            model.node_mut(at).op = Box::new(own);
        }
    }
    Ok(())
}

/// Follows single readers as the engine does, up to the quantisation.
fn would_be_wrong(model: &TypedModel, dequantise: &TypedNode) -> TractResult<bool> {
    let from = model.node_input_facts(dequantise.id)?[0].datum_type;
    let mut element_wise = true;
    let mut current = dequantise;
    while let Some(next) = model.single_succ(current.id)? {
        let op = next.op_as::<ElementWiseOp>();
        let to = match op {
            Some(op) if op.0.is::<QuantizeLinearU8>() => Some(u8::datum_type()),
            Some(op) if op.0.is::<QuantizeLinearI8>() => Some(i8::datum_type()),
            _ => None,
        };
        if let Some(to) = to {
            return Ok(!element_wise || to != from);
        }
        let (inputs, outputs) = model.node_facts(next.id)?;
        if !next.op.axes_mapping(&inputs, &outputs)?.is_element_wise_unary() {
            return Ok(false);
        }
        element_wise &= op.is_some();
        current = next;
    }
    Ok(false)
}

impl Op for Dequantize {
    fn name(&self) -> StaticName {
        "Dequantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Dequantize {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let mut output = input.cast_to::<f32>()?.into_owned();
        let zero = self.zero as f32;
        for value in output.try_as_plain_ram_mut()?.as_slice_mut::<f32>()? {
            *value = (*value - zero) * self.scale;
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Dequantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    as_op!();
}
