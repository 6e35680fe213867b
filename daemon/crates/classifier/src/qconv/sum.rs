//! Sums of bytes over a layer's pixels, as a node of tract's graph: the first half of the mean
//! behind the last convolution. It takes the place of DequantizeLinear and a sum of floats: the
//! five nodes behind the convolutions took a tenth of the whole time.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_core::ops::quant::DequantizeLinearF32;

/// Most pixels whose bytes are summed: the sum is an i32, and 2²⁴ of it are exact in an f32.
const PIXELS_MAX: usize = (1 << 24) / 256;

/// A sum over pixels, Σ (x − zero) · scale: `[N, height, width, channels]` of bytes →
/// `[N, 1, 1, channels]` of f32.
#[derive(Clone, Debug, PartialEq)]
pub struct QSum {
    scale: f32,
    zero: i32,
}

impl Eq for QSum {}

/// Puts one in the place of each pair of a dequantisation and a sum over height and width of what a
/// kernel wrote.
pub fn replace_sums(model: &mut TypedModel) -> TractResult<()> {
    let mut patches = Vec::new();
    for node in &model.nodes {
        if let Some(op) = find(model, node)? {
            patches.push(TypedModelPatch::fuse_with_next(model, node, op)?);
        }
    }
    for patch in patches {
        patch.apply(model)?;
    }
    model.compact()
}

fn find(model: &TypedModel, node: &TypedNode) -> TractResult<Option<QSum>> {
    let Some(dequantise) = node.op_as::<DequantizeLinearF32>() else { return Ok(None) };
    let Some(sum) = model.single_succ(node.id)? else { return Ok(None) };
    let over_pixels = sum
        .op_as::<Reduce>()
        .is_some_and(|reduce| reduce.reducer == Reducer::Sum && reduce.axes[..] == [1, 2]);
    let fact = model.outlet_fact(node.inputs[0])?;
    let bytes = matches!(fact.datum_type.unquantized(), DatumType::U8 | DatumType::I8);
    let few = match fact.shape.as_concrete() {
        Some([_, height, width, _]) => height * width <= PIXELS_MAX,
        _ => false,
    };
    let found = over_pixels && bytes && few && !model.output_outlets()?.contains(&node.id.into());
    Ok(found.then_some(QSum { scale: dequantise.scale, zero: dequantise.zero_point }))
}

impl Op for QSum {
    fn name(&self) -> StaticName {
        "QSum".into()
    }

    op_as_typed_op!();
}

impl EvalOp for QSum {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [batch, height, width, channels] = *input.shape() else {
            bail!("a sum over pixels of {:?}", input.shape());
        };
        let signed = input.datum_type().unquantized() == DatumType::I8;
        let mut output = Tensor::zero::<f32>(&[batch, 1, 1, channels])?;
        let mut view = output.try_as_plain_ram_mut()?;
        let results = view.as_slice_mut::<f32>()?.chunks_exact_mut(channels);
        let input = input.try_as_plain_ram()?;
        let images = input.as_bytes().chunks_exact(height * width * channels);
        let zeros = self.zero * (height * width) as i32;
        for (image, result) in images.zip(results) {
            let sums = if signed {
                sum(image, channels, |byte| i32::from(byte as i8))
            } else {
                sum(image, channels, i32::from)
            };
            for (result, sum) in result.iter_mut().zip(sums) {
                *result = (sum - zeros) as f32 * self.scale;
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

/// Adds up the bytes of each channel.
fn sum(image: &[u8], channels: usize, value: impl Fn(u8) -> i32) -> Vec<i32> {
    let mut sums = vec![0; channels];
    for pixel in image.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, byte)| *sum += value(*byte));
    }
    sums
}

impl TypedOp for QSum {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (batch, channels) = (inputs[0].shape[0].clone(), inputs[0].shape[3].clone());
        Ok(tvec!(f32::fact([batch, 1.into(), 1.into(), channels])))
    }

    as_op!();
}
