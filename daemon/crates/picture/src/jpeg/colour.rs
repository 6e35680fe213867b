//! Rows of components to rows of pixels: libjpeg's conversions, bit for bit, and inks as light.

use super::space::Space;

/// Pixels that are converted at a time: what the intermediate values need stays in registers.
const CHUNK: usize = 16;

/// Converts one row. Each component has at least as many samples as the row has pixels.
pub fn convert(space: Space, samples: &[&[u8]], row: &mut [u8]) {
    match (space, samples) {
        (Space::Rgb, &[red, green, blue]) => {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&[red[x], green[x], blue[x]]);
            }
        }
        (Space::Ycc, &[y, cb, cr]) => ycc(y, cb, cr, row),
        (Space::Cmyk, &[cyan, magenta, yellow, black]) => {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&[cyan[x], magenta[x], yellow[x]]);
            }
            darken(row, black);
        }
        (Space::Ycck, &[y, cb, cr, black]) => {
            ycc(y, cb, cr, row);
            for value in row.iter_mut() {
                *value = 255 - *value;
            }
            darken(row, black);
        }
        _ => row.copy_from_slice(&samples[0][..row.len()]),
    }
}

/// Takes off what black ink swallows; 255 is none of it.
fn darken(row: &mut [u8], black: &[u8]) {
    for (pixel, &black) in row.chunks_exact_mut(3).zip(black) {
        for value in pixel {
            *value = ((u32::from(*value) * u32::from(black) + 127) / 255) as u8;
        }
    }
}

/// Converts brightness and two differences of colour to red, green and blue; JFIF 1.02.
fn ycc(y: &[u8], cb: &[u8], cr: &[u8], row: &mut [u8]) {
    let pixels = row.len() / 3;
    let (y, cb, cr) = (&y[..pixels], &cb[..pixels], &cr[..pixels]);
    let (whole, rest) = row.as_chunks_mut::<{ 3 * CHUNK }>();
    let (ys, y) = y.as_chunks::<CHUNK>();
    let (cbs, cb) = cb.as_chunks::<CHUNK>();
    let (crs, cr) = cr.as_chunks::<CHUNK>();
    for (((to, y), cb), cr) in whole.iter_mut().zip(ys).zip(cbs).zip(crs) {
        chunk(y, cb, cr, to);
    }
    let padded = |values: &[u8]| {
        let mut chunk = [0; CHUNK];
        chunk[..values.len()].copy_from_slice(values);
        chunk
    };
    let mut last = [0; 3 * CHUNK];
    chunk(&padded(y), &padded(cb), &padded(cr), &mut last);
    rest.copy_from_slice(&last[..rest.len()]);
}

#[inline(always)]
fn chunk(y: &[u8; CHUNK], cb: &[u8; CHUNK], cr: &[u8; CHUNK], to: &mut [u8; 3 * CHUNK]) {
    let mut colours = [[0_u8; CHUNK]; 3];
    for x in 0..CHUNK {
        let (y, cb, cr) = (i16::from(y[x]), i16::from(cb[x]) - 128, i16::from(cr[x]) - 128);
        let times = |value: i16, factor: i32| i32::from(value) * factor;
        let shifted = |value: i32| ((value + (1 << 15)) >> 16) as i16;
        // 1.402, 1.772, 0.34414 and 0.71414 times 2^16, less whole numbers so that they fit 16 bits.
        let red = y + cr + shifted(times(cr, 91_881 - 65_536));
        let green = y - cr + shifted(times(cb, -22_554) + times(cr, 65_536 - 46_802));
        let blue = y + 2 * cb + shifted(times(cb, 116_130 - 2 * 65_536));
        for (colour, value) in colours.iter_mut().zip([red, green, blue]) {
            colour[x] = value.clamp(0, 255) as u8;
        }
    }
    for (x, pixel) in to.chunks_exact_mut(3).enumerate() {
        pixel.copy_from_slice(&[colours[0][x], colours[1][x], colours[2][x]]);
    }
}
