//! Small words for ONNX's own structures: what a node reads, writes and states. It changes nothing.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Returns the node that writes each tensor.
pub fn writers(graph: &GraphProto) -> HashMap<&str, usize> {
    let outputs = |(at, node)| written(node).map(move |name| (name, at));
    graph.node.iter().enumerate().flat_map(outputs).collect()
}

fn written(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// Returns all tensors that a node reads, those that its own graphs read from outside included.
pub fn names(node: &NodeProto) -> Box<dyn Iterator<Item = &str> + '_> {
    let graphs = node.attribute.iter().flat_map(|it| it.g.iter().chain(&it.graphs));
    let inner = graphs.flat_map(|graph| {
        let outputs = graph.output.iter().map(|output| output.name.as_str());
        graph.node.iter().flat_map(names).chain(outputs)
    });
    Box::new(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).chain(inner))
}

/// Returns the name of a node's input, none where it is left out.
pub fn input(node: &NodeProto, at: usize) -> Option<&str> {
    node.input.get(at).map(String::as_str).filter(|name| !name.is_empty())
}

/// Returns an attribute of a node.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Returns a whole number that a node states, or what it means when it is left out.
pub fn integer(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

/// Returns initialisers and the values of Constant nodes, by name.
pub fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    let stored = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let nodes = graph.node.iter().filter(|node| node.op_type == "Constant");
    let computed = nodes.filter_map(|node| {
        let tensor = node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?;
        Some((node.output.first()?.as_str(), tensor))
    });
    stored.chain(computed).collect()
}

/// Returns a node without a name, in ONNX's own domain.
pub fn node<const N: usize>(op: &str, inputs: [&str; N], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_string(),
        name: output.to_string(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.to_string()],
        ..NodeProto::default()
    }
}

/// Returns the numbers of an f32 tensor, in whichever of its two fields they are; none of other types.
pub fn floats(tensor: &TensorProto) -> impl Iterator<Item = f32> {
    let is_float = tensor.data_type == DataType::Float as i32;
    let raw = tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    raw.chain(tensor.float_data.iter().copied()).filter(move |_| is_float)
}
