//! Small nets, each of one form that is easily read wrongly: our kernels and the stock engine must give the
//! same scores. `hostile_nets` makes of them what is none. It knows nothing of how a graph is read.

use picket_kernels::Kernel;
use picket_picture::Tensor;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};
use tract_onnx::prelude::TractResult;

use crate::card::Bundle;
use crate::engine::Engine;
use crate::golden;
use crate::graph::{Parsed, prepare_file};
use crate::proto::node;

pub const OWN: Engine = Engine::Own(Kernel::Scalar);

/// A net as it grows: its input x is u8, of which xf are the floats.
pub struct Net(pub GraphProto);

fn value(name: &str, kind: DataType, dims: &[i64]) -> ValueInfoProto {
    let axis = |len: &i64| Dimension {
        value: Some(dimension::Value::DimValue(*len)),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(axis).collect() });
    let tensor = TensorType { elem_type: kind as i32, shape };
    let stated = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_string(), r#type: Some(stated), ..ValueInfoProto::default() }
}

pub fn ints(name: &str, numbers: &[i64]) -> AttributeProto {
    use tract_onnx::pb::attribute_proto::AttributeType;
    AttributeProto {
        name: name.to_string(),
        r#type: AttributeType::Ints as i32,
        ints: numbers.to_vec(),
        ..AttributeProto::default()
    }
}

pub fn int(name: &str, number: i64) -> AttributeProto {
    use tract_onnx::pb::attribute_proto::AttributeType;
    AttributeProto {
        name: name.to_string(),
        r#type: AttributeType::Int as i32,
        i: number,
        ..AttributeProto::default()
    }
}

/// Numbers that look like none in particular, of −100 to 100.
fn numbers(count: usize, seed: usize) -> impl Iterator<Item = i8> {
    (0..count)
        .map(move |at| (((at + seed) * 7919 + at * at * 31) % 201) as i8)
        .map(|it| it.wrapping_sub(100))
}

impl Net {
    pub fn new(size: [i64; 2], scale: f32, zero: u8) -> Net {
        let mut net = Net(GraphProto::default());
        net.0.input.push(value("x", DataType::Uint8, &[1, 3, size[0], size[1]]));
        net.floats("xs", &[], &[scale]);
        net.tensor("xz", DataType::Uint8, &[], vec![zero]);
        net.op("DequantizeLinear", &["x", "xs", "xz"], "xf");
        net
    }

    pub fn tensor(&mut self, name: &str, kind: DataType, dims: &[i64], raw_data: Vec<u8>) {
        self.0.initializer.push(TensorProto {
            name: name.to_string(),
            data_type: kind as i32,
            dims: dims.to_vec(),
            raw_data,
            ..TensorProto::default()
        });
    }

    pub fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, DataType::Float, dims, raw);
    }

    pub fn integers(&mut self, name: &str, values: &[i64]) {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, DataType::Int64, &[values.len() as i64], raw);
    }

    /// Weights of bytes with their floats.
    pub fn weights(&mut self, name: &str, dims: &[i64]) {
        let count = dims.iter().product::<i64>() as usize;
        let bytes = numbers(count, name.len()).map(|it| it as u8).collect();
        let [byte, scale, zero] = ["b", "s", "z"].map(|end| format!("{name}.{end}"));
        self.tensor(&byte, DataType::Int8, dims, bytes);
        self.floats(&scale, &[], &[0.01]);
        self.tensor(&zero, DataType::Int8, &[], vec![0]);
        self.op("DequantizeLinear", &[&byte, &scale, &zero], name);
    }

    pub fn op(&mut self, op: &str, inputs: &[&str], output: &str) -> &mut NodeProto {
        let mut new = node(op, [], output);
        new.input = inputs.iter().map(ToString::to_string).collect();
        self.0.node.push(new);
        self.0.node.last_mut().expect("it was just pushed")
    }

    /// Quantises floats, and makes floats of that.
    pub fn quantise(&mut self, from: &str, scale: f32, output: &str) {
        let [byte, steps, zero] = ["q", "s", "z"].map(|end| format!("{output}.{end}"));
        self.floats(&steps, &[], &[scale]);
        self.tensor(&zero, DataType::Uint8, &[], vec![100]);
        self.op("QuantizeLinear", &[from, &steps, &zero], &byte);
        self.op("DequantizeLinear", &[&byte, &steps, &zero], output);
    }

    /// A convolution of single pixels with its weights, not quantised.
    pub fn convolve(&mut self, from: &str, channels: [i64; 2], output: &str) {
        let weights = format!("{output}.w");
        self.weights(&weights, &[channels[1], channels[0], 1, 1]);
        self.op("Conv", &[from, &weights], output);
    }

    /// Eight channels, whose floats are "c".
    pub fn eight(size: [i64; 2]) -> Net {
        let mut net = Net::new(size, 0.02, 128);
        net.convolve("xf", [3, 8], "conv");
        net.quantise("conv", 0.05, "c");
        net
    }

    /// Ends in the mean of each of eight channels times a matrix of floats.
    pub fn end(mut self, from: &str) -> Net {
        self.op("GlobalAveragePool", &[from], "mean");
        self.op("Flatten", &["mean"], "flat");
        self.head("flat", [8, 5], "y");
        self
    }

    fn head(&mut self, from: &str, dims: [i64; 2], output: &str) {
        let [weights, bias] = ["w", "b"].map(|end| format!("{output}.{end}"));
        let real = |it: i8| f32::from(it) * 0.01;
        let count = (dims[0] * dims[1]) as usize;
        let all: Vec<f32> = numbers(count, output.len()).map(real).collect();
        self.floats(&weights, &dims, &all);
        let all: Vec<f32> = numbers(dims[1] as usize, 3).map(real).collect();
        self.floats(&bias, &[dims[1]], &all);
        self.op("Gemm", &[from, &weights, &bias], output);
    }

    pub fn prepare(&self, engine: Engine) -> TractResult<Parsed> {
        let mut graph = self.0.clone();
        graph.output.push(ValueInfoProto { name: "y".to_string(), ..ValueInfoProto::default() });
        let opset = OperatorSetIdProto { version: 13, ..OperatorSetIdProto::default() };
        let file = ModelProto {
            ir_version: 7,
            opset_import: vec![opset],
            graph: Some(graph),
            ..ModelProto::default()
        };
        let parser =
            tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
        prepare_file(&Bundle::bare(&b""[..]), &parser, file, engine)
    }

    /// Compares the engines, and returns how many convolutions were left to the stock one.
    #[track_caller]
    fn assert_alike(&self) -> usize {
        let [own, stock] = [OWN, Engine::Tract].map(|engine| {
            let parsed = self.prepare(engine).unwrap();
            let picture = golden::picture(&parsed.input);
            let scores = parsed.plan.run(&Tensor::new(&picture, &parsed.input)).unwrap();
            (scores, parsed.stock)
        });
        let near = own.0.iter().zip(&stock.0).all(|(own, stock)| (own - stock).abs() < 0.02);
        assert!(near && own.0.len() == stock.0.len(), "{:?}, expected {:?}", own.0, stock.0);
        own.1
    }
}

#[test]
fn a_limit_behind_a_layer_of_floats_is_kept() {
    let mut net = Net::eight([8, 8]);
    net.op("GlobalAveragePool", &["c"], "mean");
    net.op("Flatten", &["mean"], "flat");
    net.head("flat", [8, 6], "first");
    net.op("Relu", &["first"], "relu");
    net.head("relu", [6, 5], "y");
    assert_eq!(net.assert_alike(), 0);
}

#[test]
fn constants_that_are_listed_as_inputs_go_with_what_read_them() {
    let mut net = Net::eight([8, 8]).end("c");
    let listed: Vec<ValueInfoProto> = (net.0.initializer.iter())
        .map(|it| value(&it.name, DataType::try_from(it.data_type).unwrap(), &it.dims))
        .collect();
    net.0.input.extend(listed);
    assert_eq!(net.assert_alike(), 0);
}

#[test]
fn a_bias_along_another_axis_is_none_of_the_channels() {
    for (dims, stays) in [(&[8][..], 1), (&[8, 1, 1], 0), (&[1, 8, 1, 1], 0)] {
        let mut net = Net::new([8, 8], 0.02, 128);
        net.convolve("xf", [3, 8], "conv");
        let bias: Vec<f32> = (0..8).map(|at| at as f32 * 0.4).collect();
        net.floats("bias", dims, &bias);
        net.op("Add", &["conv", "bias"], "sum");
        net.quantise("sum", 0.05, "c");
        assert_eq!(net.end("c").assert_alike(), stays, "{dims:?}");
    }
}

#[test]
fn parts_whose_sizes_are_not_known_are_not_taken_as_equal() {
    let mut net = Net::eight([8, 8]);
    net.integers("sizes", &[2, 6]);
    net.op("Identity", &["sizes"], "known_later");
    let split = net.op("Split", &["c", "known_later"], "a");
    split.attribute.push(int("axis", 1));
    split.output.push("b".to_string());
    net.op("Concat", &["b", "a"], "turned").attribute.push(int("axis", 1));
    net.convolve("turned", [8, 8], "conv2");
    net.quantise("conv2", 0.05, "d");
    net.end("d").assert_alike();
}

#[test]
fn sizes_in_an_attribute_of_a_constant_are_read() {
    let mut net = Net::eight([8, 8]);
    net.op("Constant", &[], "sizes").attribute.push(ints("value_ints", &[2, 6]));
    let split = net.op("Split", &["c", "sizes"], "a");
    split.attribute.push(int("axis", 1));
    split.output.push("b".to_string());
    net.op("Concat", &["b", "a"], "turned").attribute.push(int("axis", 1));
    net.convolve("turned", [8, 8], "conv2");
    net.quantise("conv2", 0.05, "d");
    assert_eq!(net.end("d").assert_alike(), 0);
}

#[test]
fn means_in_another_order_stay_in_it() {
    let mut net = Net::eight([8, 8]);
    net.op("GlobalAveragePool", &["c"], "mean");
    net.integers("parts", &[1, 2, 4]);
    net.op("Reshape", &["mean", "parts"], "in_parts");
    net.op("Transpose", &["in_parts"], "turned").attribute.push(ints("perm", &[0, 2, 1]));
    net.op("Flatten", &["turned"], "flat");
    net.head("flat", [8, 5], "y");
    assert_eq!(net.assert_alike(), 0);
}

#[test]
fn scores_in_another_order_stay_in_it() {
    let mut net = Net::eight([8, 8]);
    net.op("GlobalAveragePool", &["c"], "mean");
    net.op("Flatten", &["mean"], "flat");
    net.head("flat", [8, 6], "first");
    net.integers("parts", &[1, 2, 3]);
    net.op("Reshape", &["first", "parts"], "in_parts");
    net.op("Transpose", &["in_parts"], "turned").attribute.push(ints("perm", &[0, 2, 1]));
    net.op("Flatten", &["turned"], "again");
    net.head("again", [6, 5], "y");
    assert_eq!(net.assert_alike(), 0);
}

#[test]
fn weights_that_a_transposition_leaves_as_they_are_stay_so() {
    for perm in [[0, 1], [1, 0]] {
        let mut net = Net::eight([8, 8]);
        net.op("GlobalAveragePool", &["c"], "mean");
        net.op("Flatten", &["mean"], "flat");
        net.quantise("flat", 0.05, "f");
        net.weights("w", &[8, 8]);
        net.op("Transpose", &["w"], "turned").attribute.push(ints("perm", &perm));
        net.op("MatMul", &["f", "turned"], "product");
        net.quantise("product", 0.01, "y");
        net.assert_alike();
    }
}

#[test]
fn bytes_of_the_stock_engine_are_of_their_own_type() {
    let mut net = Net::new([8, 8], 0.9, 128);
    net.op("Cast", &["xf"], "signed").attribute.push(int("to", DataType::Int8 as i64));
    net.op("DequantizeLinear", &["signed", "xs"], "g");
    net.convolve("g", [3, 8], "conv");
    net.quantise("conv", 2.0, "c");
    net.end("c").assert_alike();
}

#[test]
fn a_matrix_over_more_values_than_a_pixel_may_have_runs_as_its_window() {
    let mut net = Net::new([16, 24], 0.02, 128);
    net.convolve("xf", [3, 171], "conv");
    net.quantise("conv", 0.05, "c");
    net.op("Flatten", &["c"], "flat");
    net.weights("w", &[171 * 16 * 24, 4]);
    net.op("MatMul", &["flat", "w"], "product");
    net.quantise("product", 3.0, "y");
    net.assert_alike();
}

#[test]
fn what_a_branch_reads_from_outside_is_read_by_its_node() {
    let mut net = Net::eight([8, 8]);
    net.tensor("yes", DataType::Bool, &[], vec![1]);
    let branch = |op: &str, output: &str| GraphProto {
        name: output.to_string(),
        node: vec![node(op, ["c"], output)],
        output: vec![ValueInfoProto { name: output.to_string(), ..ValueInfoProto::default() }],
        ..GraphProto::default()
    };
    let graph = |name: &str, graph: GraphProto| AttributeProto {
        name: name.to_string(),
        r#type: tract_onnx::pb::attribute_proto::AttributeType::Graph as i32,
        g: Some(graph),
        ..AttributeProto::default()
    };
    let chosen = net.op("If", &["yes"], "chosen");
    chosen.attribute.push(graph("then_branch", branch("Relu", "then")));
    chosen.attribute.push(graph("else_branch", branch("Neg", "else")));
    net.quantise("chosen", 0.05, "d");
    net.convolve("d", [8, 8], "conv2");
    net.quantise("conv2", 0.05, "e");
    net.end("e").assert_alike();
}

#[test]
fn borders_that_take_too_much_together_are_refused() {
    let mut net = Net::new([8, 8], 0.02, 128);
    let mut from = "xf".to_string();
    for at in 0..60 {
        // Each of another border, so that no buffer serves two; their windows are so far apart that 8×8 are left.
        let (pad, to) = (1170 - at, format!("d{at}"));
        let stride = (7 + 2 * pad) / 7;
        net.convolve(&from, [3, 3], &format!("conv{at}"));
        let conv = net.0.node.last_mut().unwrap();
        conv.attribute.push(ints("pads", &[pad; 4]));
        conv.attribute.push(ints("strides", &[stride; 2]));
        net.quantise(&format!("conv{at}"), 0.05, &to);
        from = to;
    }
    net.convolve(&from, [3, 8], "conv");
    net.quantise("conv", 0.05, "c");
    let refused = net.end("c").prepare(OWN).err().expect("1.3 GB are too much").to_string();
    assert!(refused.contains("bytes with their borders for one picture"), "{refused}");
}

#[test]
fn a_convolution_of_another_layout_is_refused() {
    let mut net = Net::eight([8, 8]);
    net.convolve("c", [8, 8], "conv2");
    net.0.node.last_mut().unwrap().attribute.push(int("channels_last", 1));
    net.quantise("conv2", 0.05, "d");
    let refused = net.end("d").prepare(OWN).err().expect("its layout is another").to_string();
    assert_eq!(refused, "its Conv \"conv2\" is channel-last, which is not run");
}
