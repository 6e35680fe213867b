//! What limits would take from the records as they are now. It removes nothing.

use std::io;
use std::time::Duration;

use super::item::{Item, Piece};
use super::pieces::each_piece;
use super::position::Stream;
use super::sizes::Retention;
use super::snapshot::Snapshot;
use crate::format;
use crate::removal::Removal;
use picket_base::clock::{Stamp, micros};

/// Returns what limits would take, each stream by its own. By age the records are taken to lie in the order
/// of their times.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn removal(log: &Snapshot, retention: &Retention) -> io::Result<Removal> {
    let mut all = Removal::default();
    for stream in Stream::ALL {
        let limits = retention.of(stream);
        let lane = log.position.lane(stream);
        let of = lane.next - lane.kept_from;
        let bytes = log.files[stream as usize].iter().map(|file| file.end).sum::<u64>();
        let over = u128::from(bytes.saturating_sub(limits.max_bytes));
        let by_bytes = (u128::from(of) * over).div_ceil(u128::from(bytes.max(1)));
        let by_bytes = u64::try_from(by_bytes).unwrap_or(of);
        let expired = limits.max_age.map_or(Ok(0), |max_age| expired(log, stream, max_age))?;
        all.records += of.saturating_sub(limits.max_records).max(by_bytes).max(expired).min(of);
        all.of += of;
    }
    Ok(all)
}

/// How many records of a stream are older than this.
fn expired(log: &Snapshot, stream: Stream, max_age: Duration) -> io::Result<u64> {
    let lane = log.position.lane(stream);
    let oldest_us = Stamp::now().wall_us.saturating_sub_unsigned(micros(max_age));
    let mut expired = 0;
    let mut take = |piece: &Piece| {
        for (ordinal, (id, value)) in (piece.ordinal..).zip(piece.records()) {
            let Ok(stored) = format::decode(id, &value) else { continue };
            // Where nobody knows the time yet, the clock's own word is the best guess.
            let made_us = log.known.reckoned_us(id, &value).unwrap_or(stored.at.wall_us);
            if made_us >= oldest_us {
                return false;
            }
            expired = (ordinal + 1).saturating_sub(lane.kept_from);
        }
        true
    };
    let files = &log.files[stream as usize];
    let mut goes_on = true;
    each_piece(&*log.medium, files, (lane.kept_from, lane.next), |piece| {
        goes_on = take(piece);
        goes_on
    })?;
    for item in &log.recent {
        if let Item::Records(piece) = &**item
            && piece.stream == stream
        {
            goes_on = goes_on && take(piece);
        }
    }
    Ok(expired)
}
