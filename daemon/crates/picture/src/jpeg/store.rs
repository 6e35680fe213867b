//! The coefficients of a picture of several scans: all are read before its first row is known.

use super::band::BandCoder;
use super::block::{Block, Coder};
use super::frame::Frame;
use super::plane::Plane;
use super::refusal::Fault;
use super::scan::Scan;
use super::tables::BLOCK;
use super::units::Units;
use super::walk::Plan;
use crate::error::DecodeError;

/// All blocks of a picture.
pub struct Store {
    components: Vec<Blocks>,
}

/// The blocks of a component, row by row, those included that only fill its last MCUs.
struct Blocks {
    blocks: Vec<Block>,
    columns: usize,
    /// Rows of blocks in a row of MCUs.
    down: usize,
}

/// A component of a scan with its codes.
enum Part {
    Sequential(Box<Coder>),
    Progressive(Box<BandCoder>),
}

impl Store {
    /// Returns the bytes that the coefficients take.
    pub fn bytes(frame: &Frame) -> u64 {
        let blocks = frame.components.iter().map(|component| {
            let (columns, rows) = frame.padded_blocks(component);
            u64::from(columns) * u64::from(rows)
        });
        blocks.sum::<u64>() * size_of::<Block>() as u64
    }

    /// Decodes all scans.
    pub fn new(plan: &Plan<'_>) -> Result<Store, DecodeError> {
        let frame = &plan.frame;
        let components = frame.components.iter().map(|component| {
            let (columns, rows) = frame.padded_blocks(component);
            let blocks = vec![[0; BLOCK]; columns as usize * rows as usize];
            Blocks { blocks, columns: columns as usize, down: component.down as usize }
        });
        let mut store = Store { components: components.collect() };
        for scan in &plan.scans {
            if !frame.progressive {
                scan.check_zeros()?;
            }
            let parts = scan.parts.iter().map(|part| {
                Ok(if frame.progressive {
                    Part::Progressive(Box::new(BandCoder::new(part, scan.band)?))
                } else {
                    Part::Sequential(Box::new(Coder::new(part)?))
                })
            });
            let parts = parts.collect::<Result<Vec<Part>, DecodeError>>()?;
            store.scan(frame, scan, parts, Units::new(scan, &plan.steps))?;
        }
        Ok(store)
    }

    fn scan(
        &mut self,
        frame: &Frame,
        scan: &Scan<'_>,
        mut parts: Vec<Part>,
        mut units: Units<'_>,
    ) -> Result<(), Fault> {
        let places: Vec<usize> = scan.parts.iter().map(|part| part.place).collect();
        // A component alone comes block by block, without those that only fill an MCU.
        let alone = places.len() == 1;
        let (columns, rows) = match places[..] {
            [only] => frame.own_blocks(&frame.components[only]),
            _ => frame.mcus(),
        };
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)))
        {
            if units.begin()? {
                parts.iter().try_for_each(Part::restart)?;
            }
            for (index, part) in parts.iter_mut().enumerate() {
                let component = &frame.components[places[index]];
                let (across, down) =
                    if alone { (1, 1) } else { (component.across, component.down) };
                for y in row * down..(row + 1) * down {
                    for x in column * across..(column + 1) * across {
                        let block = self.components[places[index]].at(x as usize, y as usize);
                        let outcome = part.block(&mut units, index, block);
                        units.check(outcome)?;
                    }
                }
            }
        }
        parts.iter().try_for_each(Part::restart)?;
        units.finish()
    }

    /// Fills the planes with a row of MCUs.
    pub fn fill(&self, row: usize, planes: &mut [Plane]) {
        for (blocks, plane) in self.components.iter().zip(planes) {
            let size = blocks.columns * blocks.down;
            let strip = &blocks.blocks[row * size..(row + 1) * size];
            for (y, line) in strip.chunks_exact(blocks.columns).enumerate() {
                for (x, block) in line.iter().enumerate() {
                    let last = block[1..].iter().any(|&coefficient| coefficient != 0);
                    plane.put((x, y), block, usize::from(last));
                }
            }
        }
    }
}

impl Blocks {
    fn at(&mut self, x: usize, y: usize) -> &mut Block {
        &mut self.blocks[y * self.columns + x]
    }
}

impl Part {
    fn block(
        &mut self,
        units: &mut Units<'_>,
        index: usize,
        block: &mut Block,
    ) -> Result<(), Fault> {
        let level = &mut units.levels[index];
        match self {
            Part::Sequential(coder) => coder.block(&mut units.bits, level, block).map(drop),
            Part::Progressive(coder) => coder.block(&mut units.bits, level, block),
        }
    }

    /// Checks what must hold at a restart and at the end.
    fn restart(&self) -> Result<(), Fault> {
        match self {
            Part::Sequential(_) => Ok(()),
            Part::Progressive(coder) => coder.restart(),
        }
    }
}
