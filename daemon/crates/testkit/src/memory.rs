//! What a process takes of the machine's memory, as the kernel counts it.

use anyhow::Context;

/// Resident memory of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now_bytes: u64,
    pub peak_bytes: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bytes = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next());
            Ok(kib.with_context(|| format!("no {name} of process {pid}"))?.parse::<u64>()? << 10)
        };
        Ok(Memory { now_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
    }

    pub fn now_mib(self) -> f64 {
        self.now_bytes as f64 / f64::from(1 << 20)
    }

    pub fn peak_mib(self) -> f64 {
        self.peak_bytes as f64 / f64::from(1 << 20)
    }
}
