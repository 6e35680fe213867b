//! Which operator is read by what. It knows no operator's meaning.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::DatumType;

use crate::integer::ir::Form;
use crate::integer::read::constant::Array;
use crate::integer::read::elementwise::constant;
use crate::integer::read::reader::{Reader, Reading, Stays, shape};
use crate::integer::read::value::{Placed, Value};
use crate::integer::strided::Strided;
use crate::proto::{input, names};
use picket_picture::{Element, Layout, Spec};

/// Axes and type of the stock engine's tensors, as far as it has found them out.
pub type Known = HashMap<String, (Vec<usize>, DatumType)>;

/// Most bytes that reading makes of weights and tables: a file's own are copied a few times. One that many nodes
/// share is copied for each.
const READ_BYTES_MAX: usize = 1 << 29;
const FULL: Stays = Stays("what is read before it takes all memory that reading has");

/// Reads a graph of which the input's name and form are known.
///
/// # Errors
/// A graph that is none, as a sentence without its subject's name.
pub fn read(
    graph: &GraphProto,
    entry: &str,
    spec: &Spec,
    known: &Known,
) -> Result<Reading, String> {
    read_within(graph, entry, spec, known, READ_BYTES_MAX)
}

/// Reads a graph until what was made of it takes `bytes_max`: the rest stays.
fn read_within(
    graph: &GraphProto,
    entry: &str,
    spec: &Spec,
    known: &Known,
    bytes_max: usize,
) -> Result<Reading, String> {
    let order = order(graph)?;
    let mut reader = Reader::new();
    let needed = needed(graph);
    for tensor in &graph.initializer {
        let array = Some(tensor)
            .filter(|it| needed.contains(it.name.as_str()))
            .and_then(Array::read)
            .map(|array| Value::Constant(Rc::new(array)));
        let unread = Value::Stock { dims: None, datum_type: None, level: 0 };
        reader.values.insert(tensor.name.clone(), array.unwrap_or(unread));
    }
    let value = entrance(&mut reader, entry, spec);
    reader.values.insert(entry.to_string(), value);
    let mut stays = Vec::new();
    let mut bytes = 0_usize;
    for node in order {
        let before = reader.graph.nodes.len();
        let values = if bytes > bytes_max { Err(FULL) } else { dispatch(&mut reader, node) };
        let made = reader.graph.nodes[before..].iter().map(|node| node.op.bytes());
        let held = values.iter().flatten().map(Value::bytes);
        bytes = made.chain(held).fold(bytes, usize::saturating_add);
        match values {
            Ok(values) => {
                let outputs = node.output.iter().zip(values);
                reader.values.extend(outputs.map(|(name, value)| (name.clone(), value)));
            }
            Err(Stays(why)) => {
                let level = level(&reader, node);
                stays.extend(engine_name(node).map(|name| (name.to_string(), why)));
                let outputs = node.output.iter().filter(|name| !name.is_empty());
                reader
                    .values
                    .extend(outputs.map(|name| (name.clone(), stock(known.get(name), level))));
            }
        }
    }
    let Reader { values, graph, levels, .. } = reader;
    Ok(Reading { values, graph, levels, stays })
}

/// Returns the constants that an operator here may read: float weights of convolutions stay where they are.
fn needed(graph: &GraphProto) -> HashSet<&str> {
    let others = graph
        .node
        .iter()
        .filter(|node| !matches!(node.op_type.as_str(), "Conv" | "ConvTranspose" | "MatMul"));
    let of_others = others.flat_map(|node| &node.input).map(String::as_str);
    // A bias may be floats.
    let biases =
        graph.node.iter().filter(|node| node.op_type == "Conv").filter_map(|it| input(it, 2));
    of_others.chain(biases).collect()
}

/// Returns the name that the stock engine gives a node.
fn engine_name(node: &NodeProto) -> Option<&str> {
    let first = node.output.first().map(String::as_str);
    if node.name.is_empty() { first } else { Some(&node.name) }
}

/// Returns what the graph's input is.
fn entrance(reader: &mut Reader, name: &str, spec: &Spec) -> Value {
    let dims = spec.shape().to_vec();
    let signed = match spec.element {
        Element::F32 => return stock(Some(&(dims, DatumType::F32)), 0),
        element => element == Element::I8,
    };
    let datum_type = if signed { DatumType::I8 } else { DatumType::U8 };
    let (channels, [rows, columns]) = (spec.colour.channels(), spec.size);
    let Ok(shape) = shape(channels, rows, columns) else {
        return stock(Some(&(dims, datum_type)), 0);
    };
    let strided = match spec.layout {
        Layout::Nchw => Strided::planar(shape),
        Layout::Nhwc => Strided::channel_last(shape),
    };
    let tensor = reader.unsettled(shape, signed, 1);
    reader.enter(name, Form::Bytes, &strided, tensor);
    Value::Bytes(Placed { tensor, strided })
}

fn dispatch(reader: &mut Reader, node: &NodeProto) -> Result<Vec<Value>, Stays> {
    let one = |value: Value| vec![value];
    match node.op_type.as_str() {
        "Constant" => {
            let array = constant(node).ok_or(Stays("it is of a type that is not read"));
            array.map(|array| one(Value::Constant(Rc::new(array))))
        }
        "QuantizeLinear" => reader.quantise_node(node).map(one),
        "DequantizeLinear" => reader.dequantise_node(node).map(one),
        "Conv" => reader.convolve(node).map(one),
        "QLinearConv" => reader.qlinear_convolve(node).map(one),
        "Gemm" => reader.gemm(node).map(one),
        "MatMul" => reader.multiply_matrix(node).map(one),
        "QLinearMatMul" => reader.qlinear_multiply(node).map(one),
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Pow" => reader.binary(node).map(one),
        "MaxPool" => reader.max_pool(node).map(one),
        "AveragePool" => reader.average_pool(node).map(one),
        "GlobalAveragePool" => reader.global_average(node).map(one),
        "ReduceMean" => reader.reduce_mean(node).map(one),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity" | "Dropout" => {
            reader.reshape(node).map(one)
        }
        "Concat" => reader.concat(node).map(one),
        "Slice" => reader.slice(node).map(one),
        "Split" => reader.split(node),
        "Pad" => reader.pad(node).map(one),
        "Cast" => reader.cast(node).map(one),
        _ => reader.unary(node).map(one),
    }
}

/// Returns what a node of the stock engine gives.
fn stock(known: Option<&(Vec<usize>, DatumType)>, level: usize) -> Value {
    let (dims, datum_type) = known.cloned().unzip();
    Value::Stock { dims, datum_type, level }
}

/// Returns from which region on a node of the stock engine can run.
fn level(reader: &Reader, node: &NodeProto) -> usize {
    let level = |value: &Value| match value {
        Value::Constant(_) | Value::Weights(_) => 0,
        Value::Bytes(placed) => reader.levels[placed.tensor],
        Value::Reals(reals) => reader.levels[reals.placed.tensor],
        Value::Pending(pending) => {
            pending.work.tensors().map(|at| reader.levels[at]).max().unwrap_or(0)
        }
        Value::Stock { level, .. } => *level,
    };
    let values = names(node).filter_map(|name| reader.values.get(name));
    values.map(level).max().unwrap_or(0)
}

/// Returns the nodes in an order in which each comes after what it reads.
fn order(graph: &GraphProto) -> Result<Vec<&NodeProto>, String> {
    let mut writers: HashMap<&str, usize> = HashMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if writers.insert(name, at).is_some() {
                return Err(format!("two of its nodes write {name:?}"));
            }
        }
    }
    let given: HashSet<&str> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.as_str())
        .chain(graph.input.iter().map(|input| input.name.as_str()))
        .collect();
    let mut waits = vec![0_usize; graph.node.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (at, node) in graph.node.iter().enumerate() {
        let own = || node.input.iter().map(String::as_str).filter(|name| !name.is_empty());
        let unwritten = |name: &&str| !given.contains(name) && !writers.contains_key(name);
        if let Some(name) = own().find(unwritten) {
            let (op, node) = (&node.op_type, &node.name);
            return Err(format!("its {op} {node:?} reads {name:?}, which nothing writes"));
        }
        // What nothing here writes, graphs of the node's own write themselves.
        let waited_for = names(node).filter(|name| !given.contains(name));
        for writer in waited_for.filter_map(|name| writers.get(name)) {
            waits[at] += 1;
            readers[*writer].push(at);
        }
    }
    let mut ready: BTreeSet<usize> = (0..graph.node.len()).filter(|at| waits[*at] == 0).collect();
    let mut order = Vec::with_capacity(graph.node.len());
    while let Some(at) = ready.pop_first() {
        order.push(&graph.node[at]);
        for reader in &readers[at] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    match waits.iter().position(|waits| *waits > 0) {
        Some(at) => {
            let (op, node) = (&graph.node[at].op_type, &graph.node[at].name);
            Err(format!("its {op} {node:?} reads what it writes itself, over other nodes"))
        }
        None => Ok(order),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::node;
    use picket_picture::Colour;
    use tract_onnx::pb::TensorProto;
    use tract_onnx::pb::tensor_proto::DataType;

    #[test]
    fn what_takes_too_much_memory_stays() {
        let sizes = TensorProto {
            name: "numbers".to_string(),
            data_type: DataType::Int8 as i32,
            dims: vec![1000],
            raw_data: vec![1; 1000],
            ..TensorProto::default()
        };
        let scale = TensorProto {
            name: "scale".to_string(),
            data_type: DataType::Float as i32,
            raw_data: 1.0_f32.to_le_bytes().to_vec(),
            ..TensorProto::default()
        };
        let names = ["a", "b", "c", "d", "e"];
        let graph = GraphProto {
            initializer: vec![sizes, scale],
            node: names.map(|to| node("DequantizeLinear", ["numbers", "scale"], to)).to_vec(),
            ..GraphProto::default()
        };
        let spec = Spec::raw(Element::U8, Layout::Nchw, [8, 8], Colour::Rgb);
        let stays =
            |max: usize| read_within(&graph, "x", &spec, &Known::new(), max).unwrap().stays.len();
        assert_eq!([10_000, 2_500, 500].map(stays), [0, 2, 4]);
    }

    fn refusal(nodes: Vec<NodeProto>) -> String {
        let graph = GraphProto { node: nodes, ..GraphProto::default() };
        let spec = Spec::raw(Element::U8, Layout::Nchw, [8, 8], Colour::Rgb);
        read(&graph, "x", &spec, &Known::new()).err().expect("it is no graph")
    }

    #[test]
    fn what_is_no_graph_is_refused_by_name() {
        let circle =
            vec![node("Add", ["a", "b"], "c"), node("Relu", ["c"], "b"), node("Relu", ["c"], "a")];
        assert_eq!(refusal(circle), "its Add \"c\" reads what it writes itself, over other nodes");
        let missing = vec![node("Relu", ["nowhere"], "y")];
        assert_eq!(refusal(missing), "its Relu \"y\" reads \"nowhere\", which nothing writes");
        let twice = vec![node("Relu", [""], "y"), node("Abs", [""], "y")];
        assert_eq!(refusal(twice), "two of its nodes write \"y\"");
    }
}
