//! A JPEG's frame header, and the blocks that its components consist of (ITU-T T.81). It knows nothing
//! of the file around it.

use super::refusal::{damaged, unsupported};
use crate::error::DecodeError;
use crate::outline::check_size;

/// Width and height of a block, in samples; T.81 A.1.1.
pub const BLOCK_SIDE: u32 = 8;
/// The most components that the decoder takes: those of CMYK.
pub const COMPONENTS_MAX: usize = 4;
/// The most blocks of an MCU in a scan of several components; T.81 B.2.3.
const MCU_BLOCKS_MAX: u32 = 10;

/// A frame header; T.81 B.2.2.
pub struct Frame {
    pub progressive: bool,
    pub width: u32,
    pub height: u32,
    pub components: Vec<Component>,
    /// The largest sampling factors across and down.
    pub across_max: u32,
    pub down_max: u32,
}

/// One colour component of a frame.
pub struct Component {
    pub id: u8,
    /// Sampling factors, 1 to 4.
    pub across: u32,
    pub down: u32,
    /// Which quantisation table it uses.
    pub table: u8,
}

impl Frame {
    /// Reads the data of a frame header's segment.
    pub fn read(progressive: bool, segment: &[u8]) -> Result<Frame, DecodeError> {
        let &[precision, h0, h1, w0, w1, count, ref specs @ ..] = segment else {
            return Err(damaged("its frame header is cut"));
        };
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
        let mut components: Vec<Component> = specs.iter().map(Component::from_spec).collect();
        if components.iter().any(|c| !(1..=4).contains(&c.across) || !(1..=4).contains(&c.down)) {
            return Err(damaged("a sampling factor is not in 1 to 4"));
        }
        if let [only] = components.as_mut_slice() {
            // The factors of a single component change nothing; T.81 A.2.2.
            (only.across, only.down) = (1, 1);
        }
        let across_max = components.iter().map(|c| c.across).max().unwrap_or(1);
        let down_max = components.iter().map(|c| c.down).max().unwrap_or(1);
        if components.iter().any(|c| !c.divides(across_max, down_max)) {
            return Err(unsupported("sampling factors that do not divide the largest one"));
        }
        Ok(Frame { progressive, width, height, components, across_max, down_max })
    }

    /// Returns the number of MCUs across and down in a scan of several components; T.81 A.2.3.
    pub fn mcus(&self) -> (u32, u32) {
        let across = self.width.div_ceil(BLOCK_SIDE * self.across_max);
        (across, self.height.div_ceil(BLOCK_SIDE * self.down_max))
    }

    /// Returns a component's blocks across and down, those included that only fill its last MCUs.
    pub fn padded_blocks(&self, component: &Component) -> (u32, u32) {
        let (across, down) = self.mcus();
        (across * component.across, down * component.down)
    }

    /// Returns the blocks across and down of a scan of this component alone; T.81 A.2.2.
    pub fn own_blocks(&self, component: &Component) -> (u32, u32) {
        let across = (self.width * component.across).div_ceil(BLOCK_SIDE * self.across_max);
        (across, (self.height * component.down).div_ceil(BLOCK_SIDE * self.down_max))
    }

    /// Returns the number of blocks in a scan of these components, given by their places.
    pub fn scan_blocks(&self, places: &[usize]) -> Result<u64, DecodeError> {
        if let [only] = places {
            let (across, down) = self.own_blocks(&self.components[*only]);
            return Ok(u64::from(across) * u64::from(down));
        }
        let blocks = |place: &usize| self.components[*place].across * self.components[*place].down;
        let mcu_blocks: u32 = places.iter().map(blocks).sum();
        if mcu_blocks > MCU_BLOCKS_MAX {
            return Err(damaged("a unit of a scan holds more than 10 blocks"));
        }
        let (across, down) = self.mcus();
        Ok(u64::from(across) * u64::from(down) * u64::from(mcu_blocks))
    }
}

impl Component {
    /// Whether these factors are multiples of its own.
    fn divides(&self, across: u32, down: u32) -> bool {
        across.is_multiple_of(self.across) && down.is_multiple_of(self.down)
    }

    /// Reads the three bytes of one component in a frame header.
    fn from_spec(&[id, sampling, table]: &[u8; 3]) -> Component {
        let (across, down) = (u32::from(sampling >> 4), u32::from(sampling & 15));
        Component { id, across, down, table }
    }
}
