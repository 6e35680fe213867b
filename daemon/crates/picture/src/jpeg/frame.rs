//! A JPEG's frame header, and the number of blocks that its scans hold (ITU-T T.81). It knows nothing of
//! the file around it.

use super::refusal::{damaged, unsupported};
use crate::error::DecodeError;

/// Width and height of a block, in samples; T.81 A.1.1.
const BLOCK_SIDE: u32 = 8;
/// Memory of a block that the decoder keeps between scans, in bytes: 64 coefficients of 16 bits.
pub const BLOCK_BYTES: u64 = 128;
/// The most components that the decoder takes: those of CMYK.
pub const COMPONENTS_MAX: usize = 4;

/// A frame header; T.81 B.2.2.
pub struct Frame {
    pub progressive: bool,
    pub width: u32,
    pub height: u32,
    pub components: Vec<Component>,
}

/// One colour component of a frame.
pub struct Component {
    pub id: u8,
    /// Sampling factors, 1 to 4.
    pub across: u32,
    pub down: u32,
    /// Whether a scan held its first coefficients.
    pub seen: bool,
}

impl Frame {
    /// Refuses what the decoder would show in wrong colours, or not at all.
    pub fn check_colour(&self, adobe_transform: Option<u8>) -> Result<(), DecodeError> {
        let named_rgb = self.components.iter().map(|c| c.id).eq(*b"RGB");
        match (self.components.len(), adobe_transform) {
            (COMPONENTS_MAX, None | Some(1)) => {
                Err(unsupported("CMYK without an Adobe segment, whose inks may be inverted or not"))
            }
            (3, Some(0)) if !named_rgb => Err(unsupported("RGB with unnamed components")),
            _ => Ok(()),
        }
    }

    /// Returns the least bits that a scan of these components takes: a Huffman code has at least one.
    /// The tail is the scan header's: Ss, Se, and Ah and Al in one byte; T.81 B.2.3.
    pub fn scan_bits_min(
        &mut self,
        ids: &[u8],
        &[first, _, approximation]: &[u8; 3],
    ) -> Result<u64, DecodeError> {
        let blocks = self.blocks(ids)?;
        // With Ah above 0 it refines what an earlier scan should have sent.
        if first == 0 && approximation >> 4 == 0 {
            for component in &mut self.components {
                component.seen |= ids.contains(&component.id);
            }
        }
        Ok(match (self.progressive, first) {
            (false, _) => 2 * blocks,
            (true, 0) => blocks,
            // An end-of-band run may cover the whole scan.
            (true, _) => 0,
        })
    }

    /// Returns the number of blocks in a scan of these components; T.81 A.2.
    pub fn blocks(&self, ids: &[u8]) -> Result<u64, DecodeError> {
        let across_max = self.components.iter().map(|c| c.across).max().unwrap_or(1);
        let down_max = self.components.iter().map(|c| c.down).max().unwrap_or(1);
        let mut blocks = 0;
        for id in ids {
            let component = self.components.iter().find(|c| c.id == *id);
            let component =
                component.ok_or_else(|| damaged("a scan names an unknown component"))?;
            let (columns, rows) = if ids.len() == 1 {
                // Not interleaved: without the padding to whole MCUs.
                (
                    (self.width * component.across).div_ceil(BLOCK_SIDE * across_max),
                    (self.height * component.down).div_ceil(BLOCK_SIDE * down_max),
                )
            } else {
                (
                    self.width.div_ceil(BLOCK_SIDE * across_max) * component.across,
                    self.height.div_ceil(BLOCK_SIDE * down_max) * component.down,
                )
            };
            blocks += u64::from(columns) * u64::from(rows);
        }
        Ok(blocks)
    }
}

impl Component {
    /// Reads the three bytes of one component in a frame header.
    pub fn from_spec(&[id, sampling, _]: &[u8; 3]) -> Component {
        let (across, down) = (u32::from(sampling >> 4), u32::from(sampling & 15));
        Component { id, across, down, seen: false }
    }
}
