//! What a graph does to its input first, and so in which range it wants pixels. It changes nothing.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use crate::proto::{constants, floats, input};
use picket_picture::Scale;

/// How far a constant may be off the number that it stands for.
const TOLERANCE: f32 = 0.01;

/// Means of a data set's pixels, in 0..=255 and in 0..=1: those published lie well within.
const MEANS_OF_PIXELS: RangeInclusive<f32> = 40.0..=220.0;
const MEANS_OF_SHARES: RangeInclusive<f32> = 0.2..=0.8;

/// Returns the range that the first operator on the input tells, and what tells it: a division by 255,
/// the subtraction of a mean, a quantisation that covers the range.
pub fn scale(graph: &GraphProto) -> Option<(Scale, &'static str)> {
    let constants = constants(graph);
    let is_constant = |name: &str| constants.contains_key(name);
    let mut pixels = graph.input.iter().find(|input| !is_constant(&input.name))?.name.as_str();
    let reader = |tensor: &str| -> Option<&NodeProto> {
        let mut readers = graph.node.iter().filter(|node| node.input.iter().any(|it| it == tensor));
        readers.next().filter(|_| readers.next().is_none())
    };
    let mut first = reader(pixels)?;
    while matches!(first.op_type.as_str(), "Cast" | "Identity" | "Transpose") {
        pixels = first.output.first()?;
        first = reader(pixels)?;
    }
    let other = first.input.iter().find(|name| *name != pixels && is_constant(name))?;
    let numbers: Vec<f32> = floats(constants.get(other.as_str())?).collect();
    let all = |near: f32| numbers.iter().all(|number| (number / near - 1.0).abs() <= TOLERANCE);
    let within = |range: &RangeInclusive<f32>| numbers.iter().all(|it| range.contains(it));
    match first.op_type.as_str() {
        _ if numbers.is_empty() => None,
        "Div" if all(255.0) || all(127.5) => Some((Scale::ZeroTo255, "it divides by 255")),
        "Mul" if all(1.0 / 255.0) || all(1.0 / 127.5) => {
            Some((Scale::ZeroTo255, "it divides by 255"))
        }
        "Sub" if within(&MEANS_OF_PIXELS) => Some((Scale::ZeroTo255, "it subtracts their mean")),
        "Sub" if within(&MEANS_OF_SHARES) => Some((Scale::ZeroTo1, "it subtracts their mean")),
        "QuantizeLinear" if has_no_zero(first, &constants) => {
            let range = [(Scale::ZeroTo255, 1.0), (Scale::ZeroTo1, 1.0 / 255.0)];
            let (scale, _) = range.into_iter().find(|(_, step)| all(*step))?;
            Some((scale, "it quantises that range"))
        }
        _ => None,
    }
}

/// Whether a QuantizeLinear's zero point is 0 of unsigned bytes.
fn has_no_zero(quantise: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> bool {
    let Some(zero) = input(quantise, 2) else { return true };
    let unsigned = DataType::Uint8 as i32;
    constants.get(zero).is_some_and(|zero| {
        zero.data_type == unsigned
            && zero.raw_data.iter().all(|byte| *byte == 0)
            && zero.int32_data.iter().all(|number| *number == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::node;
    use tract_onnx::pb::ValueInfoProto;

    /// A graph that begins with `op` on x and a constant of these numbers.
    fn graph(op: &str, numbers: &[f32]) -> GraphProto {
        let constant = TensorProto {
            name: "c".to_string(),
            data_type: DataType::Float as i32,
            float_data: numbers.to_vec(),
            ..TensorProto::default()
        };
        GraphProto {
            input: vec![ValueInfoProto { name: "x".to_string(), ..ValueInfoProto::default() }],
            node: vec![node("Transpose", ["x"], "t"), node(op, ["t", "c"], "y")],
            initializer: vec![constant],
            ..GraphProto::default()
        }
    }

    #[test]
    fn the_first_operator_tells_the_range_where_it_can() {
        for (op, numbers, expected) in [
            ("Div", &[255.0][..], Some(Scale::ZeroTo255)),
            ("Mul", &[1.0 / 255.0], Some(Scale::ZeroTo255)),
            ("Mul", &[0.007_843_138], Some(Scale::ZeroTo255)),
            ("Sub", &[123.675, 116.28, 103.53], Some(Scale::ZeroTo255)),
            ("Sub", &[0.485, 0.456, 0.406], Some(Scale::ZeroTo1)),
            ("QuantizeLinear", &[1.0], Some(Scale::ZeroTo255)),
            ("QuantizeLinear", &[0.003_921_6], Some(Scale::ZeroTo1)),
            ("QuantizeLinear", &[0.0174], None),
            ("Div", &[2.0], None),
            ("Sub", &[0.0], None),
            ("Sub", &[0.485, 116.28, 103.53], None),
            ("Conv", &[255.0], None),
        ] {
            let found = scale(&graph(op, numbers)).map(|(scale, _)| scale);
            assert_eq!(found, expected, "{op} {numbers:?}");
        }
        let mut branched = graph("Div", &[255.0]);
        branched.node.push(node("Relu", ["t"], "z"));
        assert_eq!(scale(&branched), None, "another operator reads the pixels as they are");
    }
}
