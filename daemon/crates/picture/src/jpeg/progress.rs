//! Which bits of which coefficients the scans of a JPEG have sent so far (ITU-T T.81, G.1.1.1).

use super::refusal::{damaged, truncated};
use super::scan::Band;
use super::tables::BLOCK;
use crate::error::DecodeError;

/// The lowest bit that a first scan may begin with; libjpeg takes no more.
const LOW_MAX: u8 = 13;

/// For each component and coefficient the lowest bit that was sent, none before the first scan.
#[derive(Default)]
pub struct Progress(Vec<[Option<u8>; BLOCK]>);

impl Progress {
    pub fn new(components: usize) -> Progress {
        Progress(vec![[None; BLOCK]; components])
    }

    /// Takes note of a scan of the components in these places, and refuses one that does not continue
    /// those before it.
    pub fn advance(
        &mut self,
        progressive: bool,
        places: &[usize],
        band: Band,
    ) -> Result<(), DecodeError> {
        if !progressive {
            // What the header states of a band is ignored: some phones write zeros.
            for &place in places {
                if self.0[place][0].is_some() {
                    return Err(damaged("a component has two scans"));
                }
                self.0[place] = [Some(0); BLOCK];
            }
            return Ok(());
        }
        let Band { first, last, high, low } = band;
        let is_band = if first == 0 {
            last == 0
        } else {
            first <= last && usize::from(last) < BLOCK && places.len() == 1
        };
        if !is_band || low > LOW_MAX || (high != 0 && low != high - 1) {
            return Err(damaged("a scan header states an impossible band"));
        }
        for &place in places {
            let sent = &mut self.0[place];
            let before = if high == 0 { None } else { Some(high) };
            let continues =
                sent[usize::from(first)..=usize::from(last)].iter().all(|&bit| bit == before);
            if !continues || (first > 0 && sent[0].is_none()) {
                return Err(damaged("a scan does not continue those before it"));
            }
            sent[usize::from(first)..=usize::from(last)].fill(Some(low));
        }
        Ok(())
    }

    /// Checks that every bit of every coefficient was sent.
    pub fn check_complete(&self) -> Result<(), DecodeError> {
        if self.0.iter().any(|sent| sent[0].is_none()) {
            return Err(truncated("a colour component has no scan"));
        }
        if self.0.iter().flatten().any(|&bit| bit != Some(0)) {
            return Err(truncated("the scans that refine it are missing"));
        }
        Ok(())
    }
}
