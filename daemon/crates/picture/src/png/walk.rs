//! The chunks of a PNG file, before any of it is decoded: its size, its end, its Exif data, its depth.
//!
//! Owns the walk over the container (PNG specification, third edition). Ancillary chunks never
//! reach the decoder, so that none of them (iCCP, zTXt, iTXt) is ever inflated. It must not
//! inflate anything; only `essence` allocates, a length that is known before.

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
/// The longest data of a chunk that reaches the decoder whole, in bytes: a palette of 256 colours. The
/// decoder keeps such a chunk in memory; those of pixels pass through it.
const CHUNK_BYTES_MAX: usize = 768;

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
    /// The length of the file without its ancillary chunks, tRNS excepted.
    pub essence_bytes: usize,
    /// Depth, colour type, and the methods of compression, filter and interlacing, as IHDR states them.
    form: [u8; 5],
    /// Whether a colour key or a palette's alpha is stated.
    keyed: bool,
}

impl Outline {
    /// Returns the bytes of a decoded row at most: 8 or 16 bits a sample, palettes as colours, colour keys
    /// as alpha.
    pub fn row_bytes(&self) -> usize {
        let [depth, colour_type, ..] = self.form;
        // Bits of the colour type: 1 a palette, 2 colours, 4 alpha; section 6.1.
        let colours = if colour_type & 2 == 0 { 1 } else { 3 };
        let samples = colours + usize::from(self.keyed || colour_type & 4 != 0);
        (self.size.0 as usize * samples) << usize::from(depth == 16)
    }

    /// Returns whether the rows come in passes, so that all are there only at the end.
    pub fn is_interlaced(&self) -> bool {
        self.form[4] != 0
    }

    /// Returns whether a row holds colours; grey otherwise.
    pub fn is_coloured(&self) -> bool {
        self.form[1] & 2 != 0
    }
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
    let (size, form) = size(&header)?;
    check_size(size.0, size.1)?;
    let mut essence_bytes = PNG_SIGNATURE.len() + header.whole.len();
    let (mut exif, mut significant_bits, mut keyed) = (None, None, false);
    loop {
        let chunk = next_chunk(&mut rest)?;
        if chunk.is_essential() {
            essence_bytes += chunk.whole.len();
            chunk.check_length()?;
        }
        keyed |= &chunk.kind == b"tRNS";
        match &chunk.kind {
            b"IEND" => {
                let directory = exif.and_then(Directory::first);
                let orientation = directory.map_or(1, |directory| directory.orientation());
                return Ok(Outline {
                    size,
                    orientation,
                    significant_bits,
                    essence_bytes,
                    form,
                    keyed,
                });
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

/// Returns the file without its ancillary chunks, tRNS excepted: `bytes` bytes, as its outline says.
///
/// # Errors
/// Those of [`outline`], which found none.
pub fn essence(body: &[u8], bytes: usize) -> Result<Vec<u8>, DecodeError> {
    let mut essence = Vec::with_capacity(bytes);
    essence.extend_from_slice(PNG_SIGNATURE);
    let mut rest = body.get(PNG_SIGNATURE.len()..).unwrap_or_default();
    while essence.len() < bytes {
        let chunk = next_chunk(&mut rest)?;
        if chunk.is_essential() {
            essence.extend_from_slice(chunk.whole);
        }
    }
    Ok(essence)
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

/// Returns what IHDR states: width and height, and the five bytes behind them.
fn size(header: &PngChunk) -> Result<((u32, u32), [u8; 5]), DecodeError> {
    match header.data {
        &[w0, w1, w2, w3, h0, h1, h2, h3, ref form @ ..]
            if &header.kind == b"IHDR" && header.data.len() == IHDR_BYTES =>
        {
            let width = u32::from_be_bytes([w0, w1, w2, w3]);
            let height = u32::from_be_bytes([h0, h1, h2, h3]);
            let form = form.first_chunk().copied().unwrap_or_default();
            Ok(((width, height), form))
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
    /// Returns whether the decoder gets it.
    fn is_essential(&self) -> bool {
        self.kind[0] & ANCILLARY == 0 || &self.kind == b"tRNS"
    }

    fn check_length(&self) -> Result<(), DecodeError> {
        let bytes = self.data.len();
        if &self.kind == b"IDAT" || bytes <= CHUNK_BYTES_MAX {
            return Ok(());
        }
        let kind = self.kind.escape_ascii();
        let reason =
            format!("its chunk {kind} holds {bytes} bytes, at most {CHUNK_BYTES_MAX} are possible");
        Err(DecodeError::Damaged { format: "png", reason })
    }

    fn is_intact(&self) -> bool {
        let (covered, stated) = self.whole.split_at(self.whole.len() - CHUNK_CRC_BYTES);
        crc32fast::hash(&covered[4..]).to_be_bytes() == stated
    }
}
