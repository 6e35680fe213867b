//! A packed layer as a node of tract's graph: bytes in, channel-last bytes out.

use std::sync::Arc;

use tract_onnx::tract_core::internal::*;

use picket_kernels::{Layer, Order};

/// A convolution. Its input is `[N, channels, height, width]` or, after another of its kind,
/// `[N, height, width, channels]`; its output is always the latter.
#[derive(Clone, Debug)]
pub struct QConv {
    layer: Arc<Layer>,
    order: Order,
    output: DatumType,
}

impl QConv {
    pub fn new(layer: Layer, order: Order, output: DatumType) -> QConv {
        QConv { layer: Arc::new(layer), order, output }
    }

    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    fn output_shape<D: Clone + From<usize>>(&self, batch: D) -> [D; 4] {
        let [height, width] = self.layer.geometry().output();
        [batch, height.into(), width.into(), self.layer.geometry().out_channels.into()]
    }
}

impl PartialEq for QConv {
    fn eq(&self, other: &QConv) -> bool {
        Arc::ptr_eq(&self.layer, &other.layer) && self.order == other.order
    }
}

impl Eq for QConv {}

impl Op for QConv {
    fn name(&self) -> StaticName {
        "QConv".into()
    }

    op_as_typed_op!();
}

impl EvalOp for QConv {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let batch = input.shape()[0];
        let mut output = Tensor::zero_dt(self.output, &self.output_shape(batch))?;
        let geometry = self.layer.geometry();
        let images = input.try_as_plain_ram()?.as_bytes().chunks_exact(geometry.input_len());
        let mut view = output.try_as_plain_ram_mut()?;
        let results = view.as_bytes_mut().chunks_exact_mut(geometry.output_len());
        for (image, result) in images.zip(results) {
            self.layer.run(image, self.order, result);
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for QConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [batch, height, width, channels] = self.output_shape(inputs[0].shape[0].clone());
        Ok(tvec!(self.output.fact([batch, height, width, channels])))
    }

    as_op!();
}
