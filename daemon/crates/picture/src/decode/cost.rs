//! What decoding a body will take, known from its header alone: a formula for each format. It decodes
//! nothing and allocates next to nothing; tests/cost.rs holds the formulas against an allocator that
//! counts.

use super::body::{check_memory, open_jpeg, settle};
use crate::bmp::Bmp;
use crate::error::DecodeError;
use crate::json;
use crate::media::MediaType;
use crate::png::Png;
use crate::pnm::Pnm;
use crate::raw::Raw;
use crate::resize::Canvas;
use crate::rows::{Header, Rows};
use crate::spec::{Element, Spec};
use crate::tiff::Tiff;

/// What every decoder may hold for one column of pixels, in bytes: four samples of 16 bits, and pixels
/// before and after they are narrowed.
const COLUMN_BYTES: u64 = 16;

/// What every decode may hold beside that, in bytes: the file's outline and an error's text.
const OUTLINE_BYTES: u64 = 16 << 10;

/// What decoding a body and bringing it to the model's size take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The most bytes of heap that are held at once, from the body to the input tensor; the body itself
    /// is not among them. The second, exact decode of a JPEG is included.
    pub bytes: usize,
    /// Pixels to decode, each as often as it is gone over, and bytes to read: pixels × scans + bytes.
    pub work: u64,
}

/// Computes what a body will take. `media` is the type that its sender stated; without it, the body says
/// it. It reads the header, and where a format has no limit on them, the marks between its parts.
///
/// # Errors
/// What is wrong with the header, as decoding would say it.
pub fn cost(body: &[u8], media: Option<MediaType>, spec: &Spec) -> Result<Cost, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::Empty);
    }
    let media = media.map_or_else(|| MediaType::sniff(body, spec), Ok)?;
    let decoding = match settle(body, media)? {
        MediaType::Json => plain(spec, json::held_bytes(body, spec)),
        MediaType::Raw => plain(spec, 0),
        MediaType::Png => {
            let (header, held) = Png::outlined(body)?;
            painted(spec, &header, held, 1)?
        }
        MediaType::Jpeg => {
            let jpeg = open_jpeg(body)?;
            let header = jpeg.header();
            painted(spec, &header, header.working_bytes, jpeg.scans() as u64)?
        }
        MediaType::Bmp => rows(spec, &Bmp::open(body)?)?,
        MediaType::Pnm => rows(spec, &Pnm::open(body)?)?,
        MediaType::RawForm(form) => rows(spec, &Raw::open(body, form)?)?,
        MediaType::Tiff => {
            let tiff = Tiff::open(body)?;
            painted(spec, &tiff.header(), tiff.held_bytes(), 1)?
        }
    };
    // Bytes without a pixel, of which a file may be full, take their time too.
    let work = decoding.work + body.len() as u64;
    Ok(Cost { bytes: decoding.bytes.max(tensor_bytes(spec)), work })
}

fn rows(spec: &Spec, rows: &impl Rows) -> Result<Cost, DecodeError> {
    let header = rows.header();
    painted(spec, &header, header.working_bytes, 1)
}

/// A picture whose rows are painted: what its decoder holds, a row in several forms, and the canvas.
fn painted(spec: &Spec, header: &Header, held: u64, scans: u64) -> Result<Cost, DecodeError> {
    check_memory(spec, header)?;
    let (width, height) = header.size;
    let row = u64::from(width) * COLUMN_BYTES;
    let bytes = held + row + Canvas::memory(spec, header) + earlier(spec) + OUTLINE_BYTES;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    Ok(Cost { bytes, work: u64::from(width) * u64::from(height) * scans })
}

/// Numbers of the model's own size: planes, and the same interleaved.
fn plain(spec: &Spec, held: u64) -> Cost {
    let values = spec.values() as u64;
    let bytes = usize::try_from(2 * values + held + OUTLINE_BYTES).unwrap_or(usize::MAX);
    Cost { bytes, work: values }
}

/// The picture of a first decode, while a second one goes on.
fn earlier(spec: &Spec) -> u64 {
    spec.values() as u64
}

/// The picture and the model's input that is made of it, when decoding is done.
fn tensor_bytes(spec: &Spec) -> usize {
    let value = if spec.element == Element::F32 { size_of::<f32>() } else { 1 };
    2 * spec.values() + spec.values() * value + OUTLINE_BYTES as usize
}
