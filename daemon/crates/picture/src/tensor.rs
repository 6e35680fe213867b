//! Picture → Tensor: the element type, the axis order and the scale that the loaded model states.
//! Owns the one place where pixels change their form; knows no inference engine.

use crate::picture::Picture;
use crate::spec::{Element, Layout, Scale, Spec};

/// A model's input: values in its own element type and axis order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The length of each axis, for a batch of one.
    pub shape: [usize; 4],
    pub values: Values,
}

/// Values in the element type that the model wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    U8(Vec<u8>),
    I8(Vec<i8>),
    F32(Vec<f32>),
}

impl Tensor {
    /// Puts a picture, which has the size and channels of `spec`, into the form that it asks for.
    pub fn new(picture: &Picture, spec: &Spec) -> Tensor {
        debug_assert_eq!((picture.size, picture.channels), (spec.size, spec.colour.channels()));
        let values = match spec.element {
            Element::U8 => Values::U8(arrange(picture, spec.layout, |_, pixel| pixel)),
            // p - 128 in two's complement is a flip of the top bit.
            Element::I8 => {
                Values::I8(arrange(picture, spec.layout, |_, pixel| (pixel ^ 0x80) as i8))
            }
            Element::F32 => {
                let table = table(spec);
                let convert = |channel: usize, pixel: u8| table[channel][usize::from(pixel)];
                Values::F32(arrange(picture, spec.layout, convert))
            }
        };
        Tensor { shape: spec.shape(), values }
    }
}

/// Returns (scaled − mean) / std of each pixel value in each channel.
fn table(spec: &Spec) -> [[f32; 256]; 3] {
    let scaled = |pixel: f32| match spec.scale {
        Scale::ZeroTo255 => pixel,
        Scale::ZeroTo1 => pixel / 255.0,
        Scale::MinusOneTo1 => pixel / 127.5 - 1.0,
    };
    std::array::from_fn(|channel| {
        let (mean, std) = (spec.mean[channel], spec.std[channel]);
        std::array::from_fn(|pixel| (scaled(pixel as f32) - mean) / std)
    })
}

fn arrange<T>(picture: &Picture, layout: Layout, convert: impl Fn(usize, u8) -> T) -> Vec<T> {
    let (pixels, channels) = (&picture.pixels, picture.channels);
    let mut values = Vec::with_capacity(pixels.len());
    match layout {
        Layout::Nhwc => {
            for pixel in pixels.chunks_exact(channels) {
                values.extend(pixel.iter().enumerate().map(|(at, &value)| convert(at, value)));
            }
        }
        Layout::Nchw => {
            for at in 0..channels {
                let plane = pixels.iter().skip(at).step_by(channels);
                values.extend(plane.map(|&value| convert(at, value)));
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Colour;

    fn spec(element: Element, layout: Layout) -> Spec {
        Spec::raw(element, layout, [20, 30], Colour::Rgb)
    }

    fn ramp() -> Picture {
        let bytes: Vec<u8> = (0..1800).map(|i| (i % 251) as u8).collect();
        Picture::from_raw(&bytes, &spec(Element::U8, Layout::Nchw)).unwrap()
    }

    #[test]
    fn nchw_puts_each_channel_in_a_plane_of_its_own() {
        let picture = ramp();
        let tensor = Tensor::new(&picture, &spec(Element::U8, Layout::Nchw));
        assert_eq!(tensor.shape, [1, 3, 20, 30]);
        let Values::U8(values) = tensor.values else { panic!("not u8") };
        for (channel, row, column) in [(0, 0, 0), (1, 0, 0), (2, 19, 29), (1, 7, 19)] {
            let planar = values[channel * 600 + row * 30 + column];
            assert_eq!(planar, picture.pixels()[(row * 30 + column) * 3 + channel]);
        }
    }

    #[test]
    fn i8_is_the_pixel_minus_128_and_f32_of_raw_pixels_the_pixel() {
        let picture = ramp();
        let i8s = Tensor::new(&picture, &spec(Element::I8, Layout::Nhwc));
        let f32s = Tensor::new(&picture, &spec(Element::F32, Layout::Nhwc));
        let (Values::I8(i8s), Values::F32(f32s)) = (i8s.values, f32s.values) else {
            panic!("wrong element types")
        };
        for (i, &pixel) in picture.pixels().iter().enumerate() {
            assert_eq!(i16::from(i8s[i]), i16::from(pixel) - 128);
            assert_eq!(f32s[i], f32::from(pixel));
        }
    }

    #[test]
    fn f32_is_scaled_then_less_the_mean_then_over_the_deviation() {
        let picture = ramp();
        for (scale, scaled) in [
            (Scale::ZeroTo255, [0.0, 1.0, 2.0]),
            (Scale::ZeroTo1, [0.0, 1.0 / 255.0, 2.0 / 255.0]),
            (Scale::MinusOneTo1, [-1.0, 1.0 / 127.5 - 1.0, 2.0 / 127.5 - 1.0]),
        ] {
            let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
            let spec = Spec { scale, mean, std, ..spec(Element::F32, Layout::Nhwc) };
            let Values::F32(values) = Tensor::new(&picture, &spec).values else {
                panic!("not f32")
            };
            for channel in 0..3 {
                let expected: f32 = (scaled[channel] - mean[channel]) / std[channel];
                assert!((values[channel] - expected).abs() < 1e-6, "{scale:?} {channel}");
            }
        }
    }
}
