//! QuantizeLinear and DequantizeLinear: where floats become bytes, and bytes what they stand for.

use std::rc::Rc;

use picket_kernels::{Addition, AveragePool, Convolution, Kernel, Product, Quantised, Scaled};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::DatumType;

use crate::integer::ir::{Form, Op, Tensor, TensorId};
use crate::integer::read::constant::{Data, Steps, Weights};
use crate::integer::read::reader::{Made, Reader, Stays, UNKNOWN, lying};
use crate::integer::read::value::{Layer, Pending, Placed, Reals, Value, Work};
use crate::proto::{attribute, input, integer};

const NOT_CONSTANT: Stays = Stays("its scale or zero point is no constant");

impl Reader {
    /// Reads the scale at `at` and the zero point behind it.
    pub fn steps(&self, node: &NodeProto, at: usize) -> Result<Steps, Stays> {
        let scales = self.constant(node, at).and_then(|array| array.floats().map(<[f32]>::to_vec));
        let scales = scales.filter(|scales| !scales.is_empty()).ok_or(NOT_CONSTANT)?;
        if scales.iter().any(|scale| !scale.is_finite() || *scale <= 0.0) {
            return Err(Stays("a scale is no positive number"));
        }
        if input(node, at + 1).is_none() {
            return Ok(Steps { zeros: vec![0; scales.len()], scales, signed: None });
        }
        let zeros = self.constant(node, at + 1).ok_or(NOT_CONSTANT)?;
        let signed = match &zeros.data {
            Data::Bytes { signed, .. } => Some(*signed),
            Data::Integers(zeros) if zeros.iter().all(|zero| *zero == 0) => None,
            Data::Integers(_) | Data::Floats(_) => {
                return Err(Stays("its zero point is of no byte's type"));
            }
        };
        let mut zeros: Vec<i32> =
            zeros.integers().ok_or(NOT_CONSTANT)?.into_iter().map(|zero| zero as i32).collect();
        if zeros.len() == 1 {
            zeros.resize(scales.len(), zeros[0]);
        }
        if zeros.len() != scales.len() {
            return Err(Stays("it has another number of zero points than of scales"));
        }
        Ok(Steps { scales, zeros, signed })
    }

    pub fn dequantise_node(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let steps = self.steps(node, 1)?;
        if integer(node, "block_size", 0) != 0 {
            return Err(Stays("its scales are of blocks"));
        }
        self.dequantise(node, 0, steps)
    }

    /// Returns what the bytes of an input stand for.
    pub fn dequantise(
        &mut self,
        node: &NodeProto,
        at: usize,
        steps: Steps,
    ) -> Result<Value, Stays> {
        let axis = integer(node, "axis", 1);
        match self.input(node, at).cloned() {
            Some(Value::Constant(array)) => {
                let axis = if axis < 0 { axis + array.dims.len() as i64 } else { axis };
                let Steps { scales, zeros, .. } = steps;
                if scales.len() > 1 && array.dims.get(axis as usize) != Some(&scales.len()) {
                    return Err(Stays("its axis is none"));
                }
                Ok(Value::Weights(Rc::new(Weights { array, scales, zeros, axis: axis as usize })))
            }
            Some(Value::Bytes(placed)) => {
                let (scale, zero) =
                    steps.single().ok_or(Stays("its activations have several scales"))?;
                self.settle(placed.tensor, scale, zero)?;
                Ok(Value::Reals(self.plain_reals(placed)))
            }
            Some(Value::Stock { dims: Some(dims), datum_type: Some(datum_type), level }) => {
                let (scale, zero) =
                    steps.single().ok_or(Stays("its activations have several scales"))?;
                let signed = match datum_type {
                    DatumType::I8 => true,
                    DatumType::U8 => false,
                    _ => return Err(Stays("its input is of another type than u8 or i8")),
                };
                if steps.signed.is_some_and(|stated| stated != signed) {
                    return Err(Stays("its zero point is of another type than its input"));
                }
                let (shape, strided) = lying(&dims)?;
                let tensor = self.tensor(shape, Quantised { signed, zero }, scale, level + 1);
                self.enter(&node.input[at], Form::Bytes, &strided, tensor);
                let placed = Placed { tensor, strided };
                // Its other readers read the same.
                self.values.insert(node.input[at].clone(), Value::Bytes(placed.clone()));
                Ok(Value::Reals(self.plain_reals(placed)))
            }
            _ => Err(Stays(UNKNOWN)),
        }
    }

    /// Returns what the bytes of a settled tensor stand for.
    pub fn plain_reals(&self, placed: Placed) -> Reals {
        let tensor = self.graph.tensors[placed.tensor];
        let Quantised { signed, zero } = tensor.quantised;
        let map = std::array::from_fn(|byte| {
            let value = if signed { i32::from(byte as u8 as i8) } else { byte as i32 };
            (value - zero) as f32 * tensor.scale
        });
        Reals { placed, maps: Rc::new(vec![map]), plain: true }
    }

    pub fn quantise_node(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let steps = self.steps(node, 1)?;
        if attribute(node, "output_dtype").is_some() && steps.signed.is_none() {
            return Err(Stays("its type is stated by an attribute"));
        }
        if let Some(Value::Constant(array)) = self.input(node, 0) {
            let axis = integer(node, "axis", 1);
            let axis = if axis < 0 { axis + array.dims.len() as i64 } else { axis };
            let bytes = steps.quantise(array, axis as usize);
            return bytes
                .map(|bytes| Value::Constant(Rc::new(bytes)))
                .ok_or(Stays("its axis is none"));
        }
        let value = self.input(node, 0).cloned().ok_or(Stays("its input is unknown"))?;
        self.quantise(node, value, &steps)
    }

    /// Makes bytes of floats.
    pub fn quantise(
        &mut self,
        node: &NodeProto,
        value: Value,
        steps: &Steps,
    ) -> Result<Value, Stays> {
        let (scale, zero) = steps.single().ok_or(Stays("its activations have several scales"))?;
        let quantised = Quantised { signed: steps.signed.unwrap_or(false), zero };
        let (low, high) = quantised.range();
        if !(low..=high).contains(&zero) {
            return Err(Stays("its zero point is no value of its type"));
        }
        let name = node.name.as_str();
        match value {
            Value::Reals(reals) => Ok(Value::Bytes(self.table(name, &reals, quantised, scale))),
            Value::Pending(pending) => {
                self.finish(name, &pending, quantised, scale).map(Value::Bytes)
            }
            Value::Stock { dims: Some(dims), datum_type: Some(DatumType::F32), level } => {
                let (shape, strided) = lying(&dims)?;
                let tensor = self.tensor(shape, quantised, scale, level + 1);
                self.enter(&node.input[0], Form::Reals, &strided, tensor);
                Ok(Value::Bytes(Placed { tensor, strided }))
            }
            _ => Err(Stays(UNKNOWN)),
        }
    }

    /// Makes the bytes of a function of bytes: a table, or nothing where it changes nothing.
    pub fn table(&mut self, name: &str, reals: &Reals, quantised: Quantised, scale: f32) -> Placed {
        let Placed { tensor, ref strided } = reals.placed;
        let from = self.graph.tensors[tensor];
        if reals.plain && from.quantised == quantised && from.scale.to_bits() == scale.to_bits() {
            return reals.placed.clone();
        }
        let tables = reals.maps.iter().map(|map| map.map(|real| byte(real, scale, quantised)));
        let made = Made { shape: from.shape, quantised, scale };
        let tensor = self.make(name, Op::Table(tables.collect()), vec![tensor], made);
        Placed { tensor, strided: strided.clone() }
    }

    /// Makes the tensor that waits for its quantisation.
    fn finish(
        &mut self,
        name: &str,
        pending: &Pending,
        quantised: Quantised,
        scale: f32,
    ) -> Result<Placed, Stays> {
        let to = Scaled { quantised, scale };
        let from = |id: TensorId| self.graph.tensors[id].scaled();
        // Packed only to hear a refusal: later there is no way back.
        let (op, inputs) = match &pending.work {
            Work::Convolve(layer) => {
                (convolution(layer, from(layer.tensor), to)?, vec![layer.tensor])
            }
            Work::Add([a, b]) => {
                Addition::pack([from(*a), from(*b)], to, Kernel::Scalar)?;
                (Op::Add, vec![*a, *b])
            }
            Work::Multiply([a, b]) => {
                Product::pack([from(*a), from(*b)], to, Kernel::Scalar)?;
                (Op::Multiply, vec![*a, *b])
            }
            Work::Average { tensor, windows, counted } => {
                let shape = (windows, pending.shape.channels);
                AveragePool::pack(shape, *counted, [from(*tensor), to], Kernel::Scalar)?;
                let op = Op::AveragePool { windows: windows.clone(), counted: *counted };
                (op, vec![*tensor])
            }
            Work::Head { .. } => return Err(Stays("its weights are not quantised")),
            Work::Concat(parts) => {
                let parts = parts.clone();
                return Ok(self.concatenate(name, &parts, pending, quantised, scale));
            }
        };
        let made = Made { shape: pending.shape, quantised, scale };
        let tensor = self.make(name, op, inputs, made);
        let placed = Placed { tensor, strided: pending.strided.clone() };
        Ok(self.limited(name, placed, pending.limits))
    }

    /// Limits what the bytes of a tensor stand for; nothing where its type does that already.
    fn limited(&mut self, name: &str, placed: Placed, [low, high]: [f32; 2]) -> Placed {
        let reals = self.plain_reals(placed);
        let Tensor { quantised, scale, .. } = self.graph.tensors[reals.placed.tensor];
        let maps: Vec<_> =
            reals.maps.iter().map(|map| map.map(|real| real.clamp(low, high))).collect();
        // A limit between two steps is the step that it is rounded to.
        let same = |map: &[f32; 256]| {
            (0..256).all(|byte_at| usize::from(byte(map[byte_at], scale, quantised)) == byte_at)
        };
        let plain = maps.iter().all(same);
        self.table(name, &Reals { maps: Rc::new(maps), plain, ..reals }, quantised, scale)
    }

    fn concatenate(
        &mut self,
        name: &str,
        parts: &[(TensorId, Rc<Vec<[f32; 256]>>)],
        pending: &Pending,
        quantised: Quantised,
        scale: f32,
    ) -> Placed {
        let [low, high] = pending.limits;
        let inputs = parts.iter().map(|(tensor, maps)| {
            let shape = self.shape(*tensor);
            let strided = crate::integer::strided::Strided::planar(shape);
            let placed = Placed { tensor: *tensor, strided };
            let plain = self.plain_reals(placed.clone());
            let unlimited = low == f32::NEG_INFINITY && high == f32::INFINITY;
            let plain = unlimited && plain.maps == *maps;
            let maps = maps.iter().map(|map| map.map(|real| real.clamp(low, high))).collect();
            self.table(name, &Reals { placed, maps: Rc::new(maps), plain }, quantised, scale).tensor
        });
        let inputs = inputs.collect();
        let made = Made { shape: pending.shape, quantised, scale };
        let tensor = self.make(name, Op::Concat, inputs, made);
        Placed { tensor, strided: pending.strided.clone() }
    }
}

fn convolution(layer: &Layer, from: Scaled, to: Scaled) -> Result<Op, Stays> {
    // In f32 and in this order, as ONNX Runtime multiplies.
    let scales = layer.weight_scales.iter().map(|scale| from.scale * scale / to.scale);
    let convolution = Convolution {
        geometry: layer.geometry.clone(),
        weights: layer.weights.clone(),
        weight_zeros: layer.weight_zeros.clone(),
        bias: layer.bias.clone(),
        scales: scales.collect(),
        input: from.quantised,
        output: to.quantised,
    };
    convolution.check()?;
    Ok(Op::Convolve(Box::new(convolution)))
}

/// Quantises one float.
fn byte(real: f32, scale: f32, quantised: Quantised) -> u8 {
    let (low, high) = quantised.range();
    let steps = (real / scale).round_ties_even() + quantised.zero as f32;
    steps.clamp(low as f32, high as f32) as i32 as u8
}
