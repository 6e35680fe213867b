//! A file as tract runs it: its input checked, its integers given to our kernels, the rest optimised; and
//! what its nodes are.

use std::collections::HashMap;
use std::path::Path;

use tract_onnx::Onnx;
use tract_onnx::pb::{GraphProto, ModelProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::infer::Factoid;

use crate::card::{self, Bundle, Draft, GraphInput};
use crate::engine::Engine;
use crate::entrance::entrance;
use crate::error::{CardError, FileFault};
use crate::file::{self, Convolutions};
use crate::integer::{self, Cut, IntegerRegion, Known, Region, Step, Unplanned};
use crate::output::{CLASSES_MAX, Kind};
use crate::run::{Node, Plan};
use crate::{bounds, external, guard, qoperator, tail};
use picket_picture::{Element, Spec};

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
    /// How many of them the stock engine computes.
    pub stock: usize,
    /// The step between two scores, where they are quantised.
    pub step: Option<f32>,
    /// The name of the engine that computes them.
    pub kernel: &'static str,
    pub nodes: Vec<Node>,
    /// What one run's buffers of parts in integers take, bytes.
    pub run_bytes: usize,
}

/// Prepares a file for one engine. Constants in other files are read from beside it.
///
/// # Errors
/// Not ONNX, not of the interface that is needed, beyond a limit, or nothing that tract runs;
/// `CardError` for what is said of it.
pub fn prepare(bundle: &Bundle, engine: Engine) -> TractResult<Parsed> {
    let (parser, file) = read(bundle)?;
    match prepare_file(bundle, &parser, file, engine) {
        // By then the file is cut up: it is read again, for the stock engine alone.
        Err(error) if error.is::<Unplanned>() => {
            let (parser, file) = read(bundle)?;
            prepare_file(bundle, &parser, file, Engine::Tract)
        }
        prepared => prepared,
    }
}

/// Prepares a file that has been parsed.
///
/// # Errors
/// As `prepare`.
pub fn prepare_file(
    bundle: &Bundle,
    parser: &Onnx,
    mut file: ModelProto,
    engine: Engine,
) -> TractResult<Parsed> {
    let said = bundle.gather(file::properties(&file)).map_err(CardError)?;
    let (mut draft, golden) = (said.draft, said.golden);
    let (external, convolutions) = (external::names(&file), file::convolutions(&file));
    let tail = rewrite(&mut file, bundle.dir.as_deref()).map_err(FileFault)?;
    if let Some(unknown) = unknown(&file, parser) {
        return Err(
            FileFault(format!("it needs the operator {unknown}, which is not run here")).into()
        );
    }
    let (name, entrance) = entrance(graph(&mut file)).map_err(FileFault)?;
    let input = card::settle_input(&mut draft, &entrance).map_err(CardError)?;
    let mut cut = match engine {
        Engine::Own(_) => {
            let explore = |file: &ModelProto| explore(parser, file, &input).unwrap_or_default();
            integer::cut(&mut file, &name, &input, explore).map_err(FileFault)?
        }
        Engine::Tract => Cut::default(),
    };
    let stock = file::convolutions(&file).all();
    let step = graph(&mut file).output.first().and_then(|output| cut.step(&output.name));
    let model = parser.model_for_proto_model(&file)?;
    drop(file);
    let model = optimise(model, &input, engine, std::mem::take(&mut cut.regions))?;
    let scores = scores(&model)?;
    let nodes = nodes(&model, &cut.stays)?;
    let own = nodes.iter().find(|node| node.products.is_some());
    let kernel = own.map_or(Engine::Tract.name(), |node| node.kernel);
    let regions = model.nodes.iter().filter_map(|node| node.op_as::<IntegerRegion>());
    let run_bytes = regions.map(IntegerRegion::bytes).fold(0, usize::saturating_add);
    let plan = Plan::new(model.into_runnable()?);
    Ok(Parsed {
        plan,
        input,
        scores,
        tail,
        draft,
        golden,
        external,
        convolutions,
        stock,
        step,
        kernel,
        nodes,
        run_bytes,
    })
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
    let (_, mut file) = read(bundle)?;
    let draft = bundle.gather(file::properties(&file)).map_err(CardError)?.draft;
    let scores = file::declared_scores(&file);
    let tail = rewrite(&mut file, bundle.dir.as_deref()).map_err(FileFault)?;
    let (_, input) = entrance(graph(&mut file)).map_err(FileFault)?;
    Ok(Survey { draft, input, tail, scores })
}

/// Parses a bundle's file, and the parser that it is for.
///
/// # Errors
/// `FileFault`: of another format, damaged or truncated.
pub fn read(bundle: &Bundle) -> TractResult<(Onnx, ModelProto)> {
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
    let graph = graph(file);
    bounds::nodes(graph)?;
    qoperator::rewrite(graph)?;
    Ok(tail::take(graph))
}

fn graph(file: &mut ModelProto) -> &mut GraphProto {
    file.graph.as_mut().expect("a file without a graph was refused")
}

/// Returns the first operator that tract does not know, with its domain.
fn unknown(file: &ModelProto, parser: &Onnx) -> Option<String> {
    let known = &parser.op_register.0;
    let node = file.graph.as_ref()?.node.iter().find(|node| !known.contains_key(&node.op_type))?;
    let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
    Some(format!("{domain}.{}", node.op_type))
}

/// Asks the stock engine for axes and types of the tensors between its operators.
fn explore(parser: &Onnx, file: &ModelProto, input: &Spec) -> TractResult<Known> {
    let mut model = parser.model_for_proto_model(file)?.with_input_fact(0, fact(input))?;
    // What it can't find out stays unknown.
    let _ = model.analyse(true);
    let mut known = Known::new();
    for (outlet, name) in &model.outlet_labels {
        let fact = model.outlet_fact(*outlet)?;
        let dims = fact.shape.concretize().and_then(|dims| {
            dims.iter()
                .map(|dim| usize::try_from(dim.to_i64().ok()?).ok())
                .collect::<Option<Vec<usize>>>()
        });
        if let (Some(dims), Some(datum_type)) = (dims, fact.datum_type.concretize()) {
            known.insert(name.clone(), (dims, datum_type.unquantized()));
        }
    }
    Ok(known)
}

fn fact(input: &Spec) -> InferenceFact {
    let datum_type = match input.element {
        Element::U8 => u8::datum_type(),
        Element::I8 => i8::datum_type(),
        Element::F32 => f32::datum_type(),
    };
    InferenceFact::dt_shape(datum_type, input.shape())
}

fn optimise(
    model: InferenceModel,
    input: &Spec,
    engine: Engine,
    regions: Vec<Region>,
) -> TractResult<TypedModel> {
    let mut model = model.with_input_fact(0, fact(input))?;
    if let Engine::Own(kernel) = engine {
        integer::place(&mut model, regions, kernel)?;
    }
    let mut model = model.into_typed()?;
    bounds::tensors(&model)?;
    guard::keep_from_tables(&mut model)?;
    model.into_optimized()
}

/// Returns what runs, in order: of a part in integers, its steps.
fn nodes(model: &TypedModel, stays: &HashMap<String, &'static str>) -> TractResult<Vec<Node>> {
    let order = model.eval_order()?.into_iter().map(|id| model.node(id));
    let steps = order.filter(|node| !node.op_is::<Const>() && !node.op_is::<TypedSource>());
    let nodes = steps.flat_map(|node| match node.op_as::<IntegerRegion>() {
        Some(region) => own_nodes(node.id, region),
        None => vec![stock_node(node, stays)],
    });
    Ok(nodes.collect())
}

fn own_nodes(id: usize, region: &IntegerRegion) -> Vec<Node> {
    let kernel = region.kernel().name();
    let node = |(at, step): (usize, &Step)| Node {
        place: (id, Some(at)),
        name: step.name.clone(),
        op: step.op.to_string(),
        kernel,
        products: step.products,
        why: None,
    };
    region.steps().iter().enumerate().map(node).collect()
}

fn stock_node(node: &TypedNode, stays: &HashMap<String, &'static str>) -> Node {
    Node {
        place: (node.id, None),
        name: node.name.clone(),
        op: node.op.name().into_owned(),
        kernel: Engine::Tract.name(),
        products: None,
        why: why(&node.name, stays),
    }
}

/// Says why a node is the stock engine's: it is named after the file's node, or of several for one after that and
/// a point.
fn why(name: &str, stays: &HashMap<String, &'static str>) -> Option<&'static str> {
    let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
    ends.filter_map(|end| stays.get(&name[..end])).next_back().copied()
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
