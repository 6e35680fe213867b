//! What the components of a JPEG mean: the rules of libjpeg, which its users' files were made for.

use super::frame::{COMPONENTS_MAX, Frame};
use super::refusal::unsupported;
use crate::error::DecodeError;
use crate::rows::Pixel;

/// The meaning of a picture's components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Grey,
    /// Brightness and two differences of colour.
    Ycc,
    Rgb,
    /// Four inks, each inverted: 255 is none of it.
    Cmyk,
    /// The same inks, the first three as brightness and two differences of colour.
    Ycck,
}

impl Space {
    /// Tells what a frame's components mean, by the segments before its first scan: whether there was one
    /// of JFIF, and the colour transform of one of Adobe.
    pub fn of(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Result<Space, DecodeError> {
        let ids = frame.components.iter().map(|component| component.id);
        match (frame.components.len(), adobe) {
            (1, _) => Ok(Space::Grey),
            (COMPONENTS_MAX, Some(0)) => Ok(Space::Cmyk),
            (COMPONENTS_MAX, Some(2)) => Ok(Space::Ycck),
            (COMPONENTS_MAX, _) => {
                let feature = "CMYK without an Adobe segment, whose inks may be inverted or not";
                Err(unsupported(feature))
            }
            _ if jfif => Ok(Space::Ycc),
            (_, Some(0)) => Ok(Space::Rgb),
            (_, Some(_)) => Ok(Space::Ycc),
            (_, None) if ids.eq(*b"RGB") => Ok(Space::Rgb),
            (_, None) => Ok(Space::Ycc),
        }
    }

    /// Returns what the picture's rows will hold.
    pub fn pixel(self) -> Pixel {
        if self == Space::Grey { Pixel::Grey } else { Pixel::Rgb }
    }
}
