//! What is counted of the log: records taken, lost and kept, room, recoveries, its state.

use crate::health::LogState;
use crate::metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, Registry, gauge_value, stage,
};
use picket_records::{PredictionLog, RecoveryStep, Retention};

/// The `service` label of the `logging_` families: the name of the service that this one replaced.
const SERVICE: (&str, &str) = ("service", "cloud-logging-api");

pub struct LogMetrics {
    /// Records that the log took, from this box and from others.
    pub logged: Counter,
    /// Records that the log took and that show a defect.
    pub defects: Counter,
    /// Records that the log could not take.
    pub errors: Counter,
    pub(super) commit: Histogram,
    /// The free space as the log's owner last saw it.
    pub(super) disk_free_bytes: Gauge,
    initialized: Gauge,
    state: GaugeFamily,
    recoveries: CounterFamily,
    records: Gauge,
    bytes: Gauge,
    disk_bytes: Gauge,
    records_max: Gauge,
    bytes_max: Gauge,
    lost: Gauge,
    quarantines: Gauge,
}

impl LogMetrics {
    pub fn new(registry: &Registry) -> LogMetrics {
        let logging = |name, help| registry.counter(name, help, &[SERVICE]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let metrics = LogMetrics {
            logged: logging("logging_predictions_total", "Records taken by the prediction log."),
            defects: logging("logging_defects_total", "Records taken that show a defect."),
            errors: logging("logging_errors_total", "Records that the log could not take."),
            commit: stage(registry, "commit"),
            disk_free_bytes: gauge(
                "picket_log_disk_free_bytes",
                "Free space on the log's disk, as the log's writer last saw it.",
            ),
            initialized: registry.gauge(
                "logging_db_initialized",
                "Whether the prediction log is open.",
                &[SERVICE],
            ),
            state: registry.gauges(
                "picket_log_state",
                "State of the log: 1 for the current one.",
                &["state"],
            ),
            recoveries: registry.counters(
                "picket_log_recoveries_total",
                "Steps that recovery of the log took.",
                &["step"],
            ),
            records: gauge("picket_log_records", "Records in the log."),
            bytes: gauge(
                "picket_log_budgeted_bytes",
                "Size on disk that the records will settle at; what retention by size goes by.",
            ),
            disk_bytes: gauge("picket_log_disk_bytes", "Size of the log on disk now."),
            records_max: gauge("picket_log_max_records", "Records that the log may hold."),
            bytes_max: gauge("picket_log_max_bytes", "Size on disk that the log may have."),
            lost: gauge("picket_log_lost_records", "Numbers in the log that can't be read."),
            quarantines: gauge(
                "picket_log_quarantines",
                "Damaged stores that were set aside and are kept.",
            ),
        };
        metrics.show_state(&LogState::Opening);
        for step in RecoveryStep::LABELS {
            metrics.recoveries.with_label_values(&[step]);
        }
        metrics
    }

    pub(super) fn show_state(&self, state: &LogState) {
        self.initialized.set(i64::from(state.refusal().is_none()));
        for label in LogState::LABELS {
            let current = i64::from(label == state.label());
            self.state.with_label_values(&[label]).set(current);
        }
    }

    pub(super) fn show_retention(&self, retention: Retention) {
        self.records_max.set(gauge_value(retention.max_records));
        self.bytes_max.set(gauge_value(retention.max_bytes));
    }

    pub(super) fn show_size(&self, log: &PredictionLog) {
        let (records, bytes) = log.size();
        self.records.set(gauge_value(records));
        self.bytes.set(gauge_value(bytes));
        self.disk_bytes.set(gauge_value(log.disk_bytes()));
        self.lost.set(gauge_value(log.losses().iter().map(|ids| ids.end - ids.start).sum()));
        self.quarantines.set(gauge_value(log.quarantines() as u64));
    }

    /// What retention by size goes by, as of the last commit.
    pub fn budgeted_bytes(&self) -> u64 {
        u64::try_from(self.bytes.get()).unwrap_or(0)
    }

    pub(super) fn recovered(&self, step: &RecoveryStep) {
        self.recoveries.with_label_values(&[step.label()]).inc();
    }
}
