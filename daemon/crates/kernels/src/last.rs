//! What is done with the bytes of a tile before they are written, while they are in the first cache.

use super::elementwise::Addition;
use super::kernel::Kernel;
use super::table::Table;
use super::view::Source;
use super::widest::widest;

/// What is done with an operator's bytes before they are written.
#[derive(Clone, Debug, Default)]
pub enum Last {
    #[default]
    Nothing,
    /// An activation.
    Table(Table),
    /// The sum with another tensor, which is the addition's second input.
    Addition(Addition),
}

/// The same for one run, with the other tensor.
#[derive(Clone, Copy)]
pub enum Finish<'a> {
    Nothing,
    Table(&'a Table),
    Addition(&'a Addition, Source<'a>, Kernel),
}

impl<'a> Finish<'a> {
    /// Changes the first `lanes` bytes of each of some pixels in a row, which start at a channel of
    /// pixel `[y, x]`.
    #[inline(always)]
    pub fn change<const LANES: usize>(
        &self,
        pixels: &mut [[u8; LANES]],
        lanes: usize,
        [channel, y, x]: [usize; 3],
    ) {
        match self {
            Finish::Nothing => {}
            Finish::Table(table) => table.change(pixels.as_flattened_mut()),
            Finish::Addition(addition, other, kernel) => {
                let at = other.view.at(y, x) + channel;
                let pixels = pixels.iter_mut().enumerate();
                widest(
                    *kernel,
                    #[inline(always)]
                    || {
                        for (pixel, bytes) in pixels {
                            let other = &other.bytes[at + pixel * other.view.pixel..];
                            addition.change(bytes, lanes, other);
                        }
                    },
                );
            }
        }
    }

    /// Returns the same for some of the channels.
    pub fn part(self, first: usize, count: usize) -> Finish<'a> {
        match self {
            Finish::Addition(addition, other, kernel) => {
                let view = other.view.part(first, count);
                Finish::Addition(addition, Source { view, ..other }, kernel)
            }
            other => other,
        }
    }

    /// Returns the same for a picture of one row.
    pub fn flat(self) -> Option<Finish<'a>> {
        Some(match self {
            Finish::Addition(addition, other, kernel) => {
                let view = other.view.flat()?;
                Finish::Addition(addition, Source { view, ..other }, kernel)
            }
            other => other,
        })
    }
}
