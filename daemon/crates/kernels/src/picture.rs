//! Ways into and out of the kernels' own order: planes of bytes or floats to pixels and back.

use super::elementwise::Scaled;
use super::kernel::Kernel;
use super::quantised::{Range, number};
use super::refusal::Refusal;
use super::table::Table;
use super::view::View;
use super::widest::widest;

/// How the elements of a tensor outside are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// `[channels][height][width]`
    Planar,
    /// `[height][width][channels]`
    ChannelLast,
}

impl Outside {
    /// Returns the steps from channel to channel, row to row and pixel to pixel.
    fn steps(self, view: View) -> [usize; 3] {
        match self {
            Outside::Planar => [view.rows * view.columns, view.columns, 1],
            Outside::ChannelLast => [1, view.columns * view.channels, view.channels],
        }
    }
}

/// Brings bytes of a tensor outside into a view, each looked up in a table.
///
/// # Panics
/// When `input` is not as long as the view says, or the view does not lie in `output`.
pub fn enter(input: &[u8], order: Outside, table: &Table, output: &mut [u8], to: View) {
    each(
        input,
        order,
        output,
        to,
        #[inline(always)]
        |byte| table.at(*byte),
    );
}

/// Brings bytes of a tensor outside into a view, each changed by `flip` (`Quantised::flip`).
///
/// # Panics
/// When `input` is not as long as the view says, or the view does not lie in the buffer.
pub fn enter_flipped(input: &[u8], order: Outside, flip: u8, (output, to): (&mut [u8], View)) {
    each(
        input,
        order,
        output,
        to,
        #[inline(always)]
        |byte| byte ^ flip,
    );
}

/// Quantises floats of a tensor outside into a view: `saturate(round(x / scale) + zero)`.
#[derive(Clone, Debug)]
pub struct Quantise {
    scale: f32,
    range: Range,
    kernel: Kernel,
}

impl Quantise {
    /// # Errors
    /// A scale that is no positive number, a zero point that is no value of its type.
    pub fn pack(tensor: Scaled, kernel: Kernel) -> Result<Quantise, Refusal> {
        tensor.check()?;
        let range = Range::of(tensor.quantised.kept_by(kernel));
        Ok(Quantise { scale: tensor.scale, range, kernel })
    }

    /// # Panics
    /// When `input` is not as long as the view says, or the view does not lie in `output`.
    pub fn run(&self, input: &[f32], order: Outside, output: &mut [u8], to: View) {
        widest(
            self.kernel,
            #[inline(always)]
            || {
                each(
                    input,
                    order,
                    output,
                    to,
                    #[inline(always)]
                    |real| self.range.byte(*real / self.scale),
                );
            },
        );
    }
}

/// Makes floats of a view's bytes, in the order of a tensor outside: `(x − zero) · scale`.
#[derive(Clone, Debug)]
pub struct Dequantise {
    scale: f32,
    zero: i32,
    kernel: Kernel,
}

impl Dequantise {
    /// # Errors
    /// A scale that is no positive number, a zero point that is no value of its type.
    pub fn pack(tensor: Scaled, kernel: Kernel) -> Result<Dequantise, Refusal> {
        tensor.check()?;
        let zero = tensor.quantised.kept_by(kernel).zero;
        Ok(Dequantise { scale: tensor.scale, zero, kernel })
    }

    /// # Panics
    /// When `output` is not as long as the view says, or the view does not lie in `input`.
    pub fn run(&self, input: &[u8], from: View, output: &mut [f32], order: Outside) {
        let signed = self.kernel.keeps_signed();
        widest(
            self.kernel,
            #[inline(always)]
            || {
                leave(
                    input,
                    from,
                    output,
                    order,
                    #[inline(always)]
                    |byte| {
                        let number =
                            if signed { number::<true>(byte) } else { number::<false>(byte) };
                        (number - self.zero) as f32 * self.scale
                    },
                );
            },
        );
    }
}

/// Brings a view's bytes into the order of a tensor outside, each changed by `flip`
/// (`Quantised::flip`).
///
/// # Panics
/// When `output` is not as long as the view says, or the view does not lie in `input`.
pub fn leave_bytes(input: &[u8], from: View, output: &mut [u8], (order, flip): (Outside, u8)) {
    leave(
        input,
        from,
        output,
        order,
        #[inline(always)]
        |byte| byte ^ flip,
    );
}

#[inline(always)]
fn each<T>(input: &[T], order: Outside, output: &mut [u8], to: View, byte: impl Fn(&T) -> u8) {
    assert_eq!(input.len(), to.rows * to.columns * to.channels, "as many elements as {to:?} has");
    if to.channels == 3 {
        return colours(input, order, output, to, byte);
    }
    let [channel_step, row_step, pixel_step] = order.steps(to);
    for row in 0..to.rows {
        if order == Outside::ChannelLast && to.pixel == to.channels {
            let len = to.columns * to.channels;
            let output = &mut output[to.at(row, 0)..][..len];
            for (output, input) in output.iter_mut().zip(&input[row * row_step..]) {
                *output = byte(input);
            }
            continue;
        }
        for column in 0..to.columns {
            let output = &mut output[to.at(row, column)..][..to.channels];
            let input = &input[row * row_step + column * pixel_step..];
            for (channel, output) in output.iter_mut().enumerate() {
                *output = byte(&input[channel * channel_step]);
            }
        }
    }
}

/// Pixels of three channels that are brought in at once.
const PIXELS: usize = 64;

/// Brings in a picture of three channels: bytes are made in loops without gaps, then put in place.
#[inline(always)]
fn colours<T>(input: &[T], order: Outside, output: &mut [u8], to: View, byte: impl Fn(&T) -> u8) {
    let plane = to.rows * to.columns;
    for row in 0..to.rows {
        for first in (0..to.columns).step_by(PIXELS) {
            let (at, count) = (row * to.columns + first, PIXELS.min(to.columns - first));
            let output = &mut output[to.at(row, first)..];
            match order {
                Outside::ChannelLast => {
                    let mut pixels = [[0; 3]; PIXELS];
                    let bytes = pixels.as_flattened_mut().iter_mut();
                    let from = &input[at * 3..][..count * 3];
                    bytes.zip(from).for_each(|(to, from)| *to = byte(from));
                    put_pixels(output, (to.pixel, count), &pixels);
                }
                Outside::Planar => {
                    let mut planes = [[0; PIXELS]; 3];
                    for (channel, bytes) in planes.iter_mut().enumerate() {
                        let from = &input[channel * plane + at..][..count];
                        bytes.iter_mut().zip(from).for_each(|(to, from)| *to = byte(from));
                    }
                    put_planes(output, (to.pixel, count), &planes);
                }
            }
        }
    }
}

/// Writes pixels of three channels that came as planes: as whole numbers, where a pixel has four bytes, which
/// every compiler turns into vectors.
#[inline(always)]
fn put_planes(output: &mut [u8], (pixel, count): (usize, usize), planes: &[[u8; PIXELS]; 3]) {
    let [red, green, blue] = planes;
    let mut written = 0;
    if pixel == 4 {
        let (pixels, _) = output.as_chunks_mut();
        for (at, pixel) in pixels.iter_mut().take(count).enumerate() {
            let [red, green, blue] = [red[at], green[at], blue[at]].map(u32::from);
            // The fourth byte is not of this view: it stays what it is.
            let kept = u32::from_le_bytes(*pixel) & 0xFF00_0000;
            *pixel = (kept | red | green << 8 | blue << 16).to_le_bytes();
        }
        written = count.min(pixels.len());
    }
    // Behind the last pixel of a buffer there may be no fourth byte.
    for (at, output) in output.chunks_mut(pixel).enumerate().take(count).skip(written) {
        if let Some(output) = output.first_chunk_mut() {
            *output = [red[at], green[at], blue[at]];
        }
    }
}

/// Writes pixels of three channels.
#[inline(always)]
fn put_pixels(output: &mut [u8], (pixel, count): (usize, usize), pixels: &[[u8; 3]; PIXELS]) {
    if pixel == 4
        && count == PIXELS
        && let Some(output) = output.as_chunks_mut().0.first_chunk_mut::<PIXELS>()
    {
        for (output, [red, green, blue]) in output.iter_mut().zip(pixels) {
            // The fourth byte is not of this view: it stays what it is.
            *output = [*red, *green, *blue, output[3]];
        }
        return;
    }
    for (output, pixel) in output.chunks_mut(pixel).zip(&pixels[..count]) {
        if let Some(output) = output.first_chunk_mut() {
            *output = *pixel;
        }
    }
}

#[inline(always)]
fn leave<T>(input: &[u8], from: View, output: &mut [T], order: Outside, element: impl Fn(u8) -> T) {
    assert_eq!(output.len(), from.rows * from.columns * from.channels, "as many as {from:?} has");
    let [channel_step, row_step, pixel_step] = order.steps(from);
    for row in 0..from.rows {
        for column in 0..from.columns {
            let input = &input[from.at(row, column)..][..from.channels];
            let output = &mut output[row * row_step + column * pixel_step..];
            for (channel, byte) in input.iter().enumerate() {
                output[channel * channel_step] = element(*byte);
            }
        }
    }
}
