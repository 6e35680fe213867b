//! A file as tract runs it: its interface checked, convolutions given to our kernels, optimised; and
//! what its nodes are.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::infer::Factoid;

use crate::engine::Engine;
use crate::file::{self, Convolutions, Metadata};
use crate::qconv::{self, QConv, QSum};
use crate::run::{Node, Plan};
use picket_kernels::Kernel;
use picket_picture::{Element, Layout, Spec};

/// What a file becomes.
pub struct Parsed {
    pub plan: Plan,
    pub input: Spec,
    pub metadata: Metadata,
    /// The convolutions that the file has.
    pub convolutions: Convolutions,
    /// The name of the engine that computes them.
    pub kernel: &'static str,
    pub nodes: Vec<Node>,
}

/// Prepares a file for one engine.
///
/// # Errors
/// Not ONNX, not of the interface that is needed, or nothing that tract runs.
pub fn prepare(onnx: &[u8], engine: Engine) -> TractResult<Parsed> {
    // A symbolic batch axis loads only without the file's own shape hints.
    let parser = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let file = parser
        .proto_model_for_read(&mut &onnx[..])
        .map_err(|error| error.context("it is damaged or truncated"))?;
    file::check(&file).map_err(|reason| anyhow::anyhow!(reason))?;
    let model = parser.model_for_proto_model(&file)?;
    let input = input_spec(&model)?;
    let datum_type = match input.element {
        Element::U8 => u8::datum_type(),
        Element::I8 => i8::datum_type(),
        Element::F32 => f32::datum_type(),
    };
    let fact = InferenceFact::dt_shape(datum_type, input.layout.shape());
    let mut model = model.with_input_fact(0, fact)?;
    if let Engine::Own(kernel) = engine {
        qconv::replace(&mut model, kernel);
    }
    let mut model = model.into_optimized()?;
    if engine != Engine::Tract {
        qconv::replace_sums(&mut model)?;
    }
    let nodes = nodes(&model)?;
    let own = nodes.iter().find(|node| node.products.is_some());
    let kernel = own.map_or(Engine::Tract.name(), |node| node.kernel);
    Ok(Parsed {
        plan: Plan::new(model.into_runnable()?),
        input,
        metadata: file::metadata(&file),
        convolutions: file::convolutions(&file),
        kernel,
        nodes,
    })
}

fn nodes(model: &TypedModel) -> TractResult<Vec<Node>> {
    let order = model.eval_order()?.into_iter().map(|id| model.node(id));
    let steps = order.filter(|node| !node.op_is::<Const>() && !node.op_is::<TypedSource>());
    let node = |node: &TypedNode| {
        let layer = node.op_as::<QConv>().map(QConv::layer);
        let engine = match layer {
            Some(layer) => Engine::Own(layer.kernel()),
            None if node.op_is::<QSum>() => Engine::Own(Kernel::Scalar),
            None => Engine::Tract,
        };
        Node {
            id: node.id,
            name: node.name.clone(),
            op: node.op.name().into_owned(),
            kernel: engine.name(),
            products: layer.map(|layer| layer.geometry().products()),
        }
    };
    Ok(steps.map(node).collect())
}

fn input_spec(model: &InferenceModel) -> TractResult<Spec> {
    if model.inputs.len() != 1 || model.outputs.len() != 1 {
        let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
        anyhow::bail!(
            "it has {inputs} inputs and {outputs} outputs, exactly one of each is needed"
        );
    }
    let fact = model.input_fact(0)?;
    let datum_type = fact.datum_type.concretize().map(|datum_type| datum_type.unquantized());
    let element = match datum_type {
        Some(DatumType::U8) => Element::U8,
        Some(DatumType::I8) => Element::I8,
        Some(DatumType::F32) => Element::F32,
        Some(other) => {
            anyhow::bail!("its input is of type {other:?}, one of u8, i8, f32 is needed")
        }
        None => anyhow::bail!("its input is of no stated type, one of u8, i8, f32 is needed"),
    };
    let axes: Vec<Option<i64>> =
        fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_i64().ok())).collect();
    let layout = match axes[..] {
        [_, Some(3), Some(32), Some(32)] => Layout::Nchw,
        [_, Some(32), Some(32), Some(3)] => Layout::Nhwc,
        _ => anyhow::bail!("its input is {:?}, [N,3,32,32] or [N,32,32,3] is needed", fact.shape),
    };
    Ok(Spec { element, layout })
}
