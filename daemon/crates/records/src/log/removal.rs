//! What limits would take from this box's own records as they are now. It removes nothing.

use std::io;
use std::time::Duration;

use super::medium::Medium;
use super::pieces::each_piece;
use super::position::Stream;
use super::survey::Survey;
use crate::removal::Removal;
use picket_base::clock::{Stamp, micros};

/// Returns what limits of count, bytes and age would take.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn removal(
    medium: &dyn Medium,
    survey: &Survey,
    (max_records, max_bytes, max_age): (u64, u64, Option<Duration>),
) -> io::Result<Removal> {
    let lane = survey.position.lane(Stream::Own);
    let files = &survey.files[Stream::Own as usize];
    let of = lane.next - lane.kept_from;
    let bytes = files.iter().map(|file| file.end).sum::<u64>();
    let over = u128::from(bytes.saturating_sub(max_bytes));
    let by_bytes = (u128::from(of) * over).div_ceil(u128::from(bytes.max(1)));
    let by_bytes = u64::try_from(by_bytes).unwrap_or(of);
    let mut expired = 0;
    if let Some(max_age) = max_age {
        let oldest_us = Stamp::now().wall_us.saturating_sub_unsigned(micros(max_age));
        each_piece(medium, files, (lane.kept_from, lane.next), |piece| {
            for (ordinal, (id, value)) in (piece.ordinal..).zip(piece.records()) {
                let made_us = survey.known.reckoned_us(id, &value);
                if made_us.is_some_and(|made_us| made_us >= oldest_us) {
                    return false;
                }
                expired = (ordinal + 1).saturating_sub(lane.kept_from);
            }
            true
        })?;
    }
    let records = of.saturating_sub(max_records).max(by_bytes).max(expired).min(of);
    Ok(Removal { records, of })
}
