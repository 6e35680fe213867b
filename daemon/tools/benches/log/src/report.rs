//! What is said at the end: a table for a person, the same numbers as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::{self, Kind};
use crate::meter::{Sample, median, percentile};
use crate::plan::Load;
use crate::records::Records;

const HEADING: [&str; 8] = [
    "load",
    "engine",
    "records/s",
    "min to max",
    "p50 ms",
    "p99 ms",
    "device B/record",
    "against the best other",
];

/// All samples of one engine under one load.
struct Row {
    kind: Kind,
    load: Load,
    samples: Vec<Sample>,
}

impl Row {
    /// Records a second: the median of the rounds, the lowest, the highest.
    fn rates(&self) -> [f64; 3] {
        let mut rates: Vec<f64> = self.samples.iter().map(Sample::records_per_sec).collect();
        let middle = median(&mut rates);
        [middle, rates.first().copied().unwrap_or(0.0), rates.last().copied().unwrap_or(0.0)]
    }

    /// p50 and p99 of all rounds' commits.
    fn latencies(&self) -> [Duration; 2] {
        let samples = self.samples.iter();
        let mut all: Vec<Duration> = samples.flat_map(|s| s.latencies.iter().copied()).collect();
        all.sort();
        [50, 99].map(|percent| percentile(&all, percent))
    }

    fn device_bytes_per_record(&self) -> f64 {
        let total = |count: fn(&Sample) -> u64| self.samples.iter().map(count).sum::<u64>() as f64;
        total(|sample| sample.device_bytes) / total(|sample| sample.records).max(1.0)
    }
}

pub struct Report {
    machine: String,
    disk: String,
    value_bytes: f64,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(machine: String, disk: String, records: &Records) -> Report {
        Report { machine, disk, value_bytes: records.mean_bytes(), rows: Vec::new() }
    }

    pub fn add(&mut self, kind: Kind, load: Load, sample: Sample) {
        match self.rows.iter_mut().find(|row| row.kind == kind && row.load == load) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row { kind, load, samples: vec![sample] }),
        }
    }

    /// The table and what it was measured on.
    pub fn render(&self) -> String {
        let mut cells = vec![HEADING.map(String::from).to_vec()];
        cells.extend(self.rows.iter().map(|row| self.cells(row)));
        format!(
            "{}\n\
             Values: {:.0} bytes on average, those of picket's own records.\n\
             SQLite: WAL, synchronous = FULL, by {}.\n\
             redb: immediate durability. fjall: journal synced at every commit, data only.\n\
             Rates: median of {} rounds, the engines in turns.\n\
             Machine: {}.\n\
             Disk: {}.\n",
            table(&cells),
            self.value_bytes,
            engine::sqlite::sync_call(),
            self.rows.first().map_or(0, |row| row.samples.len()),
            self.machine,
            self.disk,
        )
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let [rate, rate_min, rate_max] = row.rates();
            let [p50, p99] = row.latencies().map(|latency| latency.as_secs_f64() * 1e6);
            json!({
                "engine": row.kind.name(),
                "batch": row.load.batch,
                "interval_ms": row.load.interval.map(|interval| interval.as_millis()),
                "rounds": row.samples.len(),
                "records_per_sec": rate,
                "records_per_sec_min": rate_min,
                "records_per_sec_max": rate_max,
                "commit_p50_us": p50,
                "commit_p99_us": p99,
                "device_bytes_per_record": row.device_bytes_per_record(),
            })
        });
        json!({
            "machine": self.machine,
            "disk": self.disk,
            "value_bytes": self.value_bytes,
            "sqlite_sync": engine::sqlite::sync_call(),
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let [rate, rate_min, rate_max] = row.rates().map(thousands);
        let [p50, p99] = row.latencies().map(|l| format!("{:.2}", l.as_secs_f64() * 1e3));
        let load = if row.kind == Kind::ALL[0] { row.load.to_string() } else { String::new() };
        let device_bytes = thousands(row.device_bytes_per_record());
        let range = format!("{rate_min} to {rate_max}");
        let against = if row.kind.is_picket() { self.against(row) } else { String::new() };
        vec![load, row.kind.to_string(), rate, range, p50, p99, device_bytes, against]
    }

    /// Picket's rate and bytes as multiples of the best other engine's.
    fn against(&self, picket: &Row) -> String {
        let others = || {
            let same = |row: &&Row| row.load == picket.load && !row.kind.is_picket();
            self.rows.iter().filter(same)
        };
        let rate = others()
            .max_by(|a, b| a.rates()[0].total_cmp(&b.rates()[0]))
            // A paced rate is everybody's.
            .filter(|_| picket.load.interval.is_none())
            .map(|best| {
                format!("rate {:.2} x {}, ", picket.rates()[0] / best.rates()[0], best.kind)
            });
        let bytes = others()
            .min_by(|a, b| a.device_bytes_per_record().total_cmp(&b.device_bytes_per_record()))
            .map(|best| {
                let ratio = picket.device_bytes_per_record() / best.device_bytes_per_record();
                format!("bytes {ratio:.2} x {}", best.kind)
            });
        rate.unwrap_or_default() + &bytes.unwrap_or_default()
    }
}

/// Whole, with a comma every three digits.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns as wide as their widest cell, numbers to the right.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let number = (2..7).contains(&column);
            let padded = if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            text.push_str(&padded);
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
