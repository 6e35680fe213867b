//! Functions of one value, and sums and products of two: what is a function of one tensor's bytes becomes
//! a table of them.

use std::rc::Rc;

use tract_onnx::pb::NodeProto;
use tract_onnx::pb::tensor_proto::DataType;

use crate::integer::ir::{Op, TensorId};
use crate::integer::read::constant::{Array, Data};
use crate::integer::read::reader::{Reader, Stays};
use crate::integer::read::value::{Pending, Reals, Value, Work};
use crate::integer::strided::Strided;
use crate::proto::{attribute, input, integer};

const NOT_QUANTISED: Stays = Stays("an input is not quantised");
const LIMITS: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// Reads a function of one number. What an operator is for is in its name.
fn function(node: &NodeProto) -> Option<Box<dyn Fn(f32) -> f32>> {
    let stated =
        |name: &str, default: f32| attribute(node, name).map_or(default, |stated| stated.f);
    let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
    Some(match node.op_type.as_str() {
        "Relu" => Box::new(|x| x.max(0.0)),
        "LeakyRelu" => {
            let alpha = stated("alpha", 0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = stated("alpha", 1.0);
            Box::new(move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Selu" => {
            let (alpha, gamma) = (stated("alpha", 1.673_263_2), stated("gamma", 1.050_701));
            Box::new(move |x| gamma * if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        "Sigmoid" => Box::new(logistic),
        "HardSigmoid" => {
            let (alpha, beta) = (stated("alpha", 0.2), stated("beta", 0.5));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "HardSwish" => Box::new(|x| x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0)),
        "Mish" => Box::new(|x| x * x.exp().ln_1p().tanh()),
        "Tanh" => Box::new(f32::tanh),
        // e^x overflows long before this does.
        "Softplus" => Box::new(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "Softsign" => Box::new(|x| x / (1.0 + x.abs())),
        "Abs" => Box::new(f32::abs),
        "Neg" => Box::new(|x| -x),
        "Exp" => Box::new(f32::exp),
        "Sqrt" => Box::new(f32::sqrt),
        "Floor" => Box::new(f32::floor),
        "Ceil" => Box::new(f32::ceil),
        "Round" => Box::new(f32::round_ties_even),
        _ => return None,
    })
}

fn mapped(reals: &Reals, function: impl Fn(f32) -> f32) -> Value {
    let maps = reals.maps.iter().map(|map| map.map(&function)).collect();
    Value::Reals(Reals { placed: reals.placed.clone(), maps: Rc::new(maps), plain: false })
}

impl Reader {
    /// Applies a function to each value.
    pub fn unary(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        if node.op_type == "Relu" || node.op_type == "Clip" {
            let limits = self.limits(node)?;
            return self.limit(node, limits);
        }
        let function = function(node).ok_or(Stays("this operator is not computed in integers"))?;
        match self.input(node, 0) {
            Some(Value::Reals(reals)) => Ok(mapped(reals, function)),
            Some(Value::Pending(_)) => Err(Stays("what it reads is not quantised before it")),
            _ => Err(NOT_QUANTISED),
        }
    }

    fn limits(&self, node: &NodeProto) -> Result<[f32; 2], Stays> {
        if node.op_type == "Relu" {
            return Ok([0.0, f32::INFINITY]);
        }
        let limit = |name: &str, at: usize, default: f32| {
            if input(node, at).is_none() {
                return Ok(attribute(node, name).map_or(default, |stated| stated.f));
            }
            let array = self.constant(node, at).ok_or(Stays("its limits are no constants"))?;
            let number = match (array.floats(), array.integers().as_deref()) {
                (Some([number]), _) => Some(*number),
                (_, Some([number])) => Some(*number as f32),
                _ => None,
            };
            number.ok_or(Stays("its limits are no numbers"))
        };
        let limits = [limit("min", 1, f32::NEG_INFINITY)?, limit("max", 2, f32::INFINITY)?];
        // Of another order, ONNX says that all becomes the greater.
        if limits[0] <= limits[1] {
            Ok(limits)
        } else {
            Err(Stays("its limits are in the wrong order"))
        }
    }

    fn limit(&mut self, node: &NodeProto, [low, high]: [f32; 2]) -> Result<Value, Stays> {
        match self.input(node, 0).cloned() {
            Some(Value::Reals(reals)) => Ok(mapped(&reals, |real| real.clamp(low, high))),
            Some(Value::Pending(pending)) if matches!(pending.work, Work::Head { .. }) => {
                Err(Stays("it limits what a layer of floats gives"))
            }
            Some(Value::Pending(pending)) => {
                let limits = pending.limits.map(|limit| limit.clamp(low, high));
                Ok(Value::Pending(Rc::new(Pending { limits, ..Pending::clone(&pending) })))
            }
            // Of bytes themselves, as Brevitas writes it.
            Some(Value::Bytes(placed)) => {
                let signed = self.graph.tensors[placed.tensor].quantised.signed;
                let table = std::array::from_fn(|byte| {
                    let value = if signed { i32::from(byte as u8 as i8) } else { byte as i32 };
                    (value as f32).clamp(low, high) as i32 as u8
                });
                if (0..256).all(|byte| usize::from(table[byte]) == byte) {
                    return Ok(Value::Bytes(placed));
                }
                let shape = self.shape(placed.tensor);
                let op = Op::Table(vec![table]);
                let tensor = self.make_alike(&node.name, op, vec![placed.tensor], shape);
                Ok(Value::Bytes(crate::integer::read::value::Placed { tensor, ..placed }))
            }
            Some(Value::Constant(array)) => {
                let mut array = (*array).clone();
                let Data::Bytes { signed, bytes } = &mut array.data else {
                    return Err(NOT_QUANTISED);
                };
                for byte in bytes {
                    let value = if *signed { i32::from(*byte as i8) } else { i32::from(*byte) };
                    *byte = (value as f32).clamp(low, high) as i32 as u8;
                }
                Ok(Value::Constant(Rc::new(array)))
            }
            _ => Err(NOT_QUANTISED),
        }
    }

    /// Bytes as floats of the same number: how graphs begin that take a picture's bytes.
    pub fn cast(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        if integer(node, "to", 0) != DataType::Float as i64 {
            return Err(Stays("it casts to another type than f32"));
        }
        match self.input(node, 0).cloned() {
            Some(Value::Bytes(placed)) => {
                let signed = self.graph.tensors[placed.tensor].quantised.signed;
                let map = std::array::from_fn(|byte| {
                    if signed { f32::from(byte as u8 as i8) } else { byte as f32 }
                });
                Ok(Value::Reals(Reals { placed, maps: Rc::new(vec![map]), plain: false }))
            }
            Some(Value::Reals(reals)) => Ok(Value::Reals(reals)),
            _ => Err(NOT_QUANTISED),
        }
    }

    /// Add, Sub, Mul, Div, Max, Min, Pow of two.
    pub fn binary(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        if node.input.len() != 2 {
            return Err(Stays("it has more than two inputs"));
        }
        let (a, b) = (self.input(node, 0).cloned(), self.input(node, 1).cloned());
        let (Some(a), Some(b)) = (a, b) else { return Err(NOT_QUANTISED) };
        let apply: fn(f32, f32) -> f32 = match node.op_type.as_str() {
            "Add" => |a, b| a + b,
            "Sub" => |a, b| a - b,
            "Mul" => |a, b| a * b,
            "Div" => |a, b| a / b,
            "Max" => f32::max,
            "Min" => f32::min,
            _ => f32::powf,
        };
        match (&a, &b) {
            (Value::Pending(pending), bias) | (bias, Value::Pending(pending)) => {
                if node.op_type != "Add" {
                    return Err(NOT_QUANTISED);
                }
                self.add_bias(pending, bias)
            }
            (Value::Reals(reals), constant @ (Value::Constant(_) | Value::Weights(_))) => {
                self.with_constant(reals, constant, apply)
            }
            (constant @ (Value::Constant(_) | Value::Weights(_)), Value::Reals(reals)) => {
                self.with_constant(reals, constant, move |real, number| apply(number, real))
            }
            (Value::Reals(a), Value::Reals(b)) => self.two(node, a, b, apply),
            _ => Err(NOT_QUANTISED),
        }
    }

    /// A number for all values, or one for each channel.
    fn with_constant(
        &mut self,
        reals: &Reals,
        constant: &Value,
        apply: impl Fn(f32, f32) -> f32,
    ) -> Result<Value, Stays> {
        const FORM: Stays = Stays("its constant is neither one number nor one for each channel");
        let (numbers, dims) = match constant {
            Value::Constant(array) => (array.floats().ok_or(FORM)?.to_vec(), array.dims.clone()),
            Value::Weights(weights) => (weights.reals().ok_or(FORM)?, weights.array.dims.clone()),
            _ => return Err(FORM),
        };
        let rank = reals.placed.strided.rank();
        // More axes than the tensor's would become its own.
        if dims.len() > rank {
            return Err(FORM);
        }
        if let [number] = numbers[..] {
            return Ok(mapped(reals, |real| apply(real, number)));
        }
        let shape = self.shape(reals.placed.tensor);
        // Axes count from the end: the one of the channels must be the only one that is not 1.
        let at = dims.iter().position(|dim| *dim != 1).ok_or(FORM)?;
        let axis = (at + rank).checked_sub(dims.len()).ok_or(FORM)?;
        if numbers.len() != dims[at] || numbers.len() != shape.channels {
            return Err(FORM);
        }
        let order = reals.placed.strided.channel_order(axis, shape).ok_or(FORM)?;
        let mut maps = vec![[0.0; 256]; shape.channels];
        for (number, channel) in numbers.into_iter().zip(order) {
            let map = &reals.maps[channel % reals.maps.len()];
            maps[channel] = map.map(|real| apply(real, number));
        }
        Ok(Value::Reals(Reals { placed: reals.placed.clone(), maps: Rc::new(maps), plain: false }))
    }

    fn two(
        &mut self,
        node: &NodeProto,
        a: &Reals,
        b: &Reals,
        apply: fn(f32, f32) -> f32,
    ) -> Result<Value, Stays> {
        if let Some(both) = self.of_one_source(a, b, apply) {
            return Ok(both);
        }
        if !a.plain || !b.plain {
            return Err(Stays("it reads a function of bytes that was not quantised"));
        }
        let (shapes, alike) = (
            [self.shape(a.placed.tensor), self.shape(b.placed.tensor)],
            a.placed.strided == b.placed.strided,
        );
        let ([a, b], shape, strided) = if alike && shapes[0] == shapes[1] {
            ([a.placed.tensor, b.placed.tensor], shapes[0], a.placed.strided.clone())
        } else {
            let both = [self.planar(&a.placed)?, self.planar(&b.placed)?];
            let [a, b] = both.map(|tensor| self.shape(tensor));
            if a.channels != b.channels || (a != b && node.op_type != "Mul") {
                return Err(Stays("its inputs have other sizes"));
            }
            match (a, b) {
                _ if a == b => (both, a, Strided::planar(a)),
                _ if b.pixels() == 1 => (both, a, Strided::planar(a)),
                _ if a.pixels() == 1 => ([both[1], both[0]], b, Strided::planar(b)),
                _ => return Err(Stays("its inputs have other sizes")),
            }
        };
        let work = match node.op_type.as_str() {
            "Add" => Work::Add([a, b]),
            "Mul" => Work::Multiply([a, b]),
            _ => return Err(Stays("this operator on two tensors is not computed in integers")),
        };
        Ok(Value::Pending(Rc::new(Pending { work, shape, strided, limits: LIMITS })))
    }

    /// Two functions of the same bytes are one, as x · sigmoid(x) is.
    fn of_one_source(&self, a: &Reals, b: &Reals, apply: fn(f32, f32) -> f32) -> Option<Value> {
        let (a, b) = (self.seen_through(a), self.seen_through(b));
        // The tables of the one that is further on start where the other is.
        let same = a.placed.tensor == b.placed.tensor && a.placed.strided == b.placed.strided;
        if !same {
            return None;
        }
        let count = a.maps.len().max(b.maps.len());
        let map = |channel: usize| {
            let (a, b) = (&a.maps[channel % a.maps.len()], &b.maps[channel % b.maps.len()]);
            std::array::from_fn(|byte| apply(a[byte], b[byte]))
        };
        let maps = Rc::new((0..count).map(map).collect());
        Some(Value::Reals(Reals { placed: a.placed, maps, plain: false }))
    }

    /// Sees through the tables that made a tensor.
    fn seen_through(&self, reals: &Reals) -> Reals {
        let mut reals = reals.clone();
        while let Some(node) = self.maker(reals.placed.tensor) {
            let (Op::Table(tables), true) = (&node.op, self.is_settled(node.inputs[0])) else {
                break;
            };
            let source: TensorId = node.inputs[0];
            let count = tables.len().max(reals.maps.len());
            let map = |channel: usize| {
                let (table, map) =
                    (&tables[channel % tables.len()], &reals.maps[channel % reals.maps.len()]);
                std::array::from_fn(|byte| map[usize::from(table[byte])])
            };
            let maps = Rc::new((0..count).map(map).collect());
            let placed = crate::integer::read::value::Placed { tensor: source, ..reals.placed };
            reals = Reals { placed, maps, plain: false };
        }
        reals
    }
}

/// Returns what a Constant node states.
pub fn constant(node: &NodeProto) -> Option<Array> {
    let list = |data: Data| Some(Array { dims: vec![data.len()], data });
    let one = |data: Data| Some(Array { dims: Vec::new(), data });
    let [stated] = &node.attribute[..] else { return None };
    match stated.name.as_str() {
        "value" => Array::read(stated.t.as_ref()?),
        "value_float" => one(Data::Floats(vec![stated.f])),
        "value_floats" => list(Data::Floats(stated.floats.clone())),
        "value_int" => one(Data::Integers(vec![stated.i])),
        "value_ints" => list(Data::Integers(stated.ints.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::node;

    #[test]
    fn a_large_number_overflows_no_function() {
        for op in ["Softplus", "Mish"] {
            let function = function(&node(op, ["x"], "y")).unwrap();
            assert_eq!([88.0, 100.0, 1e4].map(function), [88.0, 100.0, 1e4], "{op}");
        }
    }
}
