//! The chunks of a PNG file, before any of it is decoded: its size, its end, its Exif data, its depth.
//!
//! Owns the walk over the container (PNG specification, third edition). Ancillary chunks never
//! reach the decoder, so that none of them (iCCP, zTXt, iTXt) is ever inflated. It must not
//! inflate or allocate more than the body's own length.

use crate::directory::Directory;
use crate::error::DecodeError;
use crate::media::PNG_SIGNATURE;
use crate::outline::check_size;

/// Length and type before a chunk's data, in bytes; section 5.3.
pub const CHUNK_HEAD_BYTES: usize = 8;
/// The checksum after a chunk's data, in bytes; section 5.3.
pub const CHUNK_CRC_BYTES: usize = 4;
/// Length of an IHDR chunk's data, in bytes; section 11.2.1.
pub const IHDR_BYTES: usize = 13;
/// The bit of a chunk type's first byte that is set when the chunk is ancillary; section 5.4.
const ANCILLARY: u8 = 0x20;

/// One chunk of the file.
pub struct PngChunk<'a> {
    pub kind: [u8; 4],
    pub data: &'a [u8],
    /// The whole chunk with length, type and checksum.
    pub whole: &'a [u8],
}

/// What a PNG file states about itself.
pub struct Outline {
    /// Width and height in pixels, both within the limits.
    pub size: (u32, u32),
    /// Exif's orientation, 1 where there is none.
    pub orientation: u8,
    /// The bits that were significant in the colour channel with most of them, 1 to 16, from sBIT.
    pub significant_bits: Option<u8>,
    /// The file without its ancillary chunks, tRNS excepted; at most as long as the body.
    pub essence: Vec<u8>,
}

/// Walks a body that starts with the PNG signature, up to its IEND. An animation's chunks are
/// ancillary: what is left is the default image. An eXIf or sBIT chunk with a wrong checksum is no
/// chunk.
///
/// # Errors
/// Malformed when a chunk is cut or IEND is missing, too large when IHDR states a size beyond the
/// limits; nothing is allocated before that is known.
pub fn outline(body: &[u8]) -> Result<Outline, DecodeError> {
    let Some(mut rest) = body.strip_prefix(PNG_SIGNATURE) else {
        let reason = "its signature is missing".to_owned();
        return Err(DecodeError::Damaged { format: "png", reason });
    };
    let header = next_chunk(&mut rest)?;
    let size = size(&header)?;
    check_size(size.0, size.1)?;
    let mut essence = Vec::with_capacity(body.len());
    essence.extend_from_slice(PNG_SIGNATURE);
    essence.extend_from_slice(header.whole);
    let (mut exif, mut significant_bits) = (None, None);
    loop {
        let chunk = next_chunk(&mut rest)?;
        if chunk.kind[0] & ANCILLARY == 0 || &chunk.kind == b"tRNS" {
            essence.extend_from_slice(chunk.whole);
        }
        match &chunk.kind {
            b"IEND" => {
                let directory = exif.and_then(Directory::first);
                let orientation = directory.map_or(1, |directory| directory.orientation());
                return Ok(Outline { size, orientation, significant_bits, essence });
            }
            b"eXIf" if exif.is_none() && chunk.is_intact() => exif = Some(tiff(chunk.data)),
            b"sBIT" if chunk.is_intact() => {
                // One or three colours; what follows them is alpha's.
                let colours = if chunk.data.len() < 3 { 1 } else { 3 };
                let most = chunk.data.iter().take(colours).copied().max();
                significant_bits = most.filter(|bits| (1..=16).contains(bits));
            }
            _ => {}
        }
    }
}

/// Takes the next chunk off `rest`.
pub fn next_chunk<'a>(rest: &mut &'a [u8]) -> Result<PngChunk<'a>, DecodeError> {
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
    Ok(PngChunk { kind: [k0, k1, k2, k3], data, whole })
}

fn size(header: &PngChunk) -> Result<(u32, u32), DecodeError> {
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

/// Removes JPEG's marker, which some writers put before the TIFF header.
fn tiff(data: &[u8]) -> &[u8] {
    data.strip_prefix(b"Exif\0\0").unwrap_or(data)
}

impl PngChunk<'_> {
    fn is_intact(&self) -> bool {
        let (covered, stated) = self.whole.split_at(self.whole.len() - CHUNK_CRC_BYTES);
        crc32fast::hash(&covered[4..]).to_be_bytes() == stated
    }
}
