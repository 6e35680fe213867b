//! Finding chunks in the view by what their records can be asked for, newest first, beside the thread that
//! feeds it. It changes nothing.

use super::index::{
    Fed, GROUP_CHUNKS, ORIGIN_KEY, Records, group_of, index_key, index_prefix, records, times_key,
};
use super::known::Known;
use super::position::Stream;
use super::terms::{Term, Times};
use crate::error::{StoreError, guard};

/// The view as it was when it was last fed.
#[derive(Clone)]
pub(crate) struct Lookup {
    pub(super) db: sled::Db,
    fed: [Fed; 2],
}

/// What a chunk's records must have to be looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// All of these; the first is the rarest as a rule.
    pub(crate) terms: Vec<Term>,
    pub(crate) since: Option<f64>,
    pub(crate) until: Option<f64>,
}

impl Lookup {
    pub(crate) fn new(db: sled::Db, fed: [Fed; 2]) -> Lookup {
        Lookup { db, fed }
    }

    /// Returns where a stream stands in it.
    pub(crate) fn fed(&self, stream: Stream) -> Fed {
        self.fed[stream as usize]
    }

    /// Gives `known` the origins that it has.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn teach(&self, known: &mut Known) -> Result<(), StoreError> {
        guard(|| {
            self.db.scan_prefix([ORIGIN_KEY]).values().try_for_each(|values| {
                known.adopt(&values?);
                Ok(())
            })
        })
    }

    /// Returns the number of the newest chunk with records before this number, and one more.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn end_before(&self, stream: Stream, number: u64) -> Result<u64, StoreError> {
        let fed = self.fed(stream);
        let (mut low, mut high) = (fed.first, fed.end());
        guard(|| {
            while low < high {
                let middle = low + (high - low) / 2;
                let first = records(&self.db, stream, middle)?;
                let first = first.and_then(|records| records.first().map(|(id, _)| *id));
                // One that can't be read is left to whoever reads it.
                if first.is_none_or(|first| first < number) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Ok(low)
        })
    }

    /// Returns the records of a chunk; none where they can't be read.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn records(
        &self,
        stream: Stream,
        chunk: u64,
    ) -> Result<Option<Records>, StoreError> {
        guard(|| records(&self.db, stream, chunk))
    }

    /// Returns the records between two numbers, these aside, as long as there are no more than so many.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn between(
        &self,
        stream: Stream,
        (after, before): (u64, u64),
        most: u64,
    ) -> Result<Records, StoreError> {
        let mut between = Vec::new();
        let mut chunk = self.end_before(stream, before)?;
        while let Some(earlier) = chunk.checked_sub(1) {
            chunk = earlier;
            let mut found = self.records(stream, chunk)?.unwrap_or_default();
            let done = found.first().is_none_or(|(id, _)| *id <= after);
            found.retain(|(id, _)| *id > after && *id < before);
            between.splice(0..0, found);
            if done || between.len() as u64 > most {
                break;
            }
        }
        Ok(between)
    }

    /// Returns the newest chunk before this one that may hold what is wanted.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn candidate(
        &self,
        stream: Stream,
        wanted: &Wanted,
        before: u64,
    ) -> Result<Option<u64>, StoreError> {
        let fed = self.fed(stream);
        if before <= fed.first {
            return Ok(None);
        }
        // Of the group that is not full the index knows nothing yet.
        if before > fed.next - fed.next % GROUP_CHUNKS {
            return Ok(Some(before - 1));
        }
        guard(|| {
            let mut before = before;
            while before > fed.first {
                let Some((group, chunks)) =
                    self.group(stream, wanted, (before - 1) / GROUP_CHUNKS)?
                else {
                    return Ok(None);
                };
                let start = group * GROUP_CHUNKS;
                let asked = (before - start).min(GROUP_CHUNKS);
                let chunks = chunks & u16::MAX.checked_shr(16 - asked as u32).unwrap_or(0);
                if chunks != 0 {
                    let chunk = start + u64::from(chunks.ilog2());
                    return Ok((chunk >= fed.first).then_some(chunk));
                }
                before = start;
            }
            Ok(None)
        })
    }

    /// Returns the newest group up to this one that has what is wanted, and the chunks that may.
    fn group(
        &self,
        stream: Stream,
        wanted: &Wanted,
        last: u64,
    ) -> sled::Result<Option<(u64, u16)>> {
        let bits =
            |value: sled::IVec| value.as_ref().try_into().map_or(u16::MAX, u16::from_be_bytes);
        let mut last = last;
        loop {
            let (group, mut chunks) = match wanted.terms.first() {
                None => (last, u16::MAX),
                Some(term) => {
                    let keys = index_prefix(stream, term)..=index_key(stream, term, last);
                    let Some(entry) = self.db.range(keys).next_back() else { return Ok(None) };
                    let (key, value) = entry?;
                    let Some(group) = group_of(&key) else { return Ok(None) };
                    (group, bits(value))
                }
            };
            for term in wanted.terms.iter().skip(1) {
                chunks &= self.db.get(index_key(stream, term, group))?.map_or(0, bits);
            }
            if chunks != 0 && self.times_fit(stream, wanted, group)? {
                return Ok(Some((group, chunks)));
            }
            let Some(before) = group.checked_sub(1) else { return Ok(None) };
            last = before;
        }
    }

    fn times_fit(&self, stream: Stream, wanted: &Wanted, group: u64) -> sled::Result<bool> {
        if wanted.since.is_none() && wanted.until.is_none() {
            return Ok(true);
        }
        let times = self.db.get(times_key(stream, group))?;
        let times = times.and_then(|times| postcard::from_bytes::<Times>(&times).ok());
        Ok(times.is_none_or(|times| times.overlap(wanted.since, wanted.until)))
    }
}
