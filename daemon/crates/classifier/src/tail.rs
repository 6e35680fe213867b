//! What a graph ends in: the kind of its scores, and integers behind it, which become floats. It changes
//! the graph's last nodes only.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::output::Kind;
use crate::proto::{input, node, writers};

/// Longest way that is followed back from the output; exporters add a handful of nodes behind the last
/// that computes.
const STEPS_MAX: usize = 32;

/// Makes the graph end in floats and says what they are, as far as its last nodes tell.
///
/// Integers are dequantised by the scale that quantised them. Of DequantizeLinear → Softmax →
/// QuantizeLinear, as converters of full-integer models write it, only the first is left: its output
/// are logits, finer than the 256 steps that the probabilities had.
pub fn take(graph: &mut GraphProto) -> Option<Kind> {
    let softmax = quantised_softmax(graph).and_then(|node| input(node, 0)).map(str::to_string);
    if let Some(logits) = softmax {
        end_in(graph, logits);
        return Some(Kind::Logits);
    }
    let kind = Walk::from_output(graph).find_map(|node| match node.op_type.as_str() {
        "Softmax" => Some(Some(Kind::Probabilities)),
        // Softmax of these is what they are the logarithm of.
        "LogSoftmax" => Some(Some(Kind::Logits)),
        "Sigmoid" | "HardSigmoid" => Some(Some(Kind::Sigmoid)),
        _ if is_seen_through(node) => None,
        _ => Some(None),
    });
    dequantise(graph);
    kind.flatten()
}

/// Whether a node leaves what the scores mean as it is.
fn is_seen_through(node: &NodeProto) -> bool {
    is_shape_only(node)
        || matches!(node.op_type.as_str(), "Cast" | "Clip" | "QuantizeLinear" | "DequantizeLinear")
}

fn is_shape_only(node: &NodeProto) -> bool {
    matches!(
        node.op_type.as_str(),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity"
    )
}

/// Returns the Softmax whose output is quantised before it leaves the graph.
fn quantised_softmax(graph: &GraphProto) -> Option<&NodeProto> {
    let mut quantised = false;
    let mut walk = Walk::from_output(graph);
    let last = walk.find(|node| {
        quantised |= node.op_type == "QuantizeLinear";
        !is_seen_through(node)
    })?;
    // What it reads is quantised as well: the whole net is.
    let before = walk.next()?;
    (quantised && last.op_type == "Softmax" && before.op_type == "DequantizeLinear").then_some(last)
}

/// Adds a DequantizeLinear behind an output of integers.
fn dequantise(graph: &mut GraphProto) {
    let scales = Walk::from_output(graph).find(|node| !is_shape_only(node)).and_then(|node| {
        let (scale, zero) = match node.op_type.as_str() {
            "QuantizeLinear" => (1, 2),
            "QLinearConv" | "QLinearMatMul" => (6, 7),
            _ => return None,
        };
        let zero = input(node, zero).map(str::to_string);
        Some((input(node, scale)?.to_string(), zero))
    });
    let (Some((scale, zero)), Some(output)) = (scales, graph.output.first()) else { return };
    let integers = output.name.clone();
    let floats = format!("{integers}.floats");
    let mut dequantise = node("DequantizeLinear", [&integers, &scale], &floats);
    dequantise.input.extend(zero);
    graph.node.push(dequantise);
    end_in(graph, floats);
}

/// Makes `end` the graph's output, of a shape and type that are left to be found, and removes what
/// only led to the old one.
fn end_in(graph: &mut GraphProto, end: String) {
    graph.output[0].name = end;
    graph.output[0].r#type = None;
    loop {
        let read: HashSet<String> = graph
            .node
            .iter()
            .flat_map(|node| &node.input)
            .chain(graph.output.iter().map(|output| &output.name))
            .cloned()
            .collect();
        let before = graph.node.len();
        graph.node.retain(|node| node.output.iter().any(|name| read.contains(name)));
        if graph.node.len() == before {
            return;
        }
    }
}

/// The nodes before the output, each the writer of the first input of the one after it.
struct Walk<'a> {
    graph: &'a GraphProto,
    tensor: Option<&'a str>,
    writers: HashMap<&'a str, usize>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn from_output(graph: &'a GraphProto) -> Walk<'a> {
        let tensor = graph.output.first().map(|output| output.name.as_str());
        Walk { graph, tensor, writers: writers(graph), steps: 0 }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a NodeProto;

    fn next(&mut self) -> Option<&'a NodeProto> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return None;
        }
        let node = &self.graph.node[*self.writers.get(self.tensor?)?];
        self.tensor = input(node, 0);
        Some(node)
    }
}
