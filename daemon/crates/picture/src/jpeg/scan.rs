//! A scan of a JPEG: what its header states, and its data (ITU-T T.81, B.2.3).

use super::frame::Frame;
use super::refusal::{Fault, damaged};
use super::tables::{Code, Tables};
use crate::error::DecodeError;

/// How many zeros in a row, evenly placed, mean that data was lost, in bytes.
const ZEROS: usize = 16;

/// A scan's header and data; T.81 B.2.3.
pub struct Scan<'a> {
    pub parts: Vec<Part<'a>>,
    pub band: Band,
    /// MCUs between restart markers, 0 for none.
    pub restart_interval: u32,
    /// The entropy-coded data with its restart markers.
    pub data: &'a [u8],
}

/// A component in a scan.
pub struct Part<'a> {
    /// The component's place in the frame.
    pub place: usize,
    pub dc: Option<Code<'a>>,
    pub ac: Option<Code<'a>>,
}

/// Which coefficients a scan holds, and which bits of them.
#[derive(Clone, Copy)]
pub struct Band {
    pub first: u8,
    pub last: u8,
    /// The lowest bit that earlier scans sent, 0 for none.
    pub high: u8,
    /// The lowest bit that this scan sends.
    pub low: u8,
}

/// Reads a scan's header: its components with the codes in force, and what it holds of them.
pub fn read_header<'a>(
    header: &[u8],
    frame: &Frame,
    tables: &Tables<'a>,
) -> Result<(Vec<Part<'a>>, Band), DecodeError> {
    let Some((&count, specs)) = header.split_first() else {
        return Err(damaged("a scan header is cut"));
    };
    let (specs, &[first, last, approximation]) = specs
        .split_last_chunk::<3>()
        .filter(|(specs, _)| !specs.is_empty() && specs.len() == usize::from(count) * 2)
        .ok_or_else(|| damaged("a scan header does not match its component count"))?;
    let mut parts: Vec<Part<'a>> = Vec::with_capacity(usize::from(count));
    for &[id, codes] in specs.as_chunks::<2>().0 {
        let place = frame.components.iter().position(|component| component.id == id);
        let place = place.ok_or_else(|| damaged("a scan names an unknown component"))?;
        if parts.iter().any(|part| part.place == place) {
            return Err(damaged("a scan names a component twice"));
        }
        let (dc, ac) = (usize::from(codes >> 4), usize::from(codes & 15));
        let (dc, ac) = (tables.dc.get(dc).copied(), tables.ac.get(ac).copied());
        parts.push(Part { place, dc: dc.flatten(), ac: ac.flatten() });
    }
    Ok((parts, Band { first, last, high: approximation >> 4, low: approximation & 15 }))
}

impl Scan<'_> {
    /// Refuses data of a sequential scan that was overwritten with zeros. Where the code of zeros is one of
    /// coefficients, so many of them would be some forty equal ones in a row. Where it means that nothing
    /// follows, as in a flat picture, zeros say nothing.
    pub fn check_zeros(&self) -> Result<(), Fault> {
        let is_coefficient = |code: &Code<'_>| code.symbols.first().is_some_and(|&s| s & 15 != 0);
        if !self.parts.iter().filter_map(|part| part.ac.as_ref()).any(is_coefficient) {
            return Ok(());
        }
        let (words, _) = self.data.as_chunks::<{ ZEROS / 2 }>();
        let lost = words.windows(2).any(|pair| pair == [[0; ZEROS / 2]; 2]);
        if lost { Err(Fault::Zeros) } else { Ok(()) }
    }
}

impl Band {
    /// Returns the least bits that a scan of so many blocks takes: a Huffman code has at least one.
    pub fn least_bits(self, progressive: bool, blocks: u64) -> u64 {
        match (progressive, self.first) {
            (false, _) => 2 * blocks,
            (true, 0) => blocks,
            // An end-of-band run may cover the whole scan.
            (true, _) => 0,
        }
    }
}
