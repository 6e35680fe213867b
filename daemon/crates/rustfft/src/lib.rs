//! The part of the crate `rustfft` that tract calls, small: tract's operators for sound (DFT, STFT) link
//! the whole of it, and no classifier of pictures runs them. Mixed radix, O(n · Σ prime factors of n), in
//! place of code for every size and instruction set. Knows nothing of tract.

use std::fmt::Debug;
use std::sync::Arc;

pub use num_complex;
pub use num_complex::Complex;
pub use num_traits;
use num_traits::{FromPrimitive, Signed};

/// A number that a transform is made of.
pub trait FftNum: Copy + FromPrimitive + Signed + Sync + Send + Debug + 'static {}

impl<T: Copy + FromPrimitive + Signed + Sync + Send + Debug + 'static> FftNum for T {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FftDirection {
    /// Sums of x · exp(-2πi jk/n).
    Forward,
    /// Sums of x · exp(2πi jk/n), not divided by n.
    Inverse,
}

/// Makes transforms.
#[derive(Debug, Default)]
pub struct FftPlanner<T>(std::marker::PhantomData<T>);

impl<T: FftNum> FftPlanner<T> {
    #[must_use]
    pub fn new() -> FftPlanner<T> {
        FftPlanner(std::marker::PhantomData)
    }

    pub fn plan_fft(&mut self, len: usize, direction: FftDirection) -> Arc<Fft<T>> {
        let sign = if direction == FftDirection::Forward { -1.0 } else { 1.0 };
        let root = |k: usize| {
            let angle = sign * std::f64::consts::TAU * k as f64 / len as f64;
            let part = |part: f64| T::from_f64(part).expect("a sine is a number of every type");
            Complex::new(part(angle.cos()), part(angle.sin()))
        };
        Arc::new(Fft { roots: (0..len).map(root).collect() })
    }

    pub fn plan_fft_forward(&mut self, len: usize) -> Arc<Fft<T>> {
        self.plan_fft(len, FftDirection::Forward)
    }
}

/// A transform of one length and direction.
#[derive(Debug)]
pub struct Fft<T> {
    /// exp(∓2πi k/n) for k below n.
    roots: Vec<Complex<T>>,
}

impl<T: FftNum> Fft<T> {
    /// Transforms each run of n numbers in place.
    ///
    /// # Panics
    /// When the buffer is not made of whole runs, as `rustfft` does.
    pub fn process(&self, buffer: &mut [Complex<T>]) {
        let len = self.roots.len();
        if len == 0 {
            return;
        }
        assert!(buffer.len().is_multiple_of(len), "{} numbers, runs of {len}", buffer.len());
        let mut sums = vec![Complex::new(T::zero(), T::zero()); len];
        for run in buffer.chunks_exact_mut(len) {
            let input = run.to_vec();
            self.transform(&input, 1, run, &mut sums);
        }
    }

    /// Every `stride`th number of `input` into `output`: a transform of each residue of the smallest
    /// prime factor, then their sums.
    fn transform(
        &self,
        input: &[Complex<T>],
        stride: usize,
        output: &mut [Complex<T>],
        sums: &mut [Complex<T>],
    ) {
        let len = output.len();
        if len == 1 {
            output[0] = input[0];
            return;
        }
        let residues =
            (2..).find(|factor| len.is_multiple_of(*factor)).expect("len divides itself");
        let part = len / residues;
        for (residue, output) in output.chunks_exact_mut(part).enumerate() {
            self.transform(&input[residue * stride..], stride * residues, output, sums);
        }
        for (k, sum) in sums[..len].iter_mut().enumerate() {
            *sum = (0..residues)
                .map(|residue| {
                    self.roots[residue * k * stride % self.roots.len()]
                        * output[residue * part + k % part]
                })
                .fold(Complex::new(T::zero(), T::zero()), |sum, term| sum + term);
        }
        output.copy_from_slice(&sums[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize) -> Vec<Complex<f64>> {
        (0..len).map(|i| Complex::new((i * i % 17) as f64 - 8.0, (3 * i % 11) as f64)).collect()
    }

    #[test]
    fn every_length_gives_the_sums_of_the_definition_in_both_directions() {
        for len in 1..=130 {
            for (direction, sign) in [(FftDirection::Forward, -1.0), (FftDirection::Inverse, 1.0)] {
                let input = numbers(len);
                let mut found = input.clone();
                FftPlanner::new().plan_fft(len, direction).process(&mut found);
                for (k, found) in found.iter().enumerate() {
                    let term = |(j, x): (usize, &Complex<f64>)| {
                        let angle = sign * std::f64::consts::TAU * (j * k) as f64 / len as f64;
                        *x * Complex::new(angle.cos(), angle.sin())
                    };
                    let expected: Complex<f64> = input.iter().enumerate().map(term).sum();
                    assert!((found - expected).norm() < 1e-9, "{len} {k} {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn runs_are_transformed_one_by_one() {
        let fft = FftPlanner::<f32>::new().plan_fft_forward(2);
        let real = |values: [f32; 4]| values.map(|value| Complex::new(value, 0.0));
        let mut runs = real([1.0, 2.0, 5.0, 3.0]);
        fft.process(&mut runs);
        for (found, expected) in runs.iter().zip(real([3.0, -1.0, 8.0, 2.0])) {
            assert!((found - expected).norm() < 1e-6, "{found}, expected {expected}");
        }
    }
}
