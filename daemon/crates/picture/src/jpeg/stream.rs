//! A picture whose only scan is decoded as its rows are asked for: none of it is kept.

use super::block::{Block, Coder};
use super::plane::Plane;
use super::refusal::Fault;
use super::tables::BLOCK;
use super::units::Units;
use super::walk::Plan;
use crate::error::DecodeError;

/// The scan, and how its units are made up.
pub struct Stream<'a> {
    units: Units<'a>,
    parts: Vec<StreamPart>,
    /// Units in a row of them.
    columns: usize,
    block: Block,
}

/// A component of the scan.
struct StreamPart {
    place: usize,
    coder: Coder,
    /// Blocks of a unit, across and down.
    across: usize,
    down: usize,
}

impl<'a> Stream<'a> {
    /// Starts a sequential scan of all components.
    pub fn new(plan: &Plan<'a>) -> Result<Stream<'a>, DecodeError> {
        let scan = &plan.scans[0];
        scan.check_zeros()?;
        let mut parts = Vec::with_capacity(scan.parts.len());
        for part in &scan.parts {
            let component = &plan.frame.components[part.place];
            let (across, down) = (component.across as usize, component.down as usize);
            parts.push(StreamPart { place: part.place, coder: Coder::new(part)?, across, down });
        }
        let columns = plan.frame.mcus().0 as usize;
        Ok(Stream { units: Units::new(scan, &plan.steps), parts, columns, block: [0; BLOCK] })
    }

    /// Decodes the next row of units into the planes of their components.
    pub fn fill(&mut self, planes: &mut [Plane]) -> Result<(), Fault> {
        for column in 0..self.columns {
            self.units.begin()?;
            let outcome = self.unit(column, planes);
            self.units.check(outcome)?;
        }
        Ok(())
    }

    #[inline]
    fn unit(&mut self, column: usize, planes: &mut [Plane]) -> Result<(), Fault> {
        let Units { bits, levels, .. } = &mut self.units;
        for (part, level) in self.parts.iter().zip(levels) {
            let plane = &mut planes[part.place];
            for y in 0..part.down {
                for x in column * part.across..(column + 1) * part.across {
                    if plane.is_single() {
                        plane.put_level((x, y), part.coder.level(bits, level)?);
                        continue;
                    }
                    self.block.fill(0);
                    let last = part.coder.block(bits, level, &mut self.block)?;
                    plane.put((x, y), &self.block, last);
                }
            }
        }
        Ok(())
    }

    /// Checks that the scan ends behind its last unit.
    pub fn finish(self) -> Result<(), Fault> {
        self.units.finish()
    }
}
