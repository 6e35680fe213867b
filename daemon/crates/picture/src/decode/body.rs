//! A body of a stated type to a picture: each type to its decoder, whose rows are painted.

use crate::bmp::Bmp;
use crate::error::DecodeError;
use crate::jpeg::Jpeg;
use crate::json;
use crate::limits::DECODED_BYTES_MAX;
use crate::media::{JPEG_START, MediaType};
use crate::picture::Picture;
use crate::png::Png;
use crate::pnm::Pnm;
use crate::range::JsonRange;
use crate::raw::Raw;
use crate::resize::{Canvas, reduction};
use crate::rows::{Header, Rows};
use crate::spec::Spec;
use crate::tiff::Tiff;

impl Picture {
    /// Decodes a request body or a file of the stated type.
    ///
    /// The picture comes out in the size and the colours that `spec` asks for: JSON numbers and raw bytes
    /// of no stated form must have them already, all others are resized. A body declared as raw bytes
    /// that begins like a known picture is decoded as that. `json_range` is the range of the numbers in a
    /// JSON body that does not state its own; the other types ignore it.
    ///
    /// # Errors
    /// Every [`DecodeError`]; its [`DecodeError::fault`] says whose it is.
    pub fn decode(
        body: &[u8],
        media: MediaType,
        spec: &Spec,
        json_range: JsonRange,
    ) -> Result<Picture, DecodeError> {
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        match settle(body, media)? {
            MediaType::Json => json::decode(body, spec, json_range),
            MediaType::Png => paint(Png::open(body)?, spec),
            MediaType::Jpeg => jpeg(body, spec),
            MediaType::Bmp => paint(Bmp::open(body)?, spec),
            MediaType::Tiff => paint(Tiff::open(body)?, spec),
            MediaType::Pnm => paint(Pnm::open(body)?, spec),
            MediaType::Raw => Picture::from_raw(body, spec),
            MediaType::RawForm(form) => paint(Raw::open(body, form)?, spec),
        }
    }
}

/// Refuses a picture that is declared as another type; raw bytes of no stated form may be any picture.
pub fn settle(body: &[u8], declared: MediaType) -> Result<MediaType, DecodeError> {
    if declared == MediaType::Json {
        return Ok(declared);
    }
    match MediaType::recognise(body)? {
        Some(found) if declared == MediaType::Raw => Ok(found),
        Some(found) if found != declared => {
            let (declared, found) = (declared.name(), found.name());
            Err(DecodeError::WrongFormat { declared, found })
        }
        _ => Ok(declared),
    }
}

/// Reads the headers of what is declared as a JPEG.
pub fn open_jpeg(body: &[u8]) -> Result<Jpeg<'_>, DecodeError> {
    if !body.starts_with(JPEG_START) {
        let reason = "its signature is missing".to_owned();
        return Err(DecodeError::Damaged { format: "jpeg", reason });
    }
    Jpeg::open(body)
}

/// A JPEG is decoded at a part of its size where the resize would average the rest away.
fn jpeg(body: &[u8], spec: &Spec) -> Result<Picture, DecodeError> {
    let jpeg = open_jpeg(body)?;
    let header = jpeg.header();
    let reduction = reduction(spec, &header);
    let picture = draw(spec, header, reduction, |row| jpeg.read(reduction, row))?;
    Ok(Picture { reduced: reduction > 1, ..picture })
}

fn paint(rows: impl Rows, spec: &Spec) -> Result<Picture, DecodeError> {
    draw(spec, rows.header(), 1, |row| rows.read(row))
}

/// Gives the rows that `read` reads to the resize.
fn draw(
    spec: &Spec,
    header: Header,
    reduction: u32,
    read: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), DecodeError>,
) -> Result<Picture, DecodeError> {
    check_memory(spec, &header)?;
    let mut canvas = Canvas::new(spec, &header, reduction);
    let mut count = 0;
    read(&mut |row| {
        canvas.push(row);
        count += 1;
    })?;
    // Whatever a decoder overlooks: part of a picture is no picture.
    let rows = header.size.1.div_ceil(reduction);
    if count != rows {
        let reason = format!("it has {count} of {rows} rows");
        return Err(DecodeError::Damaged { format: header.format, reason });
    }
    Ok(canvas.finish())
}

/// Refuses a picture whose decoder holds too much, or the resize, which is much less but for extreme
/// shapes.
pub fn check_memory(spec: &Spec, header: &Header) -> Result<(), DecodeError> {
    let needed = header.working_bytes.max(Canvas::memory(spec, header));
    if needed > DECODED_BYTES_MAX {
        return Err(DecodeError::Memory { needed, most: DECODED_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::SMALL;
    use crate::rows::Pixel;

    /// A decoder that gives so many rows of the four that it announces.
    struct Careless(usize);

    impl Rows for Careless {
        fn header(&self) -> Header {
            let (format, size) = ("png", (2, 4));
            Header { format, size, pixel: Pixel::Grey, orientation: 1, working_bytes: 2 }
        }

        fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
            (0..self.0).for_each(|_| row(&[7, 7]));
            Ok(())
        }
    }

    #[test]
    fn part_of_a_picture_is_no_picture() {
        assert!(paint(Careless(4), &SMALL).is_ok());
        let error = paint(Careless(3), &SMALL).unwrap_err();
        assert_eq!(error.to_string(), "png is damaged, it has 3 of 4 rows");
    }
}
