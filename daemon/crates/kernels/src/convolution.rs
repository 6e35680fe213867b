//! A quantised convolution in ONNX's terms, and the limits of what the kernels take.

use std::borrow::Cow;
use std::sync::Arc;

use super::geometry::Windows;
use super::quantised::Quantised;
use super::refusal::{CHANNELS_MAX, ELEMENTS_MAX, PRODUCTS_MAX, Refusal, positive};

/// The sizes of a convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub in_channels: usize,
    pub out_channels: usize,
    /// Each of so many groups of output channels sees its own group of input channels alone.
    pub groups: usize,
    pub windows: Windows,
}

impl Geometry {
    /// Returns the sizes of a fully connected layer: a convolution over one pixel.
    pub fn fully_connected(in_channels: usize, out_channels: usize) -> Geometry {
        Geometry { in_channels, out_channels, groups: 1, windows: Windows::points([1, 1]) }
    }

    /// Returns height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        self.windows.output()
    }

    /// Returns the bytes of one image.
    pub fn input_len(&self) -> usize {
        self.in_channels * self.windows.input.iter().product::<usize>()
    }

    /// Returns the bytes of its output.
    pub fn output_len(&self) -> usize {
        self.out_channels * self.output().iter().product::<usize>()
    }

    /// Returns the products in one sum.
    pub fn products_of_sum(&self) -> usize {
        self.in_channels / self.groups * self.windows.kernel.iter().product::<usize>()
    }

    /// Returns the multiply-accumulates for one image, those with the padding included.
    pub fn products(&self) -> u64 {
        self.output_len() as u64 * self.products_of_sum() as u64
    }

    /// Whether each output channel sees the input channel of its own number alone.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.in_channels == self.out_channels
    }

    fn check(&self) -> Result<(), Refusal> {
        self.windows.check(self.in_channels)?;
        let divides = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        let sized = (1..=CHANNELS_MAX).contains(&self.out_channels);
        if !sized || !divides(self.in_channels) || !divides(self.out_channels) {
            return Err(Refusal::Geometry);
        }
        let kernel = self.windows.kernel.map(|size| size as u64);
        let products = (self.in_channels / self.groups) as u64 * kernel[0] * kernel[1];
        if products > PRODUCTS_MAX as u64 {
            return Err(Refusal::TooManyProducts { products });
        }
        let [height, width] = self.output().map(|side| side as u64);
        let elements = self.out_channels as u64 * height * width;
        if elements > ELEMENTS_MAX { Err(Refusal::TooLarge { elements }) } else { Ok(()) }
    }
}

/// A quantised convolution in ONNX's terms (QLinearConv). A fully connected layer (QGemm, QLinearMatMul)
/// is one over a picture of one pixel.
#[derive(Clone, Debug)]
pub struct Convolution {
    pub geometry: Geometry,
    /// `[out_channels][in_channels / groups][kernel height][kernel width]`. Those of u8 come lowered
    /// by 128, and their zero points too. Who reads a file holds them as well.
    pub weights: Arc<Vec<i8>>,
    /// One for each output channel, or none: then all are 0.
    pub weight_zeros: Vec<i32>,
    /// One for each output channel.
    pub bias: Vec<i32>,
    /// x_scale · w_scale / y_scale, one for each output channel.
    pub scales: Vec<f32>,
    pub input: Quantised,
    pub output: Quantised,
}

impl Convolution {
    /// Checks that the kernels take it.
    ///
    /// # Errors
    /// What the kernels don't take.
    pub fn check(&self) -> Result<(), Refusal> {
        let geometry = &self.geometry;
        geometry.check()?;
        let channels = geometry.out_channels;
        let products = geometry.products_of_sum();
        let zeros = self.weight_zeros.len();
        if self.weights.len() != channels * products
            || self.bias.len() != channels
            || self.scales.len() != channels
            || (zeros != channels && zeros != 0)
        {
            return Err(Refusal::Lengths);
        }
        for scale in &self.scales {
            positive(*scale)?;
        }
        let sound = self.weight_zeros.iter().all(|zero| (-128..=127).contains(zero));
        if !self.input.is_sound() || !self.output.is_sound() || !sound {
            return Err(Refusal::ZeroPoint);
        }
        // A weight less its zero point may be twice as large.
        if self.weight_zeros.iter().any(|zero| *zero != 0) && products > PRODUCTS_MAX / 2 {
            return Err(Refusal::TooManyProducts { products: products as u64 });
        }
        Ok(())
    }

    /// Returns the same with weights less their zero points; none where those are no bytes.
    pub(crate) fn without_zeros(&self) -> Option<Cow<'_, Convolution>> {
        if self.weight_zeros.iter().all(|zero| *zero == 0) {
            return Some(Cow::Borrowed(self));
        }
        let rows =
            self.weights.chunks_exact(self.geometry.products_of_sum()).zip(&self.weight_zeros);
        let weights = rows.flat_map(|(row, zero)| {
            row.iter().map(move |weight| i8::try_from(i32::from(*weight) - zero).ok())
        });
        let weights = Arc::new(weights.collect::<Option<_>>()?);
        let (geometry, bias) = (self.geometry.clone(), self.bias.clone());
        let (scales, weight_zeros) = (self.scales.clone(), Vec::new());
        Some(Cow::Owned(Convolution { geometry, weights, weight_zeros, bias, scales, ..*self }))
    }

    /// Returns a convolution for each group.
    pub(crate) fn groups(&self) -> Vec<Convolution> {
        let geometry = &self.geometry;
        let groups = geometry.groups;
        let out_channels = geometry.out_channels / groups;
        let channels = self.weights.chunks_exact(self.weights.len() / groups);
        let rest = self.bias.chunks_exact(out_channels).zip(self.scales.chunks_exact(out_channels));
        let group = |(weights, (bias, scales)): (&[i8], (&[i32], &[f32]))| Convolution {
            geometry: Geometry {
                in_channels: geometry.in_channels / groups,
                out_channels,
                groups: 1,
                windows: geometry.windows.clone(),
            },
            weights: Arc::new(weights.to_vec()),
            weight_zeros: Vec::new(),
            bias: bias.to_vec(),
            scales: scales.to_vec(),
            ..*self
        };
        channels.zip(rest).map(group).collect()
    }
}
