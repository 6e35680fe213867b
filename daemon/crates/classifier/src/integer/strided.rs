//! How a tensor of ONNX lies over one of ours: reshaping, transposing and flattening only change this. It
//! knows no operator.

use crate::integer::ir::{Order, Shape};

/// The most axes of a tensor; a shuffle of channels has five.
pub const AXES_MAX: usize = 16;

/// A length and how many values of the planar order lie from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Atom {
    len: usize,
    stride: usize,
}

/// The axes of a tensor of ONNX, each a product of atoms, over `[channels][rows][columns]`. An axis of length
/// 1 has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strided {
    axes: Vec<Vec<Atom>>,
}

impl Strided {
    /// Returns `[1, channels, rows, columns]`.
    pub fn planar(shape: Shape) -> Strided {
        let Shape { channels, rows, columns } = shape;
        let axis = |len: usize, stride: usize| axis(vec![Atom { len, stride }]);
        Strided {
            axes: vec![
                Vec::new(),
                axis(channels, rows * columns),
                axis(rows, columns),
                axis(columns, 1),
            ],
        }
    }

    /// Returns `[1, rows, columns, channels]`.
    pub fn channel_last(shape: Shape) -> Strided {
        Strided::planar(shape).transposed(&[0, 2, 3, 1]).expect("it has four axes")
    }

    pub fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.iter().map(|atom| atom.len).product()).collect()
    }

    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    pub fn transposed(&self, order: &[usize]) -> Option<Strided> {
        let mut seen = order.to_vec();
        seen.sort_unstable();
        let sound = seen.iter().copied().eq(0..self.axes.len());
        sound.then(|| Strided { axes: order.iter().map(|at| self.axes[*at].clone()).collect() })
    }

    /// Returns it with other axes of the same number of values; none where an axis of the new can't be made
    /// of whole parts of the old.
    pub fn reshaped(&self, dims: &[usize]) -> Option<Strided> {
        if dims.len() > AXES_MAX {
            return None;
        }
        let mut atoms: Vec<Atom> = self.axes.iter().flatten().copied().rev().collect();
        let mut axes = Vec::with_capacity(dims.len());
        for len in dims {
            let (mut left, mut parts) = (*len, Vec::new());
            while left > 1 {
                let atom = atoms.pop()?;
                if left.is_multiple_of(atom.len) {
                    left /= atom.len;
                    parts.push(atom);
                } else if atom.len.is_multiple_of(left) {
                    let inner = atom.len / left;
                    parts.push(Atom { len: left, stride: atom.stride * inner });
                    atoms.push(Atom { len: inner, stride: atom.stride });
                    left = 1;
                } else {
                    return None;
                }
            }
            if left == 0 {
                return None;
            }
            axes.push(axis(parts));
        }
        atoms.is_empty().then_some(Strided { axes })
    }

    /// Returns which of the tensor's channels each channel of `[1, C, H, W]` is; none where its axes are others.
    pub fn channels(&self, shape: Shape) -> Option<Vec<usize>> {
        let planar = Strided::planar(shape);
        if self.axes.len() != 4
            || self.axes[0] != planar.axes[0]
            || self.axes[2..] != planar.axes[2..]
        {
            return None;
        }
        self.channel_order(1, shape)
    }

    /// Returns which channel each place of an axis is, where that axis is the channels, whole.
    pub fn channel_order(&self, axis: usize, shape: Shape) -> Option<Vec<usize>> {
        let atoms = self.axes.get(axis)?;
        let pixels = shape.pixels();
        let whole = atoms.iter().map(|atom| atom.len).product::<usize>() == shape.channels;
        let sound = whole && atoms.iter().all(|atom| atom.stride.is_multiple_of(pixels));
        sound.then(|| places(atoms).into_iter().map(|place| place / pixels).collect())
    }

    /// Returns the order of its values.
    pub fn order(&self, shape: Shape) -> Order {
        let flat = |strided: &Strided| axis(strided.axes.iter().flatten().copied().collect());
        let own = flat(self);
        if own == flat(&Strided::planar(shape)) {
            Order::Planar
        } else if own == flat(&Strided::channel_last(shape)) {
            Order::ChannelLast
        } else {
            Order::Places(self.all_places().into_iter().map(|place| place as u32).collect())
        }
    }

    /// Returns the planar place of each value.
    pub fn all_places(&self) -> Vec<usize> {
        places(&self.axes.iter().flatten().copied().collect::<Vec<_>>())
    }
}

/// Leaves out atoms of length 1 and joins those that follow one another.
fn axis(atoms: Vec<Atom>) -> Vec<Atom> {
    let mut joined: Vec<Atom> = Vec::with_capacity(atoms.len());
    for atom in atoms.into_iter().filter(|atom| atom.len != 1) {
        match joined.last_mut() {
            Some(outer) if outer.stride == atom.len * atom.stride => {
                *outer = Atom { len: outer.len * atom.len, stride: atom.stride };
            }
            _ => joined.push(atom),
        }
    }
    joined
}

fn places(atoms: &[Atom]) -> Vec<usize> {
    let mut places = vec![0];
    for atom in atoms {
        let steps = |start: usize| (0..atom.len).map(move |step| start + step * atom.stride);
        places = places.into_iter().flat_map(steps).collect();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { channels: 6, rows: 2, columns: 5 };

    #[test]
    fn a_shuffle_is_an_order_of_channels() {
        let grouped = Strided::planar(SHAPE).reshaped(&[1, 2, 3, 2, 5]).unwrap();
        let shuffled =
            grouped.transposed(&[0, 2, 1, 3, 4]).unwrap().reshaped(&[1, 6, 2, 5]).unwrap();
        assert_eq!(shuffled.channels(SHAPE), Some(vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(Strided::planar(SHAPE).channels(SHAPE), Some((0..6).collect()));
    }

    #[test]
    fn there_and_back_is_where_it_was() {
        let planar = Strided::planar(SHAPE);
        let last = Strided::channel_last(SHAPE);
        assert_eq!(last.dims(), [1, 2, 5, 6]);
        assert_eq!(last.transposed(&[0, 3, 1, 2]).unwrap(), planar);
        assert_eq!(planar.reshaped(&[1, 60]).unwrap().reshaped(&[1, 6, 2, 5]).unwrap(), planar);
        assert_eq!(planar.order(SHAPE), Order::Planar);
        assert_eq!(last.reshaped(&[60]).unwrap().order(SHAPE), Order::ChannelLast);
        assert_eq!(last.all_places()[..7], [0, 10, 20, 30, 40, 50, 1]);
    }

    #[test]
    fn what_is_no_reshaping_is_none() {
        assert_eq!(Strided::planar(SHAPE).reshaped(&[1, 7]), None);
        assert_eq!(Strided::planar(SHAPE).reshaped(&[1, 0]), None);
        assert_eq!(Strided::channel_last(SHAPE).reshaped(&[4, 15]), None);
        assert_eq!(Strided::planar(SHAPE).transposed(&[0, 1, 1, 2]), None);
        let axes = |ones: usize| [&vec![1; ones][..], &[60]].concat();
        assert!(Strided::planar(SHAPE).reshaped(&axes(AXES_MAX - 1)).is_some());
        assert_eq!(Strided::planar(SHAPE).reshaped(&axes(AXES_MAX)), None);
    }
}
