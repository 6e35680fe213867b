//! What a file claims of its constants, windows, scales and zero points: what can't be is refused by name, before
//! an engine makes anything of it. It changes nothing.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::error::MODEL_BYTES_MAX;
use crate::proto::{constants, floats, input};

/// The most axes of a constant; the windows of transformers have six.
const AXES_MAX: usize = 16;

/// The most values of a constant: two of four bits in each byte of the largest file. Axes of 0 count as 1, or
/// the others could be of any length.
const VALUES_MAX: u64 = 2 * MODEL_BYTES_MAX;

/// The largest size, step or border of a window, as long as the longest side of a tensor.
const WINDOW_MAX: i64 = 1 << 16;

/// Operators that move a window over a picture.
const WINDOWED: [&str; 8] = [
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "QLinearConv",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "QLinearAveragePool",
];

/// The least value of each number that says where windows lie.
const WINDOW_SIZES: [(&str, i64); 4] =
    [("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("pads", 0)];

/// Which inputs of a quantised operator are its scales. Behind each is its zero point.
const SCALES: [(&str, &[usize]); 12] = [
    ("QLinearConv", &[1, 4, 6]),
    ("QLinearMatMul", &[1, 4, 6]),
    ("QLinearAdd", &[1, 4, 6]),
    ("QLinearMul", &[1, 4, 6]),
    ("QLinearSigmoid", &[1, 3]),
    ("QLinearLeakyRelu", &[1, 3]),
    ("QLinearSoftmax", &[1, 3]),
    ("QLinearAveragePool", &[1, 3]),
    ("QLinearGlobalAveragePool", &[1, 3]),
    ("QGemm", &[1, 4, 7]),
    ("QuantizeLinear", &[1]),
    ("DequantizeLinear", &[1]),
];

/// Checks a graph, and those that its nodes hold.
///
/// # Errors
/// What can't be, as a sentence without its subject's name.
pub fn check(graph: &GraphProto) -> Result<(), String> {
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
        let computed =
            attributes().flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
        graph.initializer.iter().chain(computed).try_for_each(constant)?;
        let constants = constants(graph);
        for node in &graph.node {
            ends(node)?;
            windows(node)?;
            steps(node, &constants)?;
        }
        graphs
            .extend(attributes().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)));
    }
    Ok(())
}

/// Checks that a constant has as many values as its shape says, each of its type.
fn constant(tensor: &TensorProto) -> Result<(), String> {
    let (name, axes) = (&tensor.name, tensor.dims.len());
    if axes > AXES_MAX {
        return Err(format!("its constant {name:?} has {axes} axes, at most {AXES_MAX} are read"));
    }
    let length = |axis: &i64| u64::try_from(*axis).ok();
    let lengths: Option<Vec<u64>> = tensor.dims.iter().map(length).collect();
    let values = lengths.as_ref().and_then(|lengths| {
        lengths.iter().try_fold(1_u64, |all, length| all.checked_mul(*(length.max(&1))))
    });
    if values.is_none_or(|values| values > VALUES_MAX) {
        return Err(format!("its constant {name:?} is of shape {:?}, which none has", tensor.dims));
    }
    let needed: u64 = lengths.into_iter().flatten().product();
    let Some((size, typed)) = stored(tensor) else { return holds_numbers(tensor) };
    let raw = tensor.raw_data.len() as u64;
    if !raw.is_multiple_of(size) || raw / size + typed != needed {
        let held = raw + typed * size;
        return Err(format!(
            "its constant {name:?} is stored in {held} bytes, its shape needs {}",
            needed * size
        ));
    }
    let within = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Uint8) => 0..=255,
        Ok(DataType::Int8) => -128..=127,
        _ => return Ok(()),
    };
    match tensor.int32_data.iter().find(|number| !within.contains(*number)) {
        Some(number) => {
            Err(format!("its constant {name:?} holds {number}, which is no value of its type"))
        }
        None => Ok(()),
    }
}

/// Checks that a constant of a type that nothing here reads holds numbers at least: of few bits, or of two parts.
fn holds_numbers(tensor: &TensorProto) -> Result<(), String> {
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::String | DataType::Undefined) | Err(_) => {
            Err(format!("its constant {:?} holds no numbers", tensor.name))
        }
        Ok(_) => Ok(()),
    }
}

/// Returns how long a value of a constant is and how many stand in the field of its type; none for types that
/// nothing here reads.
fn stored(tensor: &TensorProto) -> Option<(u64, u64)> {
    let (size, typed) = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float => (4, tensor.float_data.len()),
        DataType::Double => (8, tensor.double_data.len()),
        DataType::Uint8 | DataType::Int8 | DataType::Bool => (1, tensor.int32_data.len()),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => {
            (2, tensor.int32_data.len())
        }
        DataType::Int32 => (4, tensor.int32_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Uint32 => (4, tensor.uint64_data.len()),
        DataType::Uint64 => (8, tensor.uint64_data.len()),
        _ => return None,
    };
    Some((size, typed as u64))
}

/// Checks that an operator reads and writes something.
fn ends(node: &NodeProto) -> Result<(), String> {
    let op = node.op_type.as_str();
    if node.output.iter().all(String::is_empty) {
        return Err(format!("its {op} {:?} writes nothing", node.name));
    }
    let begins = op == "Constant" || op.starts_with("Random");
    if !begins && input(node, 0).is_none() {
        return Err(format!("its {op} {:?} reads nothing", node.name));
    }
    Ok(())
}

/// Checks the sizes of an operator's windows, and that they are of as many axes.
fn windows(node: &NodeProto) -> Result<(), String> {
    if !WINDOWED.contains(&node.op_type.as_str()) {
        return Ok(());
    }
    let (op, node_name) = (&node.op_type, &node.name);
    let mut axes = None;
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        let numbers = if name == "group" { &[attribute.i][..] } else { &attribute.ints };
        let least = match WINDOW_SIZES.iter().find(|(size, _)| *size == name) {
            Some((_, least)) => *least,
            None if name == "group" => 1,
            None => continue,
        };
        if let Some(wrong) = numbers.iter().find(|it| !(least..=WINDOW_MAX).contains(*it)) {
            return Err(format!(
                "{name} of its {op} {node_name:?} is {wrong}, {least} to {WINDOW_MAX} are run"
            ));
        }
        // Before and behind each axis.
        let found = if name == "pads" { numbers.len() / 2 } else { numbers.len() };
        let whole = name != "pads" || numbers.len().is_multiple_of(2);
        if name != "group" && (!whole || found == 0 || *axes.get_or_insert(found) != found) {
            return Err(format!(
                "{name} of its {op} {node_name:?} has {} numbers, not those of its axes",
                numbers.len()
            ));
        }
    }
    Ok(())
}

/// Checks the scales and zero points of an operator that quantises.
fn steps(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Result<(), String> {
    let whose = format!("its {} {:?}", node.op_type, node.name);
    let stated = |at: usize| constants.get_key_value(input(node, at)?);
    let scales = scales(node);
    let of_inputs = match (node.op_type.as_str(), &scales[..]) {
        ("QLinearConcat", [_, inputs @ ..]) => inputs,
        ("QuantizeLinear" | "DequantizeLinear", _) | (_, []) => &[],
        (_, [inputs @ .., _]) => inputs,
    };
    if of_inputs.iter().any(|at| input(node, at - 1).is_none()) {
        return Err(format!("{whose} has no tensor where one is needed"));
    }
    for at in scales {
        // Without a scale of its output, a QGemm gives floats.
        if input(node, at).is_none() && (node.op_type.as_str(), at) != ("QGemm", 7) {
            return Err(format!("{whose} has no scale where one is needed"));
        }
        let scale = stated(at).map(|(name, scale)| (name, wrong_scale(scale)));
        if let Some((name, Some(wrong))) = scale {
            return Err(format!("the scale {name:?} of {whose} {wrong}"));
        }
        let zero = stated(at + 1).map(|(name, zero)| (name, wrong_zero(zero)));
        if let Some((name, Some(wrong))) = zero {
            return Err(format!("the zero point {name:?} of {whose} {wrong}"));
        }
    }
    Ok(())
}

fn scales(node: &NodeProto) -> Vec<usize> {
    match SCALES.iter().find(|(op, _)| *op == node.op_type) {
        Some((_, inputs)) => inputs.to_vec(),
        None if node.op_type == "QLinearConcat" => {
            [0].into_iter().chain((3..node.input.len()).step_by(3)).collect()
        }
        None => Vec::new(),
    }
}

/// Says what is wrong with scales.
fn wrong_scale(scale: &TensorProto) -> Option<String> {
    let is_float = matches!(
        DataType::try_from(scale.data_type),
        Ok(DataType::Float | DataType::Float16 | DataType::Bfloat16)
    );
    if !is_float || scale.dims.contains(&0) {
        return Some("is of another type than floats, or empty".to_string());
    }
    let wrong = floats(scale).find(|scale| !scale.is_finite() || *scale <= 0.0)?;
    Some(format!("is {wrong}, no positive number"))
}

/// Says what is wrong with zero points; of i32, which biases are, the only one is 0.
fn wrong_zero(zero: &TensorProto) -> Option<String> {
    let known = matches!(
        DataType::try_from(zero.data_type),
        Ok(DataType::Uint8 | DataType::Int8 | DataType::Uint16 | DataType::Int16 | DataType::Int32)
    );
    if !known || zero.dims.contains(&0) {
        return Some("is of another type than i8, u8, i16, u16, i32, or empty".to_string());
    }
    let is_word = zero.data_type == DataType::Int32 as i32;
    let raw = zero.raw_data.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
    let mut words = raw.chain(zero.int32_data.iter().copied()).filter(|_| is_word);
    Some(format!("is {}, no value of a byte", words.find(|word| *word != 0)?))
}
