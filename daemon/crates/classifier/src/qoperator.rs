//! Integer operators that the engine lacks become what they are defined as: DequantizeLinear, the same
//! operator on floats, QuantizeLinear. ONNX Runtime's quantiser writes them (docs/ContribOperators.md
//! of its sources). QLinearConv and QLinearMatMul stay: the engine has them.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use crate::proto::{constants, floats, input, integer, node};

/// A tensor of integers: its name, its scale's and its zero point's.
type Quantised = [Option<String>; 3];

/// Rewrites every such operator of the graph.
///
/// # Errors
/// What can't be rewritten, as a sentence without its subject's name.
pub fn rewrite(graph: &mut GraphProto) -> Result<(), String> {
    let mut initializers = Vec::new();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for old in &graph.node {
        match rewritten(old, graph, &mut initializers)? {
            Some(new) => nodes.extend(new),
            None => nodes.push(old.clone()),
        }
    }
    graph.node = nodes;
    graph.initializer.extend(initializers);
    Ok(())
}

fn rewritten(
    old: &NodeProto,
    graph: &GraphProto,
    initializers: &mut Vec<TensorProto>,
) -> Result<Option<Vec<NodeProto>>, String> {
    let triple = |at: usize| [at, at + 1, at + 2].map(|at| input(old, at).map(str::to_string));
    let pair = |at: usize| [None, triple(at)[0].clone(), triple(at)[1].clone()];
    let op = old.op_type.as_str();
    if integer(old, "channels_last", 0) != 0 {
        return Err(format!("its {op} {:?} is channel-last, which is not run", old.name));
    }
    let (float, inputs, output) = match op {
        "QLinearAdd" => ("Add", vec![triple(0), triple(3)], pair(6)),
        "QLinearMul" => ("Mul", vec![triple(0), triple(3)], pair(6)),
        "QLinearSigmoid" => ("Sigmoid", vec![triple(0)], pair(3)),
        "QLinearLeakyRelu" => ("LeakyRelu", vec![triple(0)], pair(3)),
        "QLinearSoftmax" => ("Softmax", vec![triple(0)], pair(3)),
        "QLinearGlobalAveragePool" => ("GlobalAveragePool", vec![triple(0)], pair(3)),
        "QLinearAveragePool" => ("AveragePool", vec![triple(0)], pair(3)),
        "QLinearConcat" => {
            let inputs = (2..old.input.len()).step_by(3).map(triple).collect();
            ("Concat", inputs, pair(0))
        }
        "QGemm" => return gemm(old, graph, initializers).map(Some),
        _ => return Ok(None),
    };
    let mut rewriting = Rewriting::new(old);
    let inputs: Vec<String> =
        inputs.into_iter().map(|quantised| rewriting.dequantise(quantised, None)).collect();
    let mut computed = node(float, [], &rewriting.name("floats"));
    computed.input = inputs;
    computed.attribute = attributes(old, &["channels_last", "opset"]);
    Ok(Some(rewriting.finish(computed, output)))
}

/// QGemm: A, B and an i32 bias whose scale is theirs multiplied; without an output scale its output
/// is floats.
fn gemm(
    old: &NodeProto,
    graph: &GraphProto,
    initializers: &mut Vec<TensorProto>,
) -> Result<Vec<NodeProto>, String> {
    let name = |at: usize| input(old, at).map(str::to_string);
    let mut rewriting = Rewriting::new(old);
    let a = rewriting.dequantise([name(0), name(1), name(2)], None);
    let out_axis = if integer(old, "transB", 0) == 0 { 1 } else { 0 };
    let b = rewriting.dequantise([name(3), name(4), name(5)], Some(out_axis));
    let mut computed = node("Gemm", [&a, &b], &rewriting.name("floats"));
    if let Some(bias) = name(6) {
        let constants = constants(graph);
        let scale = |at: usize| numbers(name(at).as_deref(), &constants);
        let (Some(a), Some(b)) = (scale(1), scale(4)) else {
            return Err(format!("the scales of its QGemm {:?} are not constants", old.name));
        };
        let product: Vec<f32> = b.iter().map(|b| a[0] * b).collect();
        let scale = rewriting.name("bias_scale");
        let per_axis = product.len() > 1;
        initializers.push(TensorProto {
            name: scale.clone(),
            data_type: DataType::Float as i32,
            dims: if per_axis { vec![product.len() as i64] } else { Vec::new() },
            raw_data: product.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        // tract wants a zero point of the bias' own type.
        let zero = rewriting.name("bias_zero");
        initializers.push(TensorProto {
            name: zero.clone(),
            data_type: DataType::Int32 as i32,
            raw_data: vec![0; 4],
            ..TensorProto::default()
        });
        let bias = [Some(bias), Some(scale), Some(zero)];
        computed.input.push(rewriting.dequantise(bias, per_axis.then_some(0)));
    }
    computed.attribute = attributes(old, &[]);
    Ok(rewriting.finish(computed, [None, name(7), name(8)]))
}

/// Returns the numbers of a constant of floats.
fn numbers(name: Option<&str>, constants: &HashMap<&str, &TensorProto>) -> Option<Vec<f32>> {
    let numbers: Vec<f32> = floats(constants.get(name?)?).collect();
    (!numbers.is_empty()).then_some(numbers)
}

fn attributes(old: &NodeProto, without: &[&str]) -> Vec<AttributeProto> {
    old.attribute.iter().filter(|kept| !without.contains(&kept.name.as_str())).cloned().collect()
}

/// The nodes that take the place of one.
struct Rewriting<'a> {
    old: &'a NodeProto,
    nodes: Vec<NodeProto>,
}

impl<'a> Rewriting<'a> {
    fn new(old: &'a NodeProto) -> Rewriting<'a> {
        Rewriting { old, nodes: Vec::new() }
    }

    /// Returns a name that no other tensor has: the old output's is unique in the graph.
    fn name(&self, part: &str) -> String {
        format!("{}.{part}{}", self.old.output.first().map_or("", String::as_str), self.nodes.len())
    }

    /// Adds a DequantizeLinear and returns the name of its floats.
    fn dequantise(&mut self, quantised: Quantised, axis: Option<i64>) -> String {
        let output = self.name("dequantised");
        let mut new = node("DequantizeLinear", [], &output);
        new.input = quantised.into_iter().flatten().collect();
        new.attribute.extend(axis.map(|axis| AttributeProto {
            name: "axis".to_string(),
            r#type: tract_onnx::pb::attribute_proto::AttributeType::Int as i32,
            i: axis,
            ..AttributeProto::default()
        }));
        self.nodes.push(new);
        output
    }

    /// Ends in the old node's output: quantised where a scale is given.
    fn finish(mut self, mut computed: NodeProto, [_, scale, zero]: Quantised) -> Vec<NodeProto> {
        let output = self.old.output[0].clone();
        let Some(scale) = scale else {
            computed.output[0] = output;
            self.nodes.push(computed);
            return self.nodes;
        };
        let floats = computed.output[0].clone();
        self.nodes.push(computed);
        let mut quantise = node("QuantizeLinear", [&floats, &scale], &output);
        quantise.input.extend(zero);
        self.nodes.push(quantise);
        self.nodes
    }
}
