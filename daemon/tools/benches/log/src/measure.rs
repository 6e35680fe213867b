//! One measurement: a fresh store on a fresh disk, warmed up, then one load until its bounds.

use std::ops::Range;
use std::time::Instant;

use crate::disk::Disk;
use crate::engine::Kind;
use crate::meter::Sample;
use crate::plan::{Load, Plan};
use crate::records::Records;
use crate::stop::Stop;

/// Written before anything is measured, `WARM_UP_BATCH` in a commit: SQLite's write-ahead log comes
/// round once (its 1,000 pages), so that nobody is measured on files in their first growth.
const WARM_UP_RECORDS: u64 = 30_000;

const WARM_UP_BATCH: u64 = 100;

pub fn measure(
    disk: &Disk,
    kind: Kind,
    load: Load,
    plan: &Plan,
    records: &Records,
    stop: &Stop,
) -> anyhow::Result<Sample> {
    let volume = disk.fresh()?;
    let mut engine = kind.open(&volume.dir().join("store"))?;
    let mut next = 0;
    while next < WARM_UP_RECORDS {
        stop.check()?;
        engine.commit(take(&mut next, WARM_UP_BATCH), records)?;
    }
    engine.settle()?;
    volume.sync()?;
    let device_before = volume.written_bytes()?;
    let duration_max = load.interval.map_or(plan.duration_max, |_| plan.paced_duration);
    let mut sample = Sample::default();
    let started = Instant::now();
    while started.elapsed() < duration_max
        && (load.interval.is_some() || sample.records < plan.records_max as u64)
    {
        stop.check()?;
        if let Some(interval) = load.interval {
            // By the schedule, not by the end of the last commit: the rate must hold.
            let due = started + interval * (sample.latencies.len() as u32 + 1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let ids = take(&mut next, load.batch as u64);
        sample.records += ids.end - ids.start;
        let began = Instant::now();
        engine.commit(ids, records)?;
        sample.latencies.push(began.elapsed());
    }
    sample.elapsed = started.elapsed();
    engine.settle()?;
    volume.sync()?;
    sample.device_bytes = volume.written_bytes()? - device_before;
    drop(engine);
    volume.close()?;
    Ok(sample)
}

fn take(next: &mut u64, count: u64) -> Range<u64> {
    let start = *next;
    *next += count;
    start..*next
}
