//! A file as tract runs it: its interface checked, convolutions given to our kernels, optimised; and
//! what its nodes are.

use std::path::Path;

use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::infer::Factoid;

use crate::engine::Engine;
use crate::file::{self, Convolutions, Metadata};
use crate::output::{CLASSES_MAX, Kind};
use crate::qconv::{self, QConv, QSum};
use crate::run::{Node, Plan};
use crate::{bounds, external, guard, qoperator, tail};
use picket_kernels::Kernel;
use picket_picture::{Colour, Element, INPUT_SIDE_MAX, INPUT_SIDE_MIN, Layout, Spec};

/// What a file becomes.
pub struct Parsed {
    pub plan: Plan,
    pub input: Spec,
    /// How many scores it gives.
    pub scores: usize,
    /// What the last nodes make of them, as far as they tell.
    pub tail: Option<Kind>,
    pub metadata: Metadata,
    /// The convolutions that the file has.
    pub convolutions: Convolutions,
    /// The name of the engine that computes them.
    pub kernel: &'static str,
    pub nodes: Vec<Node>,
}

/// Prepares a file for one engine. Constants in other files are read from `dir`.
///
/// # Errors
/// Not ONNX, not of the interface that is needed, beyond a limit, or nothing that tract runs.
pub fn prepare(onnx: &[u8], dir: Option<&Path>, engine: Engine) -> TractResult<Parsed> {
    if let Some(other) = file::of_another_format(onnx) {
        anyhow::bail!(other);
    }
    // A symbolic batch axis loads only without the file's own shape hints.
    let parser = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let mut file = parser
        .proto_model_for_read(&mut &onnx[..])
        .map_err(|error| error.context("it is damaged or truncated"))?;
    let (metadata, convolutions) = (file::metadata(&file), file::convolutions(&file));
    let tail = rewrite(&mut file, dir).map_err(|reason| anyhow::anyhow!(reason))?;
    if let Some(unknown) = unknown(&file, &parser) {
        anyhow::bail!("it needs the operator {unknown}, which is not run here");
    }
    let model = parser.model_for_proto_model(&file)?;
    drop(file);
    let input = input_spec(&model)?;
    let mut model = optimise(model, &input, engine)?;
    if engine != Engine::Tract {
        qconv::replace_sums(&mut model)?;
    }
    let scores = scores(&model)?;
    let nodes = nodes(&model)?;
    let own = nodes.iter().find(|node| node.products.is_some());
    let kernel = own.map_or(Engine::Tract.name(), |node| node.kernel);
    let plan = Plan::new(model.into_runnable()?);
    Ok(Parsed { plan, input, scores, tail, metadata, convolutions, kernel, nodes })
}

/// Checks the file and makes of it what tract runs rightly. Returns what its last nodes make of the scores.
fn rewrite(file: &mut ModelProto, dir: Option<&Path>) -> Result<Option<Kind>, String> {
    external::take(file, dir)?;
    file::check(file)?;
    let graph = file.graph.as_mut().expect("a file without a graph was refused");
    bounds::nodes(graph)?;
    qoperator::rewrite(graph)?;
    Ok(tail::take(graph))
}

/// Returns the first operator that tract does not know, with its domain.
fn unknown(file: &ModelProto, parser: &Onnx) -> Option<String> {
    let known = &parser.op_register.0;
    let node = file.graph.as_ref()?.node.iter().find(|node| !known.contains_key(&node.op_type))?;
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    Some(format!("{domain}.{}", node.op_type))
}

fn optimise(model: InferenceModel, input: &Spec, engine: Engine) -> TractResult<TypedModel> {
    let datum_type = match input.element {
        Element::U8 => u8::datum_type(),
        Element::I8 => i8::datum_type(),
        Element::F32 => f32::datum_type(),
    };
    let fact = InferenceFact::dt_shape(datum_type, input.shape());
    let mut model = model.with_input_fact(0, fact)?;
    if let Engine::Own(kernel) = engine {
        qconv::replace(&mut model, kernel);
    }
    let mut model = model.into_typed()?;
    bounds::tensors(&model)?;
    guard::keep_from_tables(&mut model)?;
    model.into_optimized()
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
    let axes: Vec<Option<usize>> = fact
        .shape
        .dims()
        .map(|dim| dim.concretize().and_then(|dim| usize::try_from(dim.to_i64().ok()?).ok()))
        .collect();
    let side = |side: usize| (INPUT_SIDE_MIN..=INPUT_SIDE_MAX).contains(&side);
    let (layout, channels, size) = match axes[..] {
        [_, Some(channels @ (1 | 3)), Some(height), Some(width)] if side(height) && side(width) => {
            (Layout::Nchw, channels, [height, width])
        }
        [_, Some(height), Some(width), Some(channels @ (1 | 3))] if side(height) && side(width) => {
            (Layout::Nhwc, channels, [height, width])
        }
        _ => anyhow::bail!(
            "its input is {:?}, [N,C,H,W] or [N,H,W,C] of 1 or 3 channels and {INPUT_SIDE_MIN} to \
             {INPUT_SIDE_MAX} pixels a side is needed",
            fact.shape
        ),
    };
    let colour = if channels == 1 { Colour::Grey } else { Colour::Rgb };
    Ok(Spec::raw(element, layout, size, colour))
}

/// Returns how many scores the model gives for one picture.
fn scores(model: &TypedModel) -> TractResult<usize> {
    let fact = model.output_fact(0)?;
    let axes: Option<Vec<usize>> = fact.shape.as_concrete().map(<[usize]>::to_vec);
    let longest = axes.as_ref().and_then(|axes| axes.iter().copied().max());
    let scores = axes.as_ref().map(|axes| axes.iter().product());
    match scores {
        Some(scores @ 1..=CLASSES_MAX) if Some(scores) == longest => Ok(scores),
        _ => anyhow::bail!(
            "its output is {:?}, one score for each of 1 to {CLASSES_MAX} classes is needed",
            fact.shape
        ),
    }
}
