//! How many records each name has, in bounded memory: whoever sends many names doesn't make it grow.

use std::collections::BTreeMap;

/// So many names are counted each for itself.
const NAMES_MAX: usize = 1_000;

/// Counts by name. A name is counted for itself if there was room for it when it came; all records of the
/// others are counted together. A name has all of its records in one place, so that removing them leads
/// back to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    counts: BTreeMap<String, u64>,
    /// Records of all other names.
    others: u64,
}

impl Names {
    pub(crate) fn add(&mut self, name: &str, records: u64) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += records;
        } else if self.others > 0 || self.counts.len() >= NAMES_MAX {
            // While there are others, this name may be one of them.
            self.others += records;
        } else {
            self.counts.insert(name.to_string(), records);
        }
    }

    pub(crate) fn remove(&mut self, name: &str, records: u64) {
        let Some(count) = self.counts.get_mut(name) else {
            self.others = self.others.saturating_sub(records);
            return;
        };
        *count = count.saturating_sub(records);
        if *count == 0 {
            self.counts.remove(name);
        }
    }

    /// Returns the names with the most records, at most so many, with their records, and the records of
    /// all other names.
    pub fn most(&self, names_max: usize) -> (BTreeMap<&str, u64>, u64) {
        let mut counts: Vec<(&str, u64)> =
            self.counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest = counts.split_off(names_max.min(counts.len()));
        let others = rest.iter().map(|(_, count)| count).sum::<u64>() + self.others;
        (counts.into_iter().collect(), others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_with_the_most_records_are_shown_and_all_records_counted() {
        let mut names = Names::default();
        for (name, count) in [("a", 1), ("b", 3), ("c", 2), ("d", 4)] {
            (0..count).for_each(|_| names.add(name, 1));
        }
        assert_eq!(names.most(2), ([("b", 3), ("d", 4)].into(), 3));
        assert_eq!(names.most(9).1, 0);
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_leaves_nothing_behind() {
        let mut names = Names::default();
        names.add("line-4", 1);
        for name in 0..100_000 {
            names.add(&name.to_string(), 1);
        }
        (0..50_000).for_each(|_| names.add("line-4", 1));
        assert_eq!(names.counts.len(), NAMES_MAX);
        assert_eq!(names.most(1), ([("line-4", 50_001)].into(), 100_000));
        // Room is there again, but records of this name may be among the others.
        names.remove("7", 1);
        names.add("70000", 1);
        assert_eq!(names.counts.len(), NAMES_MAX - 1);
        names.remove("70000", 1);
        (0..100_000).filter(|name| *name != 7).for_each(|name| names.remove(&name.to_string(), 1));
        (0..50_001).for_each(|_| names.remove("line-4", 1));
        assert_eq!(names, Names::default());
    }
}
