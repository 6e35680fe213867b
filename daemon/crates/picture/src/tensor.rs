//! Image → InputTensor: the element type and axis order that the loaded model states.
//! Owns the one place where pixels change their form; knows no inference engine.

use crate::{CHANNELS, IMAGE_BYTES, Image, SIDE};

/// Element type of the model's input. Pixels stay raw: normalisation is part of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The pixel itself, 0..=255.
    U8,
    /// The pixel minus 128, -128..=127.
    I8,
    /// The pixel as a float, 0.0..=255.0.
    F32,
}

/// Axis order of the model's input, batch of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [1, 3, 32, 32]
    Nchw,
    /// [1, 32, 32, 3]
    Nhwc,
}

impl Layout {
    pub fn shape(self) -> [usize; 4] {
        match self {
            Layout::Nchw => [1, CHANNELS, SIDE, SIDE],
            Layout::Nhwc => [1, SIDE, SIDE, CHANNELS],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSpec {
    pub element: Element,
    pub layout: Layout,
}

/// 3072 values in the model's own element type and axis order.
#[derive(Clone, Debug, PartialEq)]
pub struct InputTensor {
    pub layout: Layout,
    pub values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    U8(Vec<u8>),
    I8(Vec<i8>),
    F32(Vec<f32>),
}

impl InputTensor {
    pub fn new(image: &Image, spec: InputSpec) -> InputTensor {
        let values = match spec.element {
            Element::U8 => Values::U8(arrange(image, spec.layout, |pixel| pixel)),
            // p - 128 in two's complement is a flip of the top bit.
            Element::I8 => Values::I8(arrange(image, spec.layout, |pixel| (pixel ^ 0x80) as i8)),
            Element::F32 => Values::F32(arrange(image, spec.layout, f32::from)),
        };
        InputTensor { layout: spec.layout, values }
    }
}

fn arrange<T>(image: &Image, layout: Layout, convert: impl Fn(u8) -> T) -> Vec<T> {
    let pixels = image.pixels();
    let mut values = Vec::with_capacity(IMAGE_BYTES);
    match layout {
        Layout::Nhwc => values.extend(pixels.iter().map(|&pixel| convert(pixel))),
        Layout::Nchw => {
            for channel in 0..CHANNELS {
                values.extend(pixels.iter().skip(channel).step_by(CHANNELS).map(|&p| convert(p)));
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Image {
        let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i % 251) as u8).collect();
        Image::from_rgb8(&bytes).unwrap()
    }

    #[test]
    fn nchw_puts_each_channel_in_a_plane_of_its_own() {
        let image = ramp();
        let spec = InputSpec { element: Element::U8, layout: Layout::Nchw };
        let Values::U8(values) = InputTensor::new(&image, spec).values else { panic!("not u8") };
        for (channel, row, column) in [(0, 0, 0), (1, 0, 0), (2, 31, 31), (1, 7, 19)] {
            let planar = values[channel * 1024 + row * 32 + column];
            assert_eq!(planar, image.pixels()[(row * 32 + column) * 3 + channel]);
        }
    }

    #[test]
    fn i8_is_the_pixel_minus_128_and_f32_the_pixel() {
        let image = ramp();
        let layout = Layout::Nhwc;
        let i8s = InputTensor::new(&image, InputSpec { element: Element::I8, layout });
        let f32s = InputTensor::new(&image, InputSpec { element: Element::F32, layout });
        let (Values::I8(i8s), Values::F32(f32s)) = (i8s.values, f32s.values) else {
            panic!("wrong element types")
        };
        for (i, &pixel) in image.pixels().iter().enumerate() {
            assert_eq!(i16::from(i8s[i]), i16::from(pixel) - 128);
            assert_eq!(f32s[i], f32::from(pixel));
        }
    }
}
