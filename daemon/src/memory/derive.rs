//! From the memory that the daemon may have to the part of it that requests may take: the limit less what
//! the daemon needs for itself.

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;

use crate::os;

/// The daemon itself with its log at work, bytes: the store's cache, the listeners with the control
/// socket's connections and those that have lost their place, the heap's holes. The cache is the most of
/// it: sled keeps 256 pages of up to 16 values, and 74 MiB in all were measured with reported records at
/// their limits; docs/memory.md.
const DAEMON_BYTES: u64 = 78 << 20;

/// A worker beside its model's values, bytes: its stack, and what its heap keeps of a job that is done.
const WORKER_BYTES: u64 = 1 << 20;

/// What a model's run takes at least for each value of its input, bytes: sixteen times the value in 32 bits, as
/// networks widen an image where it is largest.
const VALUE_BYTES: u64 = 16 * 4;

/// A model in memory for each byte of its file: as it was read, and as its kernels want it.
const MODEL_COPIES: u64 = 3;

/// Of the limit, one part in so many is left to the kernel and to the allocator: page tables, sockets,
/// holes.
const SLACK_PART: u64 = 16;

/// Without a limit, requests may take this part of the machine's memory less what the daemon needs.
const MACHINE_PART: u64 = 2;

/// More than this is never derived, bytes: 64 workers with the largest pictures that are taken need no
/// more at once than they can decode.
const DERIVED_MAX: u64 = 1 << 30;

/// Less than this is never derived, bytes: one picture of a few megapixels and its body. Where not even
/// that fits, the limit and the workers don't, and the start says so.
const DERIVED_MIN: u64 = 8 << 20;

/// What the kernel lets the daemon have, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The smallest limit of its control groups.
    Limit(u64),
    /// The machine's memory, which others use too.
    Machine(u64),
    Unknown,
}

/// What the daemon will need beside requests.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    pub workers: usize,
    /// The values of the model's input: channels × height × width.
    pub input_values: usize,
    /// The size of the model's file, bytes.
    pub model_bytes: u64,
    /// What the model says that one run takes, bytes.
    pub run_bytes: u64,
}

/// What requests may take, and whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub budget: u64,
    /// What the daemon needs beside it.
    pub margin: u64,
    /// The memory that the two must fit into; none where the kernel doesn't say.
    pub available: Option<u64>,
}

impl Given {
    /// Reads what the kernel gives this process.
    pub fn here() -> Given {
        Given::to(Path::new("/"), &os::own_groups())
    }

    /// Reads below `root` what the kernel gives a process with this file of control groups.
    pub fn to(root: &Path, cgroup: &str) -> Given {
        match os::memory_bounds(root, cgroup) {
            (Some(limit), _) => Given::Limit(limit),
            (None, Some(machine)) => Given::Machine(machine),
            (None, None) => Given::Unknown,
        }
    }
}

impl Needs {
    /// Returns what the daemon needs beside requests, bytes; the slack of the limit excepted.
    fn bytes(self) -> u64 {
        let values = (self.input_values as u64).saturating_mul(VALUE_BYTES);
        let worker = WORKER_BYTES.saturating_add(values.max(self.run_bytes));
        let workers = (self.workers as u64).saturating_mul(worker);
        let model = self.model_bytes.saturating_mul(MODEL_COPIES);
        DAEMON_BYTES.saturating_add(workers).saturating_add(model)
    }
}

impl Plan {
    /// Returns what requests may take as a size of this machine's memory.
    pub fn budget_size(self) -> usize {
        usize::try_from(self.budget).unwrap_or(usize::MAX)
    }

    /// Whether budget and margin together exceed what is there.
    pub fn is_too_large(self) -> bool {
        let both = self.budget.saturating_add(self.margin);
        self.available.is_some_and(|available| both > available)
    }
}

/// What is too large, in words.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { budget, margin, available } = *self;
        let [budget, margin] = [budget, margin].map(ByteSize);
        write!(f, "requests may take {budget} and the daemon needs {margin}")?;
        match available.map(ByteSize) {
            Some(available) if self.is_too_large() => {
                write!(f, ", only {available} are there: fewer workers, or a higher limit")
            }
            Some(available) => write!(f, ", of {available}"),
            None => Ok(()),
        }
    }
}

/// Plans the memory of requests; `stated` is what the configuration asks for.
pub fn plan(given: Given, needs: Needs, stated: Option<u64>) -> Plan {
    let (available, margin) = match given {
        Given::Limit(bytes) => (Some(bytes), needs.bytes().saturating_add(bytes / SLACK_PART)),
        Given::Machine(bytes) => (Some(bytes / MACHINE_PART), needs.bytes()),
        Given::Unknown => (None, needs.bytes()),
    };
    let derived = available.map_or(DERIVED_MIN, |available| {
        available.saturating_sub(margin).clamp(DERIVED_MIN, DERIVED_MAX)
    });
    Plan { budget: stated.unwrap_or(derived), margin, available }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn embedded(workers: usize) -> Needs {
        Needs { workers, input_values: 3 * 32 * 32, model_bytes: 0, run_bytes: 0 }
    }

    #[test]
    fn budget_and_margin_fill_the_limit_whatever_the_workers() {
        for workers in [1, 2, 4, 8] {
            let plan = plan(Given::Limit(256 * MIB), embedded(workers), None);
            assert_eq!(plan.budget + plan.margin, 256 * MIB);
            assert!(!plan.is_too_large());
            // A progressive picture of 24 megapixels fits its class.
            let budget = picket_base::budget::Budget::new(plan.budget as usize);
            let decode = budget.largest(picket_base::budget::Class::Decode);
            assert!(decode >= 73_000_000, "{workers} workers: {decode}");
        }
        let small = plan(Given::Limit(96 * MIB), embedded(1), None);
        assert!(small.budget > 10 * MIB && !small.is_too_large(), "{small:?}");
    }

    #[test]
    fn a_machine_is_shared_and_never_used_up() {
        let plan_of = |bytes| plan(Given::Machine(bytes), embedded(4), None);
        assert!(plan_of(1024 * MIB).budget < 512 * MIB);
        assert_eq!(plan_of(1 << 40).budget, DERIVED_MAX);
        assert_eq!(plan(Given::Unknown, embedded(4), None).budget, DERIVED_MIN);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        assert!(plan(Given::Limit(48 * MIB), embedded(1), None).is_too_large());
        assert!(plan(Given::Limit(256 * MIB), embedded(1), Some(250 * MIB)).is_too_large());
        let stated = plan(Given::Limit(256 * MIB), embedded(1), Some(64 * MIB));
        assert_eq!((stated.budget, stated.is_too_large()), (64 * MIB, false));
        let large = Needs { input_values: 3 * 640 * 640, ..embedded(8) };
        assert!(plan(Given::Limit(256 * MIB), large, None).is_too_large());
        let wide = Needs { run_bytes: 64 * MIB, ..embedded(4) };
        assert!(plan(Given::Limit(256 * MIB), wide, None).is_too_large());
        let endless = Needs { workers: usize::MAX, model_bytes: u64::MAX, ..large };
        for stated in [None, Some(u64::MAX)] {
            assert!(plan(Given::Limit(1 << 60), endless, stated).is_too_large());
            assert!(plan(Given::Machine(1 << 60), endless, stated).is_too_large());
        }
    }
}
