//! A file as tract runs it: its interface checked, convolutions given to our kernels, optimised; and
//! what its nodes are.

use std::path::Path;

use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::infer::Factoid;

use crate::card::{self, Bundle, Draft, GraphInput};
use crate::engine::Engine;
use crate::error::{CardError, FileFault};
use crate::file::{self, Convolutions};
use crate::output::{CLASSES_MAX, Kind};
use crate::qconv::{self, QConv, QSum};
use crate::run::{Node, Plan};
use crate::{bounds, external, guard, head, qoperator, tail};
use picket_kernels::Kernel;
use picket_picture::{Element, Scale, Spec};

/// What a file becomes.
pub struct Parsed {
    pub plan: Plan,
    pub input: Spec,
    /// How many scores it gives.
    pub scores: usize,
    /// What the last nodes make of them, as far as they tell.
    pub tail: Option<Kind>,
    /// What the file and those beside it say: of its input, settled, and of the rest.
    pub draft: Draft,
    /// The scores that the file states for the picture of `golden::picture`.
    pub golden: Option<Vec<f32>>,
    /// The files beside it that hold its constants.
    pub external: Vec<String>,
    /// The convolutions that the file has.
    pub convolutions: Convolutions,
    /// The name of the engine that computes them.
    pub kernel: &'static str,
    pub nodes: Vec<Node>,
}

/// Prepares a file for one engine. Constants in other files are read from beside it.
///
/// # Errors
/// Not ONNX, not of the interface that is needed, beyond a limit, or nothing that tract runs;
/// `CardError` for what is said of it.
pub fn prepare(bundle: &Bundle, engine: Engine) -> TractResult<Parsed> {
    let (parser, mut file) = read(bundle)?;
    let said = bundle.gather(file::properties(&file)).map_err(CardError)?;
    let (mut draft, golden) = (said.draft, said.golden);
    let (external, convolutions) = (external::names(&file), file::convolutions(&file));
    let tail = rewrite(&mut file, bundle.dir.as_deref()).map_err(FileFault)?;
    if let Some(unknown) = unknown(&file, &parser) {
        return Err(
            FileFault(format!("it needs the operator {unknown}, which is not run here")).into()
        );
    }
    let scale = file.graph.as_ref().and_then(head::scale);
    let model = parser.model_for_proto_model(&file)?;
    drop(file);
    let input = card::settle_input(&mut draft, &graph_input(&model, scale)?).map_err(CardError)?;
    let mut model = optimise(model, &input, engine)?;
    if engine != Engine::Tract {
        qconv::replace_sums(&mut model)?;
    }
    let scores = scores(&model)?;
    let nodes = nodes(&model)?;
    let own = nodes.iter().find(|node| node.products.is_some());
    let kernel = own.map_or(Engine::Tract.name(), |node| node.kernel);
    let plan = Plan::new(model.into_runnable()?);
    Ok(Parsed { plan, input, scores, tail, draft, golden, external, convolutions, kernel, nodes })
}

/// What is known of a file before it is made ready to run.
pub struct Survey {
    /// What the file and those beside it say, not settled.
    pub draft: Draft,
    pub input: GraphInput,
    pub tail: Option<Kind>,
    /// How many scores it gives, where the file tells.
    pub scores: Option<usize>,
}

/// Looks into a file without making it ready to run.
///
/// # Errors
/// As `prepare`, as far as that looks.
pub fn survey(bundle: &Bundle) -> TractResult<Survey> {
    let (parser, mut file) = read(bundle)?;
    let draft = bundle.gather(file::properties(&file)).map_err(CardError)?.draft;
    let scores = file::declared_scores(&file);
    let tail = rewrite(&mut file, bundle.dir.as_deref()).map_err(FileFault)?;
    let scale = file.graph.as_ref().and_then(head::scale);
    let input = graph_input(&parser.model_for_proto_model(&file)?, scale)?;
    Ok(Survey { draft, input, tail, scores })
}

fn read(bundle: &Bundle) -> TractResult<(Onnx, ModelProto)> {
    if let Some(other) = file::of_another_format(&bundle.onnx) {
        return Err(FileFault(other).into());
    }
    // A symbolic batch axis loads only without the file's own shape hints.
    let parser = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let file = parser.proto_model_for_read(&mut &bundle.onnx[..]).map_err(|error| {
        FileFault(format!("it is damaged or truncated: {}", error.root_cause()))
    })?;
    Ok((parser, file))
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

fn graph_input(
    model: &InferenceModel,
    scale: Option<(Scale, &'static str)>,
) -> TractResult<GraphInput> {
    if model.inputs.len() != 1 || model.outputs.len() != 1 {
        let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
        return Err(FileFault(format!(
            "it has {inputs} inputs and {outputs} outputs, exactly one of each is needed"
        ))
        .into());
    }
    let fact = model.input_fact(0)?;
    let datum_type = fact.datum_type.concretize().map(|datum_type| datum_type.unquantized());
    let element = match datum_type {
        Some(DatumType::U8) => Element::U8,
        Some(DatumType::I8) => Element::I8,
        Some(DatumType::F32) => Element::F32,
        Some(other) => {
            return Err(FileFault(format!(
                "its input is of type {other:?}, one of u8, i8, f32 is needed"
            ))
            .into());
        }
        None => {
            let text = "its input is of no stated type, one of u8, i8, f32 is needed";
            return Err(FileFault(text.to_string()).into());
        }
    };
    let length = |dim: TDim| usize::try_from(dim.to_i64().ok()?).ok().filter(|length| *length > 0);
    let axes: Vec<Option<usize>> =
        fact.shape.dims().map(|dim| dim.concretize().and_then(length)).collect();
    let axes = axes.try_into().map_err(|_| {
        FileFault(format!("its input is {:?}, [N,C,H,W] or [N,H,W,C] is needed", fact.shape))
    })?;
    Ok(GraphInput { element, axes, scale })
}

/// Returns how many scores the model gives for one picture.
fn scores(model: &TypedModel) -> TractResult<usize> {
    let fact = model.output_fact(0)?;
    if !fact.datum_type.is_float() {
        let text = format!("its output is of type {:?}, scores are needed", fact.datum_type);
        return Err(FileFault(text).into());
    }
    let axes: Option<Vec<usize>> = fact.shape.as_concrete().map(<[usize]>::to_vec);
    let longest = axes.as_ref().and_then(|axes| axes.iter().copied().max());
    let scores = axes.as_ref().map(|axes| axes.iter().product());
    match scores {
        Some(scores @ 1..=CLASSES_MAX) if Some(scores) == longest => Ok(scores),
        _ => Err(FileFault(format!(
            "its output is {:?}, one score for each of 1 to {CLASSES_MAX} classes is needed",
            fact.shape
        ))
        .into()),
    }
}
