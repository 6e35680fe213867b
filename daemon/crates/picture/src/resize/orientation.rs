//! The turns and flips that Exif asks for. It knows nothing of Exif itself.

use crate::picture::Picture;

/// What to do with a stored picture to see it upright: TIFF 6.0 tag 274, values 1 to 8.
///
/// The resize commutes with turns and flips, so they are applied to its result, which is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Swap rows and columns first.
    pub transpose: bool,
    /// Then mirror left and right.
    pub mirror: bool,
    /// Then turn upside down.
    pub flip: bool,
}

impl Orientation {
    /// Reads the tag's value; one outside 1 to 8 means upright, as viewers do.
    pub fn from_exif(value: u8) -> Orientation {
        let (transpose, mirror, flip) = match value {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Orientation { transpose, mirror, flip }
    }

    /// Returns height and width before turning, of a picture that has `size` when upright; and back.
    pub fn stored(self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.transpose { [width, height] } else { [height, width] }
    }

    /// Turns and flips a picture.
    pub fn apply(self, picture: Picture) -> Picture {
        if self == Orientation::default() {
            return picture;
        }
        let channels = picture.channels;
        let size @ [height, width] = self.stored(picture.size);
        let mut pixels = vec![0; picture.pixels.len()];
        for (index, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
            let (mut y, mut x) = (index / width, index % width);
            if self.flip {
                y = height - 1 - y;
            }
            if self.mirror {
                x = width - 1 - x;
            }
            if self.transpose {
                (x, y) = (y, x);
            }
            let from = (y * picture.size[1] + x) * channels;
            pixel.copy_from_slice(&picture.pixels[from..from + channels]);
        }
        Picture { size, channels, pixels, reduced: picture.reduced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_puts_the_top_left_corner_where_tiff_says() {
        // TIFF 6.0 tag 274: where the stored row 0 and column 0 are on the upright picture. The
        // stored corners are 1 2 over 3 4; the upright ones are listed in the same order.
        for (value, upright) in [
            (0, [1, 2, 3, 4]),
            (1, [1, 2, 3, 4]),
            (2, [2, 1, 4, 3]),
            (3, [4, 3, 2, 1]),
            (4, [3, 4, 1, 2]),
            (5, [1, 3, 2, 4]),
            (6, [3, 1, 4, 2]),
            (7, [4, 2, 3, 1]),
            (8, [2, 4, 1, 3]),
            (9, [1, 2, 3, 4]),
        ] {
            // Two rows of three pixels, the middle ones 0.
            let pixels = vec![1, 0, 2, 3, 0, 4];
            let stored = Picture { size: [2, 3], channels: 1, pixels, reduced: false };
            let Picture { size: [height, width], pixels, .. } =
                Orientation::from_exif(value).apply(stored);
            assert_eq!([height, width], if (5..=8).contains(&value) { [3, 2] } else { [2, 3] });
            let corners = [0, width - 1, (height - 1) * width, height * width - 1];
            assert_eq!(corners.map(|at| pixels[at]), upright, "orientation {value}");
        }
    }
}
