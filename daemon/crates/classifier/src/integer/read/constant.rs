//! Constants of an ONNX file as plain arrays. It knows no operator but those that quantise.

use std::rc::Rc;

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

/// The values of an array.
#[derive(Clone, Debug)]
pub enum Data {
    Floats(Vec<f32>),
    Bytes {
        signed: bool,
        bytes: Vec<u8>,
    },
    /// i32 and i64.
    Integers(Vec<i64>),
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Data::Floats(values) => values.len(),
            Data::Bytes { bytes, .. } => bytes.len(),
            Data::Integers(values) => values.len(),
        }
    }
}

/// A constant.
#[derive(Clone, Debug)]
pub struct Array {
    pub dims: Vec<usize>,
    pub data: Data,
}

/// Bytes or integers that stand for floats.
#[derive(Clone, Debug)]
pub struct Weights {
    pub array: Rc<Array>,
    /// One, or one for each place along `axis`.
    pub scales: Vec<f32>,
    /// As many as scales.
    pub zeros: Vec<i32>,
    pub axis: usize,
}

impl Array {
    /// Reads a tensor; none of a type or a length that nothing here needs.
    pub fn read(tensor: &TensorProto) -> Option<Array> {
        let dims: Option<Vec<usize>> =
            tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let dims = dims?;
        let len = dims.iter().try_fold(1_usize, |len, dim| len.checked_mul(*dim))?;
        let raw = &tensor.raw_data;
        let data = match DataType::try_from(tensor.data_type).ok()? {
            DataType::Float => Data::Floats(crate::proto::floats(tensor).collect()),
            kind @ (DataType::Int8 | DataType::Uint8) => {
                let bytes = if raw.is_empty() {
                    tensor.int32_data.iter().map(|number| *number as u8).collect()
                } else {
                    raw.to_vec()
                };
                Data::Bytes { signed: kind == DataType::Int8, bytes }
            }
            DataType::Int32 if raw.is_empty() => {
                Data::Integers(tensor.int32_data.iter().map(|number| i64::from(*number)).collect())
            }
            DataType::Int32 => {
                let (numbers, _) = raw.as_chunks();
                Data::Integers(
                    numbers.iter().map(|it| i64::from(i32::from_le_bytes(*it))).collect(),
                )
            }
            DataType::Int64 if raw.is_empty() => Data::Integers(tensor.int64_data.clone()),
            DataType::Int64 => {
                let (numbers, _) = raw.as_chunks();
                Data::Integers(numbers.iter().map(|it| i64::from_le_bytes(*it)).collect())
            }
            _ => return None,
        };
        let array = Array { dims, data };
        (array.len() == len).then_some(array)
    }

    pub fn len(&self) -> usize {
        self.data.len()
    }

    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Floats(values) => size_of_val(&values[..]),
            Data::Bytes { bytes, .. } => bytes.len(),
            Data::Integers(values) => size_of_val(&values[..]),
        }
    }

    pub fn floats(&self) -> Option<&[f32]> {
        let Data::Floats(values) = &self.data else { return None };
        Some(values)
    }

    /// Returns its whole numbers, whatever their type.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match &self.data {
            Data::Floats(_) => None,
            Data::Integers(values) => Some(values.clone()),
            Data::Bytes { signed: true, bytes } => {
                Some(bytes.iter().map(|byte| i64::from(*byte as i8)).collect())
            }
            Data::Bytes { signed: false, bytes } => {
                Some(bytes.iter().map(|byte| i64::from(*byte)).collect())
            }
        }
    }

    /// Returns it with two axes exchanged, for a matrix.
    pub fn transposed(&self) -> Option<Array> {
        let [rows, columns] = self.dims[..] else { return None };
        let order =
            (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
        let data = match &self.data {
            Data::Floats(values) => Data::Floats(order.map(|at| values[at]).collect()),
            Data::Integers(values) => Data::Integers(order.map(|at| values[at]).collect()),
            Data::Bytes { signed, bytes } => {
                Data::Bytes { signed: *signed, bytes: order.map(|at| bytes[at]).collect() }
            }
        };
        Some(Array { dims: vec![columns, rows], data })
    }
}

/// Scales and zero points as a QuantizeLinear or DequantizeLinear states them.
#[derive(Clone, Debug)]
pub struct Steps {
    pub scales: Vec<f32>,
    pub zeros: Vec<i32>,
    /// The type of the bytes, where a zero point states it.
    pub signed: Option<bool>,
}

impl Steps {
    /// Returns them for one tensor as a whole.
    pub fn single(&self) -> Option<(f32, i32)> {
        match (&self.scales[..], &self.zeros[..]) {
            ([scale], [zero]) => Some((*scale, *zero)),
            _ => None,
        }
    }

    /// Quantises floats, each by the steps of its place along `axis`.
    pub fn quantise(&self, array: &Array, axis: usize) -> Option<Array> {
        let signed = self.signed.unwrap_or(false);
        let (low, high) = if signed { (-128.0, 127.0) } else { (0.0, 255.0) };
        let at = places(&array.dims, axis, self.scales.len())?;
        let byte = |(number, at): (&f32, usize)| {
            let real = (number / self.scales[at]).round_ties_even() + self.zeros[at] as f32;
            real.clamp(low, high) as i32 as u8
        };
        let bytes = array.floats()?.iter().zip(at).map(byte).collect();
        Some(Array { dims: array.dims.clone(), data: Data::Bytes { signed, bytes } })
    }
}

impl Weights {
    /// Returns the scale and zero point of each place along the axis, of which there are `count`.
    pub fn steps(&self, count: usize) -> Option<(Vec<f32>, Vec<i32>)> {
        let spread = self.scales.len() == 1;
        if spread {
            return Some((vec![self.scales[0]; count], vec![self.zeros[0]; count]));
        }
        (self.scales.len() == count).then(|| (self.scales.clone(), self.zeros.clone()))
    }

    /// Returns the numbers that they stand for.
    pub fn reals(&self) -> Option<Vec<f32>> {
        let at = places(&self.array.dims, self.axis, self.scales.len())?;
        let numbers = self.array.integers()?;
        let real = |(number, at): (i64, usize)| {
            (number - i64::from(self.zeros[at])) as f32 * self.scales[at]
        };
        Some(numbers.into_iter().zip(at).map(real).collect())
    }
}

/// Returns for each value of an array its place along an axis of `count`, or 0 where there is one for all.
fn places(dims: &[usize], axis: usize, count: usize) -> Option<impl Iterator<Item = usize>> {
    let inner = match (count, dims.get(axis)) {
        (1, _) => 1,
        (_, Some(len)) if *len == count => dims[axis + 1..].iter().product::<usize>(),
        _ => return None,
    };
    let len = dims.iter().product::<usize>();
    Some((0..len).map(move |at| if count == 1 { 0 } else { at / inner % count }))
}
