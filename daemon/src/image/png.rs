//! The chunks of a PNG file, before any of it is decoded: its size, its end, its Exif data.
//!
//! Owns the walk over the container (PNG specification, third edition). Ancillary chunks never
//! reach the decoder, so that none of them (iCCP, zTXt, iTXt) is ever inflated. It must not
//! inflate or allocate more than the body's own length.

use super::DecodeError;
use super::compressed::check_size;
use super::media::PNG_SIGNATURE;

/// Length and type before a chunk's data, in bytes; section 5.3.
const CHUNK_HEAD_BYTES: usize = 8;
/// The checksum after a chunk's data, in bytes; section 5.3.
const CHUNK_CRC_BYTES: usize = 4;
/// Length of an IHDR chunk's data, in bytes; section 11.2.1.
const IHDR_BYTES: usize = 13;
/// The bit of a chunk type's first byte that is set when the chunk is ancillary; section 5.4.
const ANCILLARY: u8 = 0x20;

/// What a PNG file states about itself.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    /// Pixels, within the limits.
    pub(super) width: u32,
    /// Pixels, within the limits.
    pub(super) height: u32,
    /// The file without its ancillary chunks, tRNS excepted; at most as long as the body. An
    /// animation's chunks are ancillary: what is left is the default image.
    pub(super) essence: Vec<u8>,
    /// The eXIf chunk's data, from the TIFF header on; a chunk with a wrong checksum is no chunk.
    pub(super) exif: Option<&'a [u8]>,
}

/// One chunk of the file.
struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    /// The whole chunk with length, type and checksum.
    whole: &'a [u8],
}

/// Walks a body that starts with the PNG signature, up to its IEND.
///
/// # Errors
/// Malformed when a chunk is cut or IEND is missing, too large when IHDR states a size beyond the
/// limits; nothing is allocated before that is known.
pub(super) fn outline(body: &[u8]) -> Result<Outline<'_>, DecodeError> {
    let mut rest = body.get(PNG_SIGNATURE.len()..).unwrap_or_default();
    let header = next_chunk(&mut rest)?;
    let (width, height) = size(&header)?;
    check_size(width, height)?;
    let mut essence = Vec::with_capacity(body.len());
    essence.extend_from_slice(PNG_SIGNATURE);
    essence.extend_from_slice(header.whole);
    let mut exif = None;
    loop {
        let chunk = next_chunk(&mut rest)?;
        if chunk.kind[0] & ANCILLARY == 0 || &chunk.kind == b"tRNS" {
            essence.extend_from_slice(chunk.whole);
        }
        match &chunk.kind {
            b"IEND" => return Ok(Outline { width, height, essence, exif }),
            b"eXIf" if exif.is_none() && chunk.is_intact() => exif = Some(tiff(chunk.data)),
            _ => {}
        }
    }
}

fn next_chunk<'a>(rest: &mut &'a [u8]) -> Result<Chunk<'a>, DecodeError> {
    let cut = DecodeError::Truncated { format: "png", missing: "its IEND chunk is missing" };
    let Some((&[a, b, c, d, k0, k1, k2, k3], _)) = rest.split_first_chunk::<CHUNK_HEAD_BYTES>()
    else {
        return Err(cut);
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let Some((whole, after)) = length
        .checked_add(CHUNK_HEAD_BYTES + CHUNK_CRC_BYTES)
        .and_then(|bytes| rest.split_at_checked(bytes))
    else {
        return Err(cut);
    };
    *rest = after;
    let data = &whole[CHUNK_HEAD_BYTES..CHUNK_HEAD_BYTES + length];
    Ok(Chunk { kind: [k0, k1, k2, k3], data, whole })
}

fn size(header: &Chunk) -> Result<(u32, u32), DecodeError> {
    match header.data {
        &[w0, w1, w2, w3, h0, h1, h2, h3, ..]
            if &header.kind == b"IHDR" && header.data.len() == IHDR_BYTES =>
        {
            let width = u32::from_be_bytes([w0, w1, w2, w3]);
            Ok((width, u32::from_be_bytes([h0, h1, h2, h3])))
        }
        _ => {
            let reason = "it does not start with an IHDR chunk".to_owned();
            Err(DecodeError::Damaged { format: "png", reason })
        }
    }
}

/// Some writers put JPEG's marker before the TIFF header.
fn tiff(data: &[u8]) -> &[u8] {
    data.strip_prefix(b"Exif\0\0").unwrap_or(data)
}

impl Chunk<'_> {
    fn is_intact(&self) -> bool {
        let (covered, stated) = self.whole.split_at(self.whole.len() - CHUNK_CRC_BYTES);
        crc32fast::hash(&covered[4..]).to_be_bytes() == stated
    }
}
