//! Which parts of a graph leave it: convex ones, each a placeholder in ONNX's graph. What they hold, weights
//! included, is taken out before the stock engine sees it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use crate::integer::ir::{Border, Form, Graph, Node, Op, Order, TensorId};
use crate::integer::read::{Known, Reading, UNKNOWN, Value, Work, read};
use crate::proto::{names, node, writers};
use picket_picture::Spec;

/// The operator of a placeholder, which no file has.
const PLACEHOLDER: &str = "PicketIntegerRegion";

/// Most bytes of all tensors of the graph, and most products for one picture: twenty times ResNet-152's.
const TENSORS_BYTES_MAX: u64 = 1 << 30;
const PRODUCTS_MAX: u64 = 1 << 38;

/// A part that has left the graph.
#[derive(Clone, Debug)]
pub struct Region {
    /// The placeholder's name.
    pub name: String,
    pub graph: Graph,
}

/// What was cut out, and why the rest was not.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    pub regions: Vec<Region>,
    /// By the node's name.
    pub stays: HashMap<String, &'static str>,
}

impl Cut {
    /// Returns the step between two values of a tensor of floats that a part gives.
    pub fn step(&self, name: &str) -> Option<f32> {
        let outputs = self.regions.iter().flat_map(|region| {
            region.graph.outputs.iter().map(|border| (border, &region.graph.tensors))
        });
        let mut given =
            outputs.filter(|(border, _)| border.name == name && border.form == Form::Reals);
        given.next().map(|(border, tensors)| tensors[border.tensor].scale)
    }
}

/// Cuts the integer parts out of a file whose graph's input is named `input`. Where one could begin behind
/// operators of the stock engine, `explore` is asked what these give.
///
/// # Errors
/// A graph that is none or asks for too much, as a sentence without its subject's name.
pub fn cut(
    file: &mut ModelProto,
    input: &str,
    spec: &Spec,
    explore: impl FnOnce(&ModelProto) -> Known,
) -> Result<Cut, String> {
    let graph = file.graph.as_ref().expect("a file without a graph was refused");
    let mut reading = read(graph, input, spec, &Known::new())?;
    if reading.stays.iter().any(|(_, why)| *why == UNKNOWN) {
        reading = read(graph, input, spec, &explore(file))?;
    }
    let graph = file.graph.as_mut().expect("it was just read");
    bound(&reading.graph)?;
    let stays = reading.stays.iter().cloned().collect();
    let levels = worth(&reading);
    if levels.is_empty() {
        return Ok(Cut { regions: Vec::new(), stays });
    }
    let Demand { outputs, kept, .. } = Demand::of(graph, &reading, &levels);
    let mut regions = Vec::new();
    let mut nodes: Vec<NodeProto> = Vec::new();
    for (level, outputs) in &outputs {
        let part = part(&mut reading, *level, outputs);
        let name = format!("{PLACEHOLDER}.{level}");
        let mut placeholder = node(PLACEHOLDER, [], &name);
        placeholder.input = part.inputs.iter().map(|border| border.name.clone()).collect();
        placeholder.output = part.outputs.iter().map(|border| border.name.clone()).collect();
        nodes.push(placeholder);
        regions.push(Region { name, graph: part });
    }
    let all = std::mem::take(&mut graph.node);
    nodes.extend(
        all.into_iter().enumerate().filter(|(at, _)| kept.contains(at)).map(|(_, node)| node),
    );
    graph.node = nodes;
    drop_unread(graph);
    Ok(Cut { regions, stays })
}

/// Drops the constants that nothing reads any more. Files list them among the inputs as well: what is listed
/// there without a value is an input.
fn drop_unread(graph: &mut GraphProto) {
    let outputs = graph.output.iter().map(|output| output.name.as_str());
    let read: HashSet<String> =
        graph.node.iter().flat_map(names).chain(outputs).map(str::to_string).collect();
    let gone = |name: &String| !read.contains(name);
    let dropped: HashSet<String> =
        graph.initializer.iter().map(|tensor| tensor.name.clone()).filter(gone).collect();
    graph.initializer.retain(|tensor| !dropped.contains(&tensor.name));
    graph.input.retain(|input| !dropped.contains(&input.name));
}

fn bound(graph: &Graph) -> Result<(), String> {
    let bytes: u64 = graph.tensors.iter().map(|tensor| tensor.shape.len() as u64).sum();
    if bytes > TENSORS_BYTES_MAX {
        return Err(format!(
            "its tensors take {bytes} bytes for one picture, at most {TENSORS_BYTES_MAX} are given"
        ));
    }
    let products = graph.nodes.iter().filter_map(Graph::products).fold(0, u64::saturating_add);
    if products > PRODUCTS_MAX {
        return Err(format!(
            "it multiplies {products} times for one picture, at most {PRODUCTS_MAX} times are run"
        ));
    }
    Ok(())
}

/// Returns the levels of the parts that leave: those with a convolution, and what these read from others.
fn worth(reading: &Reading) -> BTreeSet<usize> {
    let level = |node: &Node| reading.levels[node.output];
    let convolves = |node: &&Node| matches!(node.op, Op::Convolve(_));
    let mut levels: BTreeSet<usize> =
        reading.graph.nodes.iter().filter(convolves).map(level).collect();
    loop {
        let taken = reading.graph.nodes.iter().filter(|node| levels.contains(&level(node)));
        let read = taken.flat_map(|node| &node.inputs).map(|tensor| reading.levels[*tensor]);
        let more: Vec<usize> = read.filter(|level| !levels.contains(level)).collect();
        if more.is_empty() {
            return levels;
        }
        levels.extend(more);
    }
}

/// What is asked of the parts, and which nodes of ONNX stay.
struct Demand<'a> {
    reading: &'a Reading,
    levels: &'a BTreeSet<usize>,
    made: HashSet<TensorId>,
    outputs: BTreeMap<usize, Vec<Border>>,
    kept: HashSet<usize>,
}

impl<'a> Demand<'a> {
    /// Goes back from the graph's outputs.
    fn of(graph: &GraphProto, reading: &'a Reading, levels: &'a BTreeSet<usize>) -> Demand<'a> {
        let made = reading.graph.nodes.iter().map(|node| node.output).collect();
        let mut demand =
            Demand { reading, levels, made, outputs: BTreeMap::new(), kept: HashSet::new() };
        let writers = writers(graph);
        let mut seen: HashSet<String> = HashSet::new();
        let mut wanted: Vec<String> =
            graph.output.iter().map(|output| output.name.clone()).collect();
        while let Some(name) = wanted.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if let Some((level, border)) = demand.supplied(&name) {
                if !demand.outputs.contains_key(&level) {
                    wanted.extend(demand.open(level));
                }
                demand.outputs.entry(level).or_default().push(border);
            } else if let Some(at) = writers.get(name.as_str())
                && demand.kept.insert(*at)
            {
                wanted.extend(names(&graph.node[*at]).map(str::to_string));
            }
        }
        demand
    }

    /// Returns the part that gives a tensor of ONNX, and in which form.
    fn supplied(&self, name: &str) -> Option<(usize, Border)> {
        let (tensor, form, strided) = match self.reading.values.get(name)? {
            Value::Bytes(placed) => (placed.tensor, Form::Bytes, &placed.strided),
            Value::Reals(reals) if reals.plain => {
                (reals.placed.tensor, Form::Reals, &reals.placed.strided)
            }
            Value::Pending(pending) => match &pending.work {
                Work::Average { tensor, .. } if pending.is_mean(&self.reading.graph) => {
                    (*tensor, Form::Mean, &pending.strided)
                }
                Work::Head { tensor, head } if pending.is_in_order() => {
                    (*tensor, Form::Scores(head.clone()), &pending.strided)
                }
                _ => return None,
            },
            _ => return None,
        };
        let level = self.reading.levels[tensor];
        if !self.made.contains(&tensor) || !self.levels.contains(&level) {
            return None;
        }
        // Means and scores leave in the order of channels only.
        let order = match form {
            Form::Mean | Form::Scores(_) => Order::Planar,
            _ => strided.order(self.reading.graph.tensors[tensor].shape),
        };
        Some((level, Border { name: name.to_string(), tensor, form, dims: strided.dims(), order }))
    }

    /// Asks for what a part reads: tensors of ONNX, which are returned, and bytes of other parts.
    fn open(&mut self, level: usize) -> Vec<String> {
        self.outputs.entry(level).or_default();
        let levels = &self.reading.levels;
        let mut wanted: Vec<String> = self
            .reading
            .graph
            .inputs
            .iter()
            .filter(|border| levels[border.tensor] == level)
            .map(|border| border.name.clone())
            .collect();
        for tensor in crossing(self.reading, level) {
            let (from, border) = (levels[tensor], crossing_border(self.reading, tensor));
            if !self.made.contains(&tensor) {
                wanted.push(border.name);
                continue;
            }
            if !self.outputs.contains_key(&from) {
                wanted.extend(self.open(from));
            }
            let outputs = self.outputs.entry(from).or_default();
            if !outputs.iter().any(|output| output.name == border.name) {
                outputs.push(border);
            }
        }
        wanted
    }
}

/// Returns the tensors of other parts that a part reads.
fn crossing(reading: &Reading, level: usize) -> BTreeSet<TensorId> {
    let own = reading.graph.nodes.iter().filter(|node| reading.levels[node.output] == level);
    own.flat_map(|node| node.inputs.iter().copied())
        .filter(|tensor| reading.levels[*tensor] != level)
        .collect()
}

/// Returns how a tensor goes from one part to another.
fn crossing_border(reading: &Reading, tensor: TensorId) -> Border {
    if let Some(border) = reading.graph.inputs.iter().find(|border| border.tensor == tensor) {
        return border.clone();
    }
    let shape = reading.graph.tensors[tensor].shape;
    Border {
        name: format!("{PLACEHOLDER}.tensor.{tensor}"),
        tensor,
        form: Form::Bytes,
        dims: vec![1, shape.channels, shape.rows, shape.columns],
        order: Order::Planar,
    }
}

/// Takes out the nodes of one part that its outputs need, its tensors numbered anew.
fn part(reading: &mut Reading, level: usize, outputs: &[Border]) -> Graph {
    let mut needed: HashSet<TensorId> = outputs.iter().map(|border| border.tensor).collect();
    let others: Vec<Border> =
        crossing(reading, level).into_iter().map(|it| crossing_border(reading, it)).collect();
    let mut nodes: Vec<Node> = Vec::new();
    let levels = &reading.levels;
    for node in reading.graph.nodes.iter_mut().rev().filter(|node| levels[node.output] == level) {
        if needed.contains(&node.output) {
            needed.extend(&node.inputs);
            // Weights are large: they are moved.
            let op = std::mem::replace(&mut node.op, Op::Concat);
            nodes.push(Node { op, ..node.clone() });
        }
    }
    nodes.reverse();
    let own = reading.graph.inputs.iter().filter(|border| reading.levels[border.tensor] == level);
    let inputs = own.cloned().chain(others).filter(|border| needed.contains(&border.tensor));
    let mut numbers: HashMap<TensorId, TensorId> = HashMap::new();
    let mut tensors = Vec::new();
    let mut number = |tensor: TensorId| {
        *numbers.entry(tensor).or_insert_with(|| {
            tensors.push(reading.graph.tensors[tensor]);
            tensors.len() - 1
        })
    };
    let inputs = inputs.map(|border| Border { tensor: number(border.tensor), ..border }).collect();
    for node in &mut nodes {
        node.inputs.iter_mut().chain([&mut node.output]).for_each(|it| *it = number(*it));
    }
    let outputs =
        outputs.iter().map(|border| Border { tensor: number(border.tensor), ..border.clone() });
    let outputs = outputs.collect();
    Graph { tensors, nodes, inputs, outputs }
}
