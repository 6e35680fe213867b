//! What an ONNX file says, before an engine makes a graph of it: its metadata, what it was written
//! for, and whether its numbers are numbers. An engine would take them as they are.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{ModelProto, NodeProto};

use crate::claims;
use crate::proto::{attribute, constants, floats, input};

/// Operator sets of ONNX 1.4 to 1.19. The engine is tested with 9 to 18; in those after it nothing
/// has changed that a classifier of this kind is made of.
const OPSETS: RangeInclusive<i64> = 9..=24;

/// How many convolutions the file has of each form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Convolutions {
    /// QLinearConv and ConvInteger, which are computed in integers.
    pub integer: usize,
    /// Conv between DequantizeLinear and QuantizeLinear: stored as integers, computed in floats.
    pub qdq: usize,
    /// Conv of floats.
    pub float: usize,
}

impl Convolutions {
    pub fn all(self) -> usize {
        self.integer + self.qdq + self.float
    }
}

/// Returns the file's metadata as keys and values.
pub fn properties(file: &ModelProto) -> impl Iterator<Item = (&str, &str)> {
    file.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()))
}

/// Returns how many scores the file says that it gives for one picture, if it says.
pub fn declared_scores(file: &ModelProto) -> Option<usize> {
    let output = file.graph.as_ref()?.output.first()?.r#type.as_ref()?;
    let Some(Value::TensorType(tensor)) = &output.value else { return None };
    let axes = tensor.shape.as_ref()?.dim.iter().skip(1);
    let length = |axis: &Dimension| match axis.value {
        Some(dimension::Value::DimValue(length)) => usize::try_from(length).ok(),
        _ => None,
    };
    axes.map(length).product()
}

/// Counts the file's convolutions.
pub fn convolutions(file: &ModelProto) -> Convolutions {
    let mut found = Convolutions::default();
    let Some(graph) = &file.graph else { return found };
    let dequantised: HashSet<&str> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "DequantizeLinear")
        .flat_map(|node| node.output.iter().map(String::as_str))
        .collect();
    for node in &graph.node {
        match (node.op_type.as_str(), node.input.first()) {
            ("QLinearConv" | "ConvInteger", _) => found.integer += 1,
            ("Conv", Some(input)) if dequantised.contains(input.as_str()) => found.qdq += 1,
            ("Conv", _) => found.float += 1,
            _ => {}
        }
    }
    found
}

/// How files of other formats begin, at which offset, and what makes ONNX of them.
const OTHERS: [(usize, &[u8], &str, &str); 5] = [
    (
        4,
        b"TFL3",
        "a TensorFlow Lite model",
        "python3 -m tf2onnx.convert --tflite FILE --output model.onnx",
    ),
    (
        0,
        b"PK\x03\x04",
        "a PyTorch or Keras archive",
        "torch.onnx.export(model, example, \"model.onnx\")",
    ),
    (0, b"\x80\x02", "a Python pickle", "torch.onnx.export(model, example, \"model.onnx\")"),
    (
        0,
        b"\x89HDF",
        "a Keras model in HDF5",
        "python3 -m tf2onnx.convert --keras FILE --output model.onnx",
    ),
    (0, b"<?xml", "an OpenVINO model", "export ONNX from the framework that trained it"),
];

/// Says what a file of another format is, and what to do with it.
pub fn of_another_format(bytes: &[u8]) -> Option<String> {
    let (.., what, convert) = OTHERS
        .iter()
        .find(|(at, sign, ..)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(sign)))?;
    Some(format!("it is {what}, ONNX is needed: {convert}"))
}

/// Whether tract 0.23.9 gives another result than ONNX defines, seen beside ONNX Runtime: Celu other than
/// of alpha 1, GlobalLpPool, Resize with aligned corners by scales.
fn is_run_wrongly(node: &NodeProto) -> bool {
    match node.op_type.as_str() {
        "GlobalLpPool" => true,
        "Celu" => attribute(node, "alpha").is_some_and(|alpha| (alpha.f - 1.0).abs() > 1e-6),
        "Resize" => {
            let mode = attribute(node, "coordinate_transformation_mode");
            mode.is_some_and(|mode| mode.s == b"align_corners") && input(node, 2).is_some()
        }
        _ => false,
    }
}

/// Checks what an engine would take as it is.
///
/// # Errors
/// What is wrong with the file, as a sentence without its subject's name.
pub fn check(file: &ModelProto) -> Result<(), String> {
    let graph = file.graph.as_ref().ok_or("it holds no graph")?;
    let own = file.opset_import.iter().find(|opset| matches!(&*opset.domain, "" | "ai.onnx"));
    let opset = own.ok_or("it states no version of ONNX's operators")?.version;
    if !OPSETS.contains(&opset) {
        let (first, last) = (OPSETS.start(), OPSETS.end());
        return Err(format!("it is of opset {opset}, {first} to {last} are run"));
    }
    if let Some(wrong) = graph.node.iter().find(|node| is_run_wrongly(node)) {
        let (op, name) = (&wrong.op_type, &wrong.name);
        return Err(format!("its {op} {name:?} is of a form that the engine gets wrong"));
    }
    claims::check(graph)?;
    for (name, constant) in constants(graph) {
        if floats(constant).any(f32::is_nan) {
            return Err(format!("its constant {name:?} holds NaN"));
        }
    }
    Ok(())
}
