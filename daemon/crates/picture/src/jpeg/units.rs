//! The units of a scan, one after the other: restart markers between them, and the end behind the last
//! (ITU-T T.81, E.2.4).

use super::bits::Bits;
use super::block::Level;
use super::refusal::Fault;
use super::scan::Scan;
use super::tables::Steps;

/// A scan that is being read.
pub struct Units<'a> {
    pub bits: Bits<'a>,
    /// The last brightness of each component of the scan.
    pub levels: Vec<Level>,
    interval: u32,
    /// Units left before the next restart marker.
    left: u32,
    /// The next restart marker's number.
    next: u8,
}

impl<'a> Units<'a> {
    /// Starts a scan. The steps are those of each component of the frame.
    pub fn new(scan: &Scan<'a>, steps: &[Steps]) -> Units<'a> {
        let levels = scan.parts.iter().map(|part| Level::new(steps[part.place][0])).collect();
        let interval = scan.restart_interval;
        Units { bits: Bits::new(scan.data), levels, interval, left: interval, next: 0 }
    }

    /// Goes on to the next unit. Returns whether a restart marker stood before it.
    #[inline]
    pub fn begin(&mut self) -> Result<bool, Fault> {
        if self.interval == 0 {
            return Ok(false);
        }
        let restarts = self.left == 0;
        if restarts {
            self.bits.restart(self.next)?;
            self.next = (self.next + 1) % 8;
            self.left = self.interval;
            self.levels.iter_mut().for_each(Level::reset);
        }
        self.left -= 1;
        Ok(restarts)
    }

    /// Checks that the data held all of a unit, in which this came out.
    #[inline]
    pub fn check<T>(&self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if self.bits.overran() { Err(Fault::Ended) } else { outcome }
    }

    /// Checks that nothing is left behind the last unit.
    pub fn finish(self) -> Result<(), Fault> {
        let closes = self.interval > 0 && self.left == 0;
        self.bits.finish(closes.then_some(self.next))
    }
}
