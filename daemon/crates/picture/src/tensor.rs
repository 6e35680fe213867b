//! Picture → Tensor: the element type and axis order that the loaded model states.
//! Owns the one place where pixels change their form; knows no inference engine.

use crate::limits::{CHANNELS, IMAGE_BYTES};
use crate::picture::Picture;
use crate::spec::{Element, Layout, Spec};

/// 3072 values in the model's own element type and axis order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub layout: Layout,
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
    /// Puts a picture into the form that `spec` asks for.
    pub fn new(picture: &Picture, spec: Spec) -> Tensor {
        let values = match spec.element {
            Element::U8 => Values::U8(arrange(picture, spec.layout, |pixel| pixel)),
            // p - 128 in two's complement is a flip of the top bit.
            Element::I8 => Values::I8(arrange(picture, spec.layout, |pixel| (pixel ^ 0x80) as i8)),
            Element::F32 => Values::F32(arrange(picture, spec.layout, f32::from)),
        };
        Tensor { layout: spec.layout, values }
    }
}

fn arrange<T>(picture: &Picture, layout: Layout, convert: impl Fn(u8) -> T) -> Vec<T> {
    let pixels = picture.pixels();
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

    fn ramp() -> Picture {
        let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i % 251) as u8).collect();
        Picture::from_rgb8(&bytes).unwrap()
    }

    #[test]
    fn nchw_puts_each_channel_in_a_plane_of_its_own() {
        let picture = ramp();
        let spec = Spec { element: Element::U8, layout: Layout::Nchw };
        let Values::U8(values) = Tensor::new(&picture, spec).values else { panic!("not u8") };
        for (channel, row, column) in [(0, 0, 0), (1, 0, 0), (2, 31, 31), (1, 7, 19)] {
            let planar = values[channel * 1024 + row * 32 + column];
            assert_eq!(planar, picture.pixels()[(row * 32 + column) * 3 + channel]);
        }
    }

    #[test]
    fn i8_is_the_pixel_minus_128_and_f32_the_pixel() {
        let picture = ramp();
        let layout = Layout::Nhwc;
        let i8s = Tensor::new(&picture, Spec { element: Element::I8, layout });
        let f32s = Tensor::new(&picture, Spec { element: Element::F32, layout });
        let (Values::I8(i8s), Values::F32(f32s)) = (i8s.values, f32s.values) else {
            panic!("wrong element types")
        };
        for (i, &pixel) in picture.pixels().iter().enumerate() {
            assert_eq!(i16::from(i8s[i]), i16::from(pixel) - 128);
            assert_eq!(f32s[i], f32::from(pixel));
        }
    }
}
