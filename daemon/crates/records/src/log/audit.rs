//! Whether the view holds what it says: each chunk can be read, and the index names it for all that its
//! records can be asked for. It changes nothing.

use std::collections::BTreeMap;

use super::index::{GROUP_CHUNKS, index_key, times_key};
use super::known::Known;
use super::lookup::Lookup;
use super::position::Stream;
use super::terms::{Term, Times, terms};
use crate::error::{StoreError, guard};

/// What the records of a group of chunks can be asked for.
#[derive(Default)]
struct Group {
    terms: BTreeMap<Term, u16>,
    times: Times,
}

impl Lookup {
    /// Reads all of the view, and tells whether it is right. `goes_on` is asked before each chunk: where it says
    /// no, nothing wrong was found.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn is_right(
        &self,
        known: &Known,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<bool, StoreError> {
        for stream in Stream::ALL {
            let (fed, mut newest, mut group) = (self.fed(stream), 0, Group::default());
            for chunk in fed.first..fed.next {
                if !goes_on() {
                    return Ok(true);
                }
                let Some(records) = self.records(stream, chunk)? else { return Ok(false) };
                for (id, value) in records {
                    if id <= newest {
                        return Ok(false);
                    }
                    newest = id;
                    let Ok(record) = known.to_record(id, &value) else { continue };
                    for term in terms(&record) {
                        *group.terms.entry(term).or_default() |= 1 << (chunk % GROUP_CHUNKS);
                    }
                    group.times.add(&record);
                }
                let is_last = (chunk + 1).is_multiple_of(GROUP_CHUNKS);
                if is_last
                    && !self.names(stream, chunk / GROUP_CHUNKS, &std::mem::take(&mut group))?
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the index has all of a group; it may have more, of chunks that have gone.
    fn names(&self, stream: Stream, number: u64, group: &Group) -> Result<bool, StoreError> {
        guard(|| {
            for (term, chunks) in &group.terms {
                let entry = self.db.get(index_key(stream, term, number))?;
                let named = entry.and_then(|bits| bits.as_ref().try_into().ok());
                if named.map_or(0, u16::from_be_bytes) & chunks != *chunks {
                    return Ok(false);
                }
            }
            let times = self.db.get(times_key(stream, number))?;
            let times = times.and_then(|times| postcard::from_bytes::<Times>(&times).ok());
            // Where there is none the group is a candidate for all times.
            Ok(times.is_none_or(|times| times.covers(&group.times)))
        })
    }
}
