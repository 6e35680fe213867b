//! The segments of a JPEG file, before any of it is decoded: size, memory, end, Exif data.
//!
//! Owns the walk over the container (ITU-T T.81, annex B). The decoder fills a picture that ends
//! early with grey and reports nothing, so completeness is checked here. No Huffman code is read:
//! damage inside a scan of plausible length is not found.

use super::frame::{BLOCK_BYTES, COMPONENTS_MAX, Component, Frame};
use super::refusal::{cut, damaged, truncated, unsupported};
use crate::error::DecodeError;
use crate::limits::SCANS_MAX;
use crate::outline::{Outline, check_size};

/// Walks a body that starts like a JPEG, up to its EOI; what follows EOI (a second picture, a
/// film) is ignored.
///
/// # Errors
/// Malformed when a segment is cut, a scan is too short for its blocks or EOI is missing, too
/// large when the frame header states a size beyond the limits, unprocessable when the coding is
/// one that the decoder does not read or reads wrongly.
pub fn outline(body: &[u8]) -> Result<Outline<'_>, DecodeError> {
    let mut walk = Walk { rest: body.get(2..).unwrap_or_default(), ..Walk::default() };
    loop {
        match walk.next_marker()? {
            0xd9 => return walk.finish(),
            0xda => walk.scan()?,
            marker @ 0xc0..=0xc2 => walk.frame(marker)?,
            0xc3 | 0xc5..=0xcf => return Err(unsupported("lossless or arithmetic coding")),
            0xdc => return Err(unsupported("a height stated after the first scan")),
            0xdd => walk.restarts |= walk.segment()? != [0, 0],
            0xe1 => {
                let data = walk.segment()?.strip_prefix(b"Exif\0\0");
                walk.exif = walk.exif.or(data);
            }
            0xee => walk.adobe()?,
            _ => drop(walk.segment()?),
        }
    }
}

/// Where the walk is, and what it has found.
#[derive(Default)]
struct Walk<'a> {
    rest: &'a [u8],
    frame: Option<Frame>,
    scans: usize,
    /// Whether a restart interval was stated.
    restarts: bool,
    /// Whether the decoder must keep coefficients until the last scan.
    buffered: bool,
    /// The colour transform of Adobe's APP14 segment: 0 none, 1 YCbCr, 2 YCCK.
    adobe_transform: Option<u8>,
    exif: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    /// Steps over stray bytes and fill bytes as the decoder does, so that both see the same
    /// segments.
    fn next_marker(&mut self) -> Result<u8, DecodeError> {
        let start = self.rest.iter().position(|&byte| byte == 0xff).ok_or_else(cut)?;
        let fill = &self.rest[start..];
        let length = fill.iter().position(|&b| b != 0xff && b != 0).ok_or_else(cut)?;
        self.rest = &fill[length + 1..];
        Ok(fill[length])
    }

    fn segment(&mut self) -> Result<&'a [u8], DecodeError> {
        let (head, _) = self.rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(*head));
        if length < 2 {
            return Err(damaged("a segment states a length below 2"));
        }
        let (segment, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(&segment[2..])
    }

    fn adobe(&mut self) -> Result<(), DecodeError> {
        let Some(&[_, _, _, _, _, _, transform, ..]) = self.segment()?.strip_prefix(b"Adobe")
        else {
            return Ok(());
        };
        // The decoder would look for colours in a grey picture, or change them between scans.
        let grey = self.frame.as_ref().is_some_and(|frame| frame.components.len() == 1);
        if grey || self.scans > 0 {
            return Err(unsupported("an Adobe segment after a grey frame or after a scan"));
        }
        self.adobe_transform = Some(transform);
        Ok(())
    }

    fn frame(&mut self, marker: u8) -> Result<(), DecodeError> {
        let &[precision, h0, h1, w0, w1, count, ref specs @ ..] = self.segment()? else {
            return Err(damaged("its frame header is cut"));
        };
        if self.frame.is_some() {
            return Err(damaged("it holds two frame headers"));
        }
        let width = u32::from(u16::from_be_bytes([w0, w1]));
        let height = u32::from(u16::from_be_bytes([h0, h1]));
        check_size(width, height)?;
        if precision != 8 {
            return Err(unsupported("samples that are not of 8 bits"));
        }
        let (specs, odd) = specs.as_chunks::<3>();
        if !odd.is_empty() || specs.len() != usize::from(count) {
            return Err(damaged("its frame header does not match its component count"));
        }
        if !matches!(specs.len(), 1 | 3 | COMPONENTS_MAX) {
            return Err(unsupported("a number of colour components other than 1, 3 and 4"));
        }
        let components: Vec<Component> = specs.iter().map(Component::from_spec).collect();
        if components.iter().any(|c| !(1..=4).contains(&c.across) || !(1..=4).contains(&c.down)) {
            return Err(damaged("a sampling factor is not in 1 to 4"));
        }
        // The decoder scales every component up to the first one, by whole numbers.
        let (across, down) = (components[0].across, components[0].down);
        if components.iter().any(|c| across % c.across != 0 || down % c.down != 0) {
            return Err(unsupported("sampling factors that do not divide the first component's"));
        }
        self.frame = Some(Frame { progressive: marker == 0xc2, width, height, components });
        Ok(())
    }

    fn scan(&mut self) -> Result<(), DecodeError> {
        let header = self.segment()?;
        let adobe_transform = self.adobe_transform;
        let frame = self.frame.as_mut().ok_or_else(|| damaged("a scan precedes its frame"))?;
        if self.scans == 0 {
            frame.check_colour(adobe_transform)?;
        }
        self.scans += 1;
        if self.scans > SCANS_MAX {
            return Err(DecodeError::Scans);
        }
        let Some((&count, specs)) = header.split_first() else {
            return Err(damaged("a scan header is cut"));
        };
        let (ids, tail) = specs
            .split_last_chunk::<3>()
            .filter(|(ids, _)| !ids.is_empty() && ids.len() == usize::from(count) * 2)
            .ok_or_else(|| damaged("a scan header does not match its component count"))?;
        let ids: Vec<u8> = ids.iter().step_by(2).copied().collect();
        let partial = ids.len() != frame.components.len();
        // The decoder would lose blocks: it takes a scan of one component for one of whole MCUs.
        let aligned = frame.components[0].down == 1 && !self.restarts;
        if partial && !frame.progressive && !aligned {
            return Err(unsupported("vertical subsampling or restarts in several baseline scans"));
        }
        self.buffered |= frame.progressive || partial;
        let bits = frame.scan_bits_min(&ids, tail)?;
        let bytes = self.skip_entropy()?;
        if (bytes as u64) * 8 < bits {
            return Err(truncated("a scan is too short for its blocks"));
        }
        Ok(())
    }

    /// Steps over entropy-coded data to the next marker that is no restart; the bytes passed.
    fn skip_entropy(&mut self) -> Result<usize, DecodeError> {
        let mut at = 0;
        while let Some(offset) = self.rest[at..].iter().position(|&byte| byte == 0xff) {
            at += offset;
            match self.rest.get(at + 1) {
                None => break,
                // A fill byte: the next one may start the marker.
                Some(0xff) => at += 1,
                Some(0 | 0xd0..=0xd7) => at += 2,
                Some(_) => {
                    self.rest = &self.rest[at..];
                    return Ok(at);
                }
            }
        }
        Err(cut())
    }

    fn finish(self) -> Result<Outline<'a>, DecodeError> {
        let frame = self.frame.ok_or_else(|| damaged("it holds no frame"))?;
        if frame.components.iter().any(|component| !component.seen) {
            return Err(truncated("a colour component has no scan"));
        }
        let all: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        let coefficient_bytes = if self.buffered { frame.blocks(&all)? * BLOCK_BYTES } else { 0 };
        let size = (frame.width, frame.height);
        Ok(Outline { format: "jpeg", size, coefficient_bytes, exif: self.exif })
    }
}
