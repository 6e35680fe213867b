//! MaxPool, AveragePool, GlobalAveragePool and ReduceMean over pixels.

use std::rc::Rc;

use tract_onnx::pb::NodeProto;

use picket_kernels::{Counted, Kernel, MaxPool};

use crate::integer::ir::Op;
use crate::integer::read::layers::{whole_window, window};
use crate::integer::read::reader::{Reader, Stays, shape};
use crate::integer::read::value::{Pending, Placed, Reals, Value, Work};
use crate::integer::strided::Strided;
use crate::proto::{attribute, integer};

const LIMITS: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];
/// Most pixels of a mean: their sum is an i32, and an f32 holds it.
const PIXELS_MAX: usize = (1 << 24) / 256;

impl Reader {
    /// Takes the greatest of bytes, or of what they stand for: that is the same byte.
    pub fn max_pool(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        if integer(node, "storage_order", 0) != 0 || node.output.len() > 1 {
            return Err(Stays("it tells places as well"));
        }
        match self.input(node, 0).cloned() {
            Some(Value::Bytes(placed)) => self.greatest(node, &placed).map(Value::Bytes),
            Some(Value::Reals(reals)) if reals.plain => {
                let placed = self.greatest(node, &reals.placed)?;
                Ok(Value::Reals(Reals { placed, ..reals }))
            }
            _ => Err(Stays("its input is not quantised")),
        }
    }

    fn greatest(&mut self, node: &NodeProto, placed: &Placed) -> Result<Placed, Stays> {
        let tensor = self.planar(placed)?;
        let from = self.shape(tensor);
        let windows = window(node, kernel(node)?, from)?;
        let [rows, columns] = windows.output();
        let shape = shape(from.channels, rows, columns)?;
        // Packed only to hear a refusal: later there is no way back.
        MaxPool::pack(&windows, from.channels, Kernel::Scalar)?;
        let tensor = self.make_alike(&node.name, Op::MaxPool(windows), vec![tensor], shape);
        Ok(Placed { tensor, strided: Strided::planar(shape) })
    }

    pub fn average_pool(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let placed = self.plain(node, 0)?.placed.clone();
        let tensor = self.planar(&placed)?;
        let from = self.shape(tensor);
        let kernel = kernel(node)?;
        let windows = window(node, kernel, from)?;
        let [rows, columns] = windows.output();
        let whole = integer(node, "count_include_pad", 0) != 0;
        let counted = if whole { Counted::Window } else { Counted::Picture };
        // Where the last window is longer than what is there, runtimes count differently.
        if integer(node, "ceil_mode", 0) != 0 || kernel[0] * kernel[1] > PIXELS_MAX {
            return Err(Stays("its windows reach beyond the input"));
        }
        let shape = shape(from.channels, rows, columns)?;
        let work = Work::Average { tensor, windows, counted };
        let strided = Strided::planar(shape);
        Ok(Value::Pending(Rc::new(Pending { work, shape, strided, limits: LIMITS })))
    }

    pub fn global_average(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let placed = self.plain(node, 0)?.placed.clone();
        self.mean(&placed, true)
    }

    /// Takes the mean over height and width, whose axes are an attribute or, from opset 18 on, an input.
    pub fn reduce_mean(&mut self, node: &NodeProto) -> Result<Value, Stays> {
        let placed = self.plain(node, 0)?.placed.clone();
        let stated = attribute(node, "axes").map(|axes| axes.ints.clone());
        let axes =
            stated.or_else(|| self.integers(node, 1)).ok_or(Stays("its axes are no constant"))?;
        let mut axes: Vec<i64> =
            axes.into_iter().map(|axis| if axis < 0 { axis + 4 } else { axis }).collect();
        axes.sort_unstable();
        if axes != [2, 3] {
            return Err(Stays("its axes are not height and width"));
        }
        self.mean(&placed, integer(node, "keepdims", 1) != 0)
    }

    fn mean(&mut self, placed: &Placed, keeps_axes: bool) -> Result<Value, Stays> {
        let tensor = self.planar(placed)?;
        let from = self.shape(tensor);
        if from.pixels() > PIXELS_MAX {
            return Err(Stays("it has too many pixels for one sum"));
        }
        let shape = shape(from.channels, 1, 1)?;
        let planar = Strided::planar(shape);
        let flat = planar.reshaped(&[1, shape.channels]).expect("it has as many values");
        let strided = if keeps_axes { planar } else { flat };
        let work = Work::Average { tensor, windows: whole_window(from), counted: Counted::Window };
        Ok(Value::Pending(Rc::new(Pending { work, shape, strided, limits: LIMITS })))
    }
}

fn kernel(node: &NodeProto) -> Result<[usize; 2], Stays> {
    let stated = attribute(node, "kernel_shape").map(|stated| &stated.ints[..]);
    let sizes = |rows: i64, columns: i64| {
        Some([usize::try_from(rows).ok()?, usize::try_from(columns).ok()?])
    };
    match stated {
        Some([rows, columns]) => {
            sizes(*rows, *columns).filter(|sizes| sizes.iter().all(|size| *size <= 1 << 12))
        }
        _ => None,
    }
    .ok_or(Stays("its window is not of height and width"))
}
