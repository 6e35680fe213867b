//! What a file says of its input, before an engine makes a graph of it. It changes nothing.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, TensorShapeProto, ValueInfoProto};
use tract_onnx::prelude::DatumType;

use crate::card::GraphInput;
use crate::head;
use picket_picture::Element;

/// Returns the name of the graph's only input and what is said of it.
///
/// # Errors
/// Another number of inputs or outputs, a type or axes that no picture has; a sentence without its
/// subject's name.
pub fn entrance(graph: &GraphProto) -> Result<(String, GraphInput), String> {
    let constants: HashSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|input| !constants.contains(input.name.as_str())).collect();
    let [input] = inputs[..] else { return Err(counts(inputs.len(), graph.output.len())) };
    if graph.output.len() != 1 {
        return Err(counts(1, graph.output.len()));
    }
    let tensor = input.r#type.as_ref().and_then(|stated| stated.value.as_ref());
    let (element, shape) = match tensor {
        Some(Value::TensorType(tensor)) => (element(tensor.elem_type)?, tensor.shape.as_ref()),
        None => return Err(NO_TYPE.to_string()),
    };
    let axes = axes(shape)?;
    Ok((input.name.clone(), GraphInput { element, axes, scale: head::scale(graph) }))
}

const NO_TYPE: &str = "its input is of no stated type, one of u8, i8, f32 is needed";

fn counts(inputs: usize, outputs: usize) -> String {
    format!("it has {inputs} inputs and {outputs} outputs, exactly one of each is needed")
}

fn element(stated: i32) -> Result<Element, String> {
    let kind = DataType::try_from(stated).ok().filter(|kind| *kind != DataType::Undefined);
    match kind.ok_or(NO_TYPE)? {
        DataType::Uint8 => Ok(Element::U8),
        DataType::Int8 => Ok(Element::I8),
        DataType::Float => Ok(Element::F32),
        other => {
            let named = DatumType::try_from(other).map(|it| format!("{it:?}"));
            let name = named.unwrap_or_else(|_| format!("{other:?}"));
            Err(format!("its input is of type {name}, one of u8, i8, f32 is needed"))
        }
    }
}

fn axes(shape: Option<&TensorShapeProto>) -> Result<[Option<usize>; 4], String> {
    let Some(shape) = shape else {
        return Err("its input is of no stated shape, [N,C,H,W] or [N,H,W,C] is needed".to_string());
    };
    let length = |axis: &Dimension| match axis.value {
        Some(dimension::Value::DimValue(length)) => {
            usize::try_from(length).ok().filter(|it| *it > 0)
        }
        _ => None,
    };
    let axes: Vec<Option<usize>> = shape.dim.iter().map(length).collect();
    axes.try_into().map_err(|axes: Vec<Option<usize>>| {
        let shown =
            |axis: &Option<usize>| axis.map_or("?".to_string(), |length| length.to_string());
        let axes: Vec<String> = axes.iter().map(shown).collect();
        format!("its input is {}, [N,C,H,W] or [N,H,W,C] is needed", axes.join(","))
    })
}
