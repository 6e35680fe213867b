//! What changes no value: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity, Slice, Split, Concat, Pad.

use std::rc::Rc;

use tract_onnx::pb::NodeProto;

use crate::integer::ir::{Op, TensorId};
use crate::integer::read::constant::Weights;
use crate::integer::read::reader::{Reader, Stays, shape};
use crate::integer::read::value::{Pending, Placed, Reals, Value, Work};
use crate::integer::strided::{AXES_MAX, Strided};
use crate::proto::{attribute, input, integer};

const AXES: Stays = Stays("its axes can't be followed");
const FILLER: Stays = Stays("what it pads with is no constant");

impl Reader {
    /// Lies the same values over other axes.
    pub fn reshape(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let value = self.input(node, 0).cloned().ok_or(AXES)?;
        if let Value::Weights(weights) = &value {
            return turned(node, weights);
        }
        let strided = match &value {
            Value::Bytes(placed) | Value::Reals(Reals { placed, .. }) => &placed.strided,
            Value::Pending(pending) => &pending.strided,
            _ => return Err(Stays("its input is not quantised")),
        };
        let strided = self.followed(node, strided)?;
        Ok(match value {
            Value::Bytes(placed) => Value::Bytes(Placed { strided, ..placed }),
            Value::Reals(reals) => {
                Value::Reals(Reals { placed: Placed { strided, ..reals.placed }, ..reals })
            }
            Value::Pending(pending) => {
                Value::Pending(Rc::new(Pending { strided, ..Pending::clone(&pending) }))
            }
            other => other,
        })
    }

    fn followed(&self, node: &NodeProto, strided: &Strided) -> Result<Strided, Stays> {
        let dims = strided.dims();
        let rank = dims.len() as i64;
        let listed = || self.listed(node, "axes", 1);
        match node.op_type.as_str() {
            "Identity" | "Dropout" => Ok(strided.clone()),
            "Transpose" => {
                let order = attribute(node, "perm").map(|order| order.ints.clone());
                let order = order.unwrap_or_else(|| (0..rank).rev().collect());
                let order: Vec<usize> = order.into_iter().map(|axis| axis as usize).collect();
                strided.transposed(&order).ok_or(AXES)
            }
            "Flatten" => {
                let axis = match integer(node, "axis", 1) {
                    axis if axis == rank => dims.len(),
                    axis => counted(axis, dims.len()).ok_or(AXES)?,
                };
                let flat = [dims[..axis].iter().product(), dims[axis..].iter().product()];
                strided.reshaped(&flat).ok_or(AXES)
            }
            "Reshape" => {
                let stated = self.integers(node, 1).ok_or(Stays("its shape is no constant"))?;
                strided.reshaped(&stated_shape(&stated, &dims)?).ok_or(AXES)
            }
            "Squeeze" => {
                let axes = listed()?.map(|axes| all_counted(&axes, dims.len())).transpose()?;
                let gone = |at: usize| match &axes {
                    Some(axes) => axes.contains(&at),
                    None => dims[at] == 1,
                };
                let left: Vec<usize> =
                    (0..dims.len()).filter(|at| !gone(*at)).map(|at| dims[at]).collect();
                strided.reshaped(&left).ok_or(AXES)
            }
            _ => {
                let axes = listed()?.ok_or(AXES)?;
                let full = dims.len() + axes.len();
                let axes = all_counted(&axes, full)?;
                let mut left = dims.into_iter();
                let dims: Option<Vec<usize>> = (0..full)
                    .map(|at| if axes.contains(&at) { Some(1) } else { left.next() })
                    .collect();
                strided.reshaped(&dims.ok_or(AXES)?).ok_or(AXES)
            }
        }
    }

    /// Returns the numbers that an attribute or an input states; none where neither is there.
    fn listed(&self, node: &NodeProto, name: &str, at: usize) -> Result<Option<Vec<i64>>, Stays> {
        if let Some(stated) = attribute(node, name) {
            return Ok(Some(stated.ints.clone()));
        }
        if input(node, at).is_none() {
            return Ok(None);
        }
        self.integers(node, at).map(Some).ok_or(Stays("its axes or sizes are no constant"))
    }

    /// Takes channels out of a tensor: those that the node's attributes or inputs say.
    pub fn slice(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let one = |at: usize| match self.integers(node, at).as_deref() {
            Some([number]) => Ok(*number),
            _ => Err(Stays("it cuts several axes")),
        };
        let steps = if node.input.len() > 4 { one(4)? } else { 1 };
        let axis = if node.input.len() > 3 { one(3)? } else { 0 };
        let (start, end) = (one(1)?, one(2)?);
        let value = self.input(node, 0).cloned().ok_or(AXES)?;
        let placed = self.movable(&value)?;
        let channels = self.shape(placed.tensor).channels as i64;
        if (axis != 1 && axis != -3) || steps != 1 {
            return Err(Stays("it cuts another axis than the channels"));
        }
        let at = |place: i64| (if place < 0 { place + channels } else { place }).clamp(0, channels);
        let (first, last) = (at(start) as usize, at(end) as usize);
        let placed = self.channels(&node.name, &placed, first, last.saturating_sub(first))?;
        Ok(replaced(value, placed))
    }

    /// Returns each part of a tensor that is split along its channels.
    pub fn split(&mut self, node: &NodeProto) -> Result<Vec<Value>, Stays> {
        let value = self.input(node, 0).cloned().ok_or(AXES)?;
        let placed = self.movable(&value)?;
        let channels = self.shape(placed.tensor).channels;
        let axis = integer(node, "axis", 0);
        let sizes = self.listed(node, "split", 1)?.unwrap_or_else(|| {
            let part = channels.div_ceil(node.output.len().max(1));
            (0..node.output.len())
                .map(|at| part.min(channels.saturating_sub(at * part)) as i64)
                .collect()
        });
        let sum = sizes.iter().try_fold(0_i64, |sum, size| sum.checked_add(*size));
        let whole = sum == Some(channels as i64) && sizes.len() == node.output.len();
        if (axis != 1 && axis != -3) || !whole {
            return Err(Stays("it splits another axis than the channels"));
        }
        let (mut first, mut parts) = (0, Vec::new());
        for size in sizes {
            let count = usize::try_from(size).map_err(|_| AXES)?;
            let part = self.channels(&node.name, &placed, first, count)?;
            parts.push(replaced(value.clone(), part));
            first += count;
        }
        Ok(parts)
    }

    fn channels(
        &mut self,
        name: &str,
        placed: &Placed,
        first: usize,
        count: usize,
    ) -> Result<Placed, Stays> {
        let tensor = self.planar(placed)?;
        let from = self.shape(tensor);
        if first + count > from.channels {
            return Err(AXES);
        }
        let shape = shape(count, from.rows, from.columns)?;
        let tensor = self.make_alike(name, Op::Slice { first }, vec![tensor], shape);
        Ok(Placed { tensor, strided: Strided::planar(shape) })
    }

    fn movable(&self, value: &Value) -> Result<Placed, Stays> {
        match value {
            Value::Bytes(placed) => Ok(placed.clone()),
            Value::Reals(reals) if reals.plain => Ok(reals.placed.clone()),
            _ => Err(Stays("its input is not quantised")),
        }
    }

    /// Joins channels. Inputs of the same steps give an output of these; others wait for the quantisation.
    pub fn concat(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        if !matches!(integer(node, "axis", 1), 1 | -3) {
            return Err(Stays("it joins another axis than the channels"));
        }
        let mut parts: Vec<(TensorId, Reals)> = Vec::new();
        for at in 0..node.input.len() {
            let Some(Value::Reals(reals)) = self.input(node, at).cloned() else {
                return Err(Stays("an input is not quantised"));
            };
            let tensor = self.planar(&reals.placed)?;
            if reals.maps.len() > 1 && tensor != reals.placed.tensor {
                return Err(AXES);
            }
            parts.push((tensor, reals));
        }
        let first = parts.first().ok_or(AXES)?;
        let from = self.shape(first.0);
        let shapes = || parts.iter().map(|(tensor, _)| self.shape(*tensor));
        if shapes().any(|shape| (shape.rows, shape.columns) != (from.rows, from.columns)) {
            return Err(Stays("its inputs have other sizes"));
        }
        let shape = shape(shapes().map(|shape| shape.channels).sum(), from.rows, from.columns)?;
        let strided = Strided::planar(shape);
        let steps = |tensor: TensorId| self.graph.tensors[tensor];
        let alike = |(tensor, reals): &(TensorId, Reals)| {
            let (a, b) = (steps(*tensor), steps(first.0));
            reals.plain && a.quantised == b.quantised && a.scale.to_bits() == b.scale.to_bits()
        };
        if parts.iter().all(alike) {
            let inputs = parts.iter().map(|(tensor, _)| *tensor).collect();
            let maps = first.1.maps.clone();
            let tensor = self.make_alike(&node.name, Op::Concat, inputs, shape);
            return Ok(Value::Reals(Reals {
                placed: Placed { tensor, strided },
                maps,
                plain: true,
            }));
        }
        let work =
            Work::Concat(parts.into_iter().map(|(tensor, reals)| (tensor, reals.maps)).collect());
        let limits = [f32::NEG_INFINITY, f32::INFINITY];
        Ok(Value::Pending(Rc::new(Pending { work, shape, strided, limits })))
    }

    /// Puts rows and columns of one value around a picture.
    pub fn pad(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let mode = attribute(node, "mode").map_or(&b"constant"[..], |mode| &mode.s);
        if mode != b"constant" || input(node, 3).is_some() {
            return Err(Stays("it pads with other values than one"));
        }
        let pads = self.integers(node, 1).ok_or(Stays("its sizes are no constant"))?;
        let pads: Option<Vec<usize>> = pads
            .iter()
            .map(|pad| usize::try_from(*pad).ok().filter(|pad| *pad <= 1 << 16))
            .collect();
        let Some([0, 0, top, left, 0, 0, bottom, right]) =
            pads.as_deref().and_then(|it| it.first_chunk().copied())
        else {
            return Err(Stays("it pads other axes than height and width"));
        };
        let value = self.input(node, 0).cloned().ok_or(AXES)?;
        let placed = self.movable(&value)?;
        let filler = match &value {
            // Of bytes, a byte; nothing else is known of them.
            Value::Bytes(_) => match (input(node, 2), self.integers(node, 2).as_deref()) {
                (None, _) => 0,
                (_, Some([byte])) => *byte as u8,
                _ => return Err(FILLER),
            },
            Value::Reals(reals) => {
                let real = match input(node, 2) {
                    Some(_) => self.number(node, 2).ok_or(FILLER)?,
                    None => 0.0,
                };
                let byte = reals.maps[0].iter().position(|it| *it == real);
                byte.ok_or(Stays("no byte stands for what it pads with"))? as u8
            }
            _ => return Err(AXES),
        };
        let tensor = self.planar(&placed)?;
        let from = self.shape(tensor);
        let shape = shape(from.channels, top + from.rows + bottom, left + from.columns + right)?;
        let op = Op::Pad { before: [top, left], value: filler };
        let tensor = self.make_alike(&node.name, op, vec![tensor], shape);
        Ok(replaced(value, Placed { tensor, strided: Strided::planar(shape) }))
    }
}

fn replaced(value: Value, placed: Placed) -> Value {
    match value {
        Value::Reals(reals) => Value::Reals(Reals { placed, ..reals }),
        _ => Value::Bytes(placed),
    }
}

/// Returns the place of an axis, which may be counted from the end.
fn counted(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let place = if axis < 0 { axis.checked_add(rank)? } else { axis };
    usize::try_from(place).ok().filter(|_| place < rank)
}

fn all_counted(axes: &[i64], rank: usize) -> Result<Vec<usize>, Stays> {
    if rank > AXES_MAX {
        return Err(AXES);
    }
    axes.iter().map(|axis| counted(*axis, rank).ok_or(AXES)).collect()
}

/// Turns a matrix of weights, as frameworks write it before MatMul.
fn turned(node: &NodeProto, weights: &Weights) -> Result<Value, Stays> {
    match node.op_type.as_str() {
        "Identity" => Ok(Value::Weights(Rc::new(weights.clone()))),
        "Transpose" => {
            match attribute(node, "perm").map(|order| &order.ints[..]) {
                None | Some([1, 0]) => {}
                Some([0, 1]) => return Ok(Value::Weights(Rc::new(weights.clone()))),
                Some(_) => return Err(AXES),
            }
            let array = Rc::new(weights.array.transposed().ok_or(AXES)?);
            let axis = 1 - weights.axis.min(1);
            Ok(Value::Weights(Rc::new(Weights { array, axis, ..weights.clone() })))
        }
        _ => Err(Stays("it reshapes weights")),
    }
}

/// Fills in what a shape leaves open: 0 for what is there, −1 for the rest.
fn stated_shape(stated: &[i64], dims: &[usize]) -> Result<Vec<usize>, Stays> {
    let all: usize = dims.iter().product();
    let mut shape = Vec::with_capacity(stated.len());
    for (at, len) in stated.iter().enumerate() {
        shape.push(match len {
            0 => *dims.get(at).ok_or(AXES)?,
            -1 => 0,
            len => usize::try_from(*len).map_err(|_| AXES)?,
        });
    }
    let known =
        shape.iter().filter(|len| **len != 0).try_fold(1_usize, |all, len| all.checked_mul(*len));
    let known = known.ok_or(AXES)?;
    let mut open = shape.iter_mut().filter(|len| **len == 0);
    if let Some(open) = open.next() {
        *open = all / known.max(1);
    }
    if open.next().is_some() { Err(AXES) } else { Ok(shape) }
}
